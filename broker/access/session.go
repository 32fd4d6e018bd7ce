package access

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/posternhq/postern/broker/policy"
	"github.com/posternhq/postern/events"
)

// defaultSessionTTL bounds sessions where no role says less.
const defaultSessionTTL = 12 * time.Hour

// Session is the use of one AWS role.
type Session struct {
	*events.SessionStarted
	Seq uint64 // of its start
	// End is set once somebody or something ended it, EndSeq is that event's.
	End    *events.SessionEnded
	EndSeq uint64
}

// The states of a session.
const (
	Running = "running"
	Ended   = "ended"
	Expired = "expired"
)

// State of the session at a moment.
func (x *Session) State(now time.Time) string {
	switch {
	case x.End != nil:
		return Ended
	case !now.Before(x.ExpiresAt):
		return Expired
	}
	return Running
}

// targets are what a lock that stops the session names.
func (x *Session) targets() []events.LockTarget {
	out := []events.LockTarget{
		{Kind: "session", Name: x.SessionID}, {Kind: "user", Name: x.User}, {Kind: "app", Name: x.App},
		{Kind: "aws_role", Name: x.AWSRoleARN}, {Kind: "account", Name: x.Account},
	}
	for _, r := range x.Roles {
		out = append(out, events.LockTarget{Kind: "role", Name: r.Name})
	}
	for _, name := range x.OtherRoles {
		out = append(out, events.LockTarget{Kind: "role", Name: name})
	}
	for _, id := range x.RequestIDs {
		out = append(out, events.LockTarget{Kind: "request", Name: id})
	}
	if x.Device != "" {
		out = append(out, deviceTarget(x.Device))
	}
	return out
}

// Stopped are the sessions that ran when the event of a sequence placed a lock on a
// target at some time, and that it stopped, in the order of their starts.
func (s *State) Stopped(target events.LockTarget, seq uint64, at time.Time) []*Session {
	var out []*Session
	for _, x := range s.Sessions {
		if x.Seq < seq && (x.End == nil || x.EndSeq > seq) && at.Before(x.ExpiresAt) && slices.Contains(x.targets(), target) {
			out = append(out, x)
		}
	}
	slices.SortFunc(out, func(a, b *Session) int { return cmp.Compare(a.Seq, b.Seq) })
	return out
}

func (s *State) applySession(e events.Event, h Head) {
	switch d := e.Data.(type) {
	case *events.SessionStarted:
		x := &Session{SessionStarted: d, Seq: h.Seq}
		s.Sessions[d.SessionID], s.running[d.SessionID] = x, x
	case *events.SessionEnded:
		delete(s.running, d.SessionID)
		if old := s.Sessions[d.SessionID]; old != nil {
			x := *old
			x.End, x.EndSeq = d, h.Seq
			s.Sessions[d.SessionID] = &x
		}
	}
}

// StartSession is the command to use an AWS role of an app.
type StartSession struct {
	User, App string
	// AWSRole is an ARN, a role's name, or empty where there is one only.
	AWSRole string
	// RequestID picks the access request to rest on; empty leaves the choice.
	RequestID  string
	ClientAddr string
	// NotAfter is the end of the user's certificate, Certificate its serial.
	NotAfter    time.Time
	Certificate string
	// Device is the machine that the certificate was made for, "" for none.
	Device string
	// ID is for the session where it was chosen before; empty is a new one.
	ID string
	// SecondFactor is the event that proved one for this session, if any did.
	SecondFactor string
}

