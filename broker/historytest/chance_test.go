package historytest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/events"
)

// chance makes choices.
type chance struct{ rng *rand.Rand }

func (c *chance) n(n int) int { return c.rng.IntN(n) }

func (c *chance) one(in int) bool { return c.n(in) == 0 }

func pick[T any](c *chance, from ...T) T { return from[c.n(len(from))] }

// some are up to most of those given, in their order.
func some[T any](c *chance, most int, from ...T) []T {
	var out []T
	for _, x := range from {
		if len(out) < most && c.one(3) {
			out = append(out, x)
		}
	}
	return out
}

const account, account2 = "123456789012", "210987654321"

var (
	users    = []string{"alice", "bob", "carol", "okta-eve"}
	roles    = []string{"reader", "engineer", "admin", "reviewer", "guard", "oncall"}
	apps     = []string{"prod", "test"}
	lists    = []string{"l0", "l1", "l2"}
	envs     = []string{"prod", "test"}
	names    = []string{"Reader", "Admin"}
	actions  = []string{"s3:GetObject", "s3:PutObject", "ec2:*", "@Read", "s3:@Write", "*"}
	someARNs = []string{"arn:aws:s3:::logs/*", "arn:aws:s3:::data/*", "*"}
	regions  = []string{"eu-*", "us-east-1", "*"}
)

func arnOf(account, name string) string { return "arn:aws:iam::" + account + ":role/" + name }

func arns() (out []string) {
	for _, name := range names {
		out = append(out, arnOf(account, name), arnOf(account2, name))
	}
	return out
}

func (c *chance) traits() map[string][]string {
	if c.one(2) {
		return nil
	}
	return map[string][]string{"env": some(c, 2, envs...), "team": some(c, 1, "a", "b")}
}

func (c *chance) conditions(deny bool) events.RoleConditions {
	var r events.RoleConditions
	if deny {
		switch c.n(6) {
		case 0:
			r.AppLabels = map[string][]string{"env": {pick(c, envs...)}}
		case 1:
			r.AWSRoleARNs = []string{pick(c, arns()...)}
		case 2:
			r.AWSActions = []string{pick(c, actions[:5]...)}
		case 3:
			r.AWSRegions = []string{"us-*"}
		case 4:
			r.AWSResources = []string{"arn:aws:s3:::{{internal.team}}/*"}
		}
		return r
	}
	r.AppLabels = pick(c, map[string][]string{"*": {"*"}}, map[string][]string{"*": {"*"}}, map[string][]string{"env": {"{{internal.env}}"}}, map[string][]string{"env": {pick(c, envs...)}})
	r.AWSRoleARNs = pick(c, []string{"*"}, []string{pick(c, arns()...), pick(c, arns()...)}, []string{"arn:aws:iam::*:role/" + pick(c, names...)})
	if c.one(2) {
		r.AWSActions = some(c, 3, actions...)
	}
	if c.one(4) {
		r.AWSResources = some(c, 2, append(someARNs, "arn:aws:s3:::{{internal.team}}/*")...)
	}
	if c.one(5) {
		r.AWSRegions = some(c, 2, regions...)
	}
	if c.one(6) {
		r.ApproveActions = []string{pick(c, actions[:3]...)}
	}
	if c.one(2) {
		q := &events.RequestConditions{Roles: pick(c, []string{"*"}, some(c, 3, roles...)), SearchAsRoles: some(c, 2, roles...), BreakGlassRoles: some(c, 1, roles...), MaxDuration: int64(pick(c, 0, 3600, 200000))}
		if c.one(3) {
			q.Thresholds = []events.Threshold{{Name: "two", Approve: 2, Deny: 1}}
		}
		if c.one(4) {
			q.AutoApprove = []events.AutoApproval{{Name: "day", Roles: []string{"*"}, Schedule: &events.Schedule{Windows: []events.Window{{Start: "08:00", End: "18:00"}}}}}
		}
		r.Request = q
	}
	if c.one(2) {
		r.ReviewRequests = &events.ReviewConditions{Roles: []string{"*"}}
	}
	return r
}

