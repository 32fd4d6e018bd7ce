package grants

import (
	"fmt"
	"strings"
	"time"
	"unique"

	"github.com/posternhq/postern/events"
)

// Apply folds the event with this stream sequence in. now decides what has
// expired already and need not be kept. It returns an error, having changed
// nothing, when seq does not grow: the stream was read twice.
func (g *Grants) Apply(seq uint64, e events.Event, now time.Time) error {
	g.mu.Lock()
	if seq <= g.seq {
		last := g.seq
		g.mu.Unlock()
		return fmt.Errorf("apply sequence %d: sequence %d was applied before", seq, last)
	}
	cuts := g.fold(seq, e, now.UnixNano())
	g.seq = seq
	g.mu.Unlock()
	cuts.run()
	return nil
}

// Undecodable is Apply for an event that this version cannot read: one of an
// unknown type, or malformed, on a channel that access depends on. Everything
// is refused from now on and running calls are cut: it may have taken access
// away, and only a newer version can tell.
func (g *Grants) Undecodable(seq uint64, channel string, err error) error {
	g.mu.Lock()
	if seq <= g.seq {
		last := g.seq
		g.mu.Unlock()
		return fmt.Errorf("apply sequence %d: sequence %d was applied before", seq, last)
	}
	g.seq = seq
	g.broken = fmt.Sprintf("event %d on %s cannot be read by this version: %v", seq, channel, err)
	g.epoch++
	cuts := g.cut(func(*Watch) bool { return true }, Decision{cause: CauseStale, detail: g.broken})
	g.mu.Unlock()
	cuts.run()
	return nil
}

// Skip passes over the event with this stream sequence, if it is the next.
func (g *Grants) Skip(seq uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seq = max(g.seq, seq)
}

// Matters is whether Apply would change anything by an event, as far as can be
// told without much work: what does not matter need not be verified. Of a long
// history little matters, because sessions and locks have ended.
func (g *Grants) Matters(e events.Event, now time.Time) bool {
	switch d := e.Data.(type) {
	case *events.SessionStarted:
		return d.ExpiresAt.Add(grace).After(now)
	case *events.SessionEnded:
		g.mu.RLock()
		defer g.mu.RUnlock()
		return g.sessions.session(d.SessionID) != nil
	case *events.LockPlaced:
		return d.ExpiresAt == nil || d.ExpiresAt.After(now)
	case *events.RequestApproved:
		return d.AccessExpiresAt.Add(grace).After(now)
	case *events.RequestCreated:
		// Approved at the last moment, the call may be made for as long as it asks for.
		return d.Call != nil && d.ExpiresAt.Add(time.Duration(d.TTL)*time.Second+grace).After(now)
	case *events.RequestDenied:
		return g.holds(d.RequestID)
	case *events.RequestExpired:
		return g.holds(d.RequestID)
	case *events.RequestReviewed, *events.UserPasswordChanged, *events.LockExpired, nil: // a lock ends by its time
		return false
	}
	return BearsOnAccess(e.Data.Channel())
}

// Lasting are the channels, as NATS subjects with wildcards, on which an event
// counts however old it is. What stands on the others counts for as long as a session
// may last: the sessions themselves, sign-ins that were revoked, and requests, which
// matter to sessions that rest on them and to calls of sessions.
func Lasting() []string { return []string{"access.user.>", "access.lock.>"} }

// BearsOnAccess is whether access depends on the events of a channel.
func BearsOnAccess(channel string) bool {
	_, rest, _ := strings.Cut(channel, ".")
	aggregate, _, _ := strings.Cut(rest, ".")
	switch aggregate {
	case "session", "lock", "user", "request", "certificate":
		return true
	}
	return false
}

