package broker

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
	"github.com/posternhq/postern/broker/push"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
)

// receiver is an endpoint over real TLS that keeps what it was sent.
type receiver struct {
	*httptest.Server
	t *testing.T
	// consents is what it answers to OPTIONS, "" for nothing.
	consents string
	// answer decides on a request; nil takes all of them.
	answer func(w http.ResponseWriter, r *http.Request, body []byte)

	mu   sync.Mutex
	got  []request
	came chan struct{}
}

type request struct {
	header http.Header
	body   []byte
	status int
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{t: t, consents: "*", came: make(chan struct{}, 1000)}
	r.Server = httptest.NewTLSServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) caPEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw}))
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method == http.MethodOptions {
		if r.consents != "" {
			w.Header().Set("WebHook-Allowed-Origin", r.consents)
			w.Header().Set("WebHook-Allowed-Rate", "60000")
		}
		return
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	rec := &kept{ResponseWriter: w, status: http.StatusNoContent}
	r.mu.Lock()
	answer := r.answer
	r.mu.Unlock()
	if answer != nil {
		answer(rec, req, body)
	}
	w.WriteHeader(rec.status)
	r.mu.Lock()
	r.got = append(r.got, request{req.Header, body, rec.status})
	r.mu.Unlock()
	select {
	case r.came <- struct{}{}:
	default: // whoever waits has enough to look at
	}
}

// kept keeps a status until its header is whole.
type kept struct {
	http.ResponseWriter
	status int
}

func (k *kept) WriteHeader(status int) { k.status = status }

func (r *receiver) answers(f func(w http.ResponseWriter, r *http.Request, body []byte)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = f
}

// until waits until what came is enough.
func (r *receiver) until(enough func([]request) bool) []request {
	r.t.Helper()
	deadline := time.After(time.Minute)
	for {
		r.mu.Lock()
		got := r.got[:len(r.got):len(r.got)]
		r.mu.Unlock()
		if enough(got) {
			return got
		}
		select {
		case <-r.came:
		case <-deadline:
			r.t.Fatalf("%d requests came, and not what was waited for", len(got))
		}
	}
}

// taken are the sequences in the stream of what was taken, in order.
func (r *receiver) taken(got []request) (seqs []uint64) {
	r.t.Helper()
	for _, q := range got {
		if q.status >= 300 {
			continue
		}
		var batch []json.RawMessage
		if q.body[0] != '[' {
			batch = []json.RawMessage{q.body}
		} else if err := json.Unmarshal(q.body, &batch); err != nil {
			r.t.Fatal(err)
		}
		for _, b := range batch {
			var ce cloudevents.Event
			if err := ce.UnmarshalJSON(b); err != nil || ce.Validate() != nil {
				r.t.Fatalf("%s: %v %v", b, err, ce.Validate())
			}
			raw, p, ok := events.Unplaced(b)
			if _, err := events.Decode(raw); !ok || err != nil {
				r.t.Fatalf("%s: %t, %v", b, ok, err)
			}
			seqs = append(seqs, p.Sequence)
		}
	}
	return seqs
}

// pushingBroker runs a broker that does not wait long between tries.
func pushingBroker(t *testing.T, j *journal.Journal, c *clock) (*Broker, func()) {
	return startIn(t, j, c, t.TempDir(), func(cfg *Config) {
		cfg.Consumers.Backoff = push.Backoff{First: 5 * time.Millisecond, Most: 50 * time.Millisecond}
	})
}

func pushingDemo(t *testing.T) (*Broker, func(), *journal.Journal, *clock) {
	t.Helper()
	j, c := eventstest.Journal(t), newClock()
	b, stop := pushingBroker(t, j, c)
	if _, err := b.Apply(t.Context(), "test", []byte(demo)); err != nil {
		t.Fatal(err)
	}
	return b, stop, j, c
}

func (r *receiver) consumer(name, filter string) api.NewConsumer {
	return api.NewConsumer{Name: name, Filter: filter, Push: &api.Push{Protocol: "webhook", URL: r.URL + "/in?x=1", CAPEM: r.caPEM(), Tries: 3}}
}