func (c *chance) role(name string) events.Role {
	r := events.Role{Name: name, Allow: c.conditions(false)}
	if c.one(3) {
		r.Deny = c.conditions(true)
	}
	r.Options.MaxSessionTTL = int64(pick(c, 0, 0, 600, 3600, 100_000))
	if c.one(8) {
		r.Options.DryRun = true
	}
	if c.one(8) {
		r.Options.Lock = pick(c, events.LockStrict, events.LockBestEffort)
	}
	if c.one(8) {
		r.Options.RealCredentials = []string{events.CredentialExport}
	}
	return r
}

func (c *chance) app(name string) events.App {
	a := events.App{Name: name, Labels: map[string]string{"env": pick(c, envs...)}}
	switch c.n(3) {
	case 0:
		a.AccountID = account
	case 1:
		a.RoleARNs = slices.Sorted(slices.Values(some(c, 4, arns()...)))
	}
	return a
}

func (c *chance) list(w *world, name string) events.AccessList {
	l := events.AccessList{Name: name, Owners: []events.ListOwner{{Name: pick(c, append(users, "bob", "bob")...), Kind: events.KindUser}}}
	if c.one(4) {
		l.Owners = append(l.Owners, events.ListOwner{Name: pick(c, lists...), Kind: events.KindList})
	}
	l.Grants.Roles = some(c, 3, roles...)
	if len(l.Grants.Roles) == 0 || c.one(3) {
		l.Grants.Traits = map[string][]string{pick(c, "env", "team"): {pick(c, "prod", "test", "a")}}
	}
	if c.one(8) {
		l.MembershipRequires.Roles = some(c, 1, roles...)
	}
	l.Audit = events.ListAudit{Months: pick(c, 1, 3), DayOfMonth: pick(c, 1, 15, 31), NotifyBefore: int64(pick(c, 3600, 86400)), GracePeriod: int64(pick(c, 600, 7200, 86400))}
	if c.one(2) {
		l.Audit.NextAuditDate = w.now.Add(time.Duration(c.n(40)) * time.Hour).Truncate(time.Minute)
	}
	return l
}

// until is an end that is to come, of some whole minutes at times.
func (c *chance) until(now time.Time) *time.Time {
	at := now.Add(time.Duration(1+c.n(30)) * pick(c, time.Minute, time.Hour)).UTC()
	if c.one(3) {
		at = at.Truncate(time.Minute).Add(time.Minute)
	}
	return &at
}

