package historytest

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/signed"
	"github.com/posternhq/postern/proxy/grants"
)

// moment is what a broker knew at a time, of which all was done that was due.
type moment struct {
	at   time.Time
	upTo int // records
	view []string
	// could is by user, app and ARN.
	could map[[3]string]access.Could
}

// view says who could do what at a moment, and which sessions ran.
func view(s *access.State, now time.Time) ([]string, map[[3]string]access.Could) {
	var out []string
	could := map[[3]string]access.Could{}
	for _, user := range users {
		out = append(out, user+" is "+s.UserState(user, now))
		for _, q := range append([]access.Question{{User: user}}, questions(user)...) {
			for _, x := range s.Could(q, now) {
				if q.App != "" {
					could[[3]string{x.User, x.App, x.ARN}] = x
				}
				out = append(out, fmt.Sprintf("%s %s %s usable %v refused %q", x.User, x.App, x.ARN, x.Usable(), x.Refused))
				for _, way := range x.Ways {
					out = append(out, "  by "+wayText(way))
				}
			}
		}
	}
	for _, id := range sorted(s.Sessions) {
		if x := s.Sessions[id]; x.State(now) == access.Running {
			out = append(out, fmt.Sprintf("session %s of %s, locks %s", id, x.User, lockIDs(s.SessionLocks(x, now))))
		}
	}
	return out, could
}

// questions are all about a user that name an ARN.
func questions(user string) (out []access.Question) {
	for _, app := range apps {
		for _, arn := range arns() {
			out = append(out, access.Question{User: user, App: app, AWSRole: arn})
		}
	}
	return out
}

