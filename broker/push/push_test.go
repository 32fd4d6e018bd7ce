package push

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// What an answer means, and how long it has us wait.
func TestJudge(t *testing.T) {
	now := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		status     int
		retryAfter string
		body       string
		outcome    outcome
		wait       time.Duration
		reason     string
	}{
		{200, "", "", taken, 0, ""},
		{204, "10", "", taken, 0, ""},
		{202, "", "", taken, 0, ""},
		{301, "", "", refused, 0, "redirects are not followed"},
		{400, "", `{"err": "invalid_key", "description": "Bearer secret"}`, refused, 0, "Bad Request: invalid_key"},
		{401, "", "Bearer secret", refused, 0, "Unauthorized"},
		{410, "", "", gone, 0, "Gone"},
		{429, "120", "", away, 2 * time.Minute, ""},
		{500, now.Add(time.Hour).Format(http.TimeFormat), "", refused, time.Hour, ""},
		{502, now.Add(-time.Hour).Format(http.TimeFormat), "", away, 0, ""},
		{503, "99999999999", "", away, maxRetryAfter, ""},
		{504, "soon", "", away, 0, ""},
		{999, "-5", "", refused, 0, "999"},
	} {
		resp := &http.Response{StatusCode: c.status, Header: http.Header{"Retry-After": {c.retryAfter}}}
		a := judge(resp, []byte(c.body), now)
		if a.outcome != c.outcome || a.retryAfter != c.wait || !strings.Contains(a.reason, c.reason) || strings.Contains(a.reason, "secret") {
			t.Errorf("%d %q: %+v, want %+v", c.status, c.retryAfter, a, c)
		}
	}
}

// Pauses grow to the most, and are never the same for all.
func TestBackoff(t *testing.T) {
	b := DefaultBackoff()
	for n := 1; n < 200; n++ {
		want := b.Most
		if n <= 9 { // 256 s
			want = b.First << (n - 1)
		}
		if d := b.after(n); d < want/2 || d > want {
			t.Errorf("after %d failures %s, want %s to %s", n, d, want/2, want)
		}
	}
}

// FuzzRetryAfter: whatever is in the header, the wait is one.
func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"", "1", "-1", "1e9", "Thu, 15 Jan 2026 12:00:00 GMT", "9223372036854775807"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d := retryAfter(s, time.Unix(1_768_478_400, 0)); d < 0 || d > maxRetryAfter {
			t.Errorf("%q: %s", s, d)
		}
	})
}

// clerk is a desk that keeps what it is told.
type clerk struct {
	lost      atomic.Bool
	aside     []events.ConsumerEventSetAside
	suspended string
	progress  []*Progress
}

func (c *clerk) Held() bool { return !c.lost.Load() }
func (c *clerk) SetAside(_ context.Context, e events.ConsumerEventSetAside) error {
	c.aside = append(c.aside, e)
	return nil
}
func (c *clerk) Suspend(_ context.Context, reason string) error { c.suspended = reason; return nil }
func (c *clerk) Report(_ context.Context, p *Progress) {
	if p != nil {
		q := *p
		p = &q
	}
	c.progress = append(c.progress, p)
}

