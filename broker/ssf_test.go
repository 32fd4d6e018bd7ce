package broker

import (
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
)

// setReceiver validates Security Event Tokens as RFC 8935 and SSF 1.0 ask of
// receivers, with another library than the one that signs.
type setReceiver struct {
	*receiver
	b *Broker
}

// keys reads the transmitter's keys from where its metadata says.
func (r *setReceiver) keys(t *testing.T) map[string]*rsa.PublicKey {
	t.Helper()
	var conf struct {
		Spec    string   `json:"spec_version"`
		Issuer  string   `json:"issuer"`
		Keys    string   `json:"jwks_uri"`
		Methods []string `json:"delivery_methods_supported"`
	}
	origin := r.b.origin()
	fetchJSON(t, r.b, origin+"/.well-known/ssf-configuration", &conf)
	if conf.Spec != "1_0" || conf.Issuer != origin || !slices.Contains(conf.Methods, "urn:ietf:rfc:8935") {
		t.Errorf("metadata %+v", conf)
	}
	var set struct {
		Keys []struct{ Kty, Kid, N, E, Alg, D string }
	}
	fetchJSON(t, r.b, conf.Keys, &set)
	out := map[string]*rsa.PublicKey{}
	for _, k := range set.Keys {
		n, err := base64.RawURLEncoding.DecodeString(k.N)
		if err != nil || k.Kty != "RSA" || k.D != "" {
			t.Fatalf("key %+v, %v", k, err)
		}
		e, err := base64.RawURLEncoding.DecodeString(k.E)
		if err != nil {
			t.Fatal(err)
		}
		out[k.Kid] = &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
	}
	return out
}

// token is what a token says, in short: its event, about whom, by whom.
func (r *setReceiver) token(t *testing.T, keys map[string]*rsa.PublicKey, q request) (short, kid string) {
	t.Helper()
	claims := jwt.MapClaims{}
	tok, err := jwt.ParseWithClaims(string(q.body), claims, func(tok *jwt.Token) (any, error) {
		kid, _ = tok.Header["kid"].(string)
		if key := keys[kid]; key != nil {
			return key, nil
		}
		return nil, fmt.Errorf("no key %q", kid)
	}, jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer(r.b.origin()), jwt.WithAudience("https://receiver.example.com"), jwt.WithIssuedAt())
	if err != nil {
		t.Fatalf("%v: %s", err, q.body)
	}
	_, exp := claims["exp"]
	_, sub := claims["sub"]
	if tok.Header["typ"] != "secevent+jwt" || exp || sub || claims["jti"] == "" || q.header.Get("Content-Type") != "application/secevent+jwt" {
		t.Errorf("token %v %v", tok.Header, claims)
	}
	subject := claims["sub_id"].(map[string]any)
	who := ""
	for _, part := range []map[string]any{subject, asMap(subject["user"]), asMap(subject["session"])} {
		for _, member := range []string{"sub", "email", "id"} {
			if v, ok := part[member].(string); ok {
				who += " " + v
			}
		}
	}
	es := claims["events"].(map[string]any)
	if len(es) != 1 {
		t.Errorf("events %v", es)
	}
	for uri, e := range es {
		short = uri[strings.LastIndex(uri, "/")+1:] + who
		for _, member := range []string{"initiating_entity", "change_type", "state"} {
			if v, ok := asMap(e)[member].(string); ok {
				short += " " + v
			}
		}
	}
	return short, kid
}

func asMap(v any) map[string]any { m, _ := v.(map[string]any); return m }

