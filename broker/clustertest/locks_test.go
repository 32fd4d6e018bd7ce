package clustertest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
)

// targetKinds are what can be locked.
var targetKinds = []string{"user", "role", "session", "app", "aws_role", "account", "request", "device", "agent"}

// bitesWithin is how long the locksmith waits for a proxy to refuse by a lock before it
// lifts it anyway.
const bitesWithin = 1500 * time.Millisecond

// locksmith locks one thing after another on which a session that just went through
// rests, waits until it is refused for it, and lifts the lock again: random commands
// alone place few locks in a short run, and these are rarely on what is in use.
func (m *model) locksmith(ctx context.Context, rng *rand.Rand, as map[string][]*client.Client, gates []*gate) {
	for i := 0; ctx.Err() == nil; {
		target := api.LockTarget{Kind: targetKinds[i%len(targetKinds)]}
		session, name := pick(rng, gates).lately(target.Kind)
		if i++; name == "" {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		target.Name = name
		s := &stage{m: m, rng: rng, as: as, at: rng.IntN(brokers)}
		m.know(func() { m.marks++; s.mark = fmt.Sprint("m", m.marks) })
		placed := m.give(func(ctx context.Context) (string, error) {
			return s.place(ctx, api.CreateLock{Message: s.mark, Target: target})
		})
		if placed == "" {
			continue
		}
		id := strings.TrimPrefix(placed, "lock ")
		m.know(func() { m.focus = &session })
		for until := time.Now().Add(bitesWithin); time.Now().Before(until) && !slices.ContainsFunc(gates, func(g *gate) bool { return g.hit(id) > 0 }); {
			time.Sleep(10 * time.Millisecond)
		}
		m.know(func() { m.focus = nil })
		s.at = rng.IntN(brokers)
		m.give(func(ctx context.Context) (string, error) {
			return s.liftOne(ctx, func(l *lock) bool { return l.id == id })
		})
	}
}

// restsOn is the thing of a kind that a session at a proxy rests on, "" for none.
func restsOn(s api.Session, kind, proxy string) string {
	first := func(from []string) string {
		if len(from) == 0 {
			return ""
		}
		return from[0]
	}
	return map[string]string{"user": s.User, "role": first(s.Roles), "session": s.ID, "app": s.App, "aws_role": s.AWSRoleARN,
		"account": s.Account, "request": first(s.RequestIDs), "device": s.Device, "agent": proxy}[kind]
}

// give gives a command and notes what comes of it, "" unless it was acknowledged.
func (m *model) give(do func(context.Context) (string, error)) string {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	did, err := do(ctx)
	if did != "" || err != nil {
		m.know(func() { m.note(did, err) })
	}
	if err != nil {
		return ""
	}
	return did
}

// lately finds a session that went through a moment ago, and the thing of a kind that it
// rests on; "" where there is none.
func (g *gate) lately(kind string) (api.Session, string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, a := range slices.Backward(g.admitted) {
		if time.Since(a.decided) > bitesWithin {
			break
		}
		if name := restsOn(a.session, kind, g.name); name != "" {
			return a.session, name
		}
	}
	return api.Session{}, ""
}

// hit is how many requests a lock refused here.
func (g *gate) hit(lock string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.barred[lock]
}

// lockTally tells of each kind of target how many locks were placed, how many of them
// refused something, and how many were lifted.
func (m *model) lockTally(gates []*gate) string {
	placed, hit, lifted := map[string]int{}, map[string]int{}, map[string]int{}
	for _, l := range m.locks {
		if l.id == "" {
			continue
		}
		placed[l.target.Kind]++
		if slices.ContainsFunc(gates, func(g *gate) bool { return g.hit(l.id) > 0 }) {
			hit[l.target.Kind]++
		}
		if !l.lifting.IsZero() && !l.lost {
			lifted[l.target.Kind]++
		}
	}
	var out []string
	for _, k := range targetKinds {
		out = append(out, fmt.Sprintf("%s %d/%d/%d", k, placed[k], hit[k], lifted[k]))
	}
	return strings.Join(out, ", ")
}
