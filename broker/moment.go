package broker

import (
	"strconv"
	"strings"
	"time"
)

// moment reads a point in time: RFC 3339, also with a space as postern audit prints it, a
// date or a date and time (UTC), an age such as 90m or 7d, or "now" (also empty). cut is zero for now: then all that the
// stream holds counts, whatever its clock says. What is to come is refused.
func moment(field, s string, now time.Time) (at, cut time.Time, err error) {
	if s == "" || s == "now" {
		return now.UTC(), time.Time{}, nil
	}
	at, ok := parseMoment(s, now)
	if !ok {
		return at, at, invalid("%s: %q is neither a time (2026-03-01T12:00:00Z, 2026-03-01) nor a time ago (90m, 36h, 7d)", field, s)
	}
	if at.After(now.Add(clockTolerance)) {
		return at, at, invalid("%s: %s is still to come: only the past is known", field, at.Format(time.RFC3339))
	}
	return at, at, nil
}

func parseMoment(s string, now time.Time) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			t = t.UTC()
			return t, t.Year() > 0 // RFC 3339, in which the answer says it again, has no year -1
		}
	}
	if n, ok := strings.CutSuffix(s, "d"); ok {
		days, err := strconv.ParseFloat(n, 64)
		return now.Add(-time.Duration(days * 24 * float64(time.Hour))).UTC(), err == nil && days >= 0 && days < 1e5
	}
	d, err := time.ParseDuration(s)
	return now.Add(-d).UTC(), err == nil && d >= 0
}