// fold changes the state by one event and returns the calls to cut. The caller
// holds g.mu.
func (g *Grants) fold(seq uint64, e events.Event, now int64) cuts {
	switch d := e.Data.(type) {
	case *events.SessionStarted:
		g.started(seq, e.ID, d, now)
	case *events.SessionEnded:
		return g.ended(d)
	case *events.LockPlaced:
		cuts := g.placed(d, now)
		if l := g.locks[d.LockID]; l != nil {
			l.at = e.Time
			g.lockChanged()
		}
		return cuts
	case *events.LockLifted:
		if l := g.locks[d.LockID]; l != nil {
			g.drop(l)
		}
	case *events.SigninRevoked:
		return g.placed(revocation(d), now)
	case *events.UserCreated:
		t := g.target("user", d.Name)
		t.deleted = false
		return g.disable(t, d.Disabled)
	case *events.UserUpdated:
		return g.disable(g.target("user", d.Name), d.Disabled)
	case *events.UserDeleted:
		t := g.target("user", d.Name)
		t.deleted, t.disabled, t.deletedAt = true, false, seq
		return g.cutTarget(t, Decision{cause: CauseEnded, on: t.LockTarget, detail: "deleted"})
	case *events.RequestCreated:
		g.calls.asked(d)
	case *events.RequestDenied:
		g.calls.decided(d.RequestID, CallDenied, time.Time{}, d.Reviewers)
	case *events.RequestExpired:
		g.calls.decided(d.RequestID, CallExpired, time.Time{}, nil)
	case *events.RequestApproved:
		g.calls.decided(d.RequestID, CallApproved, d.AccessExpiresAt, d.Reviewers)
		g.approved(d, now)
	case *events.RequestDropped:
		g.calls.decided(d.RequestID, CallDropped, time.Time{}, []string{d.By})
		t := g.targets[events.LockTarget{Kind: "request", Name: d.RequestID}]
		if t == nil {
			return nil // never approved, or its access is over
		}
		t.dropped = true
		return g.cutTarget(t, Decision{cause: CauseEnded, on: t.LockTarget, detail: "dropped"})
	}
	return nil
}

func (g *Grants) started(seq uint64, eventID string, d *events.SessionStarted, now int64) {
	expires := d.ExpiresAt.UnixNano()
	if expires+int64(grace) <= now || g.selected != nil && !g.selected(d.AppLabels) {
		return
	}
	if s := g.sessions.session(d.SessionID); s != nil {
		if s.eventID == eventID {
			return // a copy of the event, which anybody who may publish can make
		}
		// Nobody may widen a session by starting it a second time.
		g.sessions.doubt(d.SessionID)
		s.ended = &events.SessionEnded{SessionID: d.SessionID, User: s.start.User, Reason: "it was started twice"}
		return
	}
	// Sessions repeat each other's names: hold one copy of each.
	for _, f := range []*string{&d.User, &d.App, &d.AWSRoleARN, &d.Account, &d.Partition, &d.Region, &d.RoleSessionName, &d.SourceIdentity, &d.ExternalID, &d.Certificate, &d.Device, &d.LockMode} {
		*f = unique.Make(*f).Value()
	}
	s := &session{start: d, eventID: eventID, seq: seq, expires: expires, policy: g.policy(d.Permissions)}
	if s.policy != nil {
		d.Permissions = s.policy.perms
	}
	s.limits = g.limits(d)
	if !g.sessions.add(s) {
		g.releasePolicy(s.policy)
		g.releaseLimits(s.limits)
		return // its hash is taken: never seen in practice, refused as unknown
	}
	s.targets = make([]*target, 0, 6+len(d.Roles)+len(d.OtherRoles)+len(d.RequestIDs))
	add := func(kind, name string) {
		t := g.target(kind, name)
		t.sessions++
		s.targets = append(s.targets, t)
	}
	add("user", d.User)
	add("app", d.App)
	add("aws_role", d.AWSRoleARN)
	add("account", d.Account)
	if d.Certificate != "" {
		add(signin, d.Certificate)
	}
	if d.Device != "" {
		add(device, d.Device)
	}
	for _, r := range d.Roles {
		add("role", r.Name)
	}
	for _, name := range d.OtherRoles {
		add("role", name)
	}
	d.OtherRoles = nil // the targets say it
	for _, id := range d.RequestIDs {
		add("request", id)
	}
	if t := g.targets[events.LockTarget{Kind: "session", Name: d.SessionID}]; t != nil {
		t.sessions++
		s.targets = append(s.targets, t) // locked before it started
	}
	g.sessionsByEnd.push(s)
}

