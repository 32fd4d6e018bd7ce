package resource

import (
	"fmt"
	"strings"
	"time"
)

// ParseDuration reads a Go duration ("8h30m") that may begin with weeks and
// days ("1w", "4d12h"), as Teleport writes them. Nothing shorter than a second.
func ParseDuration(s string) (time.Duration, error) {
	bad := fmt.Errorf("%q is not a duration such as 30m, 8h or 4d", s)
	var total time.Duration
	rest := s
	for _, unit := range []struct {
		name string
		d    time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}} {
		digits, after, ok := strings.Cut(rest, unit.name)
		if !ok {
			continue
		}
		n := 0
		for _, c := range digits {
			if c < '0' || c > '9' || n > 10_000 {
				return 0, bad
			}
			n = 10*n + int(c-'0')
		}
		if digits == "" {
			return 0, bad
		}
		total += time.Duration(n) * unit.d
		rest = after
	}
	if rest != "" || s == "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 {
			return 0, bad
		}
		total += d
	}
	if total < time.Second {
		return 0, fmt.Errorf("%q is shorter than a second", s)
	}
	if total%time.Second != 0 {
		return 0, fmt.Errorf("%q is not a whole number of seconds", s)
	}
	return total, nil
}

// formatDuration writes 8h0m0s as 8h.
func formatDuration(seconds int64) string {
	s := (time.Duration(seconds) * time.Second).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
