// Package trouble keeps a log readable while something fails that is tried again and
// again: that is said once, again after a while, and once when it is over.
package trouble

import (
	"strings"
	"time"
)

// Again is after how long a failure that lasts is said again.
const Again = 5 * time.Minute

// Said is what was said of a failure that comes again with each try. The zero value has
// said nothing.
type Said struct {
	text string // without its digits
	at   time.Time
}

// News tells whether a failure is to be said: another one than last time, or one that lasts.
// Numbers make no other one: each try has a port of its own, say.
func (s *Said) News(err error) bool {
	text := strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return -1
		}
		return r
	}, err.Error())
	if text == s.text && time.Since(s.at) < Again {
		return false
	}
	s.text, s.at = text, time.Now()
	return true
}

// Over takes in that a try went well, and tells whether that is to be said, because a
// failure was.
func (s *Said) Over() bool {
	failed := !s.at.IsZero()
	*s = Said{}
	return failed
}
