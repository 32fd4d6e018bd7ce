// Package historytest proves that all who read the history agree: random histories, as
// brokers write them, are decided by the broker's state, by a proxy's, by a replay and by a
// supposition, and all of them say the same.
package historytest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/signed"
	"github.com/posternhq/postern/proxy/grants"
)

// record is a message of the stream.
type record struct {
	raw      []byte
	channel  string
	seq      uint64
	storedAt time.Time
	// fresh: its broker knew all that stood before it.
	fresh bool
}

// event is one's own copy of what a record says.
func (w *world) event(r *record) events.Event {
	e, err := events.Decode(r.raw)
	if err != nil {
		w.t.Fatalf("event %d: %v", r.seq, err)
	}
	return e
}

// world is a stream, the brokers that write it and a proxy that follows it.
type world struct {
	t       *testing.T
	now     time.Time // by the clock of the stream
	log     []record
	heads   map[string]uint64 // by channel, the sequence of its last message
	brokers []*broker
	proxy   *proxy
	ids     int
	moments []moment
}

func newWorld(t *testing.T, skews ...time.Duration) *world {
	w := &world{t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), heads: map[string]uint64{}}
	for _, skew := range skews {
		w.brokers = append(w.brokers, &broker{w: w, skew: skew, state: access.NewState(), refused: map[uint64]bool{}, touched: access.Touched{All: true}})
	}
	w.proxy = newProxy(w)
	return w
}

// newID returns what has the form of a ULID.
func (w *world) newID() string {
	w.ids++
	return fmt.Sprintf("01%024d", w.ids)
}

func (w *world) append(fresh bool, raw []byte, channel string) {
	w.log = append(w.log, record{raw: raw, channel: channel, seq: uint64(len(w.log) + 1), storedAt: w.now, fresh: fresh})
	w.heads[channel] = uint64(len(w.log))
	w.proxy.read()
}

// broker decides on what it has read, as package broker's ledger does.
type broker struct {
	w       *world
	skew    time.Duration
	state   *access.State
	seq     uint64
	refused map[uint64]bool
	touched access.Touched
	swept   time.Time
}

func (b *broker) now() time.Time { return b.w.now.Add(b.skew) }

func (b *broker) fresh() bool { return b.seq == uint64(len(b.w.log)) }

func (b *broker) catchUp() {
	for ; !b.fresh(); b.seq++ {
		r := &b.w.log[b.seq]
		e := b.w.event(r)
		var err error
		if signed.Ordered(r.channel) {
			err = signed.Place(e, b.state.Head(r.channel).Revision)
		}
		switch {
		case err == nil:
			b.state.Apply(e, r.seq)
			b.touched.Add(e.Data)
		case errors.Is(err, signed.ErrGap) && b.state.Gone(e.Data):
		case errors.Is(err, signed.ErrRepeated):
			b.state.Skip(r.channel, r.seq)
			b.refused[r.seq] = true
		default:
			b.w.t.Fatalf("event %d, %s: %v", r.seq, r.raw, err)
		}
	}
}

type decision func(*access.State, access.Env) ([]events.Event, error)

// do carries a command out and returns what was appended, nil for nothing.
func (b *broker) do(by string, decide decision) ([]events.Event, error) {
	for {
		es, err := decide(b.state, access.Env{Now: b.now(), NewID: b.w.newID, By: by})
		if err != nil || len(es) == 0 {
			return nil, err
		}
		channel := es[0].Data.Channel()
		head := b.state.Head(channel)
		if signed.Ordered(channel) && head.Seq != b.w.heads[channel] {
			b.catchUp() // somebody was faster
			continue
		}
		fresh := b.fresh()
		for i, e := range es {
			e.Source, e.Sequence = "/postern/broker/test", head.Revision+1+uint64(i)
			raw, err := events.Encode(e)
			if err != nil {
				b.w.t.Fatal(err)
			}
			b.w.append(fresh, raw, channel)
		}
		b.catchUp()
		return es, nil
	}
}

