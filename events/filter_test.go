package events_test

import (
	"testing"

	"github.com/posternhq/postern/events"
)

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		filter, subject string
		want            bool
	}{
		{"audit.>", "audit.denied.1.s3.GetObject", true},
		{"audit.>", "audit", false},
		{"audit.*.1.s3.*", "audit.denied.1.s3.GetObject", true},
		{"audit.*.1.s3", "audit.denied.1.s3.GetObject", false},
		{"audit.denied.2.>", "audit.denied.1.s3.GetObject", false},
		{"access.user.alice", "access.user.alice", true},
		{"access.user.alice", "access.user.alice2", false},
		{"access.user.*.x", "access.user.alice", false},
	} {
		if got := events.Matches(c.filter, c.subject); got != c.want {
			t.Errorf("Matches(%q, %q) = %v", c.filter, c.subject, got)
		}
	}
}

func TestFilterStream(t *testing.T) {
	for filter, want := range map[string]string{
		"audit.>": events.Audit, "access.*.alice": events.Access, "findings.*": events.Findings,
		"access.user.a@example%2Ecom": events.Access,
		"audit.>.x":                   "", "audit..x": "", "audit..>": "", "audit.": "", "audit": "", ">": "", "*.>": "", "": "",
		"audit.x y": "", "audit.a*": "", "audit.>x": "", "$JS.API.>": "", "Audit.>": "",
	} {
		got, err := events.FilterStream(filter)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("FilterStream(%q) = %q, %v; want %q", filter, got, err, want)
		}
	}
}
