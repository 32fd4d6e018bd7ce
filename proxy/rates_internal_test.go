package proxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy/grants"
)

// What a proxy that has the key tells is counted once, in order, and whatever else it
// sends is ignored; nobody can make the memory for tellers grow.
func TestWhatIsTold(t *testing.T) {
	keys, err := newTickets(nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_800_000_000, 0)
	g := grants.New("p")
	g.Heard(now)
	s := &events.SessionStarted{SessionID: "s", User: "alice", ExpiresAt: now.Add(time.Hour),
		RateLimits: []events.RateLimit{{Role: "engineer", Per: "user", Rate: 1, Burst: 100}}}
	if err := g.Apply(1, events.Event{Data: s}, now); err != nil {
		t.Fatal(err)
	}
	if d := g.Check("s", "alice", grants.Call{}, now); !d.Allowed {
		t.Fatal(d.Reason())
	}
	var known grants.LimitKey
	g.Passed(func(k grants.LimitKey, _ int64) { known = k })
	r := newRates(&Proxy{grants: g, tickets: keys, now: func() time.Time { return now }})

	message := func(from byte, number uint64, entries ...[]byte) []byte {
		id := teller(bytes.Repeat([]byte{from}, len(teller{})))
		return append(binary.BigEndian.AppendUint64(id[:], number), bytes.Join(entries, nil)...)
	}
	entry := func(k grants.LimitKey, n uint32) []byte { return binary.BigEndian.AppendUint32(k[:], n) }
	for _, c := range []struct {
		name  string
		plain []byte
		err   error
		heard float64 // in all
	}{
		{"calls", message(1, 5, entry(known, 2)), nil, 2},
		{"the same again", message(1, 5, entry(known, 2)), errOldTold, 2},
		{"what came before", message(1, 4, entry(known, 2)), errOldTold, 2},
		{"what came next, after a loss", message(1, 9, entry(known, 3)), nil, 5},
		{"another teller", message(2, 1, entry(known, 1)), nil, 6},
		{"its own", append(append([]byte{}, r.me[:]...), message(0, 1, entry(known, 1))[len(teller{}):]...), nil, 6},
		{"number 0", message(3, 0, entry(known, 1)), errOldTold, 6},
		{"unknown limits and one that is known", message(1, 10, entry(grants.LimitKey{1}, 7), entry(known, 1), entry(grants.LimitKey{2}, 7)), nil, 7},
		{"no calls", message(1, 11, entry(known, 0)), nil, 7},
		{"nothing", nil, errNotTold, 7},
		{"no head", []byte("short"), errMalformed, 7},
		{"half an entry", message(1, 12, entry(known, 1)[:9]), errMalformed, 7},
		{"too much", message(1, 13, bytes.Repeat(entry(known, 1), 2*maxTold)), errMalformed, 7},
		{"as much as there may be", message(1, 14, bytes.Repeat(entry(grants.LimitKey{}, 1), maxTold)), nil, 7},
		{"more than anybody lets through", message(1, 15, entry(known, 1<<32-1)), nil, 7 + 1<<32 - 1},
	} {
		sealed := ""
		if c.plain != nil {
			if sealed, err = keys.sealAs(ratesPrefix, c.plain); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.count([]byte(sealed)); !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", c.name, err, c.err)
		}
		if n := testutil.ToFloat64(r.heard); n != c.heard {
			t.Errorf("%s: %v calls were heard, want %v", c.name, n, c.heard)
		}
	}
	if d := g.Check("s", "alice", grants.Call{}, now); d.Allowed || d.Cause() != grants.CauseRate {
		t.Errorf("allowed %v, %s", d.Allowed, d.Cause())
	}
	ticket, err := keys.sealAs(ticketPrefix, message(1, 20, entry(known, 1)))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.count([]byte(ticket)); !errors.Is(err, errNotTold) {
		t.Errorf("what was sealed for another purpose: %v", err)
	}
	for i := range uint64(2 * maxTellers) {
		plain := message(0, 1)
		binary.BigEndian.PutUint64(plain, i+1<<32)
		sealed, err := keys.sealAs(ratesPrefix, plain)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.count([]byte(sealed)); err != nil || len(r.last) > maxTellers {
			t.Fatalf("%v, and %d tellers are known", err, len(r.last))
		}
	}
}
