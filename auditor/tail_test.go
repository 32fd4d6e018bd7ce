package auditor

import "testing"

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
		if got := matches(c.filter, c.subject); got != c.want {
			t.Errorf("matches(%q, %q) = %v", c.filter, c.subject, got)
		}
	}
}
