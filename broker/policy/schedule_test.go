package policy

import (
	"testing"
	"time"

	"github.com/posternhq/postern/events"
)

func TestSchedule(t *testing.T) {
	office := events.Schedule{TimeZone: "Europe/Berlin", Windows: []events.Window{
		{Days: []string{"mon", "Tuesday", "wed", "thu", "fri"}, Start: "08:00", End: "18:00"},
		{Days: []string{"sat"}, Start: "22:00", End: "02:00"},
	}}
	for _, c := range []struct {
		name string
		s    events.Schedule
		at   string
		want bool
	}{
		{"in summer, Berlin is two hours ahead", office, "2026-07-01T06:00:00Z", true}, // a Wednesday
		{"before it opens", office, "2026-07-01T05:59:59Z", false},
		{"when it closes", office, "2026-07-01T16:00:00Z", false},
		{"in winter, one hour", office, "2026-01-14T06:30:00Z", false},
		{"on Sunday", office, "2026-07-05T10:00:00Z", false},
		{"late on Saturday", office, "2026-07-04T20:30:00Z", true},
		{"the night after", office, "2026-07-04T23:59:00Z", true},
		{"two in the morning", office, "2026-07-05T00:00:00Z", false},
		{"the night before is Friday's", office, "2026-07-03T22:30:00Z", false},
		{"every day, UTC", events.Schedule{Windows: []events.Window{{Start: "00:00", End: "24:00"}}}, "2026-07-05T23:59:59Z", true},
		{"the clock goes back: both hours", events.Schedule{TimeZone: "Europe/Berlin", Windows: []events.Window{{Start: "02:00", End: "03:00"}}}, "2026-10-25T01:30:00Z", true},
	} {
		now, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		s, err := parseSchedule(c.s)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.open(now); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	for _, bad := range []events.Schedule{
		{}, {TimeZone: "Mars/Olympus", Windows: []events.Window{{Start: "08:00", End: "09:00"}}},
		{TimeZone: "Local", Windows: []events.Window{{Start: "08:00", End: "09:00"}}},
		{Windows: []events.Window{{Start: "8", End: "09:00"}}}, {Windows: []events.Window{{Start: "08:00", End: "25:00"}}},
		{Windows: []events.Window{{Days: []string{"mo"}, Start: "08:00", End: "09:00"}}},
	} {
		if _, err := parseSchedule(bad); err == nil {
			t.Errorf("taken: %+v", bad)
		}
	}
}

func TestAutoApproval(t *testing.T) {
	night := events.Schedule{Windows: []events.Window{{Start: "20:00", End: "06:00"}}}
	rule := func(name string, change func(*events.AutoApproval)) events.Role {
		a := events.AutoApproval{Name: "r", Roles: []string{"ops-*"}}
		change(&a)
		return events.Role{Name: name, Allow: events.RoleConditions{Request: &events.RequestConditions{Roles: []string{"*"}, AutoApprove: []events.AutoApproval{a}}}}
	}
	onCall := rule("on-call", func(a *events.AutoApproval) { a.Where = `contains(user.traits["on_call"], "payments")` })
	traits := map[string][]string{"on_call": {"payments"}}
	for _, c := range []struct {
		name   string
		role   events.Role
		traits map[string][]string
		wish   []string
		want   string
	}{
		{"on call", onCall, traits, []string{"ops-db"}, "on-call/r"},
		{"not on call", onCall, nil, []string{"ops-db"}, ""},
		{"one of the roles is not the rule's", onCall, traits, []string{"ops-db", "root"}, ""},
		{"both are", onCall, traits, []string{"ops-db", "ops-web"}, "on-call/r"},
		{"short enough", rule("x", func(a *events.AutoApproval) { a.MaxDuration = 3600 }), nil, []string{"ops-db"}, "x/r"},
		{"too long", rule("x", func(a *events.AutoApproval) { a.MaxDuration = 3599 }), nil, []string{"ops-db"}, ""},
		{"out of hours", rule("x", func(a *events.AutoApproval) { a.Schedule = &night }), nil, []string{"ops-db"}, ""},
		{"by the reason", rule("x", func(a *events.AutoApproval) { a.Where = `regexp.match(request.reason, "INC-*")` }), nil, []string{"ops-db"}, "x/r"},
	} {
		got := subject(t, c.traits, c.role).AutoApproval(Wish{User: "alice", Roles: c.wish, Reason: "INC-1"}, time.Hour, at, at)
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	granted := subject(t, traits)
	granted.Roles = []Held{{Role: compile(t, onCall), RequestID: "R1", Until: at.Add(time.Hour)}}
	if got := granted.AutoApproval(Wish{User: "alice", Roles: []string{"ops-db"}}, time.Hour, at, at); got != "" {
		t.Errorf("a role that was granted for a while approves: %s", got)
	}
}
