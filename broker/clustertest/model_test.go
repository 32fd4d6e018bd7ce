package clustertest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
	"github.com/posternhq/postern/events"
)

// model is what those who command know: what was acknowledged to them.
type model struct {
	mu       sync.Mutex
	acked    []string // as keyOf tells
	refused  map[string]int
	unknown  int // commands that were neither acknowledged nor refused
	marks    int
	users    []string
	requests []ofUser
	sessions []api.Session
	locks    []*lock
	focus    *api.Session // what the locksmith has locked, nil while it has nothing
}

type ofUser struct{ id, user string }

// lock bars what a target names from AWS: as a lock does, or for ever as the end
// of a session and the revocation of a request do.
type lock struct {
	id      string // "" for ever
	target  api.LockTarget
	placed  time.Time // it was acknowledged
	expires time.Time // zero: not by itself
	lifting time.Time // somebody began to lift it; zero: nobody
	lost    bool      // whether it was lifted is not known
}

// askersRole is what all who have sessions hold, whether or not these rest on it.
const askersRole = "aws-reader"

// bars says whether it stood at a moment, for certain, against a session at a proxy.
func (l *lock) bars(s *api.Session, proxy string, at time.Time) bool {
	if !at.After(l.placed) || !l.expires.IsZero() && !at.Before(l.expires) || !l.lifting.IsZero() && !at.Before(l.lifting) {
		return false
	}
	name := l.target.Name
	switch l.target.Kind {
	case "user":
		return s.User == name
	case "role":
		return slices.Contains(s.Roles, name) || name == askersRole
	case "session":
		return s.ID == name
	case "app":
		return s.App == name
	case "aws_role":
		return s.AWSRoleARN == name
	case "account":
		return s.Account == name
	case "request":
		return slices.Contains(s.RequestIDs, name)
	case "device":
		return s.Device == name
	case "agent":
		return proxy == name
	}
	return false
}

// keyOf names what a command did, so that it can be found in the history; "" is
// what nobody commands.
func keyOf(p events.Payload) string {
	switch d := p.(type) {
	case *events.UserCreated:
		return "create user " + d.Name
	case *events.UserUpdated:
		return fmt.Sprint("update user ", d.Name, d.Traits["mark"])
	case *events.UserDeleted:
		return "delete user " + d.Name
	case *events.RoleCreated:
		return "create role " + d.Name
	case *events.RoleUpdated:
		return "change role " + d.Description
	case *events.AccessListMemberAdded:
		return "add member " + d.Reason // or what a promotion brings about, once
	case *events.AccessListMemberRemoved:
		return "remove member " + d.Reason
	case *events.AccessListReviewed:
		return "look through list " + d.Notes
	case *events.RequestCreated:
		return "ask " + d.RequestID
	case *events.RequestReviewed:
		return "review " + d.Reason
	case *events.RequestDropped:
		return "drop " + d.RequestID
	case *events.RequestPromoted:
		return "promote " + d.RequestID
	case *events.SessionStarted:
		return "start " + d.SessionID
	case *events.SessionEnded:
		return "end " + d.SessionID
	case *events.LockPlaced:
		return "lock " + d.LockID
	case *events.LockLifted:
		return "lift " + d.LockID
	}
	return ""
}

func pick[T any](rng *rand.Rand, from []T) (one T) {
	if len(from) > 0 {
		one = from[rng.IntN(len(from))]
	}
	return one
}

// late picks among the last few, which are likely to be still open.
func late[T any](rng *rand.Rand, from []T) T { return pick(rng, from[max(0, len(from)-6):]) }

func (m *model) anySession(rng *rand.Rand) api.Session {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.focus != nil && rng.IntN(2) == 0 {
		return *m.focus
	}
	return pick(rng, m.sessions[max(0, len(m.sessions)-20):])
}

