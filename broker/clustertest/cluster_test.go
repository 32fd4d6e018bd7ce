// Package clustertest proves what several brokers on several NATS nodes promise
// while both are killed, paused and cut off: real processes, random commands.
package clustertest

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
	"github.com/posternhq/postern/broker/view"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

var (
	seed     = flag.Uint64("seed", 1, "what the commands and faults of TestCluster are drawn from")
	duration = flag.Duration("for", 15*time.Second, "how long TestCluster commands")
)

func asAPI(err error) *api.Error {
	e, _ := errors.AsType[*api.Error](err)
	return e
}

// TestCluster gives random commands to three brokers on three nodes while nodes
// and brokers are killed, paused and cut off. Every command that was acknowledged
// is in the history once, no request is resolved twice, no request to AWS goes
// through later than the bound after what takes it away was acknowledged (a lock on
// whatever its session rests on, the session's end, a revocation), and in the end
// each broker serves what the history folds to.
//
//	go test ./broker/clustertest -run '^TestCluster$' -v -for 10m -seed 7 -timeout 15m
func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: kills brokers and NATS nodes for half a minute")
	}
	t.Cleanup(func() {
		if t.Failed() { // the commands and the faults are the same again; how the processes take turns is theirs
			t.Logf("once more: go test ./broker/clustertest -run '^TestCluster$' -v -seed %d -for %s -timeout 30m", *seed, *duration)
		}
	})
	draw := func(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(*seed, stream)) }
	begun := time.Now()
	w := startWorld(t)
	t.Logf("started in %s", time.Since(begun))
	m := &model{refused: map[string]int{}}
	as := map[string][]*client.Client{}
	for _, name := range slices.Concat([]string{"admin"}, reviewers) {
		as[name] = w.as(name)
	}
	for _, name := range askers {
		as[name] = w.signIn(name)
	}
	var gates []*gate
	for _, name := range proxies {
		gates = append(gates, startGate(t, w, m, name))
	}

	ctx, stop := context.WithTimeout(t.Context(), *duration)
	defer stop()
	gatesRun, stopGates := context.WithCancel(t.Context())
	defer stopGates()
	var commands, others sync.WaitGroup
	for i, g := range gates {
		others.Go(func() { g.run(gatesRun, draw(100+uint64(i))) })
	}
	for i := range 8 {
		commands.Go(func() {
			for rng := draw(200 + uint64(i)); ctx.Err() == nil; {
				m.step(rng, as)
			}
		})
	}
	commands.Go(func() { m.locksmith(ctx, draw(300), as, gates) })
	commands.Go(func() { w.trouble(ctx, draw(1), w.nodeFaults()) })
	commands.Go(func() { w.trouble(ctx, draw(2), w.brokerFaults(gates)) })
	commands.Wait()

	// Everything is well again. All brokers come to serve what the history says.
	for _, b := range w.brokers {
		w.ready(b)
		if log, err := os.ReadFile(b.log); err != nil || bytes.Contains(log, []byte(journal.ErrWentBack.Error())) {
			t.Errorf("%s took what happened to one node for a stream that went back (%v)", b.name, err)
		}
	}
	for _, g := range gates {
		if err := g.journal.Intact(t.Context(), events.Access); errors.Is(err, journal.ErrWentBack) {
			t.Errorf("%s: %v", g.name, err)
		}
	}
	var history []events.Event
	for i, c := range as["admin"] {
		eventually(t, fmt.Sprintf("broker %d serves what the history folds to", i+1), func() error {
			entries, state, err := w.replay()
			if err != nil {
				return err
			}
			history = history[:0]
			for _, e := range entries {
				history = append(history, e.Event)
			}
			return serves(t.Context(), c, state)
		})
	}
	stopGates()
	others.Wait()
	m.check(t.Errorf, history)
	through := 0
	for _, g := range gates {
		through += len(g.admitted)
		worst := g.judge(t, m.locks)
		t.Logf("%s let %d requests through, the latest one %s after a lock; refused %v", g.name, len(g.admitted), worst, g.refused)
	}
	if through == 0 {
		t.Log("no proxy let anything through in so short a time: of locks this run shows nothing; a longer one does (-for 60s)")
	}
	t.Logf("locks placed/that refused a request/lifted: %s", m.lockTally(gates))
	t.Logf("%d events; %d commands acknowledged, %d unknown, refused %v; done %v", len(history), len(m.acked), m.unknown, m.refused, m.tally())
	if len(m.acked) < 30 || len(m.locks) == 0 || len(m.sessions) == 0 {
		t.Errorf("only %d commands were acknowledged, %d locks, %d sessions: the test shows little", len(m.acked), len(m.locks), len(m.sessions))
	}
}

// serves compares what a broker answers with what a state says.
func serves(ctx context.Context, c *client.Client, s *access.State) error {
	now := time.Now()
	type served struct {
		Sessions []api.Session
		Requests []api.Request
		Locks    []api.Lock
		Lists    []api.AccessList
	}
	want := served{[]api.Session{}, []api.Request{}, []api.Lock{}, []api.AccessList{}}
	got := served{Lists: []api.AccessList{}}
	for _, id := range slices.Sorted(maps.Keys(s.Sessions)) {
		want.Sessions = append(want.Sessions, view.Session(s.Sessions[id], now))
	}
	for _, id := range slices.Sorted(maps.Keys(s.Requests)) {
		want.Requests = append(want.Requests, view.Request(s, s.Requests[id], "admin", now))
	}
	for _, id := range slices.Sorted(maps.Keys(s.Locks)) {
		if l := s.Locks[id]; l.Active(now) {
			want.Locks = append(want.Locks, view.Lock(l))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Lists)) {
		want.Lists = append(want.Lists, view.AccessList(s, s.Lists[name], "admin", true, now))
	}
	var err error
	if got.Sessions, err = c.Sessions(ctx, "*", "all"); err != nil {
		return err
	}
	if got.Requests, err = c.Requests(ctx, ""); err != nil {
		return err
	}
	if got.Locks, err = c.Locks(ctx); err != nil {
		return err
	}
	for _, l := range want.Lists {
		list, err := c.AccessList(ctx, l.Name)
		if err != nil {
			return err
		}
		got.Lists = append(got.Lists, list)
	}
	if d := cmp.Diff(asJSON(want), asJSON(got)); d != "" {
		return fmt.Errorf("(-history +served):\n%s", d)
	}
	return nil
}
