package grants

import (
	"sync"
	"time"

	"github.com/posternhq/postern/events"
)

// grace is how long an expired session is remembered, so that its user reads
// "expired" and not "unknown".
const grace = 10 * time.Minute

// Grants is the projection. It is safe for concurrent use; Apply is for one
// goroutine at a time.
type Grants struct {
	// agent is the name of the proxy that decides by this projection: a lock on
	// that agent stops everything.
	agent string

	mu           sync.RWMutex
	seq          uint64
	sessions     index
	targets      map[events.LockTarget]*target
	locks        map[string]*lock
	policies     map[string]*policy
	buckets      map[LimitKey]*bucket
	untold       untold
	calls        calls
	locksChanged chan struct{} // closed when they are not what they were
	// accountLocks counts the locks on accounts.
	accountLocks int
	// bySession and byLock order what expires.
	sessionsByEnd heap[*session]
	locksByEnd    heap[*lock]
	requestsByEnd heap[*target]
	// all is what a lock on this agent, or one that this version cannot read,
	// hangs on.
	all target
	// heard is when the stream is known to have held nothing more (zero: never),
	// silence for how long from then what is known counts: for all sessions if strict,
	// else for those that are strict themselves. 0 is for ever.
	heard   time.Time
	silence time.Duration
	strict  bool
	// broken says which event this version could not read; it stays until the
	// proxy is started anew.
	broken string

	// epoch grows with every event that can take access away from sessions by
	// their targets, so that freedom from locks is worked out once a session
	// and epoch.
	epoch uint64
	// selected tells the apps that are served by their labels; nil means all.
	selected func(appLabels map[string]string) bool

	runningMu sync.Mutex
	running   map[*Watch]struct{}
}

// session is a session.started event and what became of it.
type session struct {
	start   *events.SessionStarted
	eventID string
	seq     uint64
	expires int64 // Unix nanoseconds
	policy  *policy
	limits  *limits // nil: none
	targets []*target
	// ended is the event that ended it, nil while it lasts.
	ended *events.SessionEnded
	index int
}

// target is something that locks and other refusals hang on: a user, role, app,
// AWS role, account, session or access request. It lives as long as something
// refers to it.
type target struct {
	events.LockTarget
	sessions int
	locks    []*lock
	// disabled and deleted are a user's state; deletedAt is the sequence of the
	// last deletion, which ended the sessions that are older.
	disabled, deleted bool
	deletedAt         uint64
	// approved is when the access of an approved request ends (Unix
	// nanoseconds, 0 unless approved); dropped: it was given up before.
	approved int64
	dropped  bool
	index    int
}

type lock struct {
	*events.LockPlaced
	on      *target
	at      time.Time // when it was placed
	expires int64     // Unix nanoseconds, 0: never
	index   int
}

// New returns an empty projection for the proxy of this name. It refuses
// everything as stale until [Grants.Heard] is called.
func New(agent string) *Grants {
	g := &Grants{
		agent:    agent,
		sessions: newIndex(),
		targets:  map[events.LockTarget]*target{},
		locks:    map[string]*lock{},

		locksChanged: make(chan struct{}),
		epoch:        1,
		policies:     map[string]*policy{},
		buckets:      map[LimitKey]*bucket{},
		calls:        newCalls(),
		running:      map[*Watch]struct{}{},
	}
	g.all.index = -1
	return g
}

// Serve leaves out the sessions on apps whose labels are not selected: other
// proxies serve these. Call it before the first Apply.
func (g *Grants) Serve(selected func(appLabels map[string]string) bool) { g.selected = selected }

// Seq is the stream sequence of the last event that was applied.
func (g *Grants) Seq() uint64 {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.seq
}

// Stats counts what is held in memory.
type Stats struct{ Sessions, Locks, Targets, Running int }

// Stats counts what is held in memory.
func (g *Grants) Stats() Stats {
	g.mu.RLock()
	defer g.mu.RUnlock()
	g.runningMu.Lock()
	defer g.runningMu.Unlock()
	return Stats{g.sessions.count, len(g.locks), len(g.targets), len(g.running)}
}

// Silence makes calls be refused that come more than bound after the last moment
// that [Grants.Heard] was told; 0: what is known counts for ever. strict says so
// for the sessions whose roles do not say themselves. Running calls go on: they
// hold a decision that was good when it was made, and a broken link to the stream
// must not cut every transfer.
func (g *Grants) Silence(bound time.Duration, strict bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.silence, g.strict = bound, strict
}

// deafTo is whether nothing was heard for too long to decide about a session; nil
// is one that is not known. The caller holds g.mu.
func (g *Grants) deafTo(s *session, now time.Time) bool {
	switch {
	case g.silence == 0 || g.quiet(now) <= g.silence:
		return false
	case s != nil && s.start.LockMode != "":
		return s.start.LockMode != events.LockBestEffort
	}
	return g.strict
}

// quiet is for how long nothing was heard, by the clock that says longer: the machine's may
// have been set back, and the monotonic one stands still while the machine sleeps.
func (g *Grants) quiet(now time.Time) time.Duration {
	return max(now.Sub(g.heard), now.Round(0).Sub(g.heard))
}

// Deaf is whether what is known may be old, or is not understood: for any session, however
// strict.
func (g *Grants) Deaf(now time.Time) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.broken != "" || g.heard.IsZero() || g.silence != 0 && g.quiet(now) > g.silence
}

// Refuses is why calls of sessions are refused whose roles do not say how strict to be, ""
// if they are not.
func (g *Grants) Refuses(now time.Time) string {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.broken != "" || g.heard.IsZero() || g.deafTo(nil, now) {
		return g.deaf()
	}
	return ""
}

// Heard says that every event that the stream had at a moment has been applied.
func (g *Grants) Heard(at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if at.After(g.heard) {
		g.heard = at
	}
}

// HeardAt is the last moment of which Heard was told.
func (g *Grants) HeardAt() time.Time {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.heard.IsZero() {
		return time.Unix(0, 0)
	}
	return g.heard
}

// target finds or makes a target.
func (g *Grants) target(kind, name string) *target {
	key := events.LockTarget{Kind: kind, Name: name}
	t := g.targets[key]
	if t == nil {
		t = &target{LockTarget: key, index: -1}
		g.targets[key] = t
	}
	return t
}

// release forgets a target that nothing refers to and that holds no news.
func (g *Grants) release(t *target) {
	if t == &g.all || t.sessions > 0 || len(t.locks) > 0 || t.disabled || t.deleted || t.approved != 0 {
		return
	}
	delete(g.targets, t.LockTarget)
}
