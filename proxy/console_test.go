package proxy_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
)

// ask calls one of the proxy's own endpoints.
func (c *client) ask(t *testing.T, method, path, body string) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "https://postern.internal"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	if err := json.Unmarshal(b, &out); err != nil && resp.StatusCode != http.StatusNotFound && resp.StatusCode != http.StatusMethodNotAllowed {
		t.Fatalf("%d %s: %v", resp.StatusCode, b, err)
	}
	return resp.StatusCode, out
}

func TestConsole(t *testing.T) {
	r := newRig(t)
	s := r.session()
	c := r.client(s)
	status, out := c.ask(t, "POST", "/v1/console", `{"session_id":"`+s.SessionID+`","destination":"s3/home?region=us-east-1"}`)
	if status != 200 {
		t.Fatalf("%d %v", status, out)
	}
	u, err := url.Parse(out["url"].(string))
	if err != nil {
		t.Fatal(err)
	}
	if q := u.Query(); u.Host != "signin.aws.amazon.com" || u.Path != "/federation" || q.Get("Action") != "login" || q.Get("SigninToken") != "signin-token" ||
		q.Get("Destination") != "https://console.aws.amazon.com/s3/home?region=us-east-1" {
		t.Errorf("%s", u)
	}
	if d := out["duration_seconds"].(float64); d < 3500 || d > 3600 {
		t.Errorf("lasts %v s", d)
	}
	for body, want := range map[string]int{
		`{"session_id":"01JUNKNOWN"}`: 403,
		`{"session_id":"` + s.SessionID + `","destination":"https://evil.example.com/"}`: 403,
		`{"session":"x"}`: 400,
		`nonsense`:        400,
	} {
		if status, out := c.ask(t, "POST", "/v1/console", body); status != want || out["error"] == nil || out["url"] != nil {
			t.Errorf("%s: %d %v", body, status, out)
		}
	}
	narrow := r.session(func(s *events.SessionStarted) {
		s.Permissions = []events.Permission{{Role: "reader", Effect: "Allow", Actions: []string{"s3:Get*"}}}
	})
	if status, out := c.ask(t, "POST", "/v1/console", `{"session_id":"`+narrow.SessionID+`"}`); status != 403 || !strings.Contains(out["error"].(string), "reader") {
		t.Errorf("a narrowed session: %d %v", status, out)
	}
	mallory := r.clientAs("mallory", "")
	if status, out := mallory.ask(t, "POST", "/v1/console", `{"session_id":"`+s.SessionID+`"}`); status != 403 {
		t.Errorf("another user: %d %v", status, out)
	}
	es := r.audit()
	opened, issued := payloads[*events.AWSConsoleOpened](es), payloads[*events.AWSCredentialsIssued](es)
	if len(opened) != 1 || len(issued) != 1 || issued[0].Use != "console" || opened[0].AccessKeyID != issued[0].AccessKeyID ||
		opened[0].User != "alice" || opened[0].ExpiresAt.After(s.ExpiresAt.Add(time.Second)) {
		t.Errorf("opened %+v, issued %+v", opened, issued)
	}
	if d := payloads[*events.AWSRequestDenied](es); len(d) != 3 {
		t.Errorf("%d denials recorded, want those of the unknown, the narrowed and the foreign session", len(d))
	}
}

func TestHealth(t *testing.T) {
	r := newRig(t)
	c := r.clientAs("alice", "")
	if status, out := c.ask(t, "GET", "/healthz", ""); status != 200 {
		t.Errorf("%d %v", status, out)
	}
	if status, _ := c.ask(t, "GET", "/v1/console", ""); status != 405 {
		t.Errorf("GET of the console: %d", status)
	}
	if status, _ := c.ask(t, "GET", "/nothing", ""); status != 404 {
		t.Errorf("an unknown path: %d", status)
	}
}
