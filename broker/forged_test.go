package broker

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/events/signed"
)

// Who may publish to ACCESS, and no more, changes nothing of what brokers
// decide, say now or say of the past, and stops nobody from working.
func TestForgedEvents(t *testing.T) {
	nc, clk := eventstest.Connect(t), newClock()
	b := start(t, eventstest.Open(t, nc), clk)
	second := start(t, eventstest.Open(t, nc), clk)
	ctx := t.Context()
	if _, err := b.Apply(ctx, "test", []byte(demo)); err != nil {
		t.Fatal(err)
	}
	genuine := history(t, eventstest.Open(t, nc))
	put := func(channel string, raw []byte) {
		t.Helper()
		if err := nc.Publish(channel, raw); err != nil {
			t.Fatal(err)
		}
	}
	forge := func(p events.Payload, revision uint64) {
		t.Helper()
		raw, err := events.Encode(events.Event{Meta: events.Meta{ID: journal.NewID(), Source: "/postern/broker/x", Time: time.Now(), Sequence: revision}, Data: p})
		if err != nil {
			t.Fatal(err)
		}
		put(p.Channel(), raw)
	}
	forge(&events.UserUpdated{User: events.User{Name: "alice", Roles: []string{"admin"}}, By: "admin"}, 2)
	forge(&events.UserCreated{User: events.User{Name: "mallory", Roles: []string{"admin"}}, By: "admin"}, 1)
	put("access.user.dave", []byte("what?"))
	put("access.future.x", []byte(`{"specversion":"1.0","id":"1","source":"/x","type":"io.postern.future.happened.v1","data":{}}`))
	// A genuine event once more, and on another subject.
	for _, e := range genuine {
		for _, to := range []string{e.Channel, "access.user.eve"} {
			m := nats.NewMsg(to)
			m.Data = e.Raw
			if err := nc.PublishMsg(m); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}

	for name, b := range map[string]*Broker{"one broker": b, "another": second} {
		if _, err := b.ledger.refusals(ctx); err != nil { // has read them
			t.Fatal(err)
		}
		alice, admin := as(t, b, "alice"), as(t, b, "admin")
		if _, err := alice.Resources(ctx, "user", ""); code(err) != api.CodeDenied {
			t.Errorf("%s: alice as admin: %v", name, err)
		}
		if _, err := alice.StartSession(ctx, api.StartSession{App: "awsconsole"}); err != nil {
			t.Errorf("%s: a session: %v", name, err)
		}
		for _, user := range []string{"mallory", "eve"} {
			a, err := admin.AccessAt(ctx, "now", client.AccessQuestion{User: user})
			if err != nil || len(a.Warnings) != 1 || a.Warnings[0] != "up to then there never was a user "+user {
				t.Errorf("%s: %s: %+v, %v", name, user, a, err)
			}
		}
	}
	// The subjects on which forged events stand are of use.
	admin := as(t, b, "admin")
	for _, name := range []string{"alice", "dave", "mallory"} {
		if _, err := admin.Apply(ctx, "users.yaml", []byte("kind: user\nmetadata: {name: "+name+"}\nspec: {roles: [reviewer]}\n"), true); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Entries are verified side by side, and still come in the stream's order, each
// with its own verdict; none is judged before the key that stands before it.
func TestVerifiedInOrder(t *testing.T) {
	s := newStream(t)
	for i := range 300 {
		lock := &events.LockPlaced{LockID: fmt.Sprint("k", i), Target: events.LockTarget{Kind: "user", Name: "alice"}, By: "x"}
		if i%7 == 0 {
			s.forge(t, lock)
		} else if _, err := s.Append(t.Context(), events.Event{Meta: events.Meta{Source: "/test", Sequence: 1}, Data: lock}); err != nil {
			t.Fatal(err)
		}
	}
	next := uint64(1)
	for e := range s.FollowVerified(t.Context(), events.Access, 0, signed.NewKeys(s.roots)) {
		forged := strings.HasPrefix(e.Source, "/forged")
		if e.Seq != next || (e.Forged != nil) != forged || forged && !errors.Is(e.Forged, signed.ErrUnsigned) {
			t.Fatalf("in place of %d came %d of %s: %v, %v", next, e.Seq, e.Source, e.Unread, e.Forged)
		}
		if next++; next == 302 { // the key, and the locks
			break // while it waits for more
		}
	}
}

// A gap shows power over the stream itself: nothing is granted any more.
func TestGap(t *testing.T) {
	j := eventstest.Journal(t)
	b := start(t, j, newClock())
	ctx := t.Context()
	if _, err := b.Apply(ctx, "test", []byte(demo)); err != nil {
		t.Fatal(err)
	}
	w := newWriter(t, j)
	w.revisions["access.user.alice"]++ // an event that is not there
	w.append(&events.UserUpdated{User: events.User{Name: "alice", Roles: []string{"admin"}}, By: "admin"})
	if _, err := b.ledger.refusals(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := as(t, b, "alice").StartSession(ctx, api.StartSession{App: "awsconsole"}); code(err) != api.CodeUnavailable || !strings.Contains(err.Error(), "events before it are missing") {
		t.Errorf("a session: %v", err)
	}
	if _, err := as(t, b, "admin").PlaceLock(ctx, api.CreateLock{Target: api.LockTarget{Kind: "user", Name: "alice"}}); err != nil {
		t.Errorf("a lock: %v", err)
	}
}

// Keys change while brokers run; what either signed is good.
func TestKeyRotation(t *testing.T) {
	nc, clk := eventstest.Connect(t), newClock()
	b := start(t, eventstest.Open(t, nc), clk)
	ctx := t.Context()
	if _, err := b.Apply(ctx, "test", []byte(demo)); err != nil {
		t.Fatal(err)
	}
	var at sync.WaitGroup
	for range 4 { // by the clock, and by whoever rotates the CA
		at.Go(func() {
			if err := b.signing.rotate(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	at.Wait()
	admin := as(t, b, "admin")
	l, err := admin.PlaceLock(ctx, api.CreateLock{Target: api.LockTarget{Kind: "user", Name: "alice"}})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(find[*events.KeyPublished](history(t, eventstest.Open(t, nc)))); n != 5 {
		t.Errorf("%d keys", n)
	}
	for name, b := range map[string]*Broker{"the same": b, "a new one": start(t, eventstest.Open(t, nc), clk)} {
		refused, err := b.ledger.refusals(ctx)
		if err != nil || len(refused) > 0 {
			t.Errorf("%s: refused %v, %v", name, refused, err)
		}
		locks, err := admin.Locks(ctx)
		if err != nil || len(locks) != 1 || locks[0].ID != l.ID {
			t.Errorf("%s: %+v, %v", name, locks, err)
		}
	}
}

// What readers do not take for a decision, though a broker made it, is no success: so it is
// where the clock of NATS is behind the broker's, and the key's time has not come.
func TestVoidDecision(t *testing.T) {
	b, _, _ := demoBroker(t)
	lock := func(user string) error {
		_, err := b.ledger.do(t.Context(), "admin", func(s *access.State, env access.Env) ([]events.Event, error) {
			return access.Place(s, env, access.PlaceLock{Target: events.LockTarget{Kind: "user", Name: user}})
		})
		return err
	}
	good := b.signing.current.Load()
	early, err := signed.NewSigner()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Add(10 * time.Minute)
	b.signing.next.Store(early)
	if err := b.signing.publish(t.Context(), signed.Key{ID: early.ID(), Public: early.Public(), NotBefore: now, NotAfter: now.Add(time.Hour)}, now.Add(time.Hour), access.Head{}); err != nil {
		t.Fatal(err)
	}
	b.signing.current.Store(early)
	if err := lock("alice"); err == nil || !strings.Contains(err.Error(), "does not count") || !strings.Contains(err.Error(), "clocks") {
		t.Errorf("a lock that stops nobody: %v", err)
	}
	b.signing.current.Store(good)
	if err := lock("alice"); err != nil {
		t.Errorf("done again: %v", err)
	}
	b.ledger.read(func(s *access.State, now time.Time) {
		if n := len(s.UserLocks("alice", now)); n != 1 {
			t.Errorf("%d locks on alice", n)
		}
	})
}