// Start decides a StartSession. The event is the whole decision: proxies need
// nothing else.
func Start(s *State, env Env, c StartSession) ([]events.Event, error) {
	u, err := Admit(s, env.Now, c.User)
	if err == nil {
		err = s.Holds(c.Certificate)
	}
	if err != nil {
		return nil, err
	}
	app := s.Apps[c.App]
	if app == nil {
		e := refuse(NotFound, "there is no app %s", c.App)
		e.Next = "postern apps ls"
		return nil, e
	}
	sub := s.Subject(u, env.Now)
	asks := sub.Requestable(app.App, s.allRoles())
	arn, err := chooseARN(sub, app.App, c.AWSRole, asks)
	if no := (*Error)(nil); errors.As(err, &no) && no.Code == Denied { // there are several to ask for
		for _, arn := range slices.Sorted(maps.Keys(asks)) {
			if s.underway(no, env.Now, c.User, arn, asks[arn]) {
				break
			}
		}
	}
	if err != nil {
		return nil, err
	}
	g, err := sub.Grant(app.App, arn, c.RequestID)
	if err != nil {
		return nil, s.offer(denied(err), env.Now, c.User, arn, asks[arn])
	}
	parsed, err := policy.ParseRoleARN(arn)
	if err != nil {
		return nil, refuse(Invalid, "%v", err)
	}
	if l := s.LockOn(env.Now, append(grantTargets(sub, g, app.Name, arn), deviceTarget(c.Device))...); l != nil {
		return nil, locked(l)
	}
	if role := g.AsksFactor(); role != "" && c.SecondFactor == "" {
		return nil, refuse(NoFactor, "role %s asks for a second factor at the start of every session", role)
	}
	region := cmp.Or(app.Region, policy.DefaultRegion(parsed.Partition))
	if region == "" {
		return nil, refuse(Invalid, "app %s names no region and partition %s has no default: set spec.aws.region", app.Name, parsed.Partition)
	}
	expires := env.Now.Add(min(cmp.Or(g.MaxTTL, defaultSessionTTL), events.MaxSession))
	for _, t := range []time.Time{c.NotAfter, g.Until} {
		if !t.IsZero() && t.Before(expires) {
			expires = t
		}
	}
	if !expires.After(env.Now) {
		return nil, &Error{Code: Denied, Message: "the certificate has expired", Next: "postern login"}
	}
	id := c.ID
	if id == "" {
		id = env.NewID()
	} else if s.Head((&events.SessionStarted{SessionID: id}).Channel()).Seq != 0 {
		return nil, refuse(Denied, "this proof of a second factor was used already")
	}
	started := &events.SessionStarted{
		SessionID:       id,
		User:            c.User,
		App:             app.Name,
		AppLabels:       app.Labels,
		RequestIDs:      g.RequestIDs(),
		AccessLists:     g.Lists(),
		AWSRoleARN:      arn,
		Account:         parsed.Account,
		Partition:       parsed.Partition,
		Region:          region,
		RoleSessionName: RoleSessionName(c.User),
		ExternalID:      app.ExternalID,
		Permissions:     g.Permissions,
		Requestable:     asks[arn],
		RealCredentials: g.RealCredentials,
		RateLimits:      g.RateLimits,
		Offers:          sub.Offers(s.named(asks[arn])),
		StartedAt:       env.Now.UTC(),
		ExpiresAt:       expires.UTC(),
		ClientAddr:      c.ClientAddr,
		Certificate:     c.Certificate,
		SecondFactor:    c.SecondFactor,
		Device:          c.Device,
		LockMode:        sub.LockMode(),
	}
	started.OtherRoles = otherRoles(sub, g)
	cause := ""
	for _, h := range g.Roles {
		ref := events.RoleRef{Name: h.Name, Revision: h.Revision}
		if !slices.Contains(started.Roles, ref) {
			started.Roles = append(started.Roles, ref)
		}
		if q := s.Requests[h.RequestID]; q != nil && cause == "" {
			cause = q.DecisionID
		}
	}
	if cause == "" {
		cause = s.joinedBy(c.User, started.AccessLists)
	}
	if app.SourceIdentity {
		started.SourceIdentity = started.RoleSessionName
	}
	if app.SessionTags {
		started.SessionTags = map[string]string{"PosternUser": tagValue(c.User), "PosternSession": id}
		if len(started.RequestIDs) > 0 {
			started.SessionTags["PosternRequest"] = started.RequestIDs[0]
		}
	}
	return env.one(id, cause, started), nil
}

// otherRoles are the standing roles on which a grant does not rest.
func otherRoles(sub policy.Subject, g policy.Grant) []string {
	var out []string
	for _, name := range sub.RoleNames() {
		if !slices.Contains(out, name) && !slices.ContainsFunc(g.Roles, func(h policy.Held) bool { return h.Name == name }) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// joinedBy is the event that made a user a member of the first of some lists
// that they are in by themselves.
func (s *State) joinedBy(user string, lists []string) string {
	for _, l := range lists {
		if m, ok := s.members[l][events.ListMember{Name: user, Kind: events.KindUser}]; ok {
			return m.EventID
		}
	}
	return ""
}

// grantTargets are the locks to look for on what a session would rest on. A
// lock on any of the user's roles counts, whatever it is for.
func grantTargets(sub policy.Subject, g policy.Grant, app, arn string) []events.LockTarget {
	targets := []events.LockTarget{
		{Kind: "app", Name: app},
		{Kind: "aws_role", Name: arn},
	}
	if a, err := policy.ParseRoleARN(arn); err == nil {
		targets = append(targets, events.LockTarget{Kind: "account", Name: a.Account})
	}
	for _, name := range sub.RoleNames() {
		targets = append(targets, events.LockTarget{Kind: "role", Name: name})
	}
	for _, h := range g.Roles {
		targets = append(targets, events.LockTarget{Kind: "role", Name: h.Name})
		if !h.Standing() {
			targets = append(targets, events.LockTarget{Kind: "request", Name: h.RequestID})
		}
	}
	return targets
}

// End ends a session; one that is over already stays as it is.
func End(s *State, env Env, id, reason string) ([]events.Event, error) {
	x := s.Sessions[id]
	if x == nil {
		return nil, refuse(NotFound, "there is no session %s", id)
	}
	if x.State(env.Now) != Running {
		return nil, nil
	}
	return env.one(id, "", &events.SessionEnded{SessionID: id, User: x.User, By: env.By, Reason: reason}), nil
}
