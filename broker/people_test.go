package broker

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/people"
	"github.com/posternhq/postern/events"
)

// Nothing that is recorded of somebody under a pseudonym holds their name; once
// forgotten nobody knows it, and what was recorded has not changed by a byte.
func TestForgetPerson(t *testing.T) {
	b, j, _ := demoBroker(t)
	admin, alice, ctx := as(t, b, "admin"), as(t, b, "alice"), t.Context()
	const name, password = "erin.example@example.com", "correct horse battery"
	if _, err := alice.NewPerson(ctx, name); code(err) != api.CodeDenied {
		t.Errorf("alice makes a pseudonym: %v", err)
	}
	erin, err := admin.NewPerson(ctx, name)
	if err != nil || !people.IsPseudonym(erin.Pseudonym) {
		t.Fatalf("%+v, %v", erin, err)
	}
	if again, err := admin.NewPerson(ctx, name); err != nil || again.Pseudonym != erin.Pseudonym {
		t.Errorf("a second time %+v, %v", again, err)
	}
	if _, err := admin.NewPerson(ctx, "alice"); code(err) != api.CodeExists {
		t.Errorf("a pseudonym for whom events name: %v", err)
	}
	user := fmt.Sprintf("kind: user\nmetadata: {name: %s}\nspec: {roles: [aws-reader]}\n", erin.Pseudonym)
	if _, err := b.Apply(ctx, "test", []byte(user)); err != nil {
		t.Fatal(err)
	}
	if err := b.SetPassword(ctx, "admin", erin.Pseudonym, password); err != nil {
		t.Fatal(err)
	}
	if _, _, err := login(t, b, name, "wrong", ""); err == nil {
		t.Error("signed in with a wrong password")
	}
	cfg, cert, err := login(t, b, name, password, "")
	if err != nil || cert.User != erin.Pseudonym {
		t.Fatalf("signed in as %q, %v", cert.User, err)
	}
	session, err := dial(t, b, cfg).StartSession(ctx, api.StartSession{App: "awsconsole"})
	if err != nil {
		t.Fatal(err)
	}
	if got := find[*events.SessionStarted](history(t, j)); len(got) != 1 || got[0].RoleSessionName != erin.Pseudonym || got[0].SessionID != session.ID {
		t.Errorf("AWS is told %+v", got)
	}
	// The same from a provider, by whose word she has roles and no other trait.
	oidc := &events.Connector{Name: "idp", Kind: "oidc", Pseudonyms: true, OIDC: &events.OIDCConnector{IssuerURL: "https://idp.example.com", ClientID: "x", RedirectURL: "https://postern.example.com/"},
		Mappings: []events.RoleMapping{{Claim: "groups", Value: "aws", Roles: []string{"aws-reader"}}}}
	if _, err := b.ledger.do(ctx, "admin", func(s *access.State, env access.Env) ([]events.Event, error) {
		return access.PutConnector(s, env, *oidc, access.Put{})
	}); err != nil {
		t.Fatal(err)
	}
	said := access.SignOn{User: name, Account: "hers", ID: "1", Traits: map[string][]string{"groups": {"aws"}, "email": {name}, "name": {"Erin Example"}}}
	on, err := b.signOn(ctx, time.Hour, oidc, said, "192.0.2.1")
	if err != nil || on == erin.Pseudonym || !people.IsPseudonym(on) {
		t.Fatalf("signed on as %q, %v", on, err)
	}
	said.ID = "2"
	if second, err := b.signOn(ctx, time.Hour, oidc, said, "192.0.2.1"); err != nil || second != on {
		t.Errorf("signed on as %q and as %q, %v", on, second, err)
	}
	// An address that the provider gave to somebody else makes nobody her.
	said.ID, said.Account = "3", "another"
	if _, err := b.signOn(ctx, time.Hour, oidc, said, "192.0.2.1"); !strings.Contains(fmt.Sprint(err), "is another one there") || !strings.Contains(fmt.Sprint(err), "postern users forget") {
		t.Errorf("another account of her address: %v", err)
	}
	_ = b.notSignedIn(ctx, "oidc", "idp", name, "192.0.2.1", errors.New("the address "+name+" is not verified"))
	// What the provider says is read by whom it is about, and recorded by its code alone.
	shown := b.notSignedIn(ctx, "oidc", "idp", "", "192.0.2.1", errors.New("access_denied AADSTS50105: the signed in user '"+name+"' is not assigned"))
	if shown == nil || !strings.Contains(shown.Error(), name) {
		t.Errorf("the browser is told %v", shown)
	}
	_ = b.notSignedIn(ctx, "oidc", "idp", "", "192.0.2.1", fmt.Errorf("exchange of the code: %w", &oauth2.RetrieveError{ErrorCode: "invalid_grant", ErrorDescription: "Erin Example is blocked"}))
	_ = b.notSignedIn(ctx, "oidc", "idp", "", "192.0.2.1", errors.New("saml response: Erin Example is blocked"))

	if _, err := alice.People(ctx); code(err) != api.CodeDenied {
		t.Errorf("alice asks who is who: %v", err)
	}
	known, err := admin.People(ctx)
	if err != nil || len(known) != 2 || known[0].Name != name || known[1].Name != name {
		t.Errorf("known are %+v, %v", known, err)
	}
	before := history(t, j)
	failed := find[*events.SigninFailed](before)
	if len(failed) != 6 {
		t.Fatalf("failed sign-ins %+v", failed)
	}
	for i, want := range []string{"access_denied; ", "invalid_grant; ", "what the identity provider"} {
		if got := failed[3+i].Reason; !strings.HasPrefix(got, want) {
			t.Errorf("recorded %q, want %q", got, want)
		}
	}
	if _, err := alice.Forget(ctx, erin.Pseudonym); code(err) != api.CodeDenied {
		t.Errorf("alice forgets: %v", err)
	}
	for _, p := range known {
		if out, err := admin.Forget(ctx, p.Pseudonym); err != nil || !out.Forgotten || len(out.Remains) != 0 {
			t.Fatal(out, err)
		}
	}
	if known, err = admin.People(ctx); err != nil || len(known) != 0 {
		t.Errorf("still known are %+v, %v", known, err)
	}
	if _, err := admin.Forget(ctx, "p-"+strings.Repeat("a", 26)); code(err) != api.CodeNotFound {
		t.Errorf("forget nobody: %v", err)
	}
	if _, err := dial(t, b, cfg).StartSession(ctx, api.StartSession{App: "awsconsole"}); err == nil {
		t.Error("who was forgotten starts a session")
	}
	after := history(t, j)
	if len(find[*events.UserForgotten](after)) != 2 || len(find[*events.UserDeleted](after)) != 2 {
		t.Errorf("recorded %+v", find[*events.UserForgotten](after))
	}
	for i, e := range after {
		if i < len(before) && !bytes.Equal(e.Raw, before[i].Raw) {
			t.Errorf("event %d has changed", e.Seq)
		}
		for _, personal := range []string{name, "Erin", "erin.example"} {
			if bytes.Contains(e.Raw, []byte(personal)) || strings.Contains(e.Channel, personal) {
				t.Errorf("%q is in %s", personal, e.Raw)
			}
		}
	}
	store := secrets(t, j)
	left, err := store.List(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(left, func(key string) bool {
		return strings.Contains(key, "people") || strings.Contains(key, erin.Pseudonym) || strings.Contains(key, name)
	}); i >= 0 {
		t.Errorf("%s is left in the store", left[i])
	}
	if new, err := admin.NewPerson(ctx, name); err != nil || new.Pseudonym == erin.Pseudonym {
		t.Errorf("of the same name is %+v, %v", new, err)
	}
}

// Of who is known by name all is destroyed that is no event, and what is one stays, byte
// for byte, and is said to.
func TestForgetByName(t *testing.T) {
	b, j, _ := demoBroker(t)
	admin, ctx := as(t, b, "admin"), t.Context()
	if err := b.SetPassword(ctx, "admin", "alice", "correct horse battery"); err != nil {
		t.Fatal(err)
	}
	cfg, _, err := login(t, b, "alice", "correct horse battery", "")
	if err != nil {
		t.Fatal(err)
	}
	session, err := dial(t, b, cfg).StartSession(ctx, api.StartSession{App: "awsconsole"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := as(t, b, "bob").Forget(ctx, "alice"); code(err) != api.CodeDenied {
		t.Errorf("bob forgets alice: %v", err)
	}
	if _, err := admin.Forget(ctx, "nobody"); code(err) != api.CodeNotFound {
		t.Errorf("forget nobody: %v", err)
	}
	hash := func() bool {
		left, err := secrets(t, j).List(ctx, "")
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(left, func(key string) bool { return strings.Contains(key, "alice") })
	}
	before := history(t, j)
	if !hash() {
		t.Fatal("there is nothing of alice in the store to begin with")
	}
	for range 2 { // again does no harm
		out, err := admin.Forget(ctx, "alice")
		if err != nil || out.Forgotten || len(out.Removed) == 0 || !strings.Contains(strings.Join(out.Remains, "\n"), "access.user.alice") {
			t.Errorf("%+v, %v", out, err)
		}
	}
	if hash() {
		t.Error("her password's hash is left")
	}
	if _, _, err := login(t, b, "alice", "correct horse battery", ""); err == nil {
		t.Error("she signs in still")
	}
	if _, err := dial(t, b, cfg).StartSession(ctx, api.StartSession{App: "awsconsole"}); err == nil {
		t.Error("she starts a session still")
	}
	after := history(t, j)
	for deadline := time.Now().Add(time.Minute); len(find[*events.SessionEnded](after)) == 0; after = history(t, j) {
		if time.Now().After(deadline) {
			t.Fatal("her session goes on")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if ended := find[*events.SessionEnded](after); ended[0].SessionID != session.ID || len(find[*events.UserDeleted](after)) != 1 || len(find[*events.UserForgotten](after)) != 0 {
		t.Errorf("recorded %+v", ended)
	}
	for i := range before {
		if !bytes.Equal(after[i].Raw, before[i].Raw) {
			t.Errorf("event %d has changed", before[i].Seq)
		}
	}
}
