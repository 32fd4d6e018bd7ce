package events

import (
	"strconv"
	"time"
)

// RecordTime reads a CloudTrail record's eventTime: RFC 3339, as AWS writes it, and what
// exports of other tools have in its place: the same with a space or no zone (UTC), and
// seconds or milliseconds since 1970. It is in UTC, to the microsecond. false for what can't
// be read, and for times before 1970 or from 2200 on, which no store of postern's holds.
func RecordTime(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999"} {
		if t, err := time.Parse(layout, s); err == nil && t.Year() >= 1970 && t.Year() < 2200 {
			return t.UTC().Truncate(time.Microsecond), true
		}
	}
	if n, err := strconv.ParseFloat(s, 64); err == nil && n >= 1e9 && n < 7e12 { // 2001 to 2191
		if n < 7e9 {
			n *= 1000
		}
		return time.UnixMilli(int64(n)).UTC(), true
	}
	return time.Time{}, false
}
