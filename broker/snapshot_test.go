package broker

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/policy"
	"github.com/posternhq/postern/broker/snapshot"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
)

// sameState tells in what two states differ, down to the last unexported field.
func sameState(want, got *access.State) string {
	return cmp.Diff(want, got, cmp.Exporter(func(reflect.Type) bool { return true }), cmpopts.EquateEmpty(),
		cmp.Comparer(func(a, b *access.Proxy) bool { return cmp.Equal(a.ProxyAnnounced, b.ProxyAnnounced) }),
		cmp.Comparer(func(a, b *policy.Role) bool {
			return a.Revision == b.Revision && a.CreatedSeq == b.CreatedSeq && cmp.Equal(a.Role, b.Role)
		}))
}

// wildHistory is n events with names that repeat and ends that come to pass.
func wildHistory(seed uint64, n int, start time.Time) []events.Event {
	r := rand.New(rand.NewPCG(seed, 0))
	pick := func(prefix string, n int) string { return fmt.Sprintf("%s%d", prefix, r.IntN(n)) }
	var out []events.Event
	var running []*events.SessionStarted
	locks, revisions := 0, map[string]uint64{}
	at := start
	for len(out) < n {
		at = at.Add(time.Duration(r.IntN(3600)) * time.Second)
		soon := at.Add(time.Duration(1+r.IntN(20*24)) * time.Hour)
		user, role, list, session, request, lock := pick("u", 8), pick("r", 5), pick("l", 4), fmt.Sprint("s", len(out)), pick("q", n/16+1), pick("k", locks+1)
		var p events.Payload
		switch r.IntN(22) {
		case 0:
			p = &events.UserCreated{User: events.User{Name: user, Roles: []string{role}}, By: "x"}
		case 1:
			p = &events.UserUpdated{User: events.User{Name: user, Roles: []string{role}, Disabled: r.IntN(2) == 0}, By: "x"}
		case 2:
			p = &events.UserDeleted{Name: user, By: "x"}
		case 3:
			p = &events.RoleCreated{Role: events.Role{Name: role, Allow: events.RoleConditions{AWSRoleARNs: []string{"*"}}}, By: "x"}
		case 4:
			p = &events.RoleDeleted{Name: role, By: "x"}
			if r.IntN(2) == 0 {
				p = &events.RoleUpdated{Role: events.Role{Name: role}, By: "x"}
			}
		case 5:
			p = &events.AppCreated{App: events.App{Name: pick("a", 3), AccountID: "123456789012"}, By: "x"}
		case 6:
			locks++
			target := events.LockTarget{Kind: "user", Name: user}
			if r.IntN(3) == 0 {
				target = events.LockTarget{Kind: "role", Name: role}
			}
			p = &events.LockPlaced{LockID: fmt.Sprint("k", locks), Target: target, By: "x", ExpiresAt: &soon}
		case 7:
			p = &events.LockLifted{LockID: lock, By: "x"}
		case 8:
			p = &events.RequestCreated{RequestID: request, User: user, Roles: []string{role}, ExpiresAt: soon, Thresholds: []events.Threshold{{Approve: 1, Deny: 1}}}
		case 9:
			p = &events.RequestReviewed{RequestID: request, Reviewer: user, Verdict: "approve"}
		case 10:
			p = &events.RequestApproved{RequestID: request, User: user, Roles: []string{role}, AccessExpiresAt: soon}
		case 11:
			p = &events.RequestDropped{RequestID: request, By: user}
		case 12:
			p = &events.SigninSucceeded{User: user, Method: "password", CertificateSerial: session, ExpiresAt: soon, Device: pick("d", 40)}
		case 13:
			p = &events.SigninFailed{User: user}
		case 14:
			l := events.AccessList{Name: list, Owners: []events.ListOwner{{Name: user, Kind: "user"}}, Grants: events.ListGrants{Roles: []string{role}},
				Audit: events.ListAudit{NextAuditDate: soon, Months: 1, DayOfMonth: 1}}
			if p = &(events.AccessListCreated{AccessList: l, By: "x"}); r.IntN(2) == 0 {
				l.Owners = append(l.Owners, events.ListOwner{Name: pick("u", 8), Kind: "user"})
				p = &events.AccessListUpdated{AccessList: l, By: "x"}
			}
		case 15:
			p = &events.AccessListMemberAdded{List: list, Member: events.ListMember{Name: user, Kind: "user"}, ExpiresAt: &soon, By: "x"}
		case 16:
			p = &events.RequestPromoted{RequestID: request, User: user, List: list, By: "x"}
		case 20:
			p = &events.ProxyAnnounced{Proxy: pick("p", 3), Addr: pick("h", 9) + ":3081", Apps: []events.AppSelector{{Labels: map[string][]string{"env": {"prod"}}}}, ExpiresAt: soon}
		case 21:
			p = &events.ProxyWithdrawn{Proxy: pick("p", 3)}
		case 17:
			if len(running) == 0 || !at.Before(running[len(running)-1].ExpiresAt) {
				continue
			}
			p = &events.SessionEnded{SessionID: running[len(running)-1].SessionID, User: user, By: "x", Reason: "over"}
			running = running[:len(running)-1]
		default:
			x := &events.SessionStarted{SessionID: session, User: user, App: "a1", Roles: []events.RoleRef{{Name: role, Revision: 1}}, AWSRoleARN: readOnly, StartedAt: at, ExpiresAt: soon}
			p, running = x, append(running, x)
		}
		revisions[p.Channel()]++
		out = append(out, events.Event{Meta: events.Meta{ID: journal.NewID(), Time: at.UTC(), Source: "/test", Sequence: revisions[p.Channel()]}, Data: p})
	}
	return out
}