// look finds a consumer by its name.
func look(t *testing.T, admin *client.Client, name string) api.Consumer {
	t.Helper()
	list, err := admin.Consumers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range list {
		if k.Name == name {
			return k
		}
	}
	t.Fatalf("no consumer %s", name)
	return api.Consumer{}
}

// lockUp appends events: locks that are placed, one after the other.
func lockUp(t *testing.T, admin *client.Client, n int) {
	t.Helper()
	for range n {
		if _, err := admin.PlaceLock(t.Context(), api.CreateLock{Target: api.LockTarget{Kind: "app", Name: "awsconsole"}}); err != nil {
			t.Fatal(err)
		}
	}
}

// A webhook gets every event once and in order, verifiable by the reference
// library, whatever its answers, over restarts and with another secret.
func TestWebhook(t *testing.T) {
	b, stop, j, c := pushingDemo(t)
	admin, ctx := as(t, b, "admin"), t.Context()
	r := newReceiver(t)
	failures := 0
	r.answers(func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		switch failures++; failures {
		case 1, 2:
			w.WriteHeader(http.StatusInternalServerError)
		case 3:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		case 4, 5, 6, 7:
			w.WriteHeader(http.StatusBadGateway) // more than the tries: it is away, not the event's fault
		}
	})
	in := r.consumer("siem", "access.>")
	in.Authorization = "Splunk token"
	made, err := admin.NewConsumer(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	if made.Push.PerMinute != 60000 {
		t.Errorf("the rate that it allows is not kept: %+v", made.Push)
	}
	lockUp(t, admin, 3)
	last, err := j.Last(ctx, events.Access)
	if err != nil {
		t.Fatal(err)
	}
	all := func(got []request) bool { s := r.taken(got); return len(s) > 0 && s[len(s)-1] == last }
	got := r.until(all)
	stop()
	b, _ = pushingBroker(t, j, c)
	admin = as(t, b, "admin")
	rotated, err := admin.RotateSecret(ctx, "siem", api.RotateSecret{})
	if err != nil || rotated.Secret == made.Secret {
		t.Fatal(rotated, err)
	}
	next, err := standardwebhooks.NewWebhook(rotated.Secret)
	if err != nil {
		t.Fatal(err)
	}
	for signs := false; !signs; { // within moments
		lockUp(t, admin, 1)
		if last, err = j.Last(ctx, events.Access); err != nil {
			t.Fatal(err)
		}
		got = r.until(all)
		signs = next.Verify(got[len(got)-1].body, got[len(got)-1].header) == nil
	}
	seqs := slices.Compact(r.taken(got)) // who is stopped before it heard the answer sends once more
	for i, s := range seqs {
		if s != uint64(i+1) {
			t.Fatalf("in place %d came sequence %d: %v", i, s, seqs)
		}
	}
	former, err := standardwebhooks.NewWebhook(made.Secret)
	if err != nil {
		t.Fatal(err)
	}
	for i, q := range got {
		if err := former.Verify(q.body, q.header); err != nil {
			t.Errorf("request %d: %v", i, err)
		}
		if q.header.Get("Authorization") != in.Authorization || !strings.HasPrefix(q.header.Get("Content-Type"), "application/cloudevents+json") {
			t.Errorf("header %v", q.header)
		}
	}
	if next.Verify(got[0].body, got[0].header) == nil {
		t.Error("the new secret signed before it was there")
	}
	if !bytes.Equal(got[0].body, got[1].body) || got[0].header.Get("webhook-id") != got[6].header.Get("webhook-id") {
		t.Error("what was refused came again otherwise")
	}
	for e, err := range j.Replay(ctx, events.Access) {
		for _, secret := range []string{made.Secret, rotated.Secret, in.Authorization, strings.TrimPrefix(made.Secret, "whsec_")} {
			if err != nil || bytes.Contains(e.Raw, []byte(secret)) {
				t.Fatalf("an event holds a secret: %s %v", e.Raw, err)
			}
		}
	}
	// Whoever was stopped may have left a word that it did not succeed.
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		k := look(t, admin, "siem")
		if k.Failing == nil && k.Push.URL == in.Push.URL {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("consumer %+v", k)
		}
	}
}

