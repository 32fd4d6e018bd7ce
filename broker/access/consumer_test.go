package access_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/events"
)

// Messages that nothing can be sent of do not fill the state, and other events wait beside them.
func TestUnfitEvents(t *testing.T) {
	s := access.NewState()
	s.Apply(events.Event{Data: &events.ConsumerCreated{Name: "siem", Stream: events.Audit, Push: &events.Push{URL: "https://siem.example.com/"}}}, 1)
	tries := 0
	for seq := range uint64(1100) {
		done, err := access.SetEventAside(s, access.Env{NewID: func() string { return "x" }}, events.ConsumerEventSetAside{Name: "siem", StreamSequence: seq + 1, Tries: tries})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range done {
			s.Apply(e, seq+2)
		}
		if tries = 0; seq == 1098 {
			tries = 12 // what an endpoint would not take
		}
	}
	if k := s.Consumers["siem"]; len(k.SetAside) != 1001 || k.SetAside[1100].Tries != 12 {
		t.Errorf("%d wait", len(k.SetAside))
	}
}

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
		{"one of ours", nil, "broker-held", "audit.>", "", "postern's own"},
		{"nearly one of ours", nil, "Auditor-AUDIT", "audit.>", "", "postern's own"},
		{"of a broker", nil, "brokers", "audit.>", events.Audit, ""},
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
			got, err := access.CreateConsumer(s, access.Env{By: "admin", NewID: func() string { return "id" }}, events.ConsumerCreated{Name: c.as, Filter: c.filter, FromNow: true})
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

// What is sent to a consumer: given what happened, what a command comes to.
func TestPushedConsumer(t *testing.T) {
	env := access.Env{By: "admin", NewID: func() string { return "id" }}
	byNATS := &events.ConsumerCreated{Name: "siem", Stream: events.Audit, Filter: "audit.>", By: "admin"}
	hook := &events.ConsumerCreated{Name: "siem", Stream: events.Audit, Filter: "audit.>", Push: &events.Push{Protocol: events.PushWebhook}, By: "admin"}
	aside := &events.ConsumerEventSetAside{Name: "siem", Stream: events.Audit, StreamSequence: 7, Tries: 3, Reason: "answered 422", By: "admin"}
	suspended := &events.ConsumerSuspended{Name: "siem", Reason: "gone", By: "admin"}
	resumed := &events.ConsumerResumed{Name: "siem", By: "admin"}
	replayed := &events.ConsumerEventReplayed{Name: "siem", Stream: events.Audit, StreamSequence: 7, By: "admin"}
	suspend := func(s *access.State) ([]events.Event, error) { return access.Suspend(s, env, "siem", "gone") }
	resume := func(s *access.State) ([]events.Event, error) { return access.Resume(s, env, "siem") }
	setAside := func(s *access.State) ([]events.Event, error) { return access.SetEventAside(s, env, *aside) }
	replay := func(s *access.State) ([]events.Event, error) { return access.ReplayedEvent(s, env, "siem", 7) }
	for _, c := range []struct {
		name   string
		given  []events.Payload
		when   func(*access.State) ([]events.Event, error)
		then   events.Payload // nil for nothing
		refuse string
	}{
		{"suspend", []events.Payload{hook}, suspend, suspended, ""},
		{"suspend twice", []events.Payload{hook, suspended}, suspend, nil, ""},
		{"resume", []events.Payload{hook, suspended}, resume, resumed, ""},
		{"resume what runs", []events.Payload{hook, suspended, resumed}, resume, nil, "not suspended"},
		{"suspend who reads by NATS", []events.Payload{byNATS}, suspend, nil, "nothing is sent"},
		{"suspend nobody", nil, suspend, nil, "no consumer"},
		{"set aside", []events.Payload{hook}, setAside, aside, ""},
		{"set aside twice", []events.Payload{hook, aside}, setAside, nil, ""},
		{"replay", []events.Payload{hook, aside}, replay, replayed, ""},
		{"replay twice", []events.Payload{hook, aside, replayed}, replay, nil, ""},
		{"set aside again", []events.Payload{hook, aside, replayed}, setAside, aside, ""},
		{"after its end", []events.Payload{hook, aside, &events.ConsumerDeleted{Name: "siem"}}, replay, nil, "no consumer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := access.NewState()
			for i, p := range c.given {
				s.Apply(events.Event{Data: p}, uint64(i+1))
			}
			got, err := c.when(s)
			switch {
			case c.refuse != "":
				if err == nil || !strings.Contains(err.Error(), c.refuse) {
					t.Errorf("error %v, want %q", err, c.refuse)
				}
			case err != nil:
				t.Error(err)
			case c.then == nil && len(got) > 0:
				t.Errorf("events %+v", got)
			case c.then != nil:
				if d := cmp.Diff(c.then, got[0].Data); d != "" {
					t.Errorf("event (-want +got):\n%s", d)
				}
			}
		})
	}
}
