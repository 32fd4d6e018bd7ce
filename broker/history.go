package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/view"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

const (
	// maxReplays bounds how many questions about the past are answered at once:
	// each folds the whole stream into a state of its own.
	maxReplays = 2
	// replayTimeout bounds one of them, within the client's patience (30 s).
	replayTimeout = 25 * time.Second
	// maxReaches bounds the AWS roles in one answer.
	maxReaches = 10_000
)

// getAccess answers who could do what at ?at=, by replay.
func (b *Broker) getAccess(c *call) (any, error) {
	now := b.now()
	at, cut, err := moment("at", c.FormValue("at"), now)
	if err != nil {
		return nil, err
	}
	q, err := b.question(c)
	if err != nil {
		return nil, err
	}
	ctx, done, err := b.startReplay(c.Context())
	if err != nil {
		return nil, err
	}
	defer done()
	h := access.NewHistory(at)
	warnings, err := b.replay(ctx, cut, func(e journal.Entry) bool {
		h.Apply(e.Event, e.Seq, e.StoredAt)
		return true
	})
	if err != nil {
		return nil, err
	}
	out := api.Access{At: at, Sequence: h.Seq, Users: []api.UserAccess{}, Sessions: []api.RanSession{}, Warnings: warnings}
	left := maxReaches
	for _, q := range each(h, q) {
		if ctx.Err() != nil {
			return nil, replayFailed(ctx, h.Seq, ctx.Err())
		}
		u := view.UserAccess(h, q, at)
		could := h.State.Could(q, at)
		if len(could) > left {
			out.Warnings = append(out.Warnings, fmt.Sprintf("there are more than %d AWS roles to list, the rest is left out: name a user, an app or an AWS role", maxReaches))
			break
		}
		left -= len(could)
		for _, x := range could {
			u.AWSRoles = append(u.AWSRoles, view.CouldUse(h, x, at))
		}
		out.Users = append(out.Users, u)
	}
	for _, id := range slices.Sorted(maps.Keys(h.State.Sessions)) {
		if x := h.State.Sessions[id]; x.State(at) == access.Running && q.Concerns(x) {
			out.Sessions = append(out.Sessions, view.RanSession(h, x, at))
		}
	}
	if _, known := h.Made("user/" + q.User); q.User != "" && !known {
		out.Warnings = append(out.Warnings, fmt.Sprintf("up to then there never was a user %s", q.User))
	}
	if _, known := h.Made("app/" + q.App); q.App != "" && !known {
		out.Warnings = append(out.Warnings, fmt.Sprintf("up to then there never was an app %s", q.App))
	}
	return out, nil
}

// question reads what is asked. Everybody may ask about themselves; about
// others, who may read the audit trail.
func (b *Broker) question(c *call) (access.Question, error) {
	q := access.Question{User: c.FormValue("user"), App: c.FormValue("app"), AWSRole: c.FormValue("aws_role")}
	if q.User == c.who.User {
		return q, nil
	}
	err := b.require(c.who, "read", "audit")
	var refused *access.Error
	if errors.As(err, &refused) && refused.Code == access.Denied {
		refused.Message = fmt.Sprintf("no role of %s has a rule that allows to read audit, which it takes to ask about others", c.who.User)
		refused.Next = "postern access at now --user " + c.who.User
	}
	return q, err
}

// each makes one question of every user that is meant.
func each(h *access.History, q access.Question) []access.Question {
	if q.User != "" {
		return []access.Question{q}
	}
	var out []access.Question
	for _, name := range slices.Sorted(maps.Keys(h.State.Users)) {
		q.User = name
		out = append(out, q)
	}
	return out
}

// startReplay takes one of the few places; done gives it back.
func (b *Broker) startReplay(ctx context.Context) (_ context.Context, done func(), err error) {
	select {
	case b.replays <- struct{}{}:
	default:
		return nil, nil, &api.Error{Status: http.StatusTooManyRequests, Code: api.CodeThrottled,
			Message: fmt.Sprintf("%d questions about the past are being answered already, and this broker answers no more at once: try again in a moment", maxReplays)}
	}
	ctx, cancel := context.WithTimeout(ctx, replayTimeout)
	return ctx, func() { cancel(); <-b.replays }, nil
}

// replay reads the ACCESS stream from its start to the last event that it took
// up to cut (zero means to its end) or until visit returns false. The order of the stream and its clock
// decide, not the clocks of brokers: an event counts from when it was durable.
func (b *Broker) replay(ctx context.Context, cut time.Time, visit func(journal.Entry) bool) (warnings []string, err error) {
	refused, err := b.ledger.refusals(ctx)
	if err != nil {
		return nil, err
	}
	var unread int
	var seq uint64
	for e, err := range b.cfg.Journal.Replay(ctx, events.Access) {
		switch {
		case e.Seq == 0:
			return nil, replayFailed(ctx, seq, err)
		case !cut.IsZero() && e.StoredAt.After(cut):
			return warnings, nil
		case refused[e.Seq]:
		case err != nil:
			if unread++; unread == 1 {
				warnings = append(warnings, fmt.Sprintf("this version does not understand all events, so there may have been less access than it says: %v", err))
			}
		case !visit(e):
			return warnings, nil
		}
		seq = e.Seq
	}
	return warnings, nil
}

func replayFailed(ctx context.Context, seq uint64, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &api.Error{Status: http.StatusServiceUnavailable, Code: api.CodeUnavailable,
			Message: fmt.Sprintf("reading the history took longer than %s and came to event %d: ask about one user, app or AWS role, or when the broker has less to do", replayTimeout, seq)}
	}
	return fmt.Errorf("read the history: %w", err)
}