// something is what one of the brokers is asked to do; most of it is refused.
func (w *world) something(c *chance) {
	b := w.brokers[c.n(len(w.brokers))]
	if c.one(3) { // else by what it has read
		b.catchUp()
	}
	user, role, app, list := pick(c, users...), pick(c, roles...), pick(c, apps...), pick(c, lists...)
	replace := access.Put{Replace: true}
	by := pick(c, users...)
	do := func(decide decision) { _, _ = b.do(by, decide) }
	switch c.n(34) {
	case 28, 29, 30, 31: // what is asked for is to be decided, too
		w.onRequest(c, b, user)
	case 0, 1:
		u := events.User{Name: user, Roles: some(c, 2, roles...), Traits: c.traits(), Disabled: c.one(12)}
		do(func(s *access.State, env access.Env) ([]events.Event, error) {
			return access.PutUser(s, env, u, replace)
		})
	case 2:
		if c.one(2) {
			do(func(s *access.State, env access.Env) ([]events.Event, error) { return access.DeleteUser(s, env, user) })
		}
	case 3:
		on := access.SignOn{Connector: "okta", User: "okta-eve", Traits: map[string][]string{"group": some(c, 3, roles...)}, ID: w.newID(), TTL: time.Duration(1+c.n(40)) * time.Hour}
		do(func(s *access.State, env access.Env) ([]events.Event, error) { return access.SignOnUser(s, env, on) })
	case 4, 5:
		r := c.role(role)
		do(func(s *access.State, env access.Env) ([]events.Event, error) {
			return access.PutRole(s, env, r, replace)
		})
	case 6:
		do(func(s *access.State, env access.Env) ([]events.Event, error) { return access.DeleteRole(s, env, role) })
	case 7:
		a := c.app(app)
		do(func(s *access.State, env access.Env) ([]events.Event, error) {
			return access.PutApp(s, env, a, replace)
		})
	case 8:
		if c.one(3) {
			do(func(s *access.State, env access.Env) ([]events.Event, error) { return access.DeleteApp(s, env, app) })
		}
	case 9, 10:
		l := c.list(w, list)
		do(func(s *access.State, env access.Env) ([]events.Event, error) {
			return access.PutAccessList(s, env, l, replace)
		})
	case 11:
		if c.one(3) {
			do(func(s *access.State, env access.Env) ([]events.Event, error) {
				return access.DeleteAccessList(s, env, list)
			})
		}
	case 12, 13:
		add := access.AddMember{List: list, Member: events.ListMember{Name: user, Kind: events.KindUser}}
		if c.one(3) {
			add.Member = events.ListMember{Name: pick(c, lists...), Kind: events.KindList}
		}
		if c.one(2) {
			add.ExpiresAt = c.until(b.now())
		}
		w.byOwner(c, b, list, func(s *access.State, env access.Env) ([]events.Event, error) { return access.Add(s, env, add) })
		if add.Member.Kind == events.KindUser && c.one(2) {
			w.startSession(c, b, user, app)
		}
	case 14:
		members := membersOf(b.state, list)
		if len(members) == 0 {
			return
		}
		m := pick(c, members...)
		if c.one(2) {
			w.byOwner(c, b, list, func(s *access.State, env access.Env) ([]events.Event, error) {
				return access.Remove(s, env, access.RemoveMember{List: list, Member: m})
			})
			return
		}
		cmd := access.ReviewList{List: list, Remove: some(c, 2, members...)}
		w.byOwner(c, b, list, func(s *access.State, env access.Env) ([]events.Event, error) { return access.Attest(s, env, cmd) })
	case 15, 16, 17:
		w.request(c, b, user)
	case 18, 19:
		w.onRequest(c, b, user)
	case 20, 21, 32, 33:
		if ids := sorted(b.state.Requests); len(ids) > 0 && c.one(2) {
			user = b.state.Requests[ids[max(0, len(ids)-1-c.n(4))]].User
		}
		w.startSession(c, b, user, app)
	case 22:
		if ids := sorted(b.state.Sessions); len(ids) > 0 {
			id := pick(c, ids...)
			do(func(s *access.State, env access.Env) ([]events.Event, error) { return access.End(s, env, id, "") })
		}
	case 23, 24:
		w.placeLock(c, b)
	case 25:
		if ids := sorted(b.state.Locks); len(ids) > 0 {
			id := pick(c, ids...)
			do(func(s *access.State, env access.Env) ([]events.Event, error) { return access.Lift(s, env, id) })
		}
	case 26:
		if serials := sorted(b.state.Signins); len(serials) > 0 && c.one(3) {
			serial := pick(c, serials...)
			do(func(s *access.State, env access.Env) ([]events.Event, error) {
				return access.RevokeSignin(s, env, serial)
			})
		}
	case 27:
		w.copySomething(c)
	}
}

func sorted[V any](m map[string]V) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func membersOf(s *access.State, list string) (out []events.ListMember) {
	for m := range s.Members(list) {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b events.ListMember) int {
		return slices.Compare([]string{a.Kind, a.Name}, []string{b.Kind, b.Name})
	})
	return out
}

// byOwner does something to a list as one of its owners, if there is one.
func (w *world) byOwner(c *chance, b *broker, list string, decide decision) {
	for _, u := range users {
		if b.state.Owns(u, list, b.now()) && !c.one(3) {
			if es, err := b.do(u, decide); err == nil && len(es) > 0 {
				return
			}
		}
	}
}

