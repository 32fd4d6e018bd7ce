package broker

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/trouble"
)

// Bad requests are refused with the place and the reason, as JSON.
func TestBadRequests(t *testing.T) {
	b, _, _ := demoBroker(t)
	id, err := b.IssueIdentity(t.Context(), "admin", 0)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := id.TLSConfig()
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg}}
	t.Cleanup(web.CloseIdleConnections)
	const asJSON = "application/json"
	for _, c := range []struct {
		name, method, path, mediaType, body string
		status                              int
		code, want                          string
	}{
		{"unknown field", "POST", "/v1/sessions", asJSON, `{"app":"a","aws_rol":"x"}`, 400, "invalid", `unknown field "aws_rol"`},
		{"wrong type", "POST", "/v1/sessions", asJSON, `{"app":7}`, 400, "invalid", "body: app: want text, not number"},
		{"a list", "POST", "/v1/requests", asJSON, `["aws-engineer"]`, 400, "invalid", "body: want keys and values, not a list"},
		{"one for several", "POST", "/v1/requests", asJSON, `{"roles":"aws-engineer"}`, 400, "invalid", "body: roles: want a list, not text"},
		{"text for a flag", "POST", "/v1/requests", asJSON, `{"break_glass":"yes"}`, 400, "invalid", "body: break_glass: want true or false, not text"},
		{"not JSON", "POST", "/v1/sessions", asJSON, `app=x`, 400, "invalid", "invalid character"},
		{"cut off", "POST", "/v1/sessions", asJSON, `{"app":`, 400, "invalid", "unexpected EOF"},
		{"empty", "POST", "/v1/sessions", asJSON, ``, 400, "invalid", "it is empty"},
		{"more than one", "POST", "/v1/sessions", asJSON, `{"app":"a"} {}`, 400, "invalid", "something follows"},
		{"no app", "POST", "/v1/sessions", asJSON, `{}`, 400, "invalid", "app: it is empty"},
		{"another media type", "POST", "/v1/sessions", "text/plain", `{"app":"a"}`, 415, "invalid", "application/json"},
		{"too large", "POST", "/v1/sessions", asJSON, `{"app":"` + strings.Repeat("x", maxBody) + `"}`, 413, "too_large", "1048576 bytes"},
		{"resources too large", "POST", "/v1/resources", "application/yaml", strings.Repeat("#", maxBody+1), 413, "too_large", "1048576 bytes"},
		{"replace", "POST", "/v1/resources?replace=maybe", "application/yaml", "", 400, "invalid", "replace:"},
		{"nothing there", "GET", "/v2/x", "", "", 404, "not_found", "there is no GET /v2/x"},
		{"another method", "PATCH", "/v1/apps", "", "", 404, "not_found", "there is no PATCH /v1/apps"},
		{"no such kind", "GET", "/v1/resources/node", "", "", 404, "not_found", `"node" is not a kind`},
		{"no such resource", "GET", "/v1/resources/role/ghost", "", "", 404, "not_found", "there is no role ghost"},
		{"no such session", "DELETE", "/v1/sessions/S1", "", "", 404, "not_found", "there is no session S1"},
		{"no such request", "GET", "/v1/requests/R1", "", "", 404, "not_found", "there is no access request R1"},
		{"bad duration", "POST", "/v1/locks", asJSON, `{"target":{"kind":"user","name":"bob"},"ttl":"-1h"}`, 400, "invalid", "ttl:"},
		{"bad target", "POST", "/v1/locks", asJSON, `{"target":{"kind":"user","name":"bobb"}}`, 404, "not_found", "no user bobb"},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), c.method, "https://"+b.Addr()+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if c.mediaType != "" {
				req.Header.Set("Content-Type", c.mediaType)
			}
			resp, err := web.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			var body api.ErrorBody
			if err := json.Unmarshal(text, &body); err != nil || body.Error == nil {
				t.Fatalf("%d %s: %v", resp.StatusCode, text, err)
			}
			if resp.StatusCode != c.status || body.Error.Code != c.code || !strings.Contains(body.Error.Message, c.want) {
				t.Errorf("%d %s, want %d %s %q", resp.StatusCode, text, c.status, c.code, c.want)
			}
		})
	}
	// A page of another site that uses the certificate in a browser.
	req, err := http.NewRequestWithContext(t.Context(), "POST", "https://"+b.Addr()+"/v1/sessions", strings.NewReader(`{"app":"awsconsole"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", asJSON)
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	resp, err := web.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	var refusal api.ErrorBody
	err = json.NewDecoder(resp.Body).Decode(&refusal)
	resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusForbidden || refusal.Error == nil || refusal.Error.Code != api.CodeDenied {
		t.Errorf("from another site: %s, %+v, %v", resp.Status, refusal, err)
	}
}

// Rules decide who reads and writes postern's own resources.
func TestRules(t *testing.T) {
	b, _, _ := demoBroker(t)
	ctx := t.Context()
	alice := as(t, b, "alice")
	file := []byte("kind: user\nmetadata: {name: alice}\nspec: {roles: [admin]}\n")
	for name, try := range map[string]func() error{
		"write": func() error { _, err := alice.Apply(ctx, "f", file, true); return err },
		"list":  func() error { _, err := alice.Resources(ctx, "role", ""); return err },
		"read":  func() error { _, err := alice.ResourcesYAML(ctx, "user", "bob"); return err },
		"rm":    func() error { return alice.DeleteResource(ctx, "user", "bob") },
		"lock": func() error {
			_, err := alice.PlaceLock(ctx, api.CreateLock{Target: api.LockTarget{Kind: "user", Name: "bob"}})
			return err
		},
		"locks":    func() error { _, err := alice.Locks(ctx); return err },
		"lift":     func() error { return alice.LiftLock(ctx, "L1") },
		"password": func() error { return alice.SetPassword(ctx, "bob", secret) },
		"sessions": func() error { _, err := alice.Sessions(ctx, "*", ""); return err },
	} {
		if err := try(); code(err) != api.CodeDenied {
			t.Errorf("%s without a rule: %v", name, err)
		}
	}
	admin := as(t, b, "admin")
	s, err := admin.Sessions(ctx, "*", "all")
	if err != nil || len(s) != 0 {
		t.Errorf("sessions: %+v, %v", s, err)
	}
	if err := admin.SetPassword(ctx, "bob", secret); err != nil {
		t.Error(err)
	}
	if _, _, err := login(t, b, "bob", secret, ""); err != nil {
		t.Errorf("with the new password: %v", err)
	}
}

// A file is applied as a whole or not at all, and what is read can be applied.
func TestResources(t *testing.T) {
	b, j, _ := demoBroker(t)
	ctx, admin := t.Context(), as(t, b, "admin")
	before := len(history(t, j))

	bad := []byte(`kind: role
metadata: {name: new-role}
spec: {allow: {app_labels: {env: x}}}
---
kind: user
metadata: {name: bob}
spec: {roles: [reviewer, new-role]}
---
kind: user
metadata: {name: eve}
spec: {roles: [ghost]}
`)
	_, err := admin.Apply(ctx, "bad.yaml", bad, false)
	if code(err) != api.CodeExists || !strings.Contains(err.Error(), "bad.yaml:5: user bob exists already") ||
		!strings.Contains(err.Error(), "bad.yaml:9: user eve: there is no role ghost") {
		t.Errorf("a file with two refusals: %v", err)
	}
	_, err = admin.Apply(ctx, "bad.yaml", []byte("kind: role\nmetadata: {name: r2}\n---\nkind: role\nmetadata: {name: r3}\nspec: {alow: {}}\n"), false)
	if code(err) != api.CodeInvalid || !strings.Contains(err.Error(), "bad.yaml:6: spec.alow: unknown key") {
		t.Errorf("a file with a fault: %v", err)
	}
	if after := len(history(t, j)); after != before {
		t.Errorf("%d events of files that were refused", after-before)
	}

	good := []byte("kind: user\nmetadata: {name: eve}\nspec: {roles: [new-role]}\n---\nkind: role\nmetadata: {name: new-role}\nspec: {options: {forward_agent: true}}\n")
	out, err := admin.Apply(ctx, "good.yaml", good, false)
	want := api.ResourcesApplied{
		Resources: []api.ResourceResult{{Kind: "role", Name: "new-role", Verb: "created", Revision: 1}, {Kind: "user", Name: "eve", Verb: "created", Revision: 1}},
		Warnings:  []string{"good.yaml:7: spec.options.forward_agent: has no effect in postern"},
	}
	if d := cmp.Diff(want, out); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	if made := find[*events.UserCreated](history(t, j)); made[len(made)-1].By != "admin" {
		t.Errorf("created by %q", made[len(made)-1].By)
	}

	for _, kind := range []string{"role", "app", "user"} {
		text, err := admin.ResourcesYAML(ctx, kind, "")
		if err != nil {
			t.Fatal(err)
		}
		out, err := admin.Apply(ctx, "same.yaml", text, true)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		for _, r := range out.Resources {
			if r.Verb != "unchanged" {
				t.Errorf("what was read, applied: %+v", r)
			}
		}
	}

	// An edit that somebody else overtook.
	text, err := admin.ResourcesYAML(ctx, "user", "eve")
	if err != nil {
		t.Fatal(err)
	}
	edit := func(trait string) error {
		_, err := admin.Apply(ctx, "edit.yaml", []byte(strings.Replace(string(text), "spec:\n", "spec:\n  traits: {team: "+trait+"}\n", 1)), true)
		return err
	}
	if err := edit("a"); err != nil {
		t.Fatal(err)
	}
	if err := edit("b"); code(err) != api.CodeConflict || !strings.Contains(err.Error(), "it is at revision 2, the change was made from 1") {
		t.Errorf("the second edit of one text: %v", err)
	}

	docs, err := admin.Resources(ctx, "user", "eve")
	if err != nil || len(docs.Resources) != 1 {
		t.Fatalf("%v %v", docs, err)
	}
	var doc struct {
		Kind     string
		Metadata struct{ Name, Revision string }
		Spec     struct{ Traits map[string][]string }
	}
	if err := json.Unmarshal(docs.Resources[0], &doc); err != nil || doc.Kind != "user" || doc.Metadata.Revision != "2" || doc.Spec.Traits["team"][0] != "a" {
		t.Errorf("as JSON: %s, %v", docs.Resources[0], err)
	}
	if err := admin.DeleteResource(ctx, "role", "new-role"); code(err) != api.CodeConflict || !strings.Contains(err.Error(), "held by eve") {
		t.Errorf("rm of a role in use: %v", err)
	}
	for _, r := range []string{"user/eve", "role/new-role", "app/awsconsole"} {
		kind, name, _ := strings.Cut(r, "/")
		if err := admin.DeleteResource(ctx, kind, name); err != nil {
			t.Errorf("rm %s: %v", r, err)
		}
	}
}

// Nobody's silence is a decision too, written down once.
func TestRequestExpires(t *testing.T) {
	b, j, clk := demoBroker(t)
	ctx, alice := t.Context(), as(t, b, "alice")
	q, err := alice.CreateRequest(ctx, api.CreateRequest{Roles: []string{"aws-engineer"}, PendingTTL: "1h"})
	if err != nil {
		t.Fatal(err)
	}
	b.sweep(ctx, new(trouble.Said))
	if n := len(find[*events.RequestExpired](history(t, j))); n != 0 {
		t.Fatalf("expired %d times before its time", n)
	}
	clk.advance(time.Hour)
	if got, err := alice.Request(ctx, q.ID); err != nil || got.State != "expired" {
		t.Errorf("read after its time: %+v, %v", got, err)
	}
	b.sweep(ctx, new(trouble.Said))
	b.sweep(ctx, new(trouble.Said))
	if got := find[*events.RequestExpired](history(t, j)); len(got) != 1 || got[0].RequestID != q.ID {
		t.Errorf("expiries: %+v", got)
	}
}

// Who comes before a broker has read its history, a probe that asks whether it is ready, say,
// is told so; no fault is logged.
func TestTooEarly(t *testing.T) {
	log := &quietly{}
	b := &Broker{log: zerolog.New(log), ledger: &ledger{ready: make(chan struct{})}}
	w := httptest.NewRecorder()
	b.serve(route{open: true, handle: b.getHealth}, nil, w, httptest.NewRequest("GET", "/v1/health", nil))
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "still reading its history") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if said := log.String(); said != "" {
		t.Errorf("logged: %s", said)
	}
}
