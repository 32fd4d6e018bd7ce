package local

import (
	"testing"
	"time"
)

// Sleep is what has passed in the world and not for this process.
func TestPulse(t *testing.T) {
	var p pulse
	began := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		what     string
		wall, up time.Duration
		want     bool
	}{
		{"the first time", 9 * time.Hour, 0, false},
		{"awake", 10 * time.Hour, time.Hour, false},
		{"a short nap", 10*time.Hour + 30*time.Second, time.Hour, false},
		{"a night", 20 * time.Hour, time.Hour + time.Second, true},
		{"awake again", 20*time.Hour + time.Second, time.Hour + 2*time.Second, false},
		{"the clock is set back", 19 * time.Hour, time.Hour + 3*time.Second, false},
	} {
		if got := p.slept(began.Add(c.wall), c.up); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}
