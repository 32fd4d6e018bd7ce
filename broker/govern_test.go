package broker

import (
	"testing"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
	"github.com/posternhq/postern/events"
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