// request asks for something that the user may ask for, if there is anything.
func (w *world) request(c *chance, b *broker, user string) {
	q := access.CreateRequest{User: user, Reason: "because", TTL: pick(c, 0, time.Minute, 90*time.Minute, 5*time.Hour, 50*time.Hour), PendingTTL: pick(c, 0, 0, time.Minute, 3*time.Hour), BreakGlass: c.one(5)}
	if c.one(4) && !q.BreakGlass {
		q.StartsAt = b.now().Add(time.Duration(1+c.n(100)) * time.Minute)
	}
	first, byARN := c.n(len(roles)), c.one(4)
	for i := range roles {
		if q.Roles = []string{roles[(first+i)%len(roles)]}; c.one(4) {
			q.Roles = append(q.Roles, pick(c, roles...))
		}
		if byARN {
			q.Roles, q.Resources = nil, []string{pick(c, append(arns(), account)...)}
		}
		es, err := b.do(user, func(s *access.State, env access.Env) ([]events.Event, error) { return access.Create(s, env, q) })
		if err == nil && len(es) > 0 && !c.one(3) {
			return
		}
	}
}

// onRequest reviews, drops, revokes or promotes one.
func (w *world) onRequest(c *chance, b *broker, user string) {
	ids := sorted(b.state.Requests)
	if len(ids) == 0 {
		return
	}
	id := ids[max(0, len(ids)-1-c.n(4))] // a late one
	switch c.n(14) {
	case 0:
		_, _ = b.do(b.state.Requests[id].User, func(s *access.State, env access.Env) ([]events.Event, error) { return access.Drop(s, env, id, "") })
	case 1:
		_, _ = b.do(user, func(s *access.State, env access.Env) ([]events.Event, error) { return access.Revoke(s, env, id, "") })
	case 2, 3:
		p := access.Promote{RequestID: id}
		if c.one(2) {
			p.ExpiresAt = c.until(b.now())
		}
		for _, p.List = range lists {
			w.byOwner(c, b, p.List, func(s *access.State, env access.Env) ([]events.Event, error) {
				return access.DecidePromotion(s, env, p)
			})
		}
	default:
		verdict := pick(c, "approve", "approve", "approve", "approve", "deny")
		for _, reviewer := range users {
			if access.MayReview(b.state, access.Env{Now: b.now()}, reviewer, b.state.Requests[id]) == nil && !c.one(4) {
				_, _ = b.do(reviewer, func(s *access.State, env access.Env) ([]events.Event, error) {
					return access.Decide(s, env, access.SubmitReview{RequestID: id, Reviewer: reviewer, Verdict: verdict})
				})
			}
		}
		if !c.one(3) {
			w.startSession(c, b, b.state.Requests[id].User, pick(c, apps...))
		}
	}
}

func (w *world) startSession(c *chance, b *broker, user, app string) {
	in := &events.SigninSucceeded{User: user, Method: "password", CertificateSerial: w.newID(), ExpiresAt: *c.until(b.now()), Device: pick(c, "", "d1", "d2")}
	_, _ = b.do(user, func(_ *access.State, env access.Env) ([]events.Event, error) {
		return []events.Event{{Meta: events.Meta{ID: env.NewID(), Time: env.Now, CorrelationID: "x"}, Data: in}}, nil
	})
	for _, arn := range arns() { // the first that goes, or so
		start := access.StartSession{User: user, App: app, AWSRole: arn, NotAfter: in.ExpiresAt, Certificate: in.CertificateSerial, Device: in.Device, SecondFactor: "x"}
		for _, could := range b.state.Could(access.Question{User: user, App: app, AWSRole: arn}, b.now()) {
			if len(could.Ways) > 0 && !c.one(3) {
				if ids := could.Ways[c.n(len(could.Ways))].RequestIDs(); len(ids) > 0 {
					start.RequestID = pick(c, ids...)
				}
			}
		}
		es, err := b.do(user, func(s *access.State, env access.Env) ([]events.Event, error) { return access.Start(s, env, start) })
		if err == nil && len(es) > 0 {
			w.hold(c, b, es[0].Data.(*events.SessionStarted))
			if c.one(2) {
				return
			}
		}
	}
}

