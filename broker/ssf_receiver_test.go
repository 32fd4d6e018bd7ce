package broker

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/events"
)

const (
	caep = "https://schemas.openid.net/secevent/caep/event-type/"
	risc = "https://schemas.openid.net/secevent/risc/event-type/"
)

// poller is a receiver that makes its stream by the API that the transmitter's metadata
// names, and knows nothing else of postern.
type poller struct {
	*setReceiver
	t      *testing.T
	client *http.Client
	token  string
	meta   map[string]any
}

func newPoller(t *testing.T, b *Broker, token string) *poller {
	p := &poller{setReceiver: &setReceiver{b: b}, t: t, token: token}
	p.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: b.ca.Pool(), ServerName: "localhost"}}}
	t.Cleanup(p.client.CloseIdleConnections)
	fetchJSON(t, b, b.origin()+"/.well-known/ssf-configuration", &p.meta)
	return p
}

func (p *poller) at(endpoint string) string {
	p.t.Helper()
	s, _ := p.meta[endpoint].(string)
	return s
}

// call asks and holds the status against the one that is due.
func (p *poller) call(method, url string, body any, want int) []byte {
	p.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		p.t.Fatal(err)
	}
	if body == nil {
		text = nil
	}
	req, err := http.NewRequestWithContext(p.t.Context(), method, url, bytes.NewReader(text))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	resp, err := p.client.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != want {
		p.t.Fatalf("%s %s %s: %s, want %d: %s", method, url, text, resp.Status, want, said)
	}
	if resp.Header.Get("Cache-Control") != "no-store" {
		p.t.Errorf("%s %s may be cached", method, url)
	}
	if want == http.StatusUnauthorized && strings.Contains(url, "/ssf/") && !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Bearer") {
		p.t.Errorf("401 without a challenge: %v", resp.Header)
	}
	return said
}

func (p *poller) json(method, url string, body any, want int) (out map[string]any) {
	p.t.Helper()
	if err := json.Unmarshal(p.call(method, url, body, want), &out); err != nil {
		p.t.Fatal(err)
	}
	return out
}

// poll returns what its tokens say, in short, by their ids, and the ids sorted by that.
func (p *poller) poll(stream map[string]any, body map[string]any) (said map[string]string, more bool) {
	p.t.Helper()
	url, _ := asMap(stream["delivery"])["endpoint_url"].(string)
	answer := p.json("POST", url, body, http.StatusOK)
	keys := p.keys(p.t)
	said = map[string]string{}
	for jti, token := range asMap(answer["sets"]) {
		said[jti], _ = p.read(keys, token.(string))
	}
	more, _ = answer["moreAvailable"].(bool)
	return said, more
}

func (p *poller) read(keys map[string]*rsa.PublicKey, token string) (short, kid string) {
	return p.setReceiver.token(p.t, keys, request{header: http.Header{"Content-Type": {"application/secevent+jwt"}}, body: []byte(token)})
}

