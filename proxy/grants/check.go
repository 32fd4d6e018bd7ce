package grants

import (
	"fmt"
	"time"

	"github.com/posternhq/postern/events"
)

// Action is an IAM action with its own access level, and the services as in
// Call.Services.
type Action struct {
	Name, Level string
	Services    []string
}

// NoService stands for the services of an action that is about nothing that has an ARN.
const NoService = "-"

// Call is an AWS call as far as it could be recognised; empty fields are
// unknown. Permissions that narrow by something unknown refuse.
type Call struct {
	// Action is the IAM action, "s3:GetObject".
	Action string
	// AccessLevel is Action's: "Read", "Write", "List", "Tagging" or "Permissions
	// management".
	AccessLevel string
	// Also lists further actions that the call needs or may exercise. Each must
	// be permitted as Action must, by its own access level.
	Also []Action
	// Resources are ARNs; {"*"} means that the action has no resource, empty
	// that it is not known.
	Resources []string
	// Services are those, as ARNs call them, that Resources can be of where they are
	// not known; {NoService} means that Action has no resource, empty that nothing is
	// known. Only what denies heeds it.
	Services []string
	// Region is one, or the region set of a SigV4A signature: "us-east-1,eu-*".
	Region string
	// Account is the account of the resources, where it shows.
	Account string
	// Approved lifts the permissions that want the call approved.
	Approved bool
}

// take makes a call that of one of its further actions.
func (c *Call) take(a *Action) { c.Action, c.AccessLevel, c.Services = a.Name, a.Level, a.Services }

// Check decides whether a session of this user may make a call now, and counts
// the call against its rate limits if so. It allocates nothing.
func (g *Grants) Check(sessionID, user string, call Call, now time.Time) Decision {
	d := Decision{id: sessionID}
	g.mu.RLock()
	ok := g.live(&d, user, call.Account, now)
	g.mu.RUnlock()
	if ok {
		d.permit(d.policy, &call, false)
		if d.hold(d.policy, &call, false); d.Allowed && d.limits != nil {
			d.take(now.UnixNano(), &g.untold)
		}
	}
	return d
}

// live decides all but permissions and rate limits, which it puts into d. The
// caller holds g.mu.
func (g *Grants) live(d *Decision, user, account string, at time.Time) (ok bool) {
	if g.broken != "" || g.heard.IsZero() {
		d.cause, d.detail = CauseStale, g.deaf()
		return false
	}
	slot := g.sessions.find(g.sessions.hash(d.id))
	if slot == nil || slot.user != g.sessions.hashUser(user) {
		if d.cause = CauseNoSession; g.deafTo(nil, at) {
			d.cause, d.detail = CauseStale, g.deaf()
		}
		return false
	}
	if g.deafTo(slot.session, at) {
		d.cause, d.detail = CauseStale, g.deaf()
		return false
	}
	now := at.UnixNano()
	d.session, d.policy, d.limits = slot.session, slot.policy, slot.limits
	if len(g.all.locks) > 0 && d.locked(&g.all, now) {
		return false
	}
	if account != "" && g.accountLocks > 0 && slot.account != g.sessions.hashUser(account) {
		if t := g.targets[events.LockTarget{Kind: "account", Name: account}]; t != nil && d.locked(t, now) {
			return false
		}
	}
	if now < slot.expires && slot.clear.Load() == g.epoch {
		return true
	}
	clear, ok := d.examine(now)
	if clear {
		slot.clear.Store(g.epoch)
	}
	return ok
}

// deaf says why the projection cannot be trusted.
func (g *Grants) deaf() string {
	switch {
	case g.broken != "":
		return g.broken
	case g.heard.IsZero():
		return "it has not read the ACCESS stream yet"
	}
	return fmt.Sprintf("it has not heard from the ACCESS stream since %s, longer than the %s that it may: a lock may have been placed",
		g.heard.UTC().Format(time.RFC3339), g.silence)
}

// examine looks at the session itself. clear says that nothing at all hangs on
// it, so that only its expiry can refuse it until the next epoch.
func (d *Decision) examine(now int64) (clear, ok bool) {
	s := d.session
	switch {
	case s.ended != nil:
		d.cause, d.ended = CauseEnded, s.ended
		return false, false
	case now >= s.expires:
		d.cause = CauseExpired
		return false, false
	}
	clear = true
	for _, t := range s.targets {
		if t.troubled(s) {
			clear = false
			if d.locked(t, now) || d.over(t, s) {
				return false, false
			}
		}
	}
	return clear, true
}

// troubled tells whether anything hangs on t that may refuse s.
func (t *target) troubled(s *session) bool {
	return len(t.locks) > 0 || t.disabled || t.deleted || t.deletedAt > s.seq || t.dropped
}

// locked fills d in if a lock on t holds now.
func (d *Decision) locked(t *target, now int64) bool {
	for _, l := range t.locks {
		if l.expires == 0 || now < l.expires {
			d.cause, d.lock = CauseLock, l.LockPlaced
			return true
		}
	}
	return false
}

// over fills d in if what s rests on is gone.
func (d *Decision) over(t *target, s *session) bool {
	switch {
	case t.deleted, t.deletedAt > s.seq:
		d.detail = "deleted"
	case t.disabled:
		d.detail = "disabled"
	case t.dropped:
		d.detail = "dropped"
	default:
		return false
	}
	d.cause, d.on = CauseEnded, t.LockTarget
	return true
}
