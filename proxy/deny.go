package proxy

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy/awserr"
	"github.com/posternhq/postern/proxy/grants"
)

// denial is a refusal by postern.
type denial struct {
	cause, reason string
	code          string // "" is the protocol's access denied
	status        int    // 0 is 403
	rule, lock    string
	next          string // command to run
	note          string // what to do instead, where no command helps
	// offer is a role that would allow it, pending an access request that may.
	offer, pending string
	over           string // session
}

// refused is denyDecision for a call that is known: it offers the roles that
// would allow it.
func (c *call) refused(d *grants.Decision, what *grants.Call) {
	c.offer = d.Offer(what)
	c.denyDecision(d)
}

func (c *call) denyDecision(d *grants.Decision) {
	n := denial{cause: d.Cause(), reason: d.Reason(), rule: d.Rule(), lock: d.LockID()}
	switch d.Cause() {
	case grants.CauseNoSession, grants.CauseExpired, grants.CauseEnded:
		n.over = c.id
		n.next = "postern apps login"
		if s := d.Session(); s != nil {
			n.next += " " + s.App
		}
	case grants.CauseRule:
		if len(c.offer) == 0 && d.Final() {
			n.note = fmt.Sprintf("No access request lifts that: ask whoever may change role %s", d.Role())
			break
		}
		// Without a role that is known to help, the way to ask is shown all the same.
		role, hint := "ROLE", " (postern apps ls lists roles to ask for)"
		if len(c.offer) > 0 {
			role, hint = c.offer[0], ""
			n.offer = role
		}
		n.next = fmt.Sprintf(`postern request create --roles %s --reason "…"%s`, role, hint)
	case grants.CauseRate:
		n.code, n.status = awserr.Throttled(c.r)
	case grants.CauseStale:
		// A retry mends this as soon as the proxy has caught up.
		n.code, n.status = "ServiceUnavailable", http.StatusServiceUnavailable
	}
	c.deny(n)
}

// deny answers the client and records why. The record is not waited for: a
// denial that cannot be recorded still denies.
func (c *call) deny(d denial) {
	switch {
	case d.code == "" && c.own:
		d.code = "AccessDenied"
	case d.code == "":
		d.code = awserr.AccessDenied(c.r)
	}
	if d.status == 0 {
		d.status = http.StatusForbidden
	}
	if d.over != "" {
		// A new session may be of a new sign-in, which this connection is not made by.
		c.w.Header().Set("Connection", "close")
	}
	c.p.recorder.later(c.event(&events.AWSRequestDenied{
		AWSRequest: c.about, Code: d.code, Cause: d.cause, Reason: d.reason, Rule: d.rule, LockID: d.lock,
	}), true)
	for name, v := range map[string]string{offerHeader: d.offer, pendingHeader: d.pending, overHeader: d.over} {
		if v != "" {
			c.w.Header().Set(name, v)
		}
	}
	msg := "postern: " + d.reason
	if d.next != "" {
		msg += ". Run: " + d.next
	}
	if d.note != "" {
		msg += ". " + d.note
	}
	c.say(d.status, d.code, msg)
}

// fail answers the client and records what went wrong.
func (c *call) fail(stage, code string, status int, reason string) {
	c.recordFailure(stage, code, reason)
	c.say(status, code, "postern: "+reason)
}

// say writes an error as the client reads it.
func (c *call) say(status int, code, msg string) {
	if c.own {
		problem(c.w, status, strings.TrimPrefix(msg, "postern: "))
		return
	}
	awserr.Write(c.w, c.r, awserr.Error{Status: status, Code: code, Message: msg, RequestID: c.about.RequestID})
}

func (c *call) recordFailure(stage, code, reason string) {
	e := &events.AWSRequestFailed{
		AWSRequest: c.about, Stage: stage, Code: code, Reason: reason,
		LatencyMicros: c.p.now().Sub(c.about.ReceivedAt).Microseconds(),
	}
	if c.body != nil {
		e.RequestBytes = c.body.count()
	}
	c.p.recorder.later(c.event(e), false)
}