func texts(said map[string]string) (out []string) {
	for _, s := range said {
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

func ids(said map[string]string) (out []string) {
	for id := range said {
		out = append(out, id)
	}
	return out
}

func receiverIn(t *testing.T, b *Broker, change ...func(*api.Receiver)) string {
	t.Helper()
	in := api.NewConsumer{Name: "idp", Filter: "access.>", Receiver: &api.Receiver{Audience: []string{"https://receiver.example.com"}}}
	for _, f := range change {
		f(in.Receiver)
	}
	made, err := as(t, b, "admin").NewConsumer(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return made.Secret
}

// A receiver makes a stream, polls it over several answers, acknowledges, refuses and
// asks for more, all by what the specifications say (RFC 8936).
func TestPoll(t *testing.T) {
	b, _, j, c := pushingDemo(t)
	other, _ := startIn(t, j, c, t.TempDir(), func(cfg *Config) { cfg.PublicURL = b.origin() })
	admin := as(t, b, "admin")
	lock := func(user string) {
		t.Helper()
		if _, err := admin.PlaceLock(t.Context(), api.CreateLock{Target: api.LockTarget{Kind: "user", Name: user}}); err != nil {
			t.Fatal(err)
		}
	}
	p := newPoller(t, b, receiverIn(t, b))
	lock("bob") // before the stream is there
	stream := p.json("POST", p.at("configuration_endpoint"), map[string]any{"description": "a test"}, http.StatusCreated)
	id := stream["stream_id"].(string)
	there := func(url string) string {
		return strings.Replace(url, ":"+portOf(b.Addr())+"/", ":"+portOf(other.Addr())+"/", 1)
	}
	if d := cmp.Diff(stream, p.json("GET", there(p.at("configuration_endpoint"))+"?stream_id="+id, nil, http.StatusOK)); d != "" {
		t.Errorf("another broker has another stream (-want +got):\n%s", d)
	}
	if d := asMap(stream["delivery"]); d["method"] != events.DeliverPoll || stream["iss"] != b.origin() || stream["aud"] != "https://receiver.example.com" || stream["description"] != "a test" {
		t.Errorf("stream %v", stream)
	}
	if now, _ := p.poll(stream, map[string]any{"returnImmediately": true}); len(now) != 0 {
		t.Errorf("from before the stream came %v", now)
	}
	// Long polling: the answer comes when there is one.
	go func() {
		time.Sleep(300 * time.Millisecond)
		lock("alice")
	}()
	both, all := map[string]string{}, 0
	for len(both) < 2 {
		said, _ := p.poll(stream, map[string]any{"maxEvents": 1, "ack": []string{"nobody's"}})
		for jti, s := range said {
			both[jti] = s
		}
		if all++; len(said) != 1 || all > 2 {
			t.Fatalf("poll %d gave %v", all, said)
		}
	}
	if d := cmp.Diff([]string{"account-disabled alice", "session-revoked alice admin"}, texts(both)); d != "" {
		t.Errorf("signals (-want +got):\n%s", d)
	}
	// What was handed out comes again only after a while, and not once acknowledged.
	if again, _ := p.poll(stream, map[string]any{"returnImmediately": true}); len(again) != 0 {
		t.Errorf("at once again: %v", again)
	}
	c.advance(31 * time.Second)
	again, _ := p.poll(stream, map[string]any{"returnImmediately": true})
	if d := cmp.Diff(both, again); d != "" {
		t.Errorf("again (-want +got):\n%s", d)
	}
	jtis := ids(both)
	if none, _ := p.poll(stream, map[string]any{"maxEvents": 0, "ack": jtis[:1], "setErrs": map[string]any{jtis[1]: map[string]any{"err": "invalid_key", "description": "as of now"}}}); len(none) != 0 {
		t.Errorf("with maxEvents 0 came %v", none)
	}
	letters, err := admin.DeadLetters(t.Context(), "idp")
	if err != nil || len(letters) != 1 || letters[0].Reason != "answered invalid_key" {
		t.Fatalf("dead letters %+v, %v", letters, err)
	}
	if k := look(t, admin, "idp"); k.StreamStatus != "enabled" || k.Unpolled != 0 || k.DeadLetters != 1 {
		t.Errorf("consumer %+v", k)
	}
	c.advance(31 * time.Second)
	if gone, _ := p.poll(stream, map[string]any{"returnImmediately": true}); len(gone) != 0 {
		t.Errorf("settled and here again: %v", gone)
	}
	if err := admin.ReplayDeadLetter(t.Context(), "idp", letters[0].Sequence); err != nil {
		t.Fatal(err)
	}
	back, _ := p.poll(stream, map[string]any{"returnImmediately": true})
	if d := cmp.Diff(both, back); d != "" { // both signals are of one event
		t.Errorf("replayed (-want +got):\n%s", d)
	}
	// More than one answer holds, over another broker, which finds them wherever they were put.
	for range maxPoll {
		lock("bob")
	}
	asMap(stream["delivery"])["endpoint_url"] = there(asMap(stream["delivery"])["endpoint_url"].(string))
	seen, answers := map[string]bool{}, 0
	for len(seen) < 2*maxPoll {
		said, more := p.poll(stream, map[string]any{"ack": ids(back)})
		for jti := range said {
			if seen[jti] {
				t.Errorf("token %s came twice", jti)
			}
			seen[jti] = true
		}
		if answers++; len(said) > maxPoll || more && len(said) < maxPoll {
			t.Errorf("answer %d holds %d, more %t", answers, len(said), more)
		}
		back = said
	}
	// Not too many may wait: the next one is told so, and that goes by.
	poll := asMap(stream["delivery"])["endpoint_url"].(string)
	p.call("POST", poll, map[string]any{"ack": ids(back), "maxEvents": 0}, http.StatusOK)
	waiting, end := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range maxPolls {
		wg.Go(func() {
			req, err := http.NewRequestWithContext(waiting, http.MethodPost, poll, strings.NewReader("{}"))
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("Authorization", "Bearer "+p.token)
			if resp, err := p.client.Do(req); err == nil {
				t.Errorf("nothing was there, and the answer is %s", resp.Status)
				resp.Body.Close()
			}
		})
	}
	for many := false; !many; time.Sleep(5 * time.Millisecond) {
		other.polls.mu.Lock()
		many = other.polls.waiting["idp"] == maxPolls
		other.polls.mu.Unlock()
	}
	p.call("POST", poll, map[string]any{}, http.StatusTooManyRequests)
	p.call("POST", poll, map[string]any{"returnImmediately": true}, http.StatusOK)
	end()
	wg.Wait()
	for _, bad := range []any{[]int{1}, "x", map[string]any{"maxEvents": -1}, map[string]any{"maxEvents": "1"}, map[string]any{"ack": "x"}, map[string]any{"returnImmediately": 1}} {
		p.call("POST", asMap(stream["delivery"])["endpoint_url"].(string), bad, http.StatusBadRequest)
	}
}

// The API by which receivers manage their stream has the specification's names and
// status codes (SSF 1.0, section 8), and a token is good for its own stream alone.
func TestStreamManagement(t *testing.T) {
	b, _, _, c := pushingDemo(t)
	admin := as(t, b, "admin")
	r := newReceiver(t)
	p := newPoller(t, b, receiverIn(t, b, func(x *api.Receiver) { x.PushHosts, x.CAPEM, x.Subject = []string{"127.0.0.1"}, r.caPEM(), "email" }))
	conf := p.at("configuration_endpoint")
	if list := string(p.call("GET", conf, nil, http.StatusOK)); list != "[]\n" {
		t.Errorf("streams before there are any: %s", list)
	}
	p.call("GET", conf+"?stream_id=nobody", nil, http.StatusNotFound)
	p.call("POST", conf, []string{"no object"}, http.StatusBadRequest)
	p.call("POST", conf, map[string]any{"events_requested": []string{}}, http.StatusBadRequest)
	p.call("POST", conf, map[string]any{"delivery": map[string]any{"method": "smoke"}}, http.StatusBadRequest)
	push := func(url, header string) map[string]any {
		return map[string]any{"method": events.DeliverPush, "endpoint_url": url, "authorization_header": header}
	}
	p.call("POST", conf, map[string]any{"delivery": push("https://elsewhere.example.com/", "")}, http.StatusForbidden)
	p.call("POST", conf, map[string]any{"delivery": push("http://127.0.0.1:9/", "")}, http.StatusForbidden)
	p.call("POST", conf, map[string]any{"delivery": push(r.URL+"/in", "Bearer a\nb")}, http.StatusBadRequest)
	stream := p.json("POST", conf, map[string]any{"events_requested": []string{caep + "session-revoked", risc + "account-enabled", "urn:of:nobody"}, "delivery": push(r.URL+"/in", "Bearer in")}, http.StatusCreated)
	id := stream["stream_id"].(string)
	if d := cmp.Diff([]any{caep + "session-revoked", risc + "account-enabled"}, stream["events_delivered"]); d != "" {
		t.Errorf("delivered (-want +got):\n%s", d)
	}
	if _, shown := asMap(stream["delivery"])["authorization_header"]; shown {
		t.Error("the endpoint's header is shown")
	}
	p.call("POST", conf, map[string]any{}, http.StatusConflict)
	var list []map[string]any
	if err := json.Unmarshal(p.call("GET", conf, nil, http.StatusOK), &list); err != nil || len(list) != 1 || cmp.Diff(stream, list[0]) != "" {
		t.Errorf("list %v, %v", list, err)
	}

	// Verification, at most so often.
	verify := p.at("verification_endpoint")
	p.call("POST", verify, map[string]any{"stream_id": id, "state": "are you there"}, http.StatusNoContent)
	p.call("POST", verify, map[string]any{"stream_id": id}, http.StatusTooManyRequests)
	c.advance(11 * time.Second)
	p.call("POST", verify, map[string]any{"stream_id": "x"}, http.StatusNotFound)
	p.call("POST", verify, map[string]any{}, http.StatusBadRequest)

	// Only what was requested comes, and not of who was removed.
	status, subject := p.at("status_endpoint"), map[string]any{"format": "iss_sub", "iss": b.origin(), "sub": "bob"}
	lock := func(user string) string {
		t.Helper()
		l, err := admin.PlaceLock(t.Context(), api.CreateLock{Target: api.LockTarget{Kind: "user", Name: user}})
		if err != nil {
			t.Fatal(err)
		}
		return l.ID
	}
	lock("alice")
	r.until(func(got []request) bool { return len(got) >= 2 })
	p.call("POST", p.at("remove_subject_endpoint"), map[string]any{"stream_id": id, "subject": subject}, http.StatusNoContent)
	p.call("POST", p.at("remove_subject_endpoint"), map[string]any{"stream_id": id, "subject": map[string]any{"format": "email", "email": "who@example.com"}}, http.StatusNoContent)
	p.call("POST", p.at("remove_subject_endpoint"), map[string]any{"stream_id": id, "subject": map[string]any{}}, http.StatusBadRequest)
	ofBob := lock("bob")
	if body := p.call("POST", p.at("add_subject_endpoint"), map[string]any{"stream_id": id, "subject": subject, "verified": true}, http.StatusOK); len(body) != 0 {
		t.Errorf("the answer to an added subject is not empty: %s", body)
	}
	if err := admin.LiftLock(t.Context(), ofBob); err != nil {
		t.Fatal(err)
	}
	r.until(func(got []request) bool { return len(got) >= 3 })

	// Paused is kept, disabled is not.
	set := func(to string) map[string]any {
		t.Helper()
		return p.json("POST", status, map[string]any{"stream_id": id, "status": to, "reason": "a test"}, http.StatusOK)
	}
	if d := cmp.Diff(map[string]any{"stream_id": id, "status": "paused", "reason": "a test"}, set("paused")); d != "" {
		t.Errorf("status (-want +got):\n%s", d)
	}
	p.call("POST", verify, map[string]any{"stream_id": id}, http.StatusBadRequest)
	p.call("POST", status, map[string]any{"stream_id": id, "status": "asleep"}, http.StatusBadRequest)
	lock("bob")
	set("enabled")
	r.until(func(got []request) bool { return len(got) >= 4 })
	set("disabled")
	lock("bob")
	set("enabled")
	lock("alice")
	r.until(func(got []request) bool { return len(got) >= 5 })

	// A part is changed, all is replaced, and what is the transmitter's stays.
	p.call("PATCH", conf, map[string]any{"stream_id": id, "aud": "https://else.example.com"}, http.StatusBadRequest)
	p.call("PATCH", conf, map[string]any{"description": "x"}, http.StatusBadRequest)
	p.call("PATCH", conf, map[string]any{"stream_id": "x", "description": "x"}, http.StatusNotFound)
	changed := p.json("PATCH", conf, map[string]any{"stream_id": id, "description": "x", "iss": b.origin()}, http.StatusOK)
	if changed["description"] != "x" || cmp.Diff(stream["events_delivered"], changed["events_delivered"]) != "" || cmp.Diff(stream["delivery"], changed["delivery"]) != "" {
		t.Errorf("changed %v", changed)
	}
	delete(changed, "description")
	replaced := p.json("PUT", conf, changed, http.StatusOK)
	if _, there := replaced["description"]; there || cmp.Diff(changed, replaced) != "" {
		t.Errorf("replaced %v", replaced)
	}
	lock("alice") // the header is still the one it set
	got := r.until(func(got []request) bool { return len(got) >= 6 })
	keys, said := p.keys(t), []string{}
	for _, q := range got {
		short, _ := p.setReceiver.token(t, keys, q)
		said = append(said, short)
		if q.header.Get("Authorization") != "Bearer in" {
			t.Errorf("authorization %q", q.header.Get("Authorization"))
		}
	}
	revoked := func(user string) string { return "session-revoked " + user + " admin" }
	if d := cmp.Diff([]string{"verification " + id + " are you there", revoked("alice"), "account-enabled bob", revoked("bob"), revoked("alice"), revoked("alice")}, said); d != "" {
		t.Errorf("signals (-want +got):\n%s", d)
	}

	// Another's token, a former one, and none.
	other, err := admin.NewConsumer(t.Context(), api.NewConsumer{Name: "other", Filter: "access.>", Receiver: &api.Receiver{Audience: []string{"https://other.example.com"}}})
	if err != nil {
		t.Fatal(err)
	}
	q := newPoller(t, b, other.Secret)
	theirs := q.json("POST", conf, map[string]any{}, http.StatusCreated)
	poll := asMap(theirs["delivery"])["endpoint_url"].(string)
	for _, call := range []struct{ method, url string }{{"GET", conf + "?stream_id=" + id}, {"DELETE", conf + "?stream_id=" + id}, {"GET", status + "?stream_id=" + id}} {
		q.call(call.method, call.url, nil, http.StatusNotFound)
	}
	for _, url := range []string{status, verify, p.at("add_subject_endpoint"), p.at("remove_subject_endpoint")} {
		q.call("POST", url, map[string]any{"stream_id": id, "status": "enabled", "subject": subject}, http.StatusNotFound)
	}
	p.call("POST", poll, map[string]any{}, http.StatusNotFound)
	p.call("GET", b.origin()+"/v1/consumers", nil, http.StatusUnauthorized)
	for _, token := range []string{"", "x", "pssf.idp.", strings.Replace(p.token, "idp", "other", 1)} {
		newPoller(t, b, token).call("GET", conf, nil, http.StatusUnauthorized)
	}
	next, err := admin.RotateSecret(t.Context(), "idp", api.RotateSecret{Token: true, Overlap: "1h"})
	if err != nil {
		t.Fatal(err)
	}
	p.call("GET", conf, nil, http.StatusOK)
	c.advance(2 * time.Hour)
	admin = as(t, b, "admin")
	p.call("GET", conf, nil, http.StatusUnauthorized)
	p.token = next.Secret
	p.call("DELETE", conf+"?stream_id="+id, nil, http.StatusNoContent)
	p.call("GET", conf+"?stream_id="+id, nil, http.StatusNotFound)
	if k := look(t, admin, "idp"); k.StreamStatus != "none" || k.Fault != "" {
		t.Errorf("consumer %+v", k)
	}
	p.call("POST", conf, map[string]any{}, http.StatusCreated)
	if err := admin.DeleteConsumer(t.Context(), "idp"); err != nil {
		t.Fatal(err)
	}
	p.call("GET", conf, nil, http.StatusUnauthorized)
}

// What a receiver did not acknowledge is pushed when it has its stream pushed instead;
// and when postern stops a stream, it says so first, and when it goes on.
func TestStreamFromPollToPush(t *testing.T) {
	b, _, _, _ := pushingDemo(t)
	admin := as(t, b, "admin")
	r := newReceiver(t)
	p := newPoller(t, b, receiverIn(t, b, func(x *api.Receiver) { x.PushHosts, x.CAPEM, x.Tries = []string{"127.0.0.1"}, r.caPEM(), 1 }))
	stream := p.json("POST", p.at("configuration_endpoint"), map[string]any{"events_requested": []string{caep + "session-revoked"}}, http.StatusCreated)
	lock := func(user string) {
		t.Helper()
		if _, err := admin.PlaceLock(t.Context(), api.CreateLock{Target: api.LockTarget{Kind: "user", Name: user}}); err != nil {
			t.Fatal(err)
		}
	}
	lock("alice")
	if said, _ := p.poll(stream, map[string]any{}); len(said) != 1 {
		t.Fatalf("polled %v", said)
	}
	p.json("PATCH", p.at("configuration_endpoint"), map[string]any{"stream_id": stream["stream_id"], "delivery": map[string]any{"method": events.DeliverPush, "endpoint_url": r.URL}}, http.StatusOK)
	r.until(func(got []request) bool { return len(got) >= 1 })
	r.answers(func(w http.ResponseWriter, _ *http.Request, body []byte) {
		if short, _ := p.read(p.keys(t), string(body)); !strings.HasPrefix(short, "stream-updated") {
			w.WriteHeader(http.StatusBadRequest)
		}
	})
	for deadline := time.Now().Add(time.Minute); look(t, admin, "idp").Suspended == ""; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not suspended")
		}
		lock("bob")
	}
	status := p.json("GET", p.at("status_endpoint")+"?stream_id="+stream["stream_id"].(string), nil, http.StatusOK)
	if status["status"] != "paused" || status["reason"] == "" {
		t.Errorf("status %v", status)
	}
	r.answers(nil)
	if err := admin.ResumeConsumer(t.Context(), "idp"); err != nil {
		t.Fatal(err)
	}
	var said []string
	keys := p.keys(t)
	r.until(func(got []request) bool {
		said = nil
		for _, q := range got {
			if q.status < 300 {
				// Of bob as many come afterwards as there were locks.
				if short, _ := p.setReceiver.token(t, keys, q); !strings.Contains(short, "bob") {
					said = append(said, short)
				}
			}
		}
		return len(said) >= 3
	})
	id := " " + stream["stream_id"].(string)
	if d := cmp.Diff([]string{"session-revoked alice admin", "stream-updated" + id, "stream-updated" + id}, said); d != "" {
		t.Errorf("taken (-want +got):\n%s", d)
	}
}
