package access_test

import (
	"strings"
	"testing"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/events"
)

// Events of a stream are those after it was made, or enabled again, and of users whom it
// did not leave out when they came to stand.
func TestReceiverStream(t *testing.T) {
	s, seq := access.NewState(), uint64(0)
	apply := func(p events.Payload) uint64 {
		seq += 10
		s.Apply(events.Event{Data: p}, seq)
		return seq
	}
	env := access.Env{By: "consumer/idp", NewID: func() string { return "S1" }}
	must := func(es []events.Event, err error) uint64 {
		t.Helper()
		if err != nil || len(es) != 1 {
			t.Fatal(es, err)
		}
		return apply(es[0].Data)
	}
	refused := func(what string, es []events.Event, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v, %v; want %s", es, err, what)
		}
	}
	nothing := func(es []events.Event, err error) {
		t.Helper()
		if err != nil || len(es) != 0 {
			t.Errorf("%v, %v; want nothing", es, err)
		}
	}
	configure := func(change func(*events.ConsumerStreamConfigured)) ([]events.Event, error) {
		want := events.ConsumerStreamConfigured{Name: "idp", StreamID: "S1", Method: events.DeliverPoll, Status: events.StreamEnabled}
		change(&want)
		return access.ConfigureStream(s, env, want)
	}
	is := func() *access.Consumer { return s.Consumers["idp"] }
	fresh := func(w *events.ConsumerStreamConfigured) { w.StreamID = "" }
	apply(&events.ConsumerCreated{Name: "siem", Stream: events.Audit, Filter: "audit.>", By: "admin"})
	apply(&events.ConsumerCreated{Name: "idp", Stream: events.Access, Filter: "access.>", By: "admin",
		Receiver: &events.Receiver{TokenSHA256: "x", Audience: []string{"a"}, Subject: "iss_sub", PushHosts: []string{"r.example.com"}, Tries: 3}})
	if k := is(); k.Holds() || k.Sends() || !k.Signaled() {
		t.Errorf("without a stream it is kept or sent something: %+v", k)
	}
	es, err := access.ConfigureStream(s, env, events.ConsumerStreamConfigured{Name: "siem", Method: events.DeliverPoll, Status: events.StreamEnabled})
	refused("there is no receiver", es, err)
	es, err = configure(func(*events.ConsumerStreamConfigured) {})
	refused("there is no stream", es, err)
	made := must(configure(fresh))
	if k := is(); !k.Holds() || !k.Sends() || k.Signals.Since != made || k.Push.Tries != 3 || k.Push.URL != "" {
		t.Errorf("a new stream is %+v", k)
	}
	es, err = configure(fresh)
	refused("there is a stream S1 already", es, err)
	nothing(configure(func(*events.ConsumerStreamConfigured) {}))
	for what, change := range map[string]func(*events.ConsumerStreamConfigured){
		"status": func(w *events.ConsumerStreamConfigured) { w.Status = "asleep" },
		"method": func(w *events.ConsumerStreamConfigured) { w.Method = "smoke" },
		"that address": func(w *events.ConsumerStreamConfigured) {
			w.Method, w.URL = events.DeliverPush, "https://else.example.com/"
		},
		"to that": func(w *events.ConsumerStreamConfigured) {
			w.Method, w.URL = events.DeliverPush, "http://r.example.com/"
		},
		"more than 4096": func(w *events.ConsumerStreamConfigured) { w.Description = strings.Repeat("x", 5000) },
		"more than 100":  func(w *events.ConsumerStreamConfigured) { w.EventsRequested = make([]string, 101) },
	} {
		es, err := configure(change)
		refused(what, es, err)
	}
	must(configure(func(w *events.ConsumerStreamConfigured) { w.Status = events.StreamPaused }))
	if k := is(); !k.Holds() || k.Sends() || k.Signals.Since != made {
		t.Errorf("paused it is %+v", k)
	}
	must(configure(func(w *events.ConsumerStreamConfigured) { w.Status = events.StreamDisabled }))
	if k := is(); k.Holds() || k.Sends() {
		t.Errorf("disabled it is %+v", k)
	}
	again := must(configure(func(w *events.ConsumerStreamConfigured) {
		w.Method, w.URL = events.DeliverPush, "https://R.example.com/in"
	}))
	if k := is(); !k.Sends() || k.Signals.Since != again || k.Push.URL != "https://R.example.com/in" {
		t.Errorf("enabled again it is %+v", k)
	}

	nothing(access.ChangeSubject(s, env, "idp", "S1", "alice", false))
	removed := must(access.ChangeSubject(s, env, "idp", "S1", "alice", true))
	nothing(access.ChangeSubject(s, env, "idp", "S1", "alice", true))
	added := must(access.ChangeSubject(s, env, "idp", "S1", "alice", false))
	for at, want := range map[uint64]bool{removed - 1: false, removed + 1: true, added - 1: true, added + 1: false} {
		if got := is().Signals.LeavesOut("alice", at); got != want {
			t.Errorf("at %d alice is left out: %t", at, got)
		}
	}
	if is().Signals.LeavesOut("bob", added) {
		t.Error("bob is left out")
	}
	must(access.ChangeSubject(s, env, "idp", "S1", "alice", true))
	if !is().Signals.LeavesOut("alice", added+100) {
		t.Error("alice is not left out once more")
	}

	apply(&events.ConsumerSuspended{Name: "idp", Reason: "gone", By: "postern"})
	must(configure(func(w *events.ConsumerStreamConfigured) {
		w.Method, w.URL = events.DeliverPush, "https://R.example.com/in"
	}))
	if k := is(); k.Suspended != "" || !k.Signals.LeavesOut("alice", added+100) {
		t.Errorf("configured anew it is %+v", k)
	}
	es, err = access.DeleteStream(s, env, "idp", "S2")
	refused("there is no stream", es, err)
	must(access.DeleteStream(s, env, "idp", "S1"))
	if k := is(); k.Holds() || k.Sends() || k.Push != nil || k.Signals != nil {
		t.Errorf("after its stream it is %+v", k)
	}
}
