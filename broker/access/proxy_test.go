package access

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
)

// fleet applies what is decided, at places of the stream that count up.
type fleet struct {
	t     *testing.T
	state *State
	seq   uint64
	now   time.Time
}

func (f *fleet) apply(e events.Event) events.Event {
	f.seq++
	f.state.Apply(e, f.seq)
	return e
}

// do carries a decision out as a ledger does, and returns its event, none if there was
// nothing to do.
func (f *fleet) do(decide func(*State, Env) ([]events.Event, error)) *events.Event {
	f.t.Helper()
	es, err := decide(f.state, Env{Now: f.now, NewID: func() string { return fmt.Sprint("ID", f.seq) }, By: "x"})
	if err != nil {
		f.t.Fatal(err)
	}
	if len(es) == 0 {
		return nil
	}
	es[0].Sequence = f.state.Head(es[0].Data.Channel()).Revision + 1
	e := f.apply(es[0])
	return &e
}

func (f *fleet) announce(proxy, addr string, apps ...events.AppSelector) *events.Event {
	f.t.Helper()
	return f.do(func(s *State, env Env) ([]events.Event, error) {
		return Announce(s, env, events.ProxyAnnounced{Proxy: proxy, Addr: addr, Apps: apps})
	})
}

func (f *fleet) withdraw(proxy string) *events.Event {
	f.t.Helper()
	return f.do(func(s *State, env Env) ([]events.Event, error) { return Withdraw(s, env, proxy, "") })
}

func (f *fleet) want(labels map[string]string, want ...string) {
	f.t.Helper()
	got := f.state.ProxiesFor(labels, "key", f.now)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		f.t.Errorf("for %v: %v, want %v", labels, got, want)
	}
}

func TestProxiesAnnounceThemselves(t *testing.T) {
	f := &fleet{t: t, state: NewState(), now: at}
	prod, test := map[string]string{"env": "prod"}, map[string]string{"env": "test"}
	f.announce("p1", "p1.example.com:3081")
	first := f.announce("p2", "p2.example.com:3081", events.AppSelector{Labels: map[string][]string{"env": {"prod", "stage"}}})
	f.want(prod, "p1.example.com:3081", "p2.example.com:3081")
	f.want(test, "p1.example.com:3081")
	f.want(nil, "p1.example.com:3081")
	f.announce("p3", "p1.example.com:3081") // behind one address
	f.want(test, "p1.example.com:3081")
	f.withdraw("p3")

	if e := f.announce("p1", "p1.example.com:3081"); e != nil {
		t.Errorf("said again at once: %+v", e)
	}
	f.now = f.now.Add(announcedFor / 3)
	if e := f.announce("p1", "p1.example.com:3081"); e == nil || !e.Data.(*events.ProxyAnnounced).ExpiresAt.Equal(f.now.Add(announcedFor)) {
		t.Errorf("said again after a third of its time: %+v", e)
	}
	f.announce("p2", "p4.example.com:3081") // moved, and serves all
	f.want(test, "p1.example.com:3081", "p4.example.com:3081")

	f.apply(*first) // a copy, which anybody who may publish can make
	f.want(test, "p1.example.com:3081", "p4.example.com:3081")
	if h := f.state.Head(first.Data.Channel()); h.Seq != f.seq || h.Revision != 2 {
		t.Errorf("after the copy at %d the head is %+v", f.seq, h)
	}
	if events, err := Withdraw(f.state, Env{Now: f.now}, "p2", "p2.example.com:3081"); err != nil || len(events) != 0 {
		t.Errorf("where it was before it is not any more: withdrawn by %v, %v", events, err)
	}
	if f.withdraw("p2") == nil || f.withdraw("p2") != nil {
		t.Error("it has to withdraw once")
	}
	f.want(test, "p1.example.com:3081")

	f.apply(events.Event{Meta: events.Meta{ID: "L", Time: f.now, Sequence: 1}, Data: &events.LockPlaced{LockID: "L", Target: events.LockTarget{Kind: "agent", Name: "p1"}}})
	f.want(test)
	if _, err := Announce(f.state, Env{Now: f.now}, events.ProxyAnnounced{Proxy: "p1", Addr: "a:1"}); err == nil {
		t.Error("a locked proxy announced itself")
	}
	f.apply(events.Event{Meta: events.Meta{ID: "M", Time: f.now, Sequence: 2}, Data: &events.LockLifted{LockID: "L"}})
	f.want(test, "p1.example.com:3081")
	f.now = f.now.Add(announcedFor)
	f.want(test)
	f.state.Forget(f.now)
	if len(f.state.Proxies) > 0 {
		t.Errorf("not forgotten: %v", f.state.Proxies)
	}

	for _, bad := range []events.ProxyAnnounced{{Addr: "nowhere"}, {Addr: ":3081"}, {Addr: "0.0.0.0:3081"}, {Addr: "a:0"}, {Addr: "a:70000"}, {Addr: "[::]:1"},
		{Addr: "a:1", Apps: []events.AppSelector{{Labels: map[string][]string{"env": {"^(($"}}}}}} {
		bad.Proxy = "p9"
		if _, err := Announce(f.state, Env{Now: f.now}, bad); err == nil {
			t.Errorf("announced %+v", bad)
		}
	}
}

// Sessions spread over the proxies, each has all of them to fail over to, and every
// broker gives the same order.
func TestProxiesSpread(t *testing.T) {
	f := &fleet{t: t, state: NewState(), now: at}
	for i := range 4 {
		f.announce(fmt.Sprint("p", i), fmt.Sprintf("p%d:3081", i))
	}
	const sessions = 4000
	first := map[string]int{}
	for i := range sessions {
		got := f.state.ProxiesFor(nil, fmt.Sprint("S", i), at)
		if again := f.state.ProxiesFor(nil, fmt.Sprint("S", i), at); len(got) != 4 || !slices.Equal(got, again) {
			t.Fatalf("%v, then %v", got, again)
		}
		first[got[0]]++
	}
	for addr, n := range first {
		if n < sessions/4*8/10 || n > sessions/4*12/10 {
			t.Errorf("%s is first for %d of %d", addr, n, sessions)
		}
	}
}
