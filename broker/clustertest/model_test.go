package clustertest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
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
	sessions []ofUser
	locks    []*lock
}

type ofUser struct{ id, user string }

type lock struct {
	id, user string
	placed   time.Time // it was acknowledged
	lifting  time.Time // somebody began to lift it; zero: nobody
	lost     bool      // whether it was lifted is not known
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
	case *events.RoleDeleted:
		return "delete role " + d.Name
	case *events.AccessListMemberAdded:
		return "add member " + d.Reason
	case *events.AccessListMemberRemoved:
		return "remove member " + d.Reason
	case *events.RequestCreated:
		return "ask " + d.RequestID
	case *events.RequestReviewed:
		return "review " + d.Reason
	case *events.RequestDropped:
		return "drop " + d.RequestID
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

func (m *model) anySession(rng *rand.Rand) (id, user string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := pick(rng, m.sessions[max(0, len(m.sessions)-20):])
	return s.id, s.user
}

// step gives one random command to a random broker and notes what it says.
func (m *model) step(ctx context.Context, rng *rand.Rand, as map[string][]*client.Client) {
	ctx, cancel := context.WithTimeout(ctx, 8*time.Second)
	defer cancel()
	at, kind := rng.IntN(brokers), rng.IntN(21)
	admin, asker, reviewer := as["admin"][at], pick(rng, askers), pick(rng, reviewers)
	m.mu.Lock()
	m.marks++
	mark := fmt.Sprint("m", m.marks)
	user, request, session := late(rng, m.users), late(rng, m.requests), late(rng, m.sessions)
	var lk *lock
	if i := slices.IndexFunc(m.locks, func(l *lock) bool { return l.lifting.IsZero() || l.lost }); kind >= 19 && i >= 0 {
		lk = m.locks[i]
		lk.lost = false
		if lk.lifting.IsZero() {
			lk.lifting = time.Now()
		}
	}
	m.mu.Unlock()

	did := "" // what was acknowledged, where the command names it
	var err error
	switch kind {
	case 0:
		name := "user-" + mark
		if _, err = admin.Apply(ctx, "", []byte(userYAML(name, "aws-reader", mark)), false); err == nil {
			m.know(func() { m.users = append(m.users, name) })
		}
		did = "create user " + name
	case 1:
		_, err = admin.Apply(ctx, "", []byte(userYAML(asker, "aws-reader", mark)), true)
		did = fmt.Sprint("update user ", asker, []string{mark})
	case 2:
		if user == "" {
			return
		}
		err = admin.DeleteResource(ctx, "user", user)
		did = "delete user " + user
	case 3:
		_, err = admin.Apply(ctx, "", fmt.Appendf(nil, "kind: role\nversion: v7\nmetadata: {name: role-%s}\nspec: {}\n", mark), false)
		did = "create role role-" + mark
	case 4:
		_, err = admin.AddMember(ctx, "oncall", api.AddMember{Name: asker, Kind: "user", Reason: mark})
		did = "add member " + mark
	case 5:
		err = admin.RemoveMember(ctx, "oncall", api.ListMember{Name: asker, Kind: "user"}, mark)
		did = "remove member " + mark
	case 6, 7:
		var q api.Request
		if q, err = as[asker][at].CreateRequest(ctx, api.CreateRequest{Roles: []string{"aws-engineer"}, Reason: mark}); err == nil {
			m.know(func() { m.requests = append(m.requests, ofUser{q.ID, asker}) })
		}
		did = "ask " + q.ID
	case 8, 9, 10, 11, 12:
		if request.id == "" {
			return
		}
		verdict := "approve"
		if rng.IntN(4) == 0 {
			verdict = "deny"
		}
		_, err = as[reviewer][at].Review(ctx, request.id, api.CreateReview{Verdict: verdict, Reason: mark})
		did = "review " + mark
	case 13:
		if request.id == "" {
			return
		}
		err = as[request.user][at].DropRequest(ctx, request.id)
		did = "drop " + request.id
	case 14, 15, 16:
		var s api.Session
		if s, err = as[asker][at].StartSession(ctx, api.StartSession{App: "payments", AWSRole: pick(rng, []string{"ReadOnly", "Admin"})}); err == nil {
			m.know(func() { m.sessions = append(m.sessions, ofUser{s.ID, asker}) })
		}
		did = "start " + s.ID
	case 17:
		if session.id == "" || rng.IntN(2) == 0 {
			return
		}
		err = as[session.user][at].EndSession(ctx, session.id)
		did = "end " + session.id
	case 18:
		var l api.Lock
		if l, err = admin.PlaceLock(ctx, api.CreateLock{Target: api.LockTarget{Kind: "user", Name: asker}, Message: mark}); err == nil {
			m.know(func() { m.locks = append(m.locks, &lock{id: l.ID, user: asker, placed: time.Now()}) })
		}
		did = "lock " + l.ID
	default:
		if lk == nil {
			return
		}
		if err = admin.LiftLock(ctx, lk.id); err != nil {
			m.know(func() { lk.lost = true })
		}
		did = "lift " + lk.id
	}
	m.know(func() { m.note(did, err) })
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

// check holds the history against what was acknowledged: each command is in it
// once, no request is resolved twice, and revisions have no gaps.
func (m *model) check(fail func(string, ...any), history []events.Event) {
	found := map[string]int{}
	resolved := map[string]events.Type{}
	for _, e := range history {
		if key := keyOf(e.Data); key != "" {
			if found[key]++; found[key] > 1 {
				fail("the history has %q %d times", key, found[key])
			}
		}
		resolve := func(id string) {
			if before := resolved[id]; before != "" {
				fail("request %s: %s after %s", id, e.Data.Type(), before)
			}
			resolved[id] = e.Data.Type()
		}
		switch d := e.Data.(type) {
		case *events.RequestApproved:
			resolve(d.RequestID)
		case *events.RequestDenied:
			resolve(d.RequestID)
		case *events.RequestExpired:
			resolve(d.RequestID)
		case *events.RequestReviewed:
			if before := resolved[d.RequestID]; before != "" {
				fail("request %s: reviewed after %s", d.RequestID, before)
			}
		}
	}
	for _, key := range m.acked {
		if found[key] != 1 {
			fail("%q was acknowledged and is in the history %d times", key, found[key])
		}
	}
}
