package auditor

import "time"

// trouble is what was said of a failure that comes again with each try.
type trouble struct {
	text string
	at   time.Time
}

// sayAgain is after how long a failure that lasts is said again.
const sayAgain = 5 * time.Minute

// news tells whether a failure is to be said: another one than last time, or one that lasts.
func (t *trouble) news(err error) bool {
	if err.Error() == t.text && time.Since(t.at) < sayAgain {
		return false
	}
	t.text, t.at = err.Error(), time.Now()
	return true
}
