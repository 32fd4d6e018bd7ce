package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

// A stream that takes no more events lets nothing through; once it does again,
// what was refused is on it.
func TestNothingGoesUnrecorded(t *testing.T) {
	server := embeddedtest.StartNATS(t)
	admin := embeddedtest.Connect(t, server, "test", embedded.Admin())
	if err := journal.Setup(t.Context(), admin, journal.StreamsConfig{}); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(admin)
	if err != nil {
		t.Fatal(err)
	}
	full := false
	r := newRigOn(t, embeddedtest.Connect(t, server, "proxy", embedded.Proxy()), eventstest.Open(t, admin), func(c *proxy.Config, a *ststest.AWS) {
		a.Serve = func(w http.ResponseWriter, r *http.Request, _ ststest.Key) {
			if full {
				t.Errorf("%s %s reached AWS unrecorded", r.Method, r.RequestURI)
			}
		}
		c.Log = zerolog.Nop()
	})
	limit := func(messages int64) {
		t.Helper()
		s, err := js.Stream(t.Context(), events.Audit)
		if err != nil {
			t.Fatal(err)
		}
		cfg := s.CachedInfo().Config
		cfg.MaxMsgs, cfg.Discard = messages, jetstream.DiscardNew
		if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	cl := r.client(r.session())
	if resp, body := cl.do(t, cl.request(t, "PUT", object, strings.NewReader("x"))); resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	r.eventually("the first call is recorded", func() bool {
		n, err := r.j.Last(t.Context(), events.Audit)
		return err == nil && n == 3
	})
	limit(3)
	full = true
	resp, body := cl.do(t, cl.request(t, "PUT", object, strings.NewReader("x")))
	if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "could not be recorded, so it was not sent to AWS") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	limit(-1)
	if f := payloads[*events.AWSRequestFailed](r.audit()); len(f) != 1 || f[0].Stage != "record" {
		t.Errorf("%+v", f)
	}
}

// The NATS server goes away under load and comes back: what AWS saw is on the
// stream, and everything on the stream has its end, once.
func TestJournalGoesAwayUnderLoad(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]bool{}
	r, away, back := newRigAway(t, func(c *proxy.Config, a *ststest.AWS) {
		a.Serve = func(w http.ResponseWriter, r *http.Request, _ ststest.Key) {
			mu.Lock()
			defer mu.Unlock()
			if seen[r.URL.Path] {
				t.Errorf("%s came twice", r.URL.Path)
			}
			seen[r.URL.Path] = true
		}
		c.Log = zerolog.Nop()
	})
	cl := r.client(r.session())
	var sent, ok, refused atomic.Int64
	end := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				resp, body := cl.do(t, cl.request(t, "GET", fmt.Sprintf("https://bucket.s3.us-east-1.amazonaws.com/%d", sent.Add(1)), nil))
				switch resp.StatusCode {
				case 200:
					ok.Add(1)
				case 503:
					refused.Add(1)
				default:
					t.Errorf("%d %s", resp.StatusCode, body)
				}
			}
		})
	}
	r.eventually("requests pass", func() bool { return ok.Load() > 50 })
	away()
	r.eventually("requests are refused", func() bool { return refused.Load() > 8 })
	before := ok.Load()
	back()
	r.eventually("requests pass again", func() bool { return ok.Load() > before+50 })
	close(end)
	wg.Wait()
	es := r.audit()
	admitted := map[string]string{} // event id to path
	paths := map[string]bool{}
	ends := map[string]int{}
	for _, e := range es {
		switch d := e.Data.(type) {
		case *events.AWSRequestAdmitted:
			admitted[e.ID], paths[d.Path] = d.Path, true
		case *events.AWSRequestCompleted, *events.AWSRequestFailed, *events.AWSRequestDenied:
			ends[e.CausationID]++
		}
	}
	for path := range seen {
		if !paths[path] {
			t.Errorf("AWS saw %s, the stream did not", path)
		}
	}
	for id, path := range admitted {
		if ends[id] != 1 {
			t.Errorf("%s was admitted and has %d ends", path, ends[id])
		}
	}
	if int64(len(seen)) < ok.Load() {
		t.Errorf("%d answers, but AWS saw %d requests", ok.Load(), len(seen))
	}
	t.Logf("%d sent, %d answered, %d refused, %d admitted", sent.Load(), ok.Load(), refused.Load(), len(admitted))
}

// Large bodies stream both ways, and memory does not grow with them.
func TestLargeBodies(t *testing.T) {
	if anonymous() == 0 {
		t.Skip("needs /proc/self/status to read memory from")
	}
	if !alone(t) {
		return
	}
	size := int64(1 << 30)
	if raceEnabled || testing.Short() {
		size = 512 << 20
	}
	r := newRig(t, func(_ *proxy.Config, a *ststest.AWS) {
		a.Serve = func(w http.ResponseWriter, r *http.Request, _ ststest.Key) {
			if r.Method == "GET" {
				w.Header().Set("Content-Length", fmt.Sprint(size))
				if _, err := io.CopyN(w, zeros{}, size); err != nil {
					t.Error(err)
				}
				return
			}
			n, err := io.Copy(io.Discard, r.Body)
			if err != nil || n != size {
				t.Errorf("AWS got %d bytes, %v", n, err)
			}
		}
	})
	cl := r.client(r.session())
	debug.FreeOSMemory()
	before := anonymous()
	peak, watched := before, make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case <-done:
				return
			case <-time.After(10 * time.Millisecond):
				peak = max(peak, anonymous())
			}
		}
	}()
	start := time.Now()
	req := cl.request(t, "PUT", object, io.LimitReader(zeros{}, size))
	req.ContentLength = size
	if resp, body := cl.do(t, req); resp.StatusCode != 200 {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	up := time.Since(start)
	start = time.Now()
	resp, err := cl.Do(cl.request(t, "GET", object, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
		t.Errorf("the client got %d bytes, %v", n, err)
	}
	down := time.Since(start)
	close(done)
	<-watched
	grown := peak - before
	mb := float64(size) / (1 << 20)
	t.Logf("%.0f MiB: up %.0f MiB/s, down %.0f MiB/s; client, proxy, AWS and NATS together grew by %d MiB",
		mb, mb/up.Seconds(), mb/down.Seconds(), grown>>20)
	if grown > 128<<20 {
		t.Errorf("memory grew by %d MiB", grown>>20)
	}
	if done := payloads[*events.AWSRequestCompleted](r.audit()); len(done) != 2 || done[0].RequestBytes != size || done[1].ResponseBytes != size {
		t.Error(shown(done))
	}
}

// alone runs the test in a process of its own, where no other test's memory and goroutines
// are, and tells whether this is that process.
func alone(t *testing.T) bool {
	t.Helper()
	const is = "POSTERN_TEST_ALONE"
	if os.Getenv(is) == t.Name() {
		return true
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.run=^"+t.Name()+"$", fmt.Sprintf("-test.short=%t", testing.Short()))
	cmd.Env = append(os.Environ(), is+"="+t.Name())
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
	return false
}

// anonymous is this process's memory but for what is mapped of files, which comes and goes
// as the kernel likes, in bytes.
func anonymous() int64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "RssAnon: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	return 0
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
