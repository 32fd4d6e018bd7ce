package access

import (
	"regexp"
	"slices"
	"time"

	"github.com/posternhq/postern/broker/policy"
	"github.com/posternhq/postern/events"
)

const (
	// callWait is how long a call may wait for its approval, and callTTL how long
	// an approved one may be made.
	callWait = time.Hour
	callTTL  = 15 * time.Minute
)

// idForm is that of a ULID (https://github.com/ulid/spec).
var idForm = regexp.MustCompile(`^[0-7][0-9A-HJKMNP-TV-Z]{25}$`)

// Hold makes a request of an AWS call that waits at a proxy for its approval.
// The proxy has chosen its id, so that it is made once, however often and by
// however many brokers this is decided.
func Hold(s *State, env Env, id, user string, call events.HeldCall) ([]events.Event, error) {
	if s.Requests[id] != nil || s.Head((&events.RequestCreated{RequestID: id}).Channel()).Seq != 0 {
		return nil, nil
	}
	if !idForm.MatchString(id) {
		return nil, refuse(Invalid, "%q is not an id", id)
	}
	if _, err := Admit(s, env.Now, user); err != nil {
		return nil, err
	}
	x := s.Sessions[call.SessionID]
	if x == nil || x.User != user || x.State(env.Now) != Running {
		return nil, refuse(NotFound, "%s has no running session %s", user, call.SessionID)
	}
	var roles []*policy.Role
	for _, name := range call.Roles {
		wants := slices.ContainsFunc(x.Permissions, func(p events.Permission) bool { return p.Role == name && p.Approval })
		if !wants || s.Roles[name] == nil {
			return nil, refuse(Invalid, "role %s does not want calls of session %s approved", name, x.SessionID)
		}
		roles = append(roles, s.Roles[name])
	}
	if len(roles) == 0 {
		return nil, refuse(Invalid, "no role wants this call approved")
	}
	if err := s.room(user, env.Now); err != nil {
		return nil, err
	}
	ask := policy.Approving(roles)
	expires := env.Now.Add(callWait)
	if x.ExpiresAt.Before(expires) {
		expires = x.ExpiresAt
	}
	return env.one(id, "", &events.RequestCreated{
		RequestID: id, User: user, TTL: int64(callTTL / time.Second), ExpiresAt: expires.UTC(),
		Thresholds: ask.Thresholds, ThresholdSets: ask.Sets, Reviewers: ask.Reviewers, Call: &call,
	}), nil
}