// What an endpoint will not take is set aside and replayed; a dead endpoint,
// and one that is gone, hold up nobody else.
func TestDeadLetters(t *testing.T) {
	nc, c := eventstest.Connect(t), newClock()
	j := eventstest.Open(t, nc)
	b, _ := pushingBroker(t, j, c)
	if _, err := b.Apply(t.Context(), "test", []byte(demo)); err != nil {
		t.Fatal(err)
	}
	admin, ctx := as(t, b, "admin"), t.Context()
	r, dead, gone := newReceiver(t), newReceiver(t), newReceiver(t)
	deadURL := dead.consumer("dead", "access.>")
	deadURL.SkipConsent = true
	dead.Close()
	gone.answers(func(w http.ResponseWriter, _ *http.Request, _ []byte) { w.WriteHeader(http.StatusGone) })
	const poison = `"lock_id":"`
	refuse := func(w http.ResponseWriter, _ *http.Request, body []byte) {
		if bytes.Contains(body, []byte(poison)) {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
	}
	r.answers(refuse)
	batched := r.consumer("lake", "access.>")
	batched.Push.Batch = 50
	for _, in := range []api.NewConsumer{deadURL, gone.consumer("gone", "access.>"), batched} {
		if _, err := admin.NewConsumer(ctx, in); err != nil {
			t.Fatal(err)
		}
	}
	lockUp(t, admin, 2)
	// What is no event at all is nothing to send.
	if err := nc.Publish("access.user.dave", []byte("what?")); err != nil {
		t.Fatal(err)
	}
	for look(t, admin, "lake").DeadLetters < 3 || look(t, admin, "gone").Suspended == "" || look(t, admin, "dead").Failing == nil {
		time.Sleep(20 * time.Millisecond)
	}
	letters, err := admin.DeadLetters(ctx, "lake")
	if err != nil || len(letters) != 3 || letters[2].Tries != 0 || !strings.Contains(letters[2].Reason, "no CloudEvent") || letters[0].Tries != 3 || letters[0].Reason != "answered 422 Unprocessable Entity" {
		t.Fatalf("letters %+v, %v", letters, err)
	}
	if err := admin.ReplayDeadLetter(ctx, "lake", letters[0].Sequence); code(err) != api.CodeConflict || !strings.Contains(err.Error(), "422") {
		t.Errorf("replayed in vain: %v", err)
	}
	if got, want := metrics(t, b, "admin"), "postern_consumer_dead_letters{consumer=\"lake\",stream=\"ACCESS\"} 3\n"; !strings.Contains(got, want) ||
		!strings.Contains(got, "postern_consumer_suspended{consumer=\"gone\",stream=\"ACCESS\"} 1\n") || !strings.Contains(got, "failing_since_timestamp_seconds{consumer=\"dead\"") {
		t.Errorf("metrics without %q:\n%s", want, got)
	}
	r.answers(nil)
	for _, l := range letters[:2] {
		if err := admin.ReplayDeadLetter(ctx, "lake", l.Sequence); err != nil {
			t.Error(err)
		}
	}
	if err := admin.ReplayDeadLetter(ctx, "lake", letters[0].Sequence); code(err) != api.CodeNotFound {
		t.Errorf("replayed twice: %v", err)
	}
	last, err := j.Last(ctx, events.Access)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[uint64]int{}
	r.until(func(got []request) bool {
		seen = map[uint64]int{}
		for _, s := range r.taken(got) {
			seen[s]++
		}
		return len(seen) == int(last)-1
	})
	for s, n := range seen {
		if n != 1 {
			t.Errorf("sequence %d was taken %d times", s, n)
		}
	}
	gone.answers(nil)
	if err := admin.ResumeConsumer(ctx, "gone"); err != nil {
		t.Fatal(err)
	}
	gone.until(func(got []request) bool { return len(gone.taken(got)) >= int(last)-1 })
	if err := admin.ResumeConsumer(ctx, "gone"); code(err) != api.CodeConflict {
		t.Errorf("resumed twice: %v", err)
	}
	if err := admin.DeleteConsumer(ctx, "dead"); err != nil {
		t.Error(err)
	}
	if _, err := b.vault.Secrets(ctx, "dead"); err == nil {
		t.Error("the secrets of a consumer that is gone are there")
	}
}

// A broker that dies between a delivery and its acknowledgement has the next
// one send the same again, and what follows after it.
func TestWebhookBrokerDies(t *testing.T) {
	b, stop, j, c := pushingDemo(t)
	admin, ctx := as(t, b, "admin"), t.Context()
	r := newReceiver(t)
	died := make(chan struct{})
	n := 0
	r.answers(func(w http.ResponseWriter, req *http.Request, _ []byte) {
		if n++; n == 5 {
			go func() { stop(); close(died) }()
			<-died // it has the event, and nobody hears so
		}
	})
	if _, err := admin.NewConsumer(ctx, r.consumer("siem", "access.>")); err != nil {
		t.Fatal(err)
	}
	<-died
	b, _ = pushingBroker(t, j, c)
	lockUp(t, as(t, b, "admin"), 1)
	last, err := j.Last(ctx, events.Access)
	if err != nil {
		t.Fatal(err)
	}
	got := r.until(func(got []request) bool { s := r.taken(got); return len(s) > 0 && s[len(s)-1] == last })
	want := []uint64{1, 2, 3, 4, 5}
	for s := uint64(5); s <= last; s++ {
		want = append(want, s)
	}
	if d := cmp.Diff(want, r.taken(got)); d != "" {
		t.Errorf("taken (-want +got):\n%s", d)
	}
	if a, b := got[4].header.Get("webhook-id"), got[5].header.Get("webhook-id"); a != b || a == "" {
		t.Errorf("the same event came as %q and as %q", a, b)
	}
}

// Of two brokers one sends; when it goes the other goes on.
func TestWebhookOneSends(t *testing.T) {
	b, stop, j, c := pushingDemo(t)
	other, _ := pushingBroker(t, j, c)
	r := newReceiver(t)
	if _, err := as(t, b, "admin").NewConsumer(t.Context(), r.consumer("siem", "access.lock.>")); err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		lockUp(t, as(t, other, "admin"), 20)
		got := r.until(func(got []request) bool { return len(r.taken(got)) >= 20*(round+1) })
		for i, s := range r.taken(got) {
			if i > 0 && s <= r.taken(got)[i-1] {
				t.Fatalf("sequences %v", r.taken(got))
			}
		}
		stop()
	}
}

