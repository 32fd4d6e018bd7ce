package proxy

import (
	"errors"
	"testing"
	"time"
)

// A stream that is away is tried four times a second, and said once in a while.
func TestFailureThatLastsIsSaidOnce(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	away, other := errors.New("away"), errors.New("other")
	var l told
	for _, c := range []struct {
		err        error
		heard, now time.Duration // after start
		want       bool
	}{
		{away, -time.Second, 0, true},
		{away, -time.Second, pause, false},
		{other, -time.Second, 2 * pause, true},
		{away, -time.Second, 3 * pause, true},
		{away, -time.Second, sayAgain, false},
		{away, -time.Second, 3*pause + sayAgain, true},
		{away, sayAgain + time.Minute, sayAgain + 2*time.Minute, true}, // it was there meanwhile
		{away, sayAgain + time.Minute, sayAgain + 2*time.Minute + pause, false},
	} {
		if got := l.news(c.err, start.Add(c.heard), start.Add(c.now)); got != c.want {
			t.Errorf("%v at %v: %t", c.err, c.now, got)
		}
	}
}