// stage is what one command is drawn from, and where it is given.
type stage struct {
	m       *model
	rng     *rand.Rand
	as      map[string][]*client.Client
	at      int    // the broker
	mark    string // no other command has it
	asker   string
	user    string // that some command made, "" for none; as the following
	request ofUser
	session api.Session
}

func (s *stage) admin() *client.Client    { return s.as["admin"][s.at] }
func (s *stage) reviewer() *client.Client { return s.as[pick(s.rng, reviewers)][s.at] }

// commands are what is drawn from, each as often as its weight says. They return
// what was acknowledged, as keyOf names it; "" where there was nothing to do.
var commands = []struct {
	weight int
	do     func(*stage, context.Context) (did string, err error)
}{
	{1, (*stage).createUser}, {1, (*stage).updateUser}, {1, (*stage).deleteUser},
	{1, (*stage).createRole}, {1, (*stage).changeRole},
	{1, (*stage).addMember}, {1, (*stage).removeMember}, {1, (*stage).reviewList},
	{3, (*stage).ask}, {6, (*stage).review}, {1, (*stage).drop}, {1, (*stage).revoke}, {1, (*stage).promote},
	{12, (*stage).start}, {1, (*stage).end}, // sessions must last for something to be seen
	{1, (*stage).lock}, {4, (*stage).lift},
}

// commandTimeout bounds a command.
const commandTimeout = 8 * time.Second

// step gives one random command to a random broker and notes what it says.
func (m *model) step(rng *rand.Rand, as map[string][]*client.Client) {
	s := &stage{m: m, rng: rng, as: as, at: rng.IntN(brokers), asker: pick(rng, askers)}
	m.know(func() {
		m.marks++
		s.mark = fmt.Sprint("m", m.marks)
		s.user, s.request, s.session = late(rng, m.users), late(rng, m.requests), late(rng, m.sessions)
	})
	all := 0
	for _, c := range commands {
		all += c.weight
	}
	n := rng.IntN(all)
	for _, c := range commands {
		if n -= c.weight; n < 0 {
			m.give(func(ctx context.Context) (string, error) { return c.do(s, ctx) })
			return
		}
	}
}

func (s *stage) createUser(ctx context.Context) (string, error) {
	name := "user-" + s.mark
	_, err := s.admin().Apply(ctx, "", []byte(userYAML(name, askersRole, s.mark)), false)
	if err == nil {
		s.m.know(func() { s.m.users = append(s.m.users, name) })
	}
	return "create user " + name, err
}

func (s *stage) updateUser(ctx context.Context) (string, error) {
	_, err := s.admin().Apply(ctx, "", []byte(userYAML(s.asker, askersRole, s.mark)), true)
	return fmt.Sprint("update user ", s.asker, []string{s.mark}), err
}

func (s *stage) deleteUser(ctx context.Context) (string, error) {
	if s.user == "" {
		return "", nil
	}
	return "delete user " + s.user, s.admin().DeleteResource(ctx, "user", s.user)
}

func (s *stage) createRole(ctx context.Context) (string, error) {
	_, err := s.admin().Apply(ctx, "", fmt.Appendf(nil, "kind: role\nversion: v7\nmetadata: {name: role-%s}\nspec: {}\n", s.mark), false)
	return "create role role-" + s.mark, err
}

// changeRole takes some of what the engineers may from them, or gives it back.
func (s *stage) changeRole(ctx context.Context) (string, error) {
	actions := "[]"
	if s.rng.IntN(64) == 0 { // which ends the sessions of all of them
		actions = `["s3:Delete*"]`
	}
	_, err := s.admin().Apply(ctx, "", fmt.Appendf(nil, engineerYAML, s.mark, actions), true)
	return "change role " + s.mark, err
}

func (s *stage) addMember(ctx context.Context) (string, error) {
	_, err := s.admin().AddMember(ctx, "oncall", api.AddMember{Name: s.asker, Kind: "user", Reason: s.mark})
	return "add member " + s.mark, err
}

