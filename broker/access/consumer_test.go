package access_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/events"
)

func TestCreateConsumer(t *testing.T) {
	had := &events.ConsumerCreated{Name: "siem", Stream: events.Audit, Filter: "audit.>", By: "admin"}
	gone := &events.ConsumerDeleted{Name: "siem", By: "admin"}
	for _, c := range []struct {
		name         string
		given        []events.Payload
		as, filter   string
		want, refuse string // the stream, or a part of the refusal
	}{
		{"all of a stream", nil, "siem", "audit.>", events.Audit, ""},
		{"a part", nil, "siem", "access.*.alice", events.Access, ""},
		{"two of them", []events.Payload{had}, "siem2", "findings.>", events.Findings, ""},
		{"name taken", []events.Payload{had}, "siem", "audit.>", "", "already"},
		{"name used before", []events.Payload{had, gone}, "siem", "audit.>", "", "choose another name"},
		{"name of two tokens", nil, "a.b", "audit.>", "", "want letters"},
		{"name with a wildcard", nil, "*", "audit.>", "", "want letters"},
		{"no name", nil, "", "audit.>", "", "want letters"},
		{"everything", nil, "siem", ">", "", "filter"},
		{"another subject", nil, "siem", "$JS.API.>", "", "filter"},
		{"the bare stream", nil, "siem", "audit", "", "filter"},
		{"wildcard in front", nil, "siem", "*.>", "", "filter"},
		{"end in the middle", nil, "siem", "audit.>.x", "", "filter"},
		{"empty token", nil, "siem", "audit..x", "", "filter"},
		{"space", nil, "siem", "audit.x y", "", "filter"},
		{"no filter", nil, "siem", "", "", "filter"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := access.NewState()
			for i, p := range c.given {
				s.Apply(events.Event{Data: p}, uint64(i+1))
			}
			got, err := access.CreateConsumer(s, access.Env{By: "admin", NewID: func() string { return "id" }}, c.as, c.filter, true)
			if c.refuse != "" {
				if err == nil || !strings.Contains(err.Error(), c.refuse) {
					t.Fatalf("error %v, want %q", err, c.refuse)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := &events.ConsumerCreated{Name: c.as, Stream: c.want, Filter: c.filter, FromNow: true, By: "admin"}
			if d := cmp.Diff(want, got[0].Data); d != "" {
				t.Errorf("event (-want +got):\n%s", d)
			}
		})
	}
}