// Nothing is sent in the clear, to who does not want it, or elsewhere than said.
func TestWebhookRefused(t *testing.T) {
	b, _, _, _ := pushingDemo(t)
	admin, ctx := as(t, b, "admin"), t.Context()
	r := newReceiver(t)
	r.consents = "example.com"
	if _, err := admin.NewConsumer(ctx, r.consumer("siem", "access.>")); code(err) != api.CodeConflict || !strings.Contains(err.Error(), "does not consent") {
		t.Errorf("without consent: %v", err)
	}
	if _, err := as(t, b, "alice").RotateSecret(ctx, "siem", api.RotateSecret{}); code(err) != api.CodeDenied {
		t.Errorf("alice rotates: %v", err)
	}
	for url, want := range map[string]string{
		"http://siem.example.com/":        "want https",
		"http://127.0.0.1.nip.io/":        "want https",
		"https://user:pw@siem.example/":   "no user or password",
		"ftp://siem.example.com/":         "want https, not ftp",
		"https:///path":                   "want https://HOST",
		"https://siem.example.com/#frag":  "no fragment",
		"https://169.254.169.254/latest/": "no address of an endpoint",
		"https://[fe80::1]/":              "no address of an endpoint",
	} {
		in := r.consumer("siem", "access.>")
		in.Push.URL = url
		if _, err := admin.NewConsumer(ctx, in); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "pw") {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
	// Redirects are not followed, and count as refusals.
	r.consents = "localhost"
	victim := newReceiver(t)
	r.answers(func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		w.Header().Set("Location", victim.URL)
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	if _, err := admin.NewConsumer(ctx, r.consumer("siem", "access.role.aws-reader")); err != nil {
		t.Fatal(err)
	}
	for look(t, admin, "siem").DeadLetters == 0 {
		time.Sleep(20 * time.Millisecond)
	}
	if victim.mu.Lock(); len(victim.got) != 0 {
		t.Error("a redirect was followed")
	}
	victim.mu.Unlock()
	// Another certificate than said is nobody to send to.
	in := r.consumer("other", "access.role.aws-reader")
	in.Push.CAPEM = string(b.CAPEM())
	if _, err := admin.NewConsumer(ctx, in); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("with another CA: %v", err)
	}
}

// OCSF is sent as it is printed.
func TestWebhookOCSF(t *testing.T) {
	b, _, _, _ := pushingDemo(t)
	r := newReceiver(t)
	in := r.consumer("lake", "access.user.*")
	in.Push.Format, in.Push.Batch = "ocsf", 10
	if _, err := as(t, b, "admin").NewConsumer(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	users := 0
	r.until(func(got []request) bool {
		users = 0
		for _, q := range got {
			var batch []struct {
				ClassUID int `json:"class_uid"`
			}
			if err := json.Unmarshal(q.body, &batch); err != nil || q.header.Get("Content-Type") != "application/json" {
				t.Fatal(err, q.header)
			}
			for _, e := range batch {
				if e.ClassUID == 0 {
					t.Errorf("no class: %s", q.body)
				}
				users++
			}
		}
		return users >= 3
	})
	if users != 3 {
		t.Errorf("%d events of three users", users)
	}
}

// fetchJSON reads a page of the broker that needs no certificate.
func fetchJSON(t *testing.T, b *Broker, path string, into any) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: b.ca.Pool(), ServerName: "localhost"}}}
	defer client.CloseIdleConnections()
	resp, err := client.Get(path)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s", resp.Status)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}