// hold asks for the approval of a single call of a session, where a role wants that.
func (w *world) hold(c *chance, b *broker, x *events.SessionStarted) {
	for _, p := range x.Permissions {
		if p.Approval && c.one(2) {
			id := w.newID()
			call := events.HeldCall{SessionID: x.SessionID, Roles: []string{p.Role}, Digest: id, App: x.App, AWSRoleARN: x.AWSRoleARN}
			_, _ = b.do(x.User, func(s *access.State, env access.Env) ([]events.Event, error) {
				return access.Hold(s, env, id, x.User, call)
			})
		}
	}
}

func (w *world) placeLock(c *chance, b *broker) {
	target := events.LockTarget{Kind: pick(c, "user", "role", "session", "app", "aws_role", "account", "request", "device", "agent")}
	var of []string
	switch target.Kind {
	case "user":
		of = users
	case "role":
		of = roles
	case "session":
		of = sorted(b.state.Sessions)
	case "app":
		of = apps
	case "aws_role":
		of = arns()
	case "account":
		of = []string{account, account2}
	case "request":
		of = sorted(b.state.Requests)
	case "device":
		of = []string{"d1", "d2"}
	case "agent":
		of = []string{"another"}
	}
	if len(of) == 0 {
		return
	}
	target.Name = of[max(0, len(of)-1-c.n(6))]
	lock := access.PlaceLock{Target: target}
	if !c.one(4) {
		lock.ExpiresAt = c.until(b.now())
	}
	_, _ = b.do("admin", func(s *access.State, env access.Env) ([]events.Event, error) { return access.Place(s, env, lock) })
}

// copySomething puts a message there again that a broker wrote: whoever may publish can.
func (w *world) copySomething(c *chance) {
	r := w.log[c.n(len(w.log))]
	w.append(false, r.raw, r.channel)
}

// pass lets time go by; a janitor acts when it is due, unless no broker runs.
func (w *world) pass(c *chance, d time.Duration) {
	target := w.now.Add(d)
	running := !c.one(5)
	for range 200 {
		next := w.settle()
		if !running || next.IsZero() || next.After(target) {
			break
		}
		if next.After(w.now) {
			w.now = next
		} else {
			w.now = w.now.Add(time.Millisecond)
		}
	}
	if target.After(w.now) {
		w.now = target
	}
	w.settle()
}

// found is what the history begins with.
func (w *world) found(c *chance) {
	b := w.brokers[0]
	must := func(decide decision) {
		if _, err := b.do("admin", decide); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, name := range roles {
		r := c.role(name)
		if name == "reviewer" {
			r.Allow.ReviewRequests = &events.ReviewConditions{Roles: []string{"*"}}
		}
		must(func(s *access.State, env access.Env) ([]events.Event, error) {
			return access.PutRole(s, env, r, access.Put{})
		})
	}
	for _, name := range apps {
		a := c.app(name)
		must(func(s *access.State, env access.Env) ([]events.Event, error) {
			return access.PutApp(s, env, a, access.Put{})
		})
	}
	for i, name := range users[:3] {
		u := events.User{Name: name, Roles: some(c, 3, roles...), Traits: c.traits()}
		if i < 2 {
			u.Roles = []string{"reviewer", "guard"}
		}
		must(func(s *access.State, env access.Env) ([]events.Event, error) {
			return access.PutUser(s, env, u, access.Put{})
		})
	}
	okta := events.Connector{Name: "okta", Kind: access.OIDC, OIDC: &events.OIDCConnector{IssuerURL: "https://okta.example.com", RedirectURL: "https://postern.example.com/cb", ClientID: "x"}}
	for _, name := range roles {
		okta.Mappings = append(okta.Mappings, events.RoleMapping{Claim: "group", Value: name, Roles: []string{name}})
	}
	must(func(s *access.State, env access.Env) ([]events.Event, error) {
		return access.PutConnector(s, env, okta, access.Put{})
	})
	if w.brokers[0].state.Users["alice"] == nil {
		w.t.Fatal(fmt.Errorf("there is no alice"))
	}
}
