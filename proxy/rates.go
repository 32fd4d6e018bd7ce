package proxy

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/proxy/grants"
)

const (
	// ratesSubject is where proxies tell one another what they let through. It is of no
	// stream; deploy/embedded/permissions.go lets proxies alone publish and subscribe.
	ratesSubject = "postern.rates"
	// ratesPrefix begins what is told.
	ratesPrefix = "rates1."
	// tellEvery is how often, if there is anything to tell.
	tellEvery = 50 * time.Millisecond
	// maxTold is how many limits a message is about, maxToldBytes more than it is long.
	maxTold      = 1000
	maxToldBytes = 32 << 10
	// maxTellers is how many others are known at once.
	maxTellers = 1024
)

// rates has rate limits hold for all proxies together: each tells the others, after
// the fact, how many calls it let through under which limit, and they count these as
// their own. No request waits for that, and no failure of it refuses one: who hears
// nothing keeps the limits alone.
//
// A message is sealed under the proxies' shared key, because who may read a stream can
// have NATS write to any subject. It is
//
//	teller  16 bytes, new with every start
//	number  8, grows with every message of the teller
//	for each limit: its key 16, calls since it was last told 4
//
// without a time: what is heard counts from now, by the clock of who hears it. Who could
// keep an old message and send it again, the administrator of NATS, finds it out of
// order wherever the teller is known.
type rates struct {
	grants  *grants.Grants
	journal *journal.Journal
	tickets *tickets
	now     func() time.Time
	log     zerolog.Logger

	me     teller
	number uint64
	told   bool // the last time

	mu     sync.Mutex // a new connection's first message may come beside an old one's last
	last   map[teller]uint64
	logged atomic.Bool

	heard, ignored prometheus.Counter
}

type teller [16]byte

const (
	toldHead = len(teller{}) + 8
	toldSize = len(grants.LimitKey{}) + 4
)

func newRates(p *Proxy) *rates {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "postern_proxy_" + name, Help: help})
	}
	r := &rates{grants: p.grants, journal: p.journal, tickets: p.tickets, now: p.now, log: p.log, told: true, last: map[teller]uint64{},
		heard:   counter("rate_calls_heard_total", "Calls that other proxies told to have let through under rate limits, and that were counted here."),
		ignored: counter("rate_messages_ignored_total", "Messages about rate limits that were not of a proxy with the same ticket key, not in order or malformed."),
	}
	rand.Read(r.me[:])
	return r
}

// run tells and hears until ctx ends.
func (r *rates) run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { r.journal.Hear(ctx, ratesSubject, r.hear) })
	t := time.NewTicker(tellEvery)
	defer t.Stop()
	for ctx.Err() == nil {
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		r.tell()
	}
	wg.Wait()
}

// tell tells what was let through since the last time. What cannot be told now is
// not told later: it counts against the limit here alone.
func (r *rates) tell() {
	var msg []byte
	r.grants.Passed(func(k grants.LimitKey, calls int64) {
		if msg == nil {
			r.number++
			msg = binary.BigEndian.AppendUint64(append(make([]byte, 0, toldHead+8*toldSize), r.me[:]...), r.number)
		}
		msg = binary.BigEndian.AppendUint32(append(msg, k[:]...), uint32(min(calls, 1<<32-1)))
		if len(msg) >= toldHead+maxTold*toldSize {
			r.send(msg)
			msg = nil
		}
	})
	if msg != nil {
		r.send(msg)
	}
}

func (r *rates) send(msg []byte) {
	sealed, err := r.tickets.sealAs(ratesPrefix, msg)
	if err == nil {
		err = r.journal.Broadcast(ratesSubject, []byte(sealed))
	}
	if err != nil && r.told {
		r.log.Warn().Err(err).Msg("the other proxies are not told what was let through here: meanwhile they count by themselves for rate limits")
	}
	r.told = err == nil
}

// hear counts what another proxy told. Whatever is not that is ignored.
func (r *rates) hear(body []byte) {
	err := r.count(body)
	if err == nil {
		return
	}
	r.ignored.Inc()
	if !r.logged.Swap(true) { // who sends one may send many
		r.log.Warn().Err(err).Msg("ignoring what is told of rate limits; more such messages are counted, not logged")
	}
}

var (
	errNotTold   = errors.New("it is not of a proxy that has this one's ticket key, so they don't keep rate limits together: see proxy.ticket_key_file")
	errMalformed = errors.New("its form is not known: is another proxy of a newer version?")
	errOldTold   = errors.New("it is older than what was heard of its sender")
)

func (r *rates) count(body []byte) error {
	if len(body) > maxToldBytes {
		return errMalformed
	}
	msg := r.tickets.openAs(ratesPrefix, string(body))
	switch {
	case msg == nil:
		return errNotTold
	case len(msg) < toldHead || (len(msg)-toldHead)%toldSize != 0:
		return errMalformed
	}
	from, number := teller(msg), binary.BigEndian.Uint64(msg[len(teller{}):])
	if from == r.me {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if number <= r.last[from] {
		return errOldTold
	}
	if _, known := r.last[from]; !known && len(r.last) >= maxTellers {
		clear(r.last)
	}
	r.last[from] = number
	now := r.now()
	for msg = msg[toldHead:]; len(msg) > 0; msg = msg[toldSize:] {
		calls := binary.BigEndian.Uint32(msg[len(grants.LimitKey{}):])
		if r.grants.PassedElsewhere(grants.LimitKey(msg), int64(calls), now) {
			r.heard.Add(float64(calls))
		}
	}
	return nil
}
