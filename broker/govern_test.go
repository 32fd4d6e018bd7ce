package broker

import (
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
)

// Whoever holds a locked role does nothing at the broker until it is lifted.
func TestRoleLocked(t *testing.T) {
	b, _, _ := demoBroker(t)
	ctx, admin, alice, bob := t.Context(), as(t, b, "admin"), as(t, b, "alice"), as(t, b, "bob")
	asked, err := alice.CreateRequest(ctx, api.CreateRequest{Roles: []string{"aws-engineer"}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := admin.PlaceLock(ctx, api.CreateLock{Target: api.LockTarget{Kind: "role", Name: "reviewer"}, Message: "looked into"})
	if err != nil {
		t.Fatal(err)
	}
	approve := func() error {
		_, err := bob.Review(ctx, asked.ID, api.CreateReview{Verdict: "approve"})
		return err
	}
	if err := approve(); code(err) != api.CodeLocked {
		t.Errorf("bob approves by a locked role: %v", err)
	}
	if _, err := b.IssueIdentity(ctx, "bob", 0); code(asAPI(err)) != api.CodeLocked {
		t.Errorf("bob signs in by a locked role: %v", err)
	}
	if err := admin.LiftLock(ctx, l.ID); err != nil {
		t.Fatal(err)
	}
	if err := approve(); err != nil {
		t.Errorf("after it was lifted: %v", err)
	}
}

// A file of locks can be applied again: what is in force stays as it is.
func TestLockOfAFile(t *testing.T) {
	b, j, c := demoBroker(t)
	const file = "kind: lock\nmetadata: {name: night}\nspec: {target: {user: alice}, ttl: 8h}\n"
	for range 2 {
		if _, err := b.Apply(t.Context(), "test", []byte(file)); err != nil {
			t.Fatal(err)
		}
		c.advance(time.Hour)
	}
	if placed := find[*events.LockPlaced](history(t, j)); len(placed) != 1 {
		t.Errorf("placed %d times", len(placed))
	}
}

// A user of the name that stands for everybody, as there may be of old, sees no more than others.
func TestUserStar(t *testing.T) {
	b, j, _ := demoBroker(t)
	ctx := t.Context()
	newWriter(t, j).append(&events.UserCreated{User: events.User{Name: "*", Roles: []string{"aws-reader"}}, By: "test"})
	seq, err := j.Last(ctx, events.Access)
	if err == nil {
		err = b.ledger.reach(ctx, seq)
	}
	if err != nil {
		t.Fatal(err)
	}
	star := as(t, b, "*")
	if _, err := star.Sessions(ctx, "", ""); code(err) != api.CodeDenied {
		t.Errorf("it sees everybody's sessions: %v", err)
	}
	if _, err := star.Signins(ctx, ""); code(err) != api.CodeDenied {
		t.Errorf("it sees everybody's sign-ins: %v", err)
	}
}

// Who starts a broker gets the operator back, however they were shut out, and it is recorded.
func TestReinstate(t *testing.T) {
	const again = "kind: role\nmetadata: {name: admin}\nspec: {allow: {rules: [{resources: ['*'], verbs: ['*']}]}}\n---\nkind: user\nmetadata: {name: admin}\nspec: {roles: [admin]}\n"
	lock := func(kind, name string) func(*testing.T, *client.Client) error {
		return func(t *testing.T, admin *client.Client) error {
			_, err := admin.PlaceLock(t.Context(), api.CreateLock{Target: api.LockTarget{Kind: kind, Name: name}})
			return err
		}
	}
	apply := func(doc string) func(*testing.T, *client.Client) error {
		return func(t *testing.T, admin *client.Client) error {
			_, err := admin.Apply(t.Context(), "f", []byte(doc), true)
			return err
		}
	}
	for name, c := range map[string]struct {
		shut func(*testing.T, *client.Client) error
		by   int // events that give it back
	}{
		"as they were": {func(*testing.T, *client.Client) error { return nil }, 0},
		"locked":       {lock("user", "admin"), 1},
		"by a role":    {lock("role", "admin"), 1},
		"disabled":     {apply("kind: user\nmetadata: {name: admin}\nspec: {roles: [admin], disabled: true}\n"), 1},
		"without it":   {apply("kind: user\nmetadata: {name: admin}\nspec: {roles: [reviewer]}\n"), 1},
		"empty role":   {apply("kind: role\nmetadata: {name: admin}\n"), 1},
		"removed": {func(t *testing.T, admin *client.Client) error {
			return admin.DeleteResource(t.Context(), "user", "admin")
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			b, j, _ := demoBroker(t)
			if err := c.shut(t, as(t, b, "admin")); err != nil {
				t.Fatal(err)
			}
			before := len(history(t, j))
			done, err := b.Reinstate(t.Context(), "postern serve", "admin", []byte(again))
			if err != nil || done != (c.by > 0) {
				t.Fatalf("done %v, %v", done, err)
			}
			if got := len(history(t, j)) - before; got != c.by {
				t.Errorf("%d events, want %d", got, c.by)
			}
			admin := as(t, b, "admin")
			if _, err := admin.PlaceLock(t.Context(), api.CreateLock{Target: api.LockTarget{Kind: "user", Name: "alice"}}); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// A file is refused whole where writing its beginning would take away what its end needs,
// update alone changes what is there, and what is written is what the file says.
func TestFilesByRule(t *testing.T) {
	b, j, _ := demoBroker(t)
	ctx := t.Context()
	role := func(name, kinds, verbs string) string {
		return "---\nkind: role\nmetadata: {name: " + name + "}\nspec: {allow: {rules: [{resources: [" + kinds + "], verbs: [" + verbs + "]}]}}\n"
	}
	user := func(name, role string) string {
		return "---\nkind: user\nmetadata: {name: " + name + "}\nspec: {roles: [" + role + "]}\n"
	}
	ops := role("ops", "role, user, cluster_settings", `"*"`)
	if _, err := b.Apply(ctx, "test", []byte(ops+role("editor", "role", "update")+user("oscar", "ops")+user("eddie", "editor"))); err != nil {
		t.Fatal(err)
	}
	oscar, eddie, alice := as(t, b, "oscar"), as(t, b, "eddie"), as(t, b, "alice")
	before := len(history(t, j))
	for name, c := range map[string]struct {
		as   *client.Client
		file string
		want string
	}{
		"narrowing one's own role": {oscar, role("ops", "role", `"*"`) + user("eve", "ops"), "f:6: no role of oscar has a rule that allows to create users"},
		"what is not there":        {eddie, role("fresh", "app", "read"), "allows to create roles"},
		"by nobody":                {alice, "nonsense: [", "no role of alice has a rule that allows to create or update resources"},
		"settings":                 {eddie, "kind: cluster_settings\nspec: {second_factor: off}\n", "allows to update cluster_settings"},
	} {
		if _, err := c.as.Apply(ctx, "f", []byte(c.file), true); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	if after := len(history(t, j)); after != before {
		t.Errorf("%d events of files that were refused", after-before)
	}
	if _, err := eddie.Apply(ctx, "f", []byte(role("aws-engineer", "app", "read")), true); err != nil {
		t.Errorf("update alone: %v", err)
	}
	if err := oscar.DeleteResource(ctx, "cluster_settings", "claster"); code(err) != api.CodeNotFound {
		t.Errorf("settings of another name: %v", err)
	}
}

// The proxy beside the broker need not announce itself: no lock on it is doubted.
func TestLockProxyBeside(t *testing.T) {
	j, c := eventstest.Journal(t), newClock()
	b, _ := startIn(t, j, c, "", func(c *Config) { c.ProxyName = "beside" })
	if _, err := b.Apply(t.Context(), "test", []byte(demo)); err != nil {
		t.Fatal(err)
	}
	l, err := as(t, b, "admin").PlaceLock(t.Context(), api.CreateLock{Target: api.LockTarget{Kind: "agent", Name: "beside"}})
	if err != nil || l.Warning != "" {
		t.Errorf("%+v, %v", l, err)
	}
}

// What people write is taken, or refused in words of theirs.
func TestWords(t *testing.T) {
	b, _, _ := demoBroker(t)
	ctx, admin, alice := t.Context(), as(t, b, "admin"), as(t, b, "alice")
	week := func(at time.Time) bool {
		d := at.Sub(b.now())
		return d > 6*24*time.Hour && d <= 7*24*time.Hour
	}
	if got := sentence("émile has left"); got != "Émile has left." {
		t.Errorf("what a page says: %q", got)
	}
	l, err := admin.PlaceLock(ctx, api.CreateLock{Target: api.LockTarget{Kind: "agent", Name: "typo"}, TTL: "7d"})
	if err != nil || !week(*l.ExpiresAt) || !strings.Contains(l.Warning, "no proxy has announced itself as typo") {
		t.Errorf("a lock for a week: %+v, %v", l, err)
	}
	made, err := admin.NewToken(ctx, api.NewToken{Kinds: []string{"proxy", "Proxy"}, TTL: "1w"})
	if err != nil || !week(made.ExpiresAt) || len(made.Kinds) != 1 {
		t.Errorf("a token for a week: %+v, %v", made, err)
	}
	if q, err := alice.CreateRequest(ctx, api.CreateRequest{Roles: []string{"aws-engineer"}, TTL: "7d"}); err != nil || q.TTLSeconds != 7*24*3600 {
		t.Errorf("access for a week: %+v, %v", q, err)
	}
	for want, err := range map[string]error{
		`state: "aproved" is none of pending, approved`: func() error { _, err := alice.Requests(ctx, "aproved"); return err }(),
		`state: "runing" is none of running`:            func() error { _, err := alice.Sessions(ctx, "", "runing"); return err }(),
		`kinds: "foo" cannot join: want `:               func() error { _, err := admin.NewToken(ctx, api.NewToken{Kinds: []string{"foo"}}); return err }(),
		"you have no second factor NOSUCH": func() error {
			_, err := alice.FactorInBrowser(ctx, api.BrowserProof{Purpose: "factor", Remove: "NOSUCH"})
			return err
		}(),
		"to update the CA":      func() error { _, err := alice.RotateCA(ctx, api.RotateCA{}); return err }(),
		"list cluster_settings": func() error { _, err := alice.Resources(ctx, "cluster_settings", ""); return err }(),
		`ttl: "soon" is not a du`: func() error {
			_, err := admin.PlaceLock(ctx, api.CreateLock{Target: api.LockTarget{Kind: "user", Name: "bob"}, TTL: "soon"})
			return err
		}(),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// Users of old whose names are dots in a path can be read and removed.
func TestUserDots(t *testing.T) {
	b, j, _ := demoBroker(t)
	ctx, admin, w := t.Context(), as(t, b, "admin"), newWriter(t, j)
	for _, name := range []string{".", ".."} {
		w.append(&events.UserCreated{User: events.User{Name: name, Roles: []string{"reviewer"}}, By: "test"})
		seq, err := j.Last(ctx, events.Access)
		if err == nil {
			err = b.ledger.reach(ctx, seq)
		}
		if err != nil {
			t.Fatal(err)
		}
		if doc, err := admin.ResourcesYAML(ctx, "user", name); err != nil || !strings.Contains(string(doc), "reviewer") {
			t.Errorf("get user/%s: %v\n%s", name, err, doc)
		}
		if err := admin.DeleteResource(ctx, "user", name); err != nil {
			t.Errorf("rm user/%s: %v", name, err)
		}
	}
}
