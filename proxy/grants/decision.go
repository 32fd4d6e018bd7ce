package grants

import (
	"fmt"
	"time"

	"github.com/posternhq/postern/events"
)

// Causes of a refusal, as in events.AWSRequestDenied.
const (
	CauseNoSession = "no_session"
	CauseExpired   = "session_expired"
	CauseEnded     = "session_ended"
	CauseLock      = "lock"
	CauseRule      = "rule"
	CauseStale     = "stale"
	CauseRate      = "rate_limit"
)

// Decision says whether a call may go on, and why not. The zero Decision
// refuses. Its texts are made only when asked for.
type Decision struct {
	Allowed bool

	cause   string
	session *session
	policy  *policy
	limits  *limits
	// allow is the permission that let the call through, deny the one that
	// refused it with the entry that did.
	allow, deny *events.Permission
	entry       string
	full        *bucket
	lock        *events.LockPlaced
	ended       *events.SessionEnded
	on          events.LockTarget
	id          string
	detail      string
	// action, resource and region are what a rule refused.
	action, resource, region string
}

// Session is the session that the decision is about, nil if it is not known
// (or not the caller's). It is shared: read only.
func (d *Decision) Session() *events.SessionStarted {
	if d.session == nil {
		return nil
	}
	return d.session.start
}

// EventID is the id of the session.started event.
func (d *Decision) EventID() string {
	if d.session == nil {
		return ""
	}
	return d.session.eventID
}

// Cause is one of the Cause constants, "" if allowed.
func (d *Decision) Cause() string { return d.cause }

// LockID is the lock that refuses, if one does.
func (d *Decision) LockID() string {
	if d.lock == nil || d.lock.Target.Kind == signin {
		return ""
	}
	return d.lock.LockID
}

// Role is the postern role whose permission decided, "" where none narrows.
func (d *Decision) Role() string {
	switch {
	case d.deny != nil:
		return d.deny.Role
	case d.allow != nil:
		return d.allow.Role
	}
	return ""
}

// Unlisted tells a call that no role of the session allows from one that a role
// denies.
func (d *Decision) Unlisted() bool { return d.cause == CauseRule && d.deny == nil }

// Final tells a call that a role denies for good from one that a role that may be asked
// for, or an approval, could let through.
func (d *Decision) Final() bool { return d.cause == CauseRule && d.deny != nil && !d.deny.Approval }

// Rule names the role and the entry that refused: "role contractor denies
// s3:Delete*".
func (d *Decision) Rule() string {
	switch {
	case d.cause == CauseRate:
		return d.full.rule()
	case d.cause != CauseRule:
		return ""
	case d.deny != nil && d.deny.Approval:
		return fmt.Sprintf("role %s wants %s approved", d.deny.Role, d.entry)
	case d.deny != nil:
		return fmt.Sprintf("role %s denies %s", d.deny.Role, d.entry)
	}
	return "no role of the session allows it"
}

// Reason says in one sentence why the call is refused, "" if it is allowed.
func (d *Decision) Reason() string {
	switch d.cause {
	case CauseNoSession:
		return fmt.Sprintf("session %s is not one of yours that this proxy knows", d.id)
	case CauseExpired:
		return fmt.Sprintf("session %s on %s expired at %s", d.id, d.session.start.App, d.session.start.ExpiresAt.UTC().Format(time.RFC3339))
	case CauseEnded:
		return d.endReason()
	case CauseLock:
		return lockReason(d.lock)
	case CauseRule:
		return d.ruleReason()
	case CauseRate:
		return d.full.rule() + ", and this is one more: try again a little later"
	case CauseStale:
		return "this proxy cannot tell who may do what, because " + d.detail
	}
	return ""
}

func (d *Decision) endReason() string {
	switch {
	case d.ended == nil:
		return fmt.Sprintf("%s %s was %s, which ended this session", nounOf(d.on.Kind), d.on.Name, d.detail)
	case d.ended.By == "":
		return fmt.Sprintf("session %s is over: %s", d.ended.SessionID, d.ended.Reason)
	case d.ended.Reason == "":
		return fmt.Sprintf("session %s was ended by %s", d.ended.SessionID, d.ended.By)
	}
	return fmt.Sprintf("session %s was ended by %s: %s", d.ended.SessionID, d.ended.By, d.ended.Reason)
}

func lockReason(l *events.LockPlaced) string {
	if l.Target.Kind == signin {
		return "your sign-in was revoked by " + l.By
	}
	s := fmt.Sprintf("lock %s on %s %s, placed by %s", l.LockID, nounOf(l.Target.Kind), l.Target.Name, l.By)
	if l.ExpiresAt != nil {
		s += " until " + l.ExpiresAt.UTC().Format(time.RFC3339)
	}
	if l.Message != "" {
		s += ": " + l.Message
	}
	return s
}

func (d *Decision) ruleReason() string {
	what := d.action
	if what == "" {
		what = "a call that postern cannot name"
	}
	if d.deny != nil && d.deny.Approval {
		return fmt.Sprintf("role %s wants every %s approved by somebody else", d.deny.Role, what)
	}
	if d.deny != nil {
		s := fmt.Sprintf("role %s denies %s by %q", d.deny.Role, what, d.entry)
		if d.detail != "" {
			s += ", because " + d.detail
		}
		return s
	}
	s := "no role of the session allows " + what
	if d.resource != "" {
		s += " on " + d.resource
	}
	if d.region != "" {
		s += " in " + d.region
	}
	if d.detail != "" {
		s += ": " + d.detail
	}
	return s
}

func nounOf(kind string) string {
	switch kind {
	case "aws_role":
		return "AWS role"
	case "account":
		return "AWS account"
	case "request":
		return "access request"
	}
	return kind
}