func (g *Grants) ended(d *events.SessionEnded) cuts {
	s := g.sessions.session(d.SessionID)
	if s == nil || s.ended != nil {
		return nil
	}
	s.ended = d
	g.sessions.doubt(d.SessionID)
	return g.cut(func(w *Watch) bool { return w.session == s }, Decision{cause: CauseEnded, session: s, ended: d})
}

func (g *Grants) placed(d *events.LockPlaced, now int64) cuts {
	if old := g.locks[d.LockID]; old != nil {
		g.drop(old)
	}
	l := &lock{LockPlaced: d, index: -1}
	if d.ExpiresAt != nil {
		if l.expires = d.ExpiresAt.UnixNano(); l.expires <= now {
			return nil
		}
	}
	switch d.Target.Kind {
	case "agent":
		if d.Target.Name != g.agent {
			return nil
		}
		l.on = &g.all
	case "user", "role", "app", "aws_role", "account", "request", device, signin:
		l.on = g.target(d.Target.Kind, d.Target.Name)
	case "session":
		l.on = g.target(d.Target.Kind, d.Target.Name)
		// Sessions carry a target of their own only where it is needed.
		if s := g.sessions.session(d.Target.Name); s != nil && !s.has(l.on) {
			l.on.sessions++
			s.targets = append(s.targets, l.on)
		}
	default:
		// A lock that this version cannot place stops everything: it stops too
		// much, where leaving it out would stop too little.
		l.on = &g.all
	}
	l.on.locks = append(l.on.locks, l)
	g.locks[d.LockID] = l
	if d.Target.Kind == "account" {
		g.accountLocks++
	}
	if l.expires != 0 {
		g.locksByEnd.push(l)
	}
	return g.cutTarget(l.on, Decision{cause: CauseLock, lock: d})
}

// drop takes a lock away.
func (g *Grants) drop(l *lock) {
	delete(g.locks, l.LockID)
	if l.Target.Kind == "account" {
		g.accountLocks--
	}
	if l.index >= 0 {
		g.locksByEnd.remove(l)
	}
	for i, o := range l.on.locks {
		if o == l {
			l.on.locks = append(l.on.locks[:i:i], l.on.locks[i+1:]...)
			break
		}
	}
	g.release(l.on)
	g.lockChanged()
}

func (g *Grants) lockChanged() {
	close(g.locksChanged)
	g.locksChanged = make(chan struct{})
}

func (g *Grants) disable(t *target, disabled bool) cuts {
	t.disabled = disabled
	if !disabled {
		g.release(t)
		return nil
	}
	return g.cutTarget(t, Decision{cause: CauseEnded, on: t.LockTarget, detail: "disabled"})
}

func (g *Grants) approved(d *events.RequestApproved, now int64) {
	end := d.AccessExpiresAt.UnixNano()
	t := g.targets[events.LockTarget{Kind: "request", Name: d.RequestID}]
	if end+int64(grace) <= now || t != nil && t.approved != 0 {
		return
	}
	if t == nil {
		t = g.target("request", d.RequestID)
	}
	t.approved = end
	g.requestsByEnd.push(t)
}

func (s *session) has(t *target) bool {
	for _, o := range s.targets {
		if o == t {
			return true
		}
	}
	return false
}

// Forget drops what has expired. Call it every few seconds; it costs what it
// drops.
func (g *Grants) Forget(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := now.UnixNano()
	for len(g.locksByEnd.items) > 0 && g.locksByEnd.items[0].expires <= n {
		g.drop(g.locksByEnd.items[0])
	}
	n -= int64(grace)
	g.calls.forget(n)
	for len(g.sessionsByEnd.items) > 0 && g.sessionsByEnd.items[0].expires <= n {
		s := g.sessionsByEnd.items[0]
		g.sessionsByEnd.remove(s)
		g.sessions.remove(s.start.SessionID)
		g.releasePolicy(s.policy)
		g.releaseLimits(s.limits)
		for _, t := range s.targets {
			t.sessions--
			g.release(t)
		}
	}
	for len(g.requestsByEnd.items) > 0 && g.requestsByEnd.items[0].approved <= n {
		t := g.requestsByEnd.items[0]
		g.requestsByEnd.remove(t)
		t.approved = 0
		g.release(t)
	}
}