// courier sends to an endpoint that answers with a status for each request.
func courier(t *testing.T, desk Desk, change func(*events.Push), answer http.HandlerFunc) *Courier {
	t.Helper()
	srv := httptest.NewServer(answer)
	t.Cleanup(srv.Close)
	p := events.Push{Protocol: events.PushWebhook, URL: srv.URL, Tries: 3}
	if change != nil {
		change(&p)
	}
	if err := Check(&p, events.Access); err != nil {
		t.Fatal(err)
	}
	secret, err := NewSecret(true, "1", "")
	if err != nil {
		t.Fatal(err)
	}
	k, err := NewCourier(events.ConsumerCreated{Name: "c", Push: &p}, nil, nil, Secrets{Signing: []Signing{secret}}, nil, desk, Backoff{time.Microsecond, time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k
}

func entries(t testing.TB, n int) []journal.Entry {
	out := make([]journal.Entry, n)
	for i := range out {
		e := events.Event{Meta: events.Meta{ID: fmt.Sprint("id-", i), Source: "/x", Time: time.Unix(int64(i), 0)}, Data: &events.LockLifted{LockID: strconv.Itoa(i), By: "x"}}
		raw, err := events.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		out[i] = journal.Entry{Event: e, Stream: events.Access, Channel: e.Data.Channel(), Seq: uint64(i + 1), StoredAt: e.Time, Raw: raw}
	}
	return out
}

// An endpoint that takes nothing is not sent all of a stream for nothing.
func TestSuspended(t *testing.T) {
	desk := &clerk{}
	n := 0
	k := courier(t, desk, nil, func(w http.ResponseWriter, _ *http.Request) { n++; w.WriteHeader(http.StatusForbidden) })
	if err := k.Deliver(t.Context(), entries(t, 100)); !errors.Is(err, ErrSuspended) {
		t.Errorf("ended with %v", err)
	}
	if last := desk.progress[len(desk.progress)-1]; last != nil {
		t.Errorf("it is still said to fail: %+v", last)
	}
	if n != 30 || len(desk.aside) != 10 || !strings.Contains(desk.suspended, "403 Forbidden") {
		t.Errorf("%d requests, %d set aside, suspended by %q", n, len(desk.aside), desk.suspended)
	}
}

// Who goes on for another one says that all is well again.
func TestResume(t *testing.T) {
	desk := &clerk{}
	k := courier(t, desk, nil, func(http.ResponseWriter, *http.Request) {})
	k.Resume(&Progress{Tries: 3})
	if err := k.Deliver(t.Context(), entries(t, 2)); err != nil {
		t.Fatal(err)
	}
	if len(desk.progress) != 1 || desk.progress[0] != nil {
		t.Errorf("reported %+v", desk.progress)
	}
}

// What was set aside, or replayed, is tried no more: nothing fails, then.
func TestNothingFails(t *testing.T) {
	desk := &clerk{}
	refuse := true
	k := courier(t, desk, nil, func(w http.ResponseWriter, _ *http.Request) {
		if refuse {
			w.WriteHeader(http.StatusForbidden)
		}
	})
	one := entries(t, 1)
	if err := k.Deliver(t.Context(), one); err != nil || len(desk.aside) != 1 {
		t.Fatalf("%v; %d set aside", err, len(desk.aside))
	}
	if n := len(desk.progress); n != 3 || desk.progress[n-1] != nil {
		t.Errorf("reported %+v", desk.progress)
	}
	if err := k.Once(t.Context(), one[0]); err == nil || len(desk.progress) != 3 {
		t.Errorf("replayed and refused: %v, %+v", err, desk.progress)
	}
	refuse = false
	if err := k.Once(t.Context(), one[0]); err != nil || len(desk.progress) != 4 || desk.progress[3] != nil {
		t.Errorf("replayed: %v, %+v", err, desk.progress)
	}
}

// Addresses at which clouds keep credentials are refused before anything is sent.
func TestAddressesOfEndpoints(t *testing.T) {
	for url, good := range map[string]bool{
		"https://siem.example.com/": true, "https://192.0.2.1/": true, "https://[2001:db8::1]:8443/": true, "http://127.0.0.1:1/": true, "http://[::1]/": true,
		"https://169.254.169.254/latest": false, "https://[fe80::1]/": false, "https://[fe80::1%25eth0]/": false, "https://[fd00:ec2::254]/": false, "https://[fd00:ec2::23]/v1/credentials": false,
		"https://[64:ff9b::a9fe:a9fe]/": false, "https://[64:ff9b::c000:201]/": true,
		"https://[::ffff:169.254.169.254]/": false, "https://0.0.0.0/": false, "https://[::]/": false, "https://224.0.0.1/": false,
	} {
		if _, err := CheckURL(url); (err == nil) != good {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// Who may send no more sends no more.
func TestLost(t *testing.T) {
	desk := &clerk{}
	n := 0
	k := courier(t, desk, nil, func(w http.ResponseWriter, _ *http.Request) {
		if n++; n == 3 {
			desk.lost.Store(true)
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	if err := k.Deliver(t.Context(), entries(t, 5)); !errors.Is(err, errLost) || n != 3 {
		t.Errorf("%d requests, ended with %v", n, err)
	}
}

// A batch ends where it is too large, and is told apart where it is refused.
func TestBatches(t *testing.T) {
	desk := &clerk{}
	var sizes []int64
	k := courier(t, desk, func(p *events.Push) { p.Batch = 100 }, func(w http.ResponseWriter, r *http.Request) {
		sizes = append(sizes, r.ContentLength)
		if r.Header.Get("webhook-id") == "ACCESS-1-3" {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
	})
	es := entries(t, 4)
	es[3].Raw = append([]byte(`{"pad":"`+strings.Repeat("x", maxBytes-600)+`",`), es[3].Raw[1:]...)
	if err := k.Deliver(t.Context(), es); err != nil {
		t.Fatal(err)
	}
	if len(sizes) != 5 || len(desk.aside) != 0 { // three together, each of them, the fourth
		t.Errorf("requests of %d bytes, %d set aside", sizes, len(desk.aside))
	}
}

// The rate is kept.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &Courier{push: events.Push{PerMinute: 60}, desk: &clerk{}}
		begin := time.Now()
		for range 5 {
			if err := k.pace(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(begin); d != 4*time.Second {
			t.Errorf("five requests in %s", d)
		}
	})
}

// An answer of any length is read so far and no further; a late one counts.
func TestAnswers(t *testing.T) {
	desk := &clerk{}
	k := courier(t, desk, nil, func(w http.ResponseWriter, r *http.Request) {
		for range 1 << 10 {
			if _, err := w.Write(make([]byte, 1<<10)); err != nil {
				return
			}
		}
	})
	if err := k.Deliver(t.Context(), entries(t, 2)); err != nil {
		t.Error(err)
	}
	k = courier(t, desk, nil, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or the server does not notice
		<-r.Context().Done()
	})
	k.to.(*endpoint).client.Timeout = 20 * time.Millisecond
	if err := k.Deliver(t.Context(), entries(t, 1)); err != nil || len(desk.aside) != 1 || !strings.Contains(desk.aside[0].Reason, "no answer") {
		t.Errorf("%v, set aside %+v", err, desk.aside)
	}
}

// Every type of event can be sent either way.
func TestGoldenEvents(t *testing.T) {
	for _, format := range []string{CloudEvents, OCSF} {
		w := &webhook{events.Push{Format: format}, Secrets{Signing: []Signing{{Secret: NewWebhookSecret()}}}}
		for _, typ := range events.Types() {
			raw, err := os.ReadFile(filepath.Join("..", "..", "events", "eventstest", "golden", string(typ)+".json"))
			if err != nil {
				t.Fatal(err)
			}
			raw = bytes.TrimSpace(raw)
			e, err := events.Decode(raw)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.pack(t.Context(), []journal.Entry{{Event: e, Stream: events.Access, Seq: 1, Raw: raw}}, time.Now()); err != nil {
				t.Errorf("%s as %s: %v", e.Data.Type(), format, err)
			}
		}
	}
}

// BenchmarkWebhook compares sending signed events with POSTing the same bytes
// over the same kind of client.
func BenchmarkWebhook(b *testing.B) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	defer srv.Close()
	es := entries(b, 100)
	for _, batch := range []int{0, 100} {
		p := events.Push{Protocol: events.PushWebhook, URL: srv.URL, Batch: batch}
		if err := Check(&p, events.Access); err != nil {
			b.Fatal(err)
		}
		k, err := NewCourier(events.ConsumerCreated{Name: "c", Push: &p}, nil, nil, Secrets{Signing: []Signing{{ID: "1", Secret: NewWebhookSecret()}}}, nil, &clerk{}, DefaultBackoff())
		if err != nil {
			b.Fatal(err)
		}
		send := func(b *testing.B, deliver func([]journal.Entry)) {
			for range b.N {
				if batch > 0 {
					deliver(es)
					continue
				}
				for i := range es {
					deliver(es[i : i+1])
				}
			}
			b.ReportMetric(float64(len(es)*b.N)/b.Elapsed().Seconds(), "events/s")
		}
		b.Run(fmt.Sprintf("batch=%d/postern", batch), func(b *testing.B) {
			send(b, func(es []journal.Entry) {
				if err := k.Deliver(b.Context(), es); err != nil {
					b.Fatal(err)
				}
			})
		})
		parcels, err := k.packer.pack(b.Context(), es[:max(1, batch)], time.Now())
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("batch=%d/raw", batch), func(b *testing.B) {
			send(b, func([]journal.Entry) {
				resp, err := http.Post(srv.URL, "application/json", bytes.NewReader(parcels[0].body))
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			})
		})
		k.Close()
	}
}

// Who may publish has no consumer suspended by what is no event: that tells nothing of the
// endpoint.
func TestNoEvents(t *testing.T) {
	desk := &clerk{}
	n := 0
	k := courier(t, desk, nil, func(http.ResponseWriter, *http.Request) { n++ })
	es := entries(t, 2*maxInARow)
	for i := range es[:len(es)-1] {
		es[i].Event, es[i].Raw = events.Event{}, []byte("what?")
	}
	if err := k.Deliver(t.Context(), es); err != nil || desk.suspended != "" {
		t.Errorf("%v, suspended by %q", err, desk.suspended)
	}
	if n != 1 || len(desk.aside) != len(es)-1 {
		t.Errorf("%d requests, %d set aside", n, len(desk.aside))
	}
}

// An id that no header brings as it is goes out by its event's place: else nothing could be
// sent of it, nor after it, or no signature would be right.
func TestOddIDs(t *testing.T) {
	for id, want := range map[string]string{"id-1": "id-1", "a\nb": "ACCESS-1", " a": "ACCESS-1", "é": "ACCESS-1", "\x7f": "ACCESS-1", strings.Repeat("x", 1000): "ACCESS-1"} {
		var got []string
		var k *Courier
		k = courier(t, &clerk{}, nil, func(_ http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			keys, _ := k.packer.(*webhook).secrets.webhookKeys(time.Now())
			got = append(got, r.Header.Get("webhook-id"))
			if r.Header.Get("webhook-signature") != signatures(keys, r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp"), body) {
				t.Errorf("%q: its signature is wrong", id)
			}
		})
		es := entries(t, 1)
		es[0].ID = id
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := k.Deliver(ctx, es); err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%q: sent as %q, %v", id, got, err)
		}
	}
}

// several makes many parcels of each event.
type several int

func (n several) pack(_ context.Context, es []journal.Entry, _ time.Time) (out []parcel, _ error) {
	for i := range int(n) {
		out = append(out, parcel{id: strconv.Itoa(i), header: http.Header{}, body: []byte(strconv.Itoa(i))})
	}
	return out, nil
}

// Of what one event makes many of, such as a lock of sessions, each is sent once, in the
// rate that the endpoint takes, however few it takes without a pause.
func TestManyOfOne(t *testing.T) {
	var got []string
	n := 0
	k := courier(t, &clerk{}, nil, func(w http.ResponseWriter, r *http.Request) {
		if n++; n%3 == 0 { // also as often refused as would set it aside
			w.WriteHeader([]int{http.StatusTooManyRequests, http.StatusBadRequest}[n%2])
			return
		}
		b, _ := io.ReadAll(r.Body)
		got = append(got, string(b))
	})
	k.packer = several(50)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := k.Deliver(ctx, entries(t, 1)); err != nil {
		t.Fatal(err)
	}
	for i, id := range got {
		if id != strconv.Itoa(i) {
			t.Fatalf("sent %q", got)
		}
	}
	if len(got) != 50 {
		t.Errorf("%d were taken", len(got))
	}
}

// Signals of one event have ids that do not depend on which others are told.
func TestIDsOfSignals(t *testing.T) {
	e := entries(t, 1)[0]
	one, two := signal{session: "S1"}, signal{session: "S2"}
	if a, b := one.id(e, 0), two.id(e, 0); a == b || b != two.id(e, 1) {
		t.Errorf("%s, %s", a, b)
	}
	if whole := (signal{user: "alice"}); whole.id(e, 0) == whole.id(e, 1) {
		t.Error("two of a user have one id")
	}
}

// The last rotation says how long former secrets hold, of whichever before.
func TestRotated(t *testing.T) {
	now := time.Now()
	at := func(d time.Duration) time.Time { return now.Add(d) }
	s := Secrets{Signing: []Signing{{ID: "1"}}}
	s = s.rotated(Signing{ID: "2"}, now, at(24*time.Hour))
	if s = s.rotated(Signing{ID: "3"}, now, at(time.Hour)); len(s.Signing) != 3 || !s.Signing[2].Until.Equal(at(time.Hour)) {
		t.Errorf("%+v", s.Signing)
	}
	if s = s.rotated(Signing{ID: "4"}, now, at(48*time.Hour)); len(s.Signing) != 4 || !s.Signing[3].Until.Equal(at(time.Hour)) || !s.Signing[1].Until.Equal(at(48*time.Hour)) {
		t.Errorf("%+v", s.Signing)
	}
	if s = s.rotated(Signing{ID: "5"}, now, now); len(s.Signing) != 1 {
		t.Errorf("%+v", s.Signing)
	}
}

// What is recorded of an event that was set aside fits into an event, whatever the former said.
func TestSetAsideIsShort(t *testing.T) {
	desk := &clerk{}
	k := courier(t, desk, func(p *events.Push) { p.Format = OCSF }, func(http.ResponseWriter, *http.Request) {})
	es := entries(t, 1)
	es[0].ID = strings.Repeat("é", 300_000)
	es[0].Raw = []byte(`{"id":"` + es[0].ID + `","data":{"expires_at":"never"}}`)
	if err := k.Deliver(t.Context(), es); err != nil || len(desk.aside) != 1 {
		t.Fatalf("%v, %d set aside", err, len(desk.aside))
	}
	if a := desk.aside[0]; len(a.EventID) > 300 || len(a.Reason) > 600 || !utf8.ValidString(a.EventID+a.Reason) || !strings.HasPrefix(es[0].ID, strings.TrimSuffix(a.EventID, "…")) {
		t.Errorf("id of %d bytes, reason of %d", len(a.EventID), len(a.Reason))
	}
}