// sweep is what the broker's janitor does; next is when there will be more to do, zero
// where nothing is known of.
func (b *broker) sweep() (next time.Time) {
	b.catchUp()
	touched := b.touched
	b.touched = access.Touched{}
	now := b.now()
	sooner := func(at time.Time) {
		if next.IsZero() || !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	sooner(touched.Began(b.state, b.swept, now))
	b.swept = now
	act := func(decide decision) {
		if _, err := b.do("postern", decide); err != nil {
			b.w.t.Fatalf("janitor: %v", err)
		}
	}
	sessions := access.Unfounded(b.state, now, touched)
	requests, at := b.state.Lapsing(now)
	sooner(at)
	lists, at := b.state.ListsDue(now)
	sooner(at)
	locks, at := b.state.LocksDue(now)
	sooner(at)
	for _, id := range sessions {
		act(func(s *access.State, env access.Env) ([]events.Event, error) { return access.EndUnfounded(s, env, id) })
	}
	for _, id := range requests {
		act(func(s *access.State, env access.Env) ([]events.Event, error) { return access.Expire(s, env, id) })
	}
	for _, id := range locks {
		act(func(s *access.State, env access.Env) ([]events.Event, error) { return access.ExpireLock(s, env, id) })
	}
	for _, name := range lists {
		for {
			es, err := b.do("postern", func(s *access.State, env access.Env) ([]events.Event, error) { return access.TellList(s, env, name) })
			if err != nil {
				b.w.t.Fatalf("janitor: %v", err)
			}
			if len(es) == 0 {
				break
			}
		}
	}
	return next
}

// settle lets all brokers read and do what is due; next is when more will be, by the
// stream's clock.
func (w *world) settle() (next time.Time) {
	for range 100 {
		before := len(w.log)
		next = time.Time{}
		for _, b := range w.brokers {
			if at := b.sweep(); !at.IsZero() {
				if at = at.Add(-b.skew); next.IsZero() || at.Before(next) {
					next = at
				}
			}
		}
		if len(w.log) == before {
			w.proxy.g.Heard(w.now)
			return next
		}
	}
	w.t.Fatal("the janitors never end")
	return next
}

// proxy follows the stream as package proxy does.
type proxy struct {
	w         *world
	g         *grants.Grants
	revisions map[string]uint64
	running   map[string]*running // by session
}

// running is a call that goes on.
type running struct {
	user  string
	watch *grants.Watch
	cut   bool
}

func newProxy(w *world) *proxy {
	p := &proxy{w: w, g: grants.New("px"), revisions: map[string]uint64{}, running: map[string]*running{}}
	p.g.Heard(w.now)
	return p
}

// past is as package proxy's.
const past = events.MaxSession + 2*time.Hour

// restarted is a proxy that reads the stream now.
func (w *world) restarted() *proxy {
	p := newProxy(w)
	var last uint64
	for _, r := range w.log {
		if r.storedAt.Before(w.now.Add(-past)) {
			last = r.seq
		}
	}
	for i := range last {
		r := &w.log[i]
		for _, lasting := range grants.Lasting() {
			if strings.HasPrefix(r.channel, strings.TrimSuffix(lasting, ">")) {
				p.take(r)
			}
		}
	}
	p.g.Skip(last)
	p.read()
	p.g.Heard(w.now)
	return p
}

func (p *proxy) read() {
	for i := p.g.Seq(); i < uint64(len(p.w.log)); i++ {
		p.take(&p.w.log[i])
	}
}

func (p *proxy) take(r *record) {
	e := p.w.event(r)
	ordered := !strings.HasPrefix(r.channel, "access.session.")
	if !p.g.Matters(e, p.w.now) || ordered && e.Sequence <= p.revisions[r.channel] {
		p.g.Skip(r.seq)
		return
	}
	if ordered {
		p.revisions[r.channel] = e.Sequence
	}
	if err := p.g.Apply(r.seq, e, p.w.now); err != nil {
		p.w.t.Fatal(err)
	}
	p.checkRunning(r)
	if d, ok := e.Data.(*events.SessionStarted); ok && p.running[d.SessionID] == nil {
		x := &running{user: d.User}
		x.watch, _ = p.g.Watch(d.SessionID, d.User, p.w.now, func(grants.Decision) { x.cut = true })
		if x.watch != nil {
			p.running[d.SessionID] = x
		}
	}
}

// checkRunning sees that an event cut the calls of the sessions that it stopped, and no
// others.
func (p *proxy) checkRunning(r *record) {
	for id, x := range p.running {
		again, d := p.g.Watch(id, x.user, p.w.now, func(grants.Decision) {})
		if again != nil {
			again.Stop()
		}
		over := d.Cause() == grants.CauseExpired || d.Cause() == grants.CauseNoSession // which callers time
		if stopped := d.Cause() == grants.CauseLock || d.Cause() == grants.CauseEnded; !over && x.cut != stopped {
			p.w.t.Errorf("event %d, %s: the call of session %s was cut: %v; the next one is refused: %q", r.seq, r.raw, id, x.cut, d.Reason())
		}
		if again == nil {
			x.watch.Stop()
			delete(p.running, id)
		}
	}
}
