package broker

import (
	"encoding/json"
	"testing"
	"time"
)

func TestMoment(t *testing.T) {
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	for s, want := range map[string]string{
		"now": "2026-07-01T12:00:00Z", "": "2026-07-01T12:00:00Z", "0s": "2026-07-01T12:00:00Z",
		"2h": "2026-07-01T10:00:00Z", "90m": "2026-07-01T10:30:00Z", "7d": "2026-06-24T12:00:00Z", "1.5d": "2026-06-30T00:00:00Z",
		"2026-03-01": "2026-03-01T00:00:00Z", "2026-03-01 08:30": "2026-03-01T08:30:00Z", "2026-03-01T08:30:05": "2026-03-01T08:30:05Z",
		"2026-03-01 08:30:05Z":         "2026-03-01T08:30:05Z", // from a table of audit search
		"2026-03-01T08:30:05.25+02:00": "2026-03-01T06:30:05.25Z",
		"-2h":                          "", "-1d": "", "NaNd": "", "+Infd": "", "1e9d": "", "d": "", "2": "", "yesterday": "", "2026-13-01": "",
		"0000-01-01T00:00:00+01:00": "", "2026-07-01T12:01:00Z": "", "2030-01-01": "",
	} {
		got, cut, err := moment("at", s, now)
		switch {
		case want == "" && err == nil:
			t.Errorf("%q was read as %s", s, got)
		case want != "" && (err != nil || got.Format(time.RFC3339Nano) != want):
			t.Errorf("%q: %s, %v; want %s", s, got, err, want)
		case want != "" && cut.IsZero() != (s == "" || s == "now"):
			t.Errorf("%q cuts at %s", s, cut)
		}
	}
}

func FuzzMoment(f *testing.F) {
	for _, s := range []string{"now", "2h", "7d", "1e4d", "2026-03-01", "2026-03-01T08:30:05.25+02:00", "0000-01-01T00:00:00+01:00"} {
		f.Add(s)
	}
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		at, _, err := moment("at", s, now)
		if err != nil {
			return
		}
		if at.After(now.Add(clockTolerance)) {
			t.Errorf("%q is to come: %s", s, at)
		}
		if _, err := json.Marshal(at); err != nil {
			t.Errorf("%q cannot be said: %v", s, err)
		}
	})
}
