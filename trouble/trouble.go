// Package trouble keeps a log readable while something fails that is tried again and
// again: that is said once, again after a while, and once when it is over.
package trouble

import "time"

// Again is after how long a failure that lasts is said again.
const Again = 5 * time.Minute

// Said is what was said of a failure that comes again with each try. The zero value has
// said nothing.
type Said struct {
	text string
	at   time.Time
}

// News tells whether a failure is to be said: another one than last time, or one that lasts.
func (s *Said) News(err error) bool {
	if err.Error() == s.text && time.Since(s.at) < Again {
		return false
	}
	s.text, s.at = err.Error(), time.Now()
	return true
}

// Over takes in that a try went well, and tells whether that is to be said, because a
// failure was.
func (s *Said) Over() bool {
	failed := !s.at.IsZero()
	*s = Said{}
	return failed
}