// A receiver of shared signals gets what concerns its users' sessions, in tokens
// that it can validate, over a change of keys; forged decisions are no signals.
func TestSSF(t *testing.T) {
	nc, c := eventstest.Connect(t), newClock()
	b, _ := pushingBroker(t, eventstest.Open(t, nc), c)
	ctx := t.Context()
	if _, err := b.Apply(ctx, "test", []byte(demo)); err != nil {
		t.Fatal(err)
	}
	admin := as(t, b, "admin")
	r := &setReceiver{newReceiver(t), b}
	r.answers(func(w http.ResponseWriter, _ *http.Request, _ []byte) { w.WriteHeader(http.StatusAccepted) })
	in := api.NewConsumer{Name: "idp", Filter: "access.>", FromNow: true, Authorization: "Bearer of news", Push: &api.Push{
		Protocol: "ssf", URL: r.URL, CAPEM: r.caPEM(), Audience: []string{"https://receiver.example.com"}, Subject: "email"}}
	if _, err := admin.NewConsumer(ctx, in); err != nil {
		t.Fatal(err)
	}
	if err := admin.VerifyConsumer(ctx, "idp", "are you there"); err != nil {
		t.Fatal(err)
	}
	alice := as(t, b, "alice")
	session, err := alice.StartSession(ctx, api.StartSession{App: "awsconsole"})
	if err != nil {
		t.Fatal(err)
	}
	lock, err := admin.PlaceLock(ctx, api.CreateLock{Target: api.LockTarget{Kind: "user", Name: "alice"}, Message: "laptop stolen"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.PlaceLock(ctx, api.CreateLock{Target: api.LockTarget{Kind: "role", Name: "aws-reader"}, TTL: "1h"}); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.PlaceLock(ctx, api.CreateLock{Target: api.LockTarget{Kind: "session", Name: session.ID}, TTL: "1h"}); err != nil {
		t.Fatal(err)
	}
	if err := admin.EndSession(ctx, session.ID); err != nil {
		t.Fatal(err)
	}
	if err := admin.LiftLock(ctx, lock.ID); err != nil {
		t.Fatal(err)
	}
	// Nobody's decision: anyone who may publish to NATS could have written it.
	forged, err := events.Encode(events.Event{Meta: events.Meta{ID: "forged", Source: "/postern/broker/x", Time: time.Now(), Sequence: 2}, Data: &events.UserDeleted{Name: "bob", By: "admin"}})
	if err == nil {
		err = nc.Publish("access.user.bob", forged)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.until(func(got []request) bool { return len(got) >= 7 }) // by the traits that she has now
	lockUp(t, admin, 1)                                        // no signal
	disabled := strings.Replace(demo, "metadata: {name: alice}\nspec: {roles: [aws-reader]}", "metadata: {name: alice}\nspec: {roles: [aws-reader], disabled: true, traits: {email: [alice@example.com]}}", 1)
	if _, err := b.Apply(ctx, "test", []byte(disabled)); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"verification idp are you there",
		"session-revoked alice admin", "account-disabled alice",
		"session-revoked alice " + session.ID + " admin", // by the lock on her role
		"session-revoked alice " + session.ID + " admin", // by that on the session
		"session-revoked alice " + session.ID + " admin", // as it ended
		"account-enabled alice",
		"session-revoked alice@example.com admin", "account-disabled alice@example.com",
	}
	got := r.until(func(got []request) bool { return len(got) >= len(want) })
	keys := r.keys(t)
	var said, kids []string
	for _, q := range got {
		short, kid := r.token(t, keys, q)
		said, kids = append(said, short), append(kids, kid)
		if q.header.Get("Authorization") != in.Authorization {
			t.Errorf("authorization %q", q.header.Get("Authorization"))
		}
	}
	if d := cmp.Diff(want, said); d != "" {
		t.Errorf("signals (-want +got):\n%s", d)
	}
	// Who is deleted is named as before: nobody can be found by another name.
	if err := admin.DeleteResource(ctx, "user", "alice"); err != nil {
		t.Fatal(err)
	}
	got = r.until(func(got []request) bool { return len(got) >= len(want)+2 })
	var purged []string
	for _, q := range got[len(want):] {
		short, _ := r.token(t, keys, q)
		purged = append(purged, short)
	}
	if d := cmp.Diff([]string{"session-revoked alice@example.com admin", "account-purged alice@example.com"}, purged); d != "" {
		t.Errorf("of a deletion (-want +got):\n%s", d)
	}
	if _, err := admin.RotateSecret(ctx, "idp", api.RotateSecret{}); err != nil {
		t.Fatal(err)
	}
	if keys = r.keys(t); len(keys) != 2 {
		t.Errorf("%d keys are published, want the former one, too", len(keys))
	}
	for n, changed := len(got), false; !changed; { // within moments
		if _, err := admin.PlaceLock(ctx, api.CreateLock{Target: api.LockTarget{Kind: "user", Name: "bob"}}); err != nil {
			t.Fatal(err)
		}
		got = r.until(func(got []request) bool { return len(got) > n })
		_, kid := r.token(t, keys, got[len(got)-1])
		n, changed = len(got), kid != kids[0]
	}
	c.advance(25 * time.Hour)
	if n := len(r.keys(t)); n != 1 {
		t.Errorf("%d keys are published after the former one's time", n)
	}
}

// A receiver that refuses a token by RFC 8935's error has it set aside, with the error.
func TestSSFRefused(t *testing.T) {
	b, _, _, _ := pushingDemo(t)
	admin, ctx := as(t, b, "admin"), t.Context()
	r := newReceiver(t)
	r.answers(func(w http.ResponseWriter, _ *http.Request, _ []byte) { w.WriteHeader(http.StatusBadRequest) })
	in := api.NewConsumer{Name: "idp", Filter: "access.lock.>", FromNow: true, Push: &api.Push{Protocol: "ssf", URL: r.URL, CAPEM: r.caPEM(), Tries: 2}}
	if _, err := admin.NewConsumer(ctx, in); code(err) != api.CodeInvalid || !strings.Contains(err.Error(), "audience") {
		t.Errorf("without audience: %v", err)
	}
	in.Push.Audience, in.Authorization = []string{"https://receiver.example.com"}, "Bearer a\nb"
	if _, err := admin.NewConsumer(ctx, in); code(err) != api.CodeInvalid || !strings.Contains(err.Error(), "authorization") || strings.Contains(err.Error(), "Bearer") {
		t.Errorf("with what no header can have: %v", err)
	}
	in.Authorization = ""
	if _, err := admin.NewConsumer(ctx, in); err != nil {
		t.Fatal(err)
	}
	if err := admin.VerifyConsumer(ctx, "idp", ""); code(err) != api.CodeConflict {
		t.Errorf("verification: %v", err)
	}
	if _, err := admin.PlaceLock(ctx, api.CreateLock{Target: api.LockTarget{Kind: "user", Name: "bob"}}); err != nil {
		t.Fatal(err)
	}
	for look(t, admin, "idp").DeadLetters == 0 {
		time.Sleep(20 * time.Millisecond)
	}
	if letters, err := admin.DeadLetters(ctx, "idp"); err != nil || letters[0].Reason != "answered 400 Bad Request" || letters[0].Tries != 2 {
		t.Errorf("letters %+v, %v", letters, err)
	}
}

// Refusals of members name what JSON has for a type.
func TestMembersOfReceivers(t *testing.T) {
	in := map[string]json.RawMessage{"x": json.RawMessage(`true`), "n": json.RawMessage(`"1"`)}
	_, number := member[int](in, "n")
	_, text := member[string](in, "x")
	_, list := member[[]string](in, "x")
	_, object := member[map[string]struct{ Err string }](in, "x")
	_, structure := member[delivery](in, "x")
	for want, err := range map[string]error{
		"n: want a whole number": number, "x: want text": text, "x: want a list": list, "x: want keys and values": object,
	} {
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if structure == nil || !strings.HasSuffix(structure.Error(), "x: want keys and values") {
		t.Errorf("%v", structure)
	}
}