func (s *stage) removeMember(ctx context.Context) (string, error) {
	return "remove member " + s.mark, s.admin().RemoveMember(ctx, "oncall", api.ListMember{Name: s.asker, Kind: "user"}, s.mark)
}

func (s *stage) reviewList(ctx context.Context) (string, error) {
	in := api.ReviewList{Notes: s.mark}
	if s.rng.IntN(4) == 0 {
		in.Remove = []api.ListMember{{Name: s.asker, Kind: "user"}}
	}
	_, err := s.admin().ReviewList(ctx, "oncall", in)
	return "look through list " + s.mark, err
}

func (s *stage) ask(ctx context.Context) (string, error) {
	q, err := s.as[s.asker][s.at].CreateRequest(ctx, api.CreateRequest{Roles: []string{"aws-engineer"}, Reason: s.mark})
	if err == nil {
		s.m.know(func() { s.m.requests = append(s.m.requests, ofUser{q.ID, s.asker}) })
	}
	return "ask " + q.ID, err
}

func (s *stage) review(ctx context.Context) (string, error) {
	if s.request.id == "" {
		return "", nil
	}
	verdict := "approve"
	if s.rng.IntN(4) == 0 {
		verdict = "deny"
	}
	_, err := s.reviewer().Review(ctx, s.request.id, api.CreateReview{Verdict: verdict, Reason: s.mark})
	return "review " + s.mark, err
}

func (s *stage) drop(ctx context.Context) (string, error) {
	if s.request.id == "" {
		return "", nil
	}
	return s.gone(s.as[s.request.user][s.at].DropRequest(ctx, s.request.id))
}

func (s *stage) revoke(ctx context.Context) (string, error) {
	if s.request.id == "" {
		return "", nil
	}
	_, err := s.reviewer().RevokeRequest(ctx, s.request.id, api.RevokeRequest{Reason: s.mark})
	return s.gone(err)
}

// gone notes that nothing may rest on the request any more.
func (s *stage) gone(err error) (string, error) {
	if err == nil {
		s.bar("request", s.request.id)
	}
	return "drop " + s.request.id, err
}

func (s *stage) promote(ctx context.Context) (string, error) {
	if s.request.id == "" {
		return "", nil
	}
	_, err := s.reviewer().Promote(ctx, s.request.id, api.PromoteRequest{AccessList: "oncall", Reason: s.mark})
	return "promote " + s.request.id, err
}

func (s *stage) start(ctx context.Context) (string, error) {
	x, err := s.as[s.asker][s.at].StartSession(ctx, api.StartSession{App: "payments", AWSRole: pick(s.rng, []string{"ReadOnly", "Admin"})})
	if err == nil {
		s.m.know(func() { s.m.sessions = append(s.m.sessions, x) })
	}
	return "start " + x.ID, err
}

func (s *stage) end(ctx context.Context) (string, error) {
	if s.session.ID == "" || s.rng.IntN(2) == 0 {
		return "", nil
	}
	err := s.as[s.session.User][s.at].EndSession(ctx, s.session.ID)
	if err == nil {
		s.bar("session", s.session.ID)
	}
	return "end " + s.session.ID, err
}

// bar notes what holds for ever.
func (s *stage) bar(kind, name string) {
	s.m.know(func() {
		s.m.locks = append(s.m.locks, &lock{target: api.LockTarget{Kind: kind, Name: name}, placed: time.Now()})
	})
}

// lock places a lock, seldom, on something that stops little: the locksmith sees to the
// rest. One on somebody ends soon by itself.
func (s *stage) lock(ctx context.Context) (string, error) {
	in := api.CreateLock{Message: s.mark, Target: pick(s.rng, []api.LockTarget{
		{Kind: "user", Name: s.asker}, {Kind: "session", Name: s.session.ID}, {Kind: "request", Name: s.request.id},
	})}
	if in.Target.Name == "" || s.rng.IntN(8) > 0 {
		return "", nil
	}
	if in.Target.Kind == "user" {
		in.TTL = "1s"
	}
	return s.place(ctx, in)
}