func wayText(w access.Way) string {
	s := ""
	for _, r := range w.Roles {
		s += fmt.Sprintf("%s@%d %s %v %s, ", r.Name, r.Revision, r.RequestID, r.Lists, r.Until)
	}
	return fmt.Sprintf("%suntil %s, %s, %v, %s, locks %s", s, w.Until, w.MaxTTL, w.RealCredentials, text(w.Permissions), lockIDs(w.Locks))
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func lockIDs(ls []*access.Lock) []string {
	var out []string
	for _, l := range ls {
		out = append(out, l.LockID)
	}
	slices.Sort(out)
	return out
}

// check compares what is known at the moment, of which all was done that is due.
func (w *world) check(c *chance) {
	b := w.brokers[0]
	if !b.fresh() {
		w.t.Fatal("nothing is to be read")
	}
	m := moment{at: w.now, upTo: len(w.log)}
	m.view, m.could = view(b.state, w.now)
	w.moments = append(w.moments, m)
	if left := access.Unfounded(b.state, w.now, access.Touched{All: true}); len(left) > 0 {
		x := b.state.Sessions[left[0]]
		w.t.Errorf("%s: session %s of %s rests on nothing, and nobody ended it", w.now, x.SessionID, x.User)
	}
	w.checkProxies(c)
	w.checkStart(c)
}

// checkProxies compares what proxies decide with what is known of sessions and calls.
func (w *world) checkProxies(c *chance) {
	s := w.brokers[0].state
	again := w.restarted()
	for _, id := range sorted(s.Sessions) {
		x := s.Sessions[id]
		call := grants.Call{
			Action: pick(c, "s3:GetObject", "ec2:RunInstances"), AccessLevel: pick(c, "Read", "Write"),
			Resources: []string{pick(c, "arn:aws:s3:::logs/x", "arn:aws:s3:::a/x")}, Region: pick(c, "eu-west-1", "us-east-1"), Approved: c.one(2),
		}
		want := x.State(w.now) == access.Running && len(s.SessionLocks(x, w.now)) == 0
		judged := grants.Judge(x.Permissions, call)
		for name, g := range map[string]*grants.Grants{"the proxy": w.proxy.g, "a proxy that was started now": again.g} {
			switch d := g.Check(id, x.User, call, w.now); {
			case d.Cause() != "" && d.Cause() != grants.CauseRule && want:
				w.t.Errorf("%s: %s refuses session %s: %s", w.now, name, id, d.Reason())
			case !want && (d.Allowed || d.Cause() == grants.CauseRule):
				w.t.Errorf("%s: %s lets session %s call; it is %s, locks %s", w.now, name, id, x.State(w.now), lockIDs(s.SessionLocks(x, w.now)))
			case want && d.Allowed != judged.Allowed:
				w.t.Errorf("%s: %s allows %v of session %s: %v, want %v", w.now, name, call, id, d.Allowed, judged.Allowed)
			}
		}
	}
	for _, id := range sorted(s.Requests) {
		q := s.Requests[id]
		if q.Call == nil {
			continue
		}
		want := q.State(w.now) == access.Approved && w.now.Before(q.Ends())
		for name, g := range map[string]*grants.Grants{"the proxy": w.proxy.g, "a proxy that was started now": again.g} {
			if v, _, _ := g.CallVerdict(id, w.now); (v == grants.CallApproved) != want {
				w.t.Errorf("%s: at %s call %s is %q; the broker says %s until %s", w.now, name, id, v, q.State(w.now), q.Ends())
			}
		}
	}
}

// checkStart holds what could be used against what a session starts with.
func (w *world) checkStart(c *chance) {
	s := w.brokers[0].state
	user, app := pick(c, users...), pick(c, apps...)
	for _, arn := range arns() {
		could := w.moments[len(w.moments)-1].could[[3]string{user, app, arn}]
		usable := could.Usable() && s.UserState(user, w.now) == access.Active
		started := false
		for _, id := range append([]string{""}, sorted(s.Requests)...) {
			env := access.Env{Now: w.now, By: user, NewID: func() string { return "N" }}
			es, err := access.Start(s, env, access.StartSession{User: user, App: app, AWSRole: arn, RequestID: id, NotAfter: w.now.Add(time.Hour), SecondFactor: "x"})
			if err != nil {
				continue
			}
			started = true
			x := es[0].Data.(*events.SessionStarted)
			if !slices.ContainsFunc(could.Ways, func(way access.Way) bool {
				return len(way.Locks) == 0 && text(way.Permissions) == text(x.Permissions) && slices.Equal(way.RequestIDs(), x.RequestIDs)
			}) {
				w.t.Errorf("%s: %s starts a session as %s by request %q with %s, which is none of the ways", w.now, user, arn, id, text(x.Permissions))
			}
		}
		if started != usable {
			w.t.Errorf("%s: %s could use %s of %s: %v; a session starts: %v", w.now, user, arn, app, usable, started)
		}
	}
}

// replay folds the history up to a time and calls visit before each event after it.
func (w *world) replay(h *access.History, visit func(r *record) bool) {
	refused := w.brokers[0].refused
	for i := range w.log {
		r := &w.log[i]
		if !visit(r) {
			return
		}
		if !refused[r.seq] {
			h.Apply(w.event(r), r.seq, r.storedAt)
		}
	}
}

// checkPast replays the history to moments that were, and between them.
func (w *world) checkPast(c *chance) {
	for i := range w.moments {
		m := &w.moments[i]
		if !c.one(1 + len(w.moments)/25) {
			continue
		}
		h := access.NewHistory(m.at)
		w.replay(h, func(r *record) bool { return !r.storedAt.After(m.at) })
		got, _ := view(h.State, m.at)
		if d := cmp.Diff(m.view, got); d != "" {
			w.t.Errorf("%s (-then +by replay):\n%s", m.at, d)
			return
		}
	}
	for range 10 {
		i, j := c.n(len(w.moments)), c.n(len(w.moments))
		if i != j {
			w.checkDiff(w.moments[min(i, j) : max(i, j)+1])
		}
	}
}

// checkDiff follows all that could be used from one moment to another, as the question
// does, and holds each step against the moments between.
func (w *world) checkDiff(ms []moment) {
	from, to := ms[0], ms[len(ms)-1]
	h := access.NewHistory(to.at)
	var watches []*access.Watch
	begin := func() {
		for _, user := range users {
			for _, q := range questions(user) {
				watches = append(watches, h.NewWatch(user, q.App, q.AWSRole, from.at))
			}
		}
	}
	refused := w.brokers[0].refused
	for i := range w.log[:to.upTo] {
		r := &w.log[i]
		switch {
		case refused[r.seq]:
			continue
		case i < from.upTo:
			h.Apply(w.event(r), r.seq, r.storedAt)
			continue
		case watches == nil:
			begin()
		}
		h.Step(w.event(r), r.seq, r.storedAt, to.at, watches)
	}
	if watches == nil {
		begin()
	}
	for _, x := range watches {
		h.Settle(x, to.at)
		key := [3]string{x.User, x.App, x.ARN}
		if want := access.Effect(from.could[key], to.could[key]); x.Effect() != want {
			w.t.Errorf("%v from %s to %s: %q, want %q", key, from.at, to.at, x.Effect(), want)
		}
		for i, m := range ms[1:] {
			before := ms[i]
			var flips []access.Flip
			for _, f := range x.Flips {
				if f.At.After(before.at) && !f.At.After(m.at) {
					flips = append(flips, f)
				}
			}
			want := access.Effect(before.could[key], m.could[key])
			switch {
			case want != "" && len(flips) == 0:
				w.t.Errorf("%v was %s between %s and %s, and no step says so", key, want, before.at, m.at)
			case len(flips) == 1 && flips[0].Effect != want:
				w.t.Errorf("%v between %s and %s: the step says %s, want %q", key, before.at, m.at, flips[0].Effect, want)
			}
			for _, f := range flips {
				if f.Cause.EventID == "" {
					w.t.Errorf("%v at %s: %s by nothing", key, f.At, f.Effect)
				}
			}
		}
	}
}

// checkSupposed decides every session again in a history in which what never changed was
// always so: nothing is different.
func (w *world) checkSupposed() {
	once := map[string]events.Payload{}
	for i := range w.log {
		r := &w.log[i]
		switch d := w.event(r).Data.(type) {
		case *events.RoleCreated:
			if d.Channel() == r.channel && w.event(r).Sequence == 1 {
				once[r.channel] = d
			}
		case *events.RoleUpdated, *events.RoleDeleted:
			once[r.channel] = nil
		}
	}
	for i := range w.log {
		if w.event(&w.log[i]).Sequence > 1 {
			delete(once, w.log[i].channel)
		}
	}
	for _, fixed := range [][]events.Payload{nil, slices.Collect(maps.Values(once))} {
		s := access.Suppose(fixed...)
		heads := map[string]uint64{}
		for i := range w.log {
			r := &w.log[i]
			e := w.event(r)
			if signed.Ordered(r.channel) {
				if signed.Place(e, heads[r.channel]) != nil {
					continue
				}
				heads[r.channel] = e.Sequence
			}
			if x, ok := e.Data.(*events.SessionStarted); ok && r.fresh {
				g, err := s.Session(x, e.Time)
				if err != nil {
					w.t.Errorf("session %s would not have been: %v", x.SessionID, err)
				} else if was, would := text(x.Permissions), text(g.Permissions); was != would {
					w.t.Errorf("session %s, by requests %v: it had %s, and would have had %s", x.SessionID, x.RequestIDs, was, would)
				}
			}
			s.Apply(e)
		}
	}
}

// checkSnapshot comes to the broker's state again from what a snapshot keeps of the history.
func (w *world) checkSnapshot() {
	b := w.brokers[0]
	again := access.NewState()
	for i := range w.log {
		r := &w.log[i]
		switch e := w.event(r); {
		case b.refused[r.seq]:
			again.Skip(r.channel, r.seq)
		case b.state.Matters(e, r.seq, w.now):
			again.Apply(e, r.seq)
		}
	}
	for _, s := range []*access.State{b.state, again} {
		s.Forget(w.now.Add(-7 * 24 * time.Hour))
	}
	want, _ := view(b.state, w.now)
	got, _ := view(again, w.now)
	if d := cmp.Diff(want, got); d != "" {
		w.t.Errorf("%s (-state +from a snapshot):\n%s", w.now, d)
	}
	for channel := range w.heads {
		if is, was := again.Head(channel), b.state.Head(channel); is != was {
			w.t.Errorf("%s: the head of %s is %+v from a snapshot, want %+v", w.now, channel, is, was)
		}
	}
}

// run plays a history of some steps.
func run(t *testing.T, c *chance, steps int) *world {
	w := newWorld(t, 0, pick(c, time.Second, -time.Second, 30*time.Second, -30*time.Second))
	w.found(c)
	w.settle()
	for i := 0; i < steps && !t.Failed(); i++ {
		for range 1 + c.n(6) {
			w.something(c)
			if c.one(4) {
				w.now = w.now.Add(time.Duration(c.n(900)) * time.Millisecond)
			}
		}
		w.settle()
		w.check(c)
		w.pass(c, pick(c, time.Nanosecond, time.Second, time.Minute, time.Minute, 20*time.Minute, 20*time.Minute, 3*time.Hour, 11*time.Hour)+time.Duration(c.n(60))*time.Second)
		w.check(c)
		if c.one(3) {
			w.proxy.g.Forget(w.now)
		}
		if c.one(5) {
			w.brokers[1].state.Forget(w.brokers[1].now().Add(-7 * 24 * time.Hour))
		}
		w.now = w.now.Add(time.Nanosecond)
	}
	if !t.Failed() {
		w.checkPast(c)
		w.checkSupposed()
		w.checkSnapshot()
	}
	if t.Failed() {
		w.tell()
	}
	return w
}

// tell writes the history down.
func (w *world) tell() {
	var out strings.Builder
	for _, r := range w.log {
		fmt.Fprintf(&out, "%d %s %s\n", r.seq, r.storedAt.Format(time.RFC3339Nano), r.raw)
	}
	w.t.Log(out.String())
}

var histories = flag.Uint64("histories", 12, "how many histories to play")

func TestHistories(t *testing.T) {
	had := map[string]int{}
	for seed := range *histories {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			had["histories"]++
			w := run(t, &chance{rand.New(rand.NewPCG(seed, 1))}, 60)
			for i := range w.log {
				w.count(&w.log[i], had)
			}
		})
	}
	t.Log(had)
	for _, what := range []string{"copies", "calls", "approvals", "requests of sessions", "lists of sessions", "permissions of sessions", "sessions ended by people", "sessions ended by the janitor"} {
		if had[what] == 0 && had["histories"] >= 12 {
			t.Errorf("no %s: that tests little", what)
		}
	}
}

// count notes what a record adds to a history.
func (w *world) count(r *record, had map[string]int) {
	if w.brokers[0].refused[r.seq] {
		had["copies"]++
		return
	}
	switch d := w.event(r).Data.(type) {
	case *events.SessionStarted:
		had["sessions"]++
		had["requests of sessions"] += len(d.RequestIDs)
		had["lists of sessions"] += len(d.AccessLists)
		had["permissions of sessions"] += len(d.Permissions)
	case *events.SessionEnded:
		had["sessions ended by "+map[bool]string{true: "the janitor", false: "people"}[d.By == "postern"]]++
	case *events.RequestCreated:
		had[map[bool]string{true: "calls", false: "requests"}[d.Call != nil]]++
	case *events.RequestApproved:
		had["approvals"]++
	case *events.RequestPromoted:
		had["promotions"]++
	}
}