// stream is a journal whose events are signed, with what verifies them.
type stream struct {
	*journal.Journal
	nc    *nats.Conn
	roots *x509.CertPool
	sign  func(channel string, event []byte) []byte
}

func newStream(t testing.TB) stream {
	t.Helper()
	nc := eventstest.Connect(t)
	return signedStream(t, nc)
}

func signedStream(t testing.TB, nc *nats.Conn) stream {
	t.Helper()
	j := eventstest.Open(t, nc)
	b, err := New(Config{Listen: "127.0.0.1:0", DataDir: t.TempDir(), Journal: j, Secrets: secrets(t, j), Log: zerolog.Nop()})
	if err == nil {
		err = b.signing.rotate(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return stream{j, nc, b.ca.Pool(), b.signing.sign}
}

func (s stream) append(t *testing.T, es []events.Event) {
	t.Helper()
	for _, e := range es {
		if _, err := s.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}

// forge appends an event that nobody signed.
func (s stream) forge(t *testing.T, p events.Payload) {
	t.Helper()
	if _, err := eventstest.Open(t, s.nc).Append(t.Context(), events.Event{Meta: events.Meta{Source: "/forged", Sequence: 1}, Data: p}); err != nil {
		t.Fatal(err)
	}
}

// fold is the state that the whole stream comes to.
func (s stream) fold(t *testing.T) *access.State {
	t.Helper()
	return s.foldBut(t, nil)
}

// foldBut is fold where some events are known to be forged.
func (s stream) foldBut(t *testing.T, forged map[uint64]bool) *access.State {
	t.Helper()
	state := access.NewState()
	for e, err := range s.Replay(t.Context(), events.Access) {
		switch {
		case err != nil:
			t.Fatal(err)
		case forged[e.Seq], strings.HasPrefix(e.Source, "/forged"):
			state.Skip(e.Channel, e.Seq)
		default:
			state.Apply(e.Event, e.Seq)
		}
	}
	return state
}

// quietly keeps what several ledgers say.
type quietly struct {
	mu   sync.Mutex
	text strings.Builder
}

func (q *quietly) Write(b []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.text.Write(b)
}

func (q *quietly) String() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.text.String()
}

// follower runs a ledger on a stream until the test ends and returns it when it
// has caught up; log takes its warnings.
func follower(t *testing.T, s stream, file string, now time.Time, log *quietly) *ledger {
	t.Helper()
	l := newLedger(s.Journal, s.roots, file, func() time.Time { return now }, zerolog.New(log))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.follow(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	<-l.ready
	return l
}

// A state that comes from a snapshot, and from a snapshot of a snapshot, and
// from what the stream has since, is the state that the whole stream folds to.
func TestSnapshotAgainstFold(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s, file := newStream(t), filepath.Join(t.TempDir(), "snapshot")
			es := wildHistory(seed, 1500, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
			var log quietly
			for part := range 3 {
				some := es[part*500 : (part+1)*500]
				now := some[len(some)-1].Time
				s.append(t, some[:200])
				s.forge(t, &events.UserUpdated{User: events.User{Name: "u1", Roles: []string{"r1"}}, By: "mallory"})
				s.append(t, some[200:400])
				l := follower(t, s, file, now, &log)
				if (l.snapshot.Seq > 0) != (part > 0) {
					t.Errorf("part %d began with the snapshot %+v", part, l.snapshot)
				}
				l.mu.Lock()
				l.state.Forget(now.Add(-remember))
				l.mu.Unlock()
				if err := l.writeSnapshot(t.Context()); err != nil {
					t.Fatal(err)
				}
				first, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				l.mu.Lock()
				l.snapshot = snapshot.End{}
				l.mu.Unlock()
				if err := l.writeSnapshot(t.Context()); err != nil {
					t.Fatal(err)
				}
				if again, _ := os.ReadFile(file); !bytes.Equal(first, again) {
					t.Error("made of the whole stream, the snapshot is another")
				}
				s.append(t, some[400:])
				restored := follower(t, s, file, now, &log)
				if restored.snapshot.Seq != l.snapshot.Seq || !maps.Equal(restored.refused, l.refused) {
					t.Fatalf("restored from %+v, want %+v; refused %v, want %v", restored.snapshot, l.snapshot, restored.refused, l.refused)
				}
				whole := s.fold(t)
				for _, state := range []*access.State{whole, restored.state} {
					state.Forget(now.Add(-remember))
				}
				if d := sameState(whole, restored.state); d != "" {
					t.Fatalf("after %d events (-fold +snapshot):\n%s", (part+1)*500, d)
				}
				if part == 2 && restored.snapshot.Events > 1300 {
					t.Errorf("it keeps %d events of 1400", restored.snapshot.Events)
				}
			}
			if strings.Contains(log.String(), "snapshot") {
				t.Errorf("said %s", log.String())
			}
		})
	}
}

// An earlier snapshot in the place of the last one, which somebody put back or a rename that
// failed left there, is not made a later one of without what came between the two.
func TestEarlierSnapshot(t *testing.T) {
	s, file := newStream(t), filepath.Join(t.TempDir(), "snapshot")
	es := wildHistory(5, 600, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	now := es[len(es)-1].Time
	var log quietly
	s.append(t, es[:200])
	l := follower(t, s, file, now, &log)
	write := func() error {
		t.Helper()
		last, err := s.Last(t.Context(), events.Access)
		if err == nil {
			err = l.reach(t.Context(), last)
		}
		if err != nil {
			t.Fatal(err)
		}
		return l.writeSnapshot(t.Context())
	}
	if err := write(); err != nil {
		t.Fatal(err)
	}
	early, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s.append(t, es[200:400])
	if err := write(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, early, 0o600); err != nil {
		t.Fatal(err)
	}
	s.append(t, es[400:])
	if err := write(); err == nil || !strings.Contains(err.Error(), "the last one that was written") {
		t.Errorf("of the earlier one: %v", err)
	}
	if err := write(); err != nil { // of the whole stream
		t.Fatal(err)
	}
	restored, whole := follower(t, s, file, now, &log), s.fold(t)
	for _, state := range []*access.State{whole, restored.state} {
		state.Forget(now.Add(-remember))
	}
	if d := sameState(whole, restored.state); d != "" || restored.snapshot.Seq == 0 {
		t.Errorf("from the snapshot that ends at %d, -fold +snapshot:\n%s", restored.snapshot.Seq, d)
	}
}

// What a ledger forgets while it reads a long history is what it would forget at its
// end.
func TestForgetWhileReading(t *testing.T) {
	s, es := newStream(t), wildHistory(4, 1200, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	s.append(t, es)
	now := es[len(es)-1].Time
	var log quietly
	l := newLedger(s.Journal, s.roots, "", func() time.Time { return now }, zerolog.New(&log))
	l.forgetAfter = 1
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.follow(ctx) }()
	<-l.ready
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	whole := s.fold(t)
	if n := len(whole.Sessions) - len(l.state.Sessions); n < 20 {
		t.Errorf("it forgot %d sessions", n)
	}
	for _, state := range []*access.State{whole, l.state} {
		state.Forget(now.Add(-remember))
	}
	if d := sameState(whole, l.state); d != "" || l.unread != nil || len(l.refused) > 0 {
		t.Errorf("refused %v, unread %v; -fold +state:\n%s", l.refused, l.unread, d)
	}
}

// A snapshot that is damaged, of another program or of another stream is left
// out, with a word about it, and the stream is read.
func TestBadSnapshot(t *testing.T) {
	es := wildHistory(9, 60, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	now := es[len(es)-1].Time
	whole := newStream(t)
	whole.append(t, es)
	good := filepath.Join(t.TempDir(), "snapshot")
	var quiet quietly
	l := follower(t, whole, good, now, &quiet)
	if err := l.writeSnapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(good); info.Mode().Perm() != 0o600 {
		t.Errorf("its mode is %v", info.Mode())
	}
	another, shorter := newStream(t), newStream(t)
	another.append(t, wildHistory(10, 70, es[0].Time))
	shorter.append(t, es[:30])
	for _, c := range []struct {
		name   string
		stream stream
		change func([]byte) []byte
		says   string
	}{
		{"damaged", whole, func(b []byte) []byte { b[len(b)/2] ^= 1; return b }, "not a whole snapshot"},
		{"cut", whole, func(b []byte) []byte { return b[:len(b)-1] }, "not a whole snapshot"},
		{"of another program", whole, func(b []byte) []byte { b[60] ^= 1; return b }, "not a whole snapshot"},
		{"empty", whole, func([]byte) []byte { return nil }, "not a whole snapshot"},
		{"of another stream", another, func(b []byte) []byte { return b }, "of another stream and is left out"},
		{"of a longer stream", shorter, func(b []byte) []byte { return b }, "the stream at 31"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "snapshot")
			if err := os.WriteFile(path, c.change(bytes.Clone(file)), 0o600); err != nil {
				t.Fatal(err)
			}
			var log quietly
			l := follower(t, c.stream, path, now, &log)
			if !strings.Contains(log.String(), c.says) {
				t.Errorf("it says %q, want %q", log.String(), c.says)
			}
			if d := sameState(c.stream.fold(t), l.state); d != "" {
				t.Errorf("-fold +state:\n%s", d)
			}
		})
	}
}
