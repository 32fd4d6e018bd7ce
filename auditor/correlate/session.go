package correlate

import (
	"fmt"
	"slices"
	"time"

	"github.com/posternhq/postern/events"
)

// Session is under what a user may call AWS.
type Session struct {
	ID      string
	User    string
	App     string
	RoleARN string
	Account string
	// Roles are all that its user held, by name, AccessRequests what it rests on, Device
	// is the machine that it was started from: a lock on any of them stops it.
	Roles          []string
	AccessRequests []string
	Device         string
	// EndsAt is when it expires or was ended.
	EndsAt time.Time
}

// Lock stops its target; Kind and Name as in events.LockTarget.
type Lock struct {
	ID       string
	Kind     string
	Name     string
	PlacedAt time.Time
	// Until is when it was lifted or ended by itself; zero means it holds.
	Until time.Time
}

// AddSession tells of a session.
func (s *State) AddSession(x Session) { s.sessions[x.ID] = x }

// EndSession tells that a session was ended.
func (s *State) EndSession(id string, at time.Time) []Judgement {
	x, ok := s.sessions[id]
	if !ok || !at.Before(x.EndsAt) {
		return nil
	}
	x.EndsAt = at
	s.sessions[id] = x
	return s.lookAgain(at)
}

// AddLock tells of a lock.
func (s *State) AddLock(l Lock) []Judgement {
	s.locks[l.ID] = l
	return s.lookAgain(l.PlacedAt)
}

// LiftLock tells that a lock was lifted.
func (s *State) LiftLock(id string, at time.Time) {
	if l, ok := s.locks[id]; ok && (l.Until.IsZero() || at.Before(l.Until)) {
		l.Until = at
		s.locks[id] = l
	}
}

// party is who is behind a call: what of it is known.
type party struct{ user, session, role, account, proxy string }

// late remembers which findings about a call there are.
type late struct{ locked, expired bool }

// lookAgain looks at what is settled in the light of what came to be known since.
func (s *State) lookAgain(since time.Time) []Judgement {
	for _, r := range s.settledRequests {
		if r.ReceivedAt.After(since) {
			s.say(Judgement{Opened: s.lateRequest(r, nil)})
		}
	}
	for _, x := range s.settledRecords {
		if x.rec.EventTime.After(since) {
			s.say(Judgement{Opened: s.lateRecord(x.rec)})
		}
	}
	return s.take()
}

// say hands out what says something.
func (s *State) say(j Judgement) {
	if j.Verdict != nil || len(j.Opened) > 0 || len(j.Resolved) > 0 {
		s.out = append(s.out, j)
	}
}

func (s *State) lateRequest(req *request, rec *record) []events.FindingOpened {
	if req.refused {
		return nil
	}
	return s.lateCalls(party{req.User, req.SessionID, req.RoleARN, req.Account, req.Proxy}, req.ReceivedAt, &req.late, req, rec)
}

// lateRecord is about records of calls that did not go through postern.
func (s *State) lateRecord(rec *record) []events.FindingOpened {
	switch rec.verdict {
	case events.Bypass, events.Console, events.Exported, events.ByToken, events.Forwarded:
	default:
		return nil
	}
	if rec.Refused || rec.Rule == ruleShared {
		return nil
	}
	user, _ := s.scope.userOf(&rec.Record)
	p := party{user: user, role: rec.RoleARN, account: rec.IdentityAccount}
	c, ok := s.scope.keys[rec.AccessKeyID]
	if !ok {
		c, ok = s.scope.console(&rec.Record)
	}
	if ok {
		p = party{user: c.User, session: c.SessionID, role: c.RoleARN, account: c.Account}
	}
	return s.lateCalls(p, rec.EventTime, &rec.late, nil, rec)
}

// lateCalls finds a lock that held, and the end of the session, before a call;
// Grace before it at least, because clocks differ and calls take their time. For the
// same reason a lock still holds Grace after it.
func (s *State) lateCalls(p party, at time.Time, said *late, req *request, rec *record) []events.FindingOpened {
	var out []events.FindingOpened
	x := s.sessions[p.session]
	if !said.locked {
		if l, ok := s.locked(p, &x, at.Add(-s.c.Grace), at.Add(s.c.Grace)); ok {
			said.locked = true
			out = append(out, *s.finding("after_lock", "critical", req, rec,
				fmt.Sprintf("%s called AWS %s after lock %s on %s %s", p.user, s.about(req, rec), l.ID, l.Kind, l.Name)))
		}
	}
	if !said.expired && !x.EndsAt.IsZero() && at.Add(-s.c.Grace).After(x.EndsAt) {
		said.expired = true
		out = append(out, *s.finding("after_expiry", "high", req, rec,
			fmt.Sprintf("%s called AWS %s after session %s ended at %s", p.user, s.about(req, rec), p.session, x.EndsAt.UTC().Format(time.RFC3339))))
	}
	return out
}

func (s *State) about(req *request, rec *record) string {
	if req != nil {
		return "(" + label(req) + ")"
	}
	return "(" + rec.EventSource + " " + rec.EventName + ")"
}

// locked finds the lock with the lowest id that held all the time between two.
func (s *State) locked(p party, x *Session, from, to time.Time) (found Lock, ok bool) {
	for _, l := range s.locks {
		if from.Before(l.PlacedAt) || !l.Until.IsZero() && !to.Before(l.Until) || ok && found.ID < l.ID {
			continue
		}
		hit := false
		switch l.Kind {
		case "user":
			hit = l.Name == p.user
		case "session":
			hit = l.Name == p.session
		case "aws_role":
			hit = l.Name == p.role
		case "account":
			hit = l.Name == p.account
		case "app":
			hit = l.Name == x.App
		case "role":
			hit = slices.Contains(x.Roles, l.Name)
		case "device":
			hit = l.Name == x.Device
		case "agent": // which stops what comes to it; what went around it, it does not
			hit = l.Name == p.proxy
		case "request":
			hit = slices.Contains(x.AccessRequests, l.Name)
		}
		if hit && l.Name != "" {
			found, ok = l, true
		}
	}
	return found, ok
}