func (s *stage) place(ctx context.Context, in api.CreateLock) (string, error) {
	l, err := s.admin().PlaceLock(ctx, in)
	if err == nil {
		k := &lock{id: l.ID, target: l.Target, placed: time.Now()}
		if l.ExpiresAt != nil {
			k.expires = *l.ExpiresAt
		}
		s.m.know(func() { s.m.locks = append(s.m.locks, k) })
	}
	return "lock " + l.ID, err
}

// lift lifts the oldest lock that stands for sure, or of which that is not known.
func (s *stage) lift(ctx context.Context) (string, error) {
	return s.liftOne(ctx, func(l *lock) bool {
		return l.id != "" && l.expires.IsZero() && (l.lost || l.lifting.IsZero() && time.Since(l.placed) > 2*bitesWithin)
	})
}

// liftOne lifts the first lock that fits.
func (s *stage) liftOne(ctx context.Context, fits func(*lock) bool) (string, error) {
	var l *lock
	s.m.know(func() {
		i := slices.IndexFunc(s.m.locks, fits)
		if i < 0 {
			return
		}
		l = s.m.locks[i]
		if l.lost = false; l.lifting.IsZero() {
			l.lifting = time.Now()
		}
	})
	if l == nil {
		return "", nil
	}
	err := s.admin().LiftLock(ctx, l.id)
	if err != nil {
		s.m.know(func() { l.lost = true })
	}
	return "lift " + l.id, err
}

func (m *model) know(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

func (m *model) note(did string, err error) {
	switch refusal := asAPI(err); {
	case err == nil:
		m.acked = append(m.acked, did)
	case refusal == nil || refusal.Status >= 500:
		m.unknown++
	default:
		m.refused[refusal.Code]++
	}
}

// tally counts the acknowledged commands by what they did.
func (m *model) tally() map[string]int {
	out := map[string]int{}
	for _, did := range m.acked {
		if word := did[:strings.LastIndexByte(did, ' ')]; strings.HasPrefix(word, "update user") {
			out["update user"]++
		} else {
			out[word]++
		}
	}
	for _, l := range m.locks {
		if l.id != "" {
			out["lock on "+l.target.Kind]++
		}
	}
	return out
}

// check holds the history against what was acknowledged: each command is in it
// once, no request is resolved twice, and what was given up stays so.
func (m *model) check(fail func(string, ...any), history []events.Event) {
	found := map[string]int{}
	resolved := map[string]events.Type{}
	for _, e := range history {
		if key := keyOf(e.Data); key != "" {
			if found[key]++; found[key] > 1 {
				fail("the history has %q %d times", key, found[key])
			}
		}
		after := func(id string, allowed ...events.Type) {
			if before := resolved[id]; before != "" && !slices.Contains(allowed, before) {
				fail("request %s: %s after %s", id, e.Data.Type(), before)
			}
		}
		switch d := e.Data.(type) {
		case *events.RequestApproved:
			after(d.RequestID)
			resolved[d.RequestID] = d.Type()
		case *events.RequestDenied:
			after(d.RequestID)
			resolved[d.RequestID] = d.Type()
		case *events.RequestExpired:
			after(d.RequestID)
			resolved[d.RequestID] = d.Type()
		case *events.RequestPromoted:
			after(d.RequestID)
			resolved[d.RequestID] = d.Type()
		case *events.RequestReviewed:
			after(d.RequestID)
		case *events.RequestDropped:
			after(d.RequestID, (&events.RequestApproved{}).Type())
			resolved[d.RequestID] = d.Type()
		}
	}
	for _, key := range m.acked {
		if found[key] != 1 {
			fail("%q was acknowledged and is in the history %d times", key, found[key])
		}
	}
}
