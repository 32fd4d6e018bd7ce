package view

import (
	"slices"
	"strings"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
)

// UserAccess is what one user could do at a moment; the list of AWS roles is
// left to fill.
func UserAccess(h *access.History, q access.Question, now time.Time) api.UserAccess {
	out := api.UserAccess{User: q.User, State: h.State.UserState(q.User, now), AWSRoles: []api.CouldUse{}, Wildcards: h.State.Wildcards(q, now)}
	if len(out.Wildcards) == 0 {
		out.Wildcards = nil
	}
	if c, ok := h.Made("user/" + q.User); ok {
		out.Because = append(out.Because, cause(c))
	}
	for _, l := range h.State.UserLocks(q.User, now) {
		if c, ok := h.Made("lock/" + l.LockID); ok {
			out.Because = append(out.Because, cause(c))
		}
	}
	return out
}

// CouldUse is one AWS role that a user could, or could not, use.
func CouldUse(h *access.History, c access.Could, now time.Time) api.CouldUse {
	r := awsRole(c.Reach)
	out := api.CouldUse{
		App: c.App, ARN: c.ARN, Name: c.ARN[strings.LastIndexByte(c.ARN, '/')+1:], Usable: c.Usable(), Refused: c.Refused,
		Roles: list(r.Roles), RequestIDs: r.RequestIDs, ExpiresAt: r.ExpiresAt, Ways: []api.Way{},
	}
	if len(c.Ways) == 0 {
		out.Because = causes(h.RefusalGround(c, now))
	}
	for _, w := range c.Ways {
		way := api.Way{Roles: []string{}, RequestIDs: w.RequestIDs(), AccessLists: w.Lists(), Because: causes(h.Ground(c, w))}
		if !w.Until.IsZero() {
			way.ExpiresAt = &w.Until
		}
		for _, r := range w.Roles {
			if !slices.Contains(way.Roles, r.Name) {
				way.Roles = append(way.Roles, r.Name)
			}
		}
		for _, p := range w.Permissions {
			way.Permissions = append(way.Permissions, api.Permission(p))
		}
		way.Locks = locks(w.Locks)
		out.Ways = append(out.Ways, way)
	}
	return out
}

// RanSession is a session that ran at a moment.
func RanSession(h *access.History, x *access.Session, now time.Time) api.RanSession {
	out := api.RanSession{Session: Session(x, now), Locks: locks(h.State.SessionLocks(x, now))}
	out.Because = causes(h.SessionGround(x, now))
	return out
}

// AccessStep is one change of what a watch follows.
func AccessStep(f access.Flip) api.AccessStep {
	return api.AccessStep{At: f.At, Effect: f.Effect, Cause: cause(f.Cause), Expired: f.Expired}
}

func locks(ls []*access.Lock) []api.Lock {
	var out []api.Lock
	for _, l := range ls {
		out = append(out, Lock(l))
	}
	return out
}

func cause(c access.Cause) api.Cause {
	return api.Cause{EventID: c.EventID, Type: string(c.Type), Subject: c.Thing, Revision: c.Revision, By: c.By, At: c.At.UTC(), Sequence: c.Seq}
}

func causes(cs []access.Cause) []api.Cause {
	out := make([]api.Cause, 0, len(cs))
	for _, c := range cs {
		out = append(out, cause(c))
	}
	return out
}
