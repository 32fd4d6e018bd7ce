package auditor

import (
	"strings"
	"time"
	"unicode"
)

// trouble is what was said of a failure that comes again with each try.
type trouble struct {
	text string
	at   time.Time
}

// sayAgain is after how long a failure that lasts is said again.
const sayAgain = 5 * time.Minute

// news tells whether a failure is to be said: another one than last time, or one that lasts.
// One that differs by its numbers alone is no other: a temporary file has another with each try.
func (t *trouble) news(err error) bool {
	text := strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return -1
		}
		return r
	}, err.Error())
	if text == t.text && time.Since(t.at) < sayAgain {
		return false
	}
	t.text, t.at = text, time.Now()
	return true
}
