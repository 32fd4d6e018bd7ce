package broker

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/events/trouble"
)

// Several brokers serve at once with no leader. Every command that was
// acknowledged is in the history once; nothing is decided twice.
func TestManyBrokers(t *testing.T) {
	const brokers, reviewers, requests, locks = 3, 6, 8, 8
	nc, clk := eventstest.Connect(t), newClock()
	bs := []*Broker{start(t, eventstest.Open(t, nc), clk)}
	for range brokers - 1 {
		bs = append(bs, start(t, eventstest.Open(t, nc), clk))
	}
	ctx := t.Context()
	file := demo
	for i := range reviewers {
		file += fmt.Sprintf("---\nkind: user\nmetadata: {name: rev%d}\nspec: {roles: [reviewer]}\n", i)
	}
	file += "---\nkind: role\nversion: v7\nmetadata: {name: aws-reader}\nspec: {allow: {request: {roles: [aws-engineer], thresholds: [{approve: 3, deny: 2}]}}}\n"
	if _, err := bs[0].Apply(ctx, "test", []byte(strings.Replace(file, "metadata: {name: aws-reader}", "metadata: {name: aws-old}", 1))); err != nil {
		t.Fatal(err)
	}
	reach := func(b *Broker) {
		t.Helper()
		last, err := b.cfg.Journal.Last(ctx, events.Access)
		if err == nil {
			err = b.ledger.reach(ctx, last)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	alice := as(t, bs[0], "alice")
	var ids []string
	for range requests {
		q, err := alice.CreateRequest(ctx, api.CreateRequest{Roles: []string{"aws-engineer"}})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, q.ID)
	}
	for _, b := range bs {
		reach(b)
	}

	// Every reviewer reviews every request, at two brokers at the same time.
	type reviewed struct{ request, reviewer, verdict string }
	var mu sync.Mutex
	done := map[reviewed]int{}
	placed := map[string]int{}
	refused := map[string]int{}
	rng := rand.New(rand.NewPCG(1, 2))
	var wg sync.WaitGroup
	for i := range reviewers {
		name := fmt.Sprintf("rev%d", i)
		verdict := "approve"
		if i%3 == 2 {
			verdict = "deny"
		}
		for _, at := range rng.Perm(brokers)[:2] {
			c := as(t, bs[at], name)
			order := rng.Perm(requests)
			wg.Go(func() {
				for _, k := range order {
					_, err := c.Review(ctx, ids[k], api.CreateReview{Verdict: verdict})
					mu.Lock()
					if err == nil {
						done[reviewed{ids[k], name, verdict}]++
					} else {
						refused[code(err)]++
					}
					mu.Unlock()
				}
			})
		}
	}
	for i := range locks {
		id := fmt.Sprintf("lock-%d", i)
		for _, b := range bs {
			wg.Go(func() {
				es, err := b.ledger.do(ctx, "test", func(s *access.State, env access.Env) ([]events.Event, error) {
					return access.Place(s, env, access.PlaceLock{ID: id, Target: events.LockTarget{Kind: "agent", Name: "x"}})
				})
				mu.Lock()
				defer mu.Unlock()
				if placed[id] += len(es); err != nil { // who comes later finds it as they want it
					t.Errorf("lock %s: %v", id, err)
				}
			})
		}
	}
	wg.Wait()
	for c := range refused {
		if c != api.CodeConflict {
			t.Errorf("%d reviews failed with %s", refused[c], c)
		}
	}

	es := history(t, bs[0].cfg.Journal)
	inHistory := map[reviewed]int{}
	resolved := map[string]int{}
	sequence := map[string]uint64{}
	for _, e := range es {
		if !strings.HasPrefix(e.Channel, "access.signin.") {
			if sequence[e.Channel]++; e.Sequence != sequence[e.Channel] {
				t.Errorf("event %d of %s has sequence %d", sequence[e.Channel], e.Channel, e.Sequence)
			}
		}
		switch p := e.Data.(type) {
		case *events.RequestReviewed:
			inHistory[reviewed{p.RequestID, p.Reviewer, p.Verdict}]++
			if resolved[p.RequestID] > 0 {
				t.Errorf("request %s reviewed after it was resolved", p.RequestID)
			}
		case *events.RequestApproved:
			resolved[p.RequestID]++
			if len(p.Reviewers) != 3 {
				t.Errorf("approved by %v", p.Reviewers)
			}
		case *events.RequestDenied:
			resolved[p.RequestID]++
			if len(p.Reviewers) != 2 {
				t.Errorf("denied by %v", p.Reviewers)
			}
		}
	}
	for r, n := range done {
		if n != 1 || inHistory[r] != 1 {
			t.Errorf("%+v: acknowledged %d times, %d times in the history", r, n, inHistory[r])
		}
	}
	if len(inHistory) != len(done) {
		t.Errorf("%d reviews in the history, %d acknowledged", len(inHistory), len(done))
	}
	for _, id := range ids {
		if resolved[id] != 1 {
			t.Errorf("request %s resolved %d times", id, resolved[id])
		}
	}
	for i := range locks {
		if id := fmt.Sprintf("lock-%d", i); placed[id] != 1 {
			t.Errorf("%s placed %d times", id, placed[id])
		}
	}

	// All brokers say the same in the end.
	var states []string
	for _, b := range bs {
		reach(b)
		b.ledger.read(func(s *access.State, now time.Time) {
			text := ""
			for _, id := range ids {
				text += s.Requests[id].State(now) + fmt.Sprint(len(s.Requests[id].Reviews)) + " "
			}
			states = append(states, text)
		})
	}
	if states[0] != states[1] || states[0] != states[2] {
		t.Errorf("the brokers differ: %q", states)
	}
}

// A session ends once, whichever broker notices that its ground has gone.
func TestManyJanitors(t *testing.T) {
	nc, clk := eventstest.Connect(t), newClock()
	first := start(t, eventstest.Open(t, nc), clk)
	second := start(t, eventstest.Open(t, nc), clk)
	ctx := t.Context()
	if _, err := first.Apply(ctx, "test", []byte(demo)); err != nil {
		t.Fatal(err)
	}
	alice := as(t, first, "alice")
	running := map[string]bool{}
	for range 5 {
		s, err := alice.StartSession(ctx, api.StartSession{App: "awsconsole"})
		if err != nil {
			t.Fatal(err)
		}
		running[s.ID] = true
	}
	if err := as(t, first, "admin").DeleteResource(ctx, "app", "awsconsole"); err != nil {
		t.Fatal(err)
	}
	for e, err := range first.cfg.Journal.Follow(ctx, events.Access, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if p, ok := e.Data.(*events.SessionEnded); ok {
			delete(running, p.SessionID)
		}
		if len(running) == 0 && e.Data.Type() == events.TypeSessionEnded {
			break
		}
	}
	first.sweep(ctx, new(trouble.Said))
	second.sweep(ctx, new(trouble.Said))
	if n := len(find[*events.SessionEnded](history(t, first.cfg.Journal))); n != 5 {
		t.Errorf("5 sessions ended %d times", n)
	}
}

// future is a broker's event that this version does not know, for the subject
// access.future.x.
func future(b *Broker) []byte {
	return b.signing.sign("access.future.x", []byte(`{"specversion":"1.0","id":"1","source":"/x","type":"io.postern.future.happened.v1","time":"2030-01-01T00:00:00Z","sequence":"1","data":{}}`))
}

// What a broker does not understand may be a refusal: it grants nothing more,
// and still stops things.
func TestUnknownEvent(t *testing.T) {
	nc := eventstest.Connect(t)
	j := eventstest.Open(t, nc)
	b := start(t, j, newClock())
	ctx := t.Context()
	if _, err := b.Apply(ctx, "test", []byte(demo)); err != nil {
		t.Fatal(err)
	}
	alice, admin := as(t, b, "alice"), as(t, b, "admin")
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ack, err := js.Publish(ctx, "access.future.x", future(b))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.ledger.reach(ctx, ack.Sequence); err != nil {
		t.Fatal(err)
	}
	_, err = alice.StartSession(ctx, api.StartSession{App: "awsconsole"})
	if code(err) != api.CodeUnavailable || !strings.Contains(err.Error(), "io.postern.future.happened.v1") {
		t.Errorf("a session: %v", err)
	}
	if _, err := admin.PlaceLock(ctx, api.CreateLock{Target: api.LockTarget{Kind: "user", Name: "alice"}}); err != nil {
		t.Errorf("a lock: %v", err)
	}
}

// A command whose aggregate moved between decision and append is decided again.
func TestDecideAgain(t *testing.T) {
	j := eventstest.Journal(t)
	b := start(t, j, newClock())
	ctx := t.Context()
	w := newWriter(t, j)
	tries := 0
	_, err := b.ledger.do(ctx, "test", func(s *access.State, env access.Env) ([]events.Event, error) {
		if tries++; tries == 1 {
			w.append(&events.UserCreated{User: events.User{Name: "dave"}}) // behind the decision's back
		}
		return access.PutUser(s, env, events.User{Name: "dave", Disabled: true}, access.Put{})
	})
	var refused *access.Error
	if tries != 2 || !errors.As(err, &refused) || refused.Code != access.Exists {
		t.Errorf("after %d tries: %v", tries, err)
	}
	var conflict bool
	_, err = j.AppendIf(ctx, 0, events.Event{Data: &events.UserDeleted{Name: "dave"}})
	if conflict = errors.Is(err, journal.ErrConflict); !conflict {
		t.Errorf("an append at the wrong place: %v", err)
	}
}

// What one broker's secrets are, every broker's are: a password changed at one
// works at once at the other, and so does a certificate.
func TestBrokersShareSecrets(t *testing.T) {
	nc, clk := eventstest.Connect(t), newClock()
	one, two := start(t, eventstest.Open(t, nc), clk), start(t, eventstest.Open(t, nc), clk)
	ctx := t.Context()
	if _, err := one.Apply(ctx, "test", []byte(demo)); err != nil {
		t.Fatal(err)
	}
	if err := one.SetPassword(ctx, "test", "alice", "a first password"); err != nil {
		t.Fatal(err)
	}
	last, err := one.cfg.Journal.Last(ctx, events.Access)
	if err == nil {
		err = two.ledger.reach(ctx, last)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, password := range []string{"a second password", "a third password"} {
		if err := one.SetPassword(ctx, "test", "alice", password); err != nil {
			t.Fatal(err)
		}
		cfg, _, err := login(t, two, "alice", password, "")
		if err != nil {
			t.Fatalf("with the password that the other broker set: %v", err)
		}
		if _, err := dial(t, one, cfg).Status(ctx); err != nil {
			t.Errorf("with the certificate that the other broker issued: %v", err)
		}
	}
	if _, _, err := login(t, two, "alice", "a first password", ""); code(err) != api.CodeUnauthenticated {
		t.Errorf("with a former password: %v", err)
	}
}
