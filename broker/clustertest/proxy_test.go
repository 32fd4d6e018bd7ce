package clustertest

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/proxy/grants"
)

const (
	// maxSilence is what proxies are told here: without word from the stream for
	// longer, they refuse.
	maxSilence = 3 * time.Second
	// deposed is how long an answer to a leader may lie in a frozen link, so that it
	// believes its followers to be there when they have another by now.
	deposed = 2 * time.Second
)

// gate does what a proxy does with a request: it decides by its own fold of
// ACCESS, and lets the request through once AUDIT has it.
type gate struct {
	name    string
	links   []*link
	journal *journal.Journal
	grants  *grants.Grants
	model   *model

	mu       sync.Mutex
	admitted []admission
	refused  map[string]int // by cause
	barred   map[string]int // by lock
}

// admission is a request that went through.
type admission struct {
	id      string
	session api.Session
	decided time.Time
}

func startGate(t testing.TB, w *world, m *model, name string) *gate {
	t.Helper()
	g := &gate{name: name, grants: grants.New(name), model: m, refused: map[string]int{}, barred: map[string]int{}}
	g.grants.Silence(maxSilence, true)
	var addrs []string
	g.links, addrs = w.linksFrom(t)
	var err error
	if g.journal, err = journal.New(w.connect(t, "postern", addrs), "/postern/"+name); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *gate) run(ctx context.Context, rng *rand.Rand) {
	go func() {
		for ctx.Err() == nil {
			g.follow(ctx)
			time.Sleep(250 * time.Millisecond)
		}
	}()
	for ctx.Err() == nil {
		session := g.model.anySession(rng)
		now := time.Now()
		if d := g.grants.Check(session.ID, session.User, grants.Call{Action: "s3:ListBucket"}, now); !d.Allowed {
			g.mu.Lock()
			g.refused[d.Cause()]++
			if id := d.LockID(); id != "" {
				g.barred[id]++
			}
			g.mu.Unlock()
			time.Sleep(20 * time.Millisecond)
			continue
		}
		id := journal.NewID()
		record, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err := g.journal.Append(record, events.Event{Meta: events.Meta{CorrelationID: id}, Data: &events.AWSRequestAdmitted{AWSRequest: events.AWSRequest{
			RequestID: id, ReceivedAt: now, User: session.User, SessionID: session.ID, Account: account, Service: "s3", Operation: "ListObjectsV2", Proxy: g.name}}})
		cancel()
		if err == nil {
			g.mu.Lock()
			g.admitted = append(g.admitted, admission{id, session, now})
			g.mu.Unlock()
		}
	}
}

// follow folds ACCESS in until the stream is lost or falls silent, as the proxy's
// own follower does.
func (g *gate) follow(ctx context.Context) {
	owed, asOf, err := g.end(ctx)
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		for {
			if g.grants.Seq() >= owed {
				g.grants.Heard(asOf)
			}
			select {
			case <-time.After(maxSilence / 5):
			case <-ctx.Done():
				return
			}
			if g.grants.Seq() < owed {
				return
			}
			g.grants.Heard(asOf)
			if owed, asOf, err = g.end(ctx); err != nil {
				return
			}
		}
	}()
	for e, err := range g.journal.Follow(ctx, events.Access, g.grants.Seq()) {
		if err != nil {
			return
		}
		if now := time.Now(); !g.grants.Matters(e.Event, now) {
			g.grants.Skip(e.Seq)
		} else if err := g.grants.Apply(e.Seq, e.Event, now); err != nil {
			return
		}
	}
}

// end asks where ACCESS ends, and as of when that is certain.
func (g *gate) end(ctx context.Context) (uint64, time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, maxSilence/2)
	defer cancel()
	asked := time.Now()
	end, age, err := g.journal.End(ctx, events.Access)
	return end, asked.Add(-age), err
}

// judge compares what went through with the locks that were acknowledged, and
// with AUDIT. It returns how long after a lock the last request went through.
func (g *gate) judge(t *testing.T, locks []*lock) (worst time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, a := range g.admitted {
		for _, l := range locks {
			if !l.bars(&a.session, g.name, a.decided) {
				continue
			}
			over := a.decided.Sub(l.placed)
			if worst = max(worst, over); over > maxSilence+deposed {
				t.Errorf("%s let a request of %s's session %s through %s after lock %s on %s %s was acknowledged",
					g.name, a.session.User, a.session.ID, over, l.id, l.target.Kind, l.target.Name)
			}
		}
	}
	var audit map[string]int
	eventually(t, g.name+" reads AUDIT", func() error { // a node that was ill a moment ago may be again
		audit = map[string]int{}
		for e, err := range g.journal.Replay(t.Context(), events.Audit) {
			if err != nil {
				return err
			}
			audit[e.CorrelationID]++
		}
		return nil
	})
	for _, a := range g.admitted {
		if audit[a.id] != 1 {
			t.Errorf("%s let request %s through, and AUDIT has it %d times", g.name, a.id, audit[a.id])
		}
	}
	return worst
}