// That nothing can be sent, because the consumer's place in the stream is gone, is said once
// and with what to do, however often it is tried; and that it can again.
func TestDurableGone(t *testing.T) {
	nc, c, ctx := eventstest.Connect(t), newClock(), t.Context()
	j, log := eventstest.Open(t, nc), &quietly{}
	b, _ := startIn(t, j, c, t.TempDir(), func(cfg *Config) { cfg.Log = zerolog.New(log) })
	if _, err := b.Apply(ctx, "test", []byte(demo)); err != nil {
		t.Fatal(err)
	}
	admin, r := as(t, b, "admin"), newReceiver(t)
	if _, err := admin.NewConsumer(ctx, r.consumer("siem", "access.>")); err != nil {
		t.Fatal(err)
	}
	came := len(r.until(func(got []request) bool { return len(got) > 0 }))
	tries, err := nc.SubscribeSync("$JS.API.CONSUMER.INFO.ACCESS.siem")
	if err != nil {
		t.Fatal(err)
	}
	if err := j.DeleteConsumer(ctx, events.Access, "siem"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := tries.NextMsg(time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(log.String(), "remove the consumer, and add another"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log)
	}
	if err := j.CreateDelivery(ctx, events.ConsumerCreated{Name: "siem", Stream: events.Access, Filter: "access.>"}); err != nil {
		t.Fatal(err)
	}
	r.until(func(got []request) bool { return len(got) > came })
	for deadline := time.Now().Add(time.Minute); !strings.Contains(log.String(), "sending goes on"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("that it goes on is not said:\n%s", log)
		}
	}
}
