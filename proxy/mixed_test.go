package proxy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

// tenant is a user of the test with an app and, one after the other, sessions on it.
type tenant struct {
	user, app string
	http      *http.Client
	// now is replaced before access changes and once the proxy knows of the change, so
	// that a call that finds the same before and after it knows what holds.
	now  atomic.Pointer[standing]
	done atomic.Int64 // calls
}

type standing struct {
	session string
	// settled: the proxy knows; open: the session may do something.
	settled, open bool
}

// change makes access of a tenant another while its calls go on.
func (x *tenant) change(session string, open bool, make func()) {
	x.now.Store(&standing{session: session})
	make()
	x.now.Store(&standing{session: session, settled: true, open: open})
}

// mixed are the kinds of calls that run side by side.
var mixed = []struct {
	name, operation string
	send            func(ctx context.Context, x *tenant, session, path string) (*http.Response, error)
	want            func(path string) string
}{
	{"get", "GetObject", func(ctx context.Context, x *tenant, session, path string) (*http.Response, error) {
		return x.send(ctx, session, http.MethodGet, path, "UNSIGNED-PAYLOAD", "", nil)
	}, func(path string) string { return "GET " + path }},
	{"list", "ListObjectsV2", func(ctx context.Context, x *tenant, session, path string) (*http.Response, error) {
		return x.send(ctx, session, http.MethodGet, "/?list-type=2&prefix="+path[1:], "UNSIGNED-PAYLOAD", "", nil)
	}, func(path string) string { return "list " + path[1:] }},
	{"hash", "PutObject", func(ctx context.Context, x *tenant, session, path string) (*http.Response, error) {
		body := strings.Repeat(path, 1000)
		return x.send(ctx, session, http.MethodPut, path, hexHash([]byte(body)), body, nil)
	}, func(path string) string { return "put " + hexHash([]byte(strings.Repeat(path, 1000))) }},
	{"chunks", "PutObject", func(ctx context.Context, x *tenant, session, path string) (*http.Response, error) {
		body := strings.Repeat(path, 5000)
		var framed bytes.Buffer
		for rest := body; ; {
			// The helper has verified their signatures, the proxy puts others in place.
			chunk := rest[:min(len(rest), 64<<10)]
			fmt.Fprintf(&framed, "%x;chunk-signature=%064d\r\n%s\r\n", len(chunk), 0, chunk)
			if rest = rest[len(chunk):]; chunk == "" {
				break
			}
		}
		return x.send(ctx, session, http.MethodPut, path, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", framed.String(),
			http.Header{"X-Amz-Decoded-Content-Length": {strconv.Itoa(len(body))}, "Content-Encoding": {"aws-chunked"}})
	}, func(path string) string { return "put " + hexHash([]byte(strings.Repeat(path, 5000))) }},
	{"presigned", "GetObject", func(ctx context.Context, x *tenant, session, path string) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, bucketURL+path+"?X-Amz-Expires=600", nil)
		if err != nil {
			return nil, err
		}
		address, _, err := presigner.PresignHTTP(ctx, helperKey, req, "UNSIGNED-PAYLOAD", "s3", "us-east-1", time.Now())
		if err != nil {
			return nil, err
		}
		if req, err = http.NewRequestWithContext(ctx, http.MethodGet, address, nil); err != nil {
			return nil, err
		}
		req.Header.Set("Postern-Session", session)
		return x.http.Do(req)
	}, func(path string) string { return "GET " + path }},
	{"stream", "GetObject", func(ctx context.Context, x *tenant, session, path string) (*http.Response, error) {
		return x.send(ctx, session, http.MethodGet, path, "UNSIGNED-PAYLOAD", "", nil)
	}, func(path string) string { return strings.Repeat(path, pieces) }},
}

const (
	bucketURL = "https://bucket.s3.us-east-1.amazonaws.com"
	pieces    = 20 // of a stream
)

func (x *tenant) send(ctx context.Context, session, method, target, payload, body string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, bucketURL+target, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, v := range header {
		req.Header[name] = v
	}
	req.Header.Set("X-Amz-Content-Sha256", payload)
	if err := presigner.SignHTTP(ctx, helperKey, req, payload, "s3", "us-east-1", time.Now()); err != nil {
		return nil, err
	}
	req.Header.Set("Postern-Session", session)
	return x.http.Do(req)
}

// mixedAWS answers those calls and keeps what reached it, by path.
type mixedAWS struct {
	mu      sync.Mutex
	arrived map[string]int
}

func (a *mixedAWS) count(path string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.arrived[path]
}

func (a *mixedAWS) serve(w http.ResponseWriter, r *http.Request, k ststest.Key) {
	path := r.URL.Path
	prefix := r.URL.Query().Get("prefix")
	if prefix != "" {
		path = "/" + prefix
	}
	a.mu.Lock()
	a.arrived[path]++
	a.mu.Unlock()
	flush := http.NewResponseController(w).Flush
	switch {
	case r.Method == http.MethodPut:
		var body string
		var err error
		if strings.HasPrefix(path, "/chunks") {
			body, err = unchunk(r, k.Secret)
		} else {
			var b []byte
			b, err = io.ReadAll(r.Body)
			body = string(b)
		}
		if err != nil { // of uploads that were cut, too
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, "put ", hexHash([]byte(body)))
	case prefix != "":
		fmt.Fprint(w, "list ", prefix)
	case strings.HasPrefix(path, "/stream"):
		for range pieces {
			if _, err := io.WriteString(w, path); err != nil || flush() != nil {
				return
			}
		}
	case strings.HasPrefix(path, "/endless"):
		if _, err := io.WriteString(w, "begun"); err == nil && flush() == nil {
			<-r.Context().Done()
		}
	default:
		fmt.Fprint(w, "GET ", path)
	}
}

// 64 workers send calls of all kinds for several people while locks land and are
// lifted and sessions end: what is open works, what is not gets nowhere, and the record
// has each call that went to AWS, once, with what became of it.
func TestManyKindsAtOnce(t *testing.T) {
	a := &mixedAWS{arrived: map[string]int{}}
	r := newRig(t, func(_ *proxy.Config, aws *ststest.AWS) { aws.Serve = a.serve })
	r.p.SetPatience(time.Minute) // the machine may be slow

	const people, workers, rounds = 8, 64, 12
	start := func(x *tenant) string {
		return r.session(func(s *events.SessionStarted) {
			s.User, s.App, s.RoleSessionName = x.user, x.app, x.user
		}).SessionID
	}
	var tenants []*tenant
	for i := range people {
		x := &tenant{user: fmt.Sprintf("user-%d", i), app: fmt.Sprintf("app-%d", i)}
		x.http = &http.Client{Transport: r.transport(x.user)}
		session := start(x)
		x.change(session, true, func() {})
		tenants = append(tenants, x)
	}

	ctx, stop := context.WithCancel(t.Context())
	var over atomic.Bool
	var passed, refused, cut atomic.Int64
	var wg sync.WaitGroup
	defer func() { // where the test fails, too
		over.Store(true)
		stop()
		wg.Wait()
	}()
	for w := range workers {
		x := tenants[w%people]
		if w < people { // one of each person's follows an object that has no end
			wg.Go(func() {
				for n := 0; !over.Load(); n++ {
					s := x.now.Load()
					resp, err := x.send(ctx, s.session, http.MethodGet, fmt.Sprintf("/endless-%d-%d", w, n), "UNSIGNED-PAYLOAD", "", nil)
					if err != nil {
						continue
					}
					if _, err := io.Copy(io.Discard, resp.Body); err != nil && resp.StatusCode == http.StatusOK {
						cut.Add(1)
					} else if resp.StatusCode == http.StatusOK {
						t.Error("what has no end came to one")
					}
					resp.Body.Close()
				}
			})
			continue
		}
		wg.Go(func() {
			for n := 0; !over.Load(); n++ {
				kind := &mixed[(w+n)%len(mixed)]
				path := fmt.Sprintf("/%s-%d-%d", kind.name, w, n)
				before := x.now.Load()
				body, err := answered(kind.send(ctx, x, before.session, path))
				x.done.Add(1)
				same := before.settled && x.now.Load() == before
				switch {
				case same && before.open && (err != nil || body != kind.want(path)):
					t.Errorf("%s of %s: %v %.100q", path, x.user, err, body)
				case same && !before.open && (err == nil || !strings.Contains(err.Error(), "403") || a.count(path) > 0):
					t.Errorf("%s of %s went on after its access was taken: %v %.100q, %d times at AWS", path, x.user, err, body, a.count(path))
				case err == nil:
					passed.Add(1)
				case same:
					refused.Add(1)
				}
			}
		})
	}

	// while lets calls of a person go on, two of a worker, of which one began since.
	while := func(x *tenant) {
		n := x.done.Load() + 2*workers/people
		r.eventually("calls go on", func() bool { return x.done.Load() >= n || t.Failed() })
	}
	sessions := people
	for i := range rounds {
		x := tenants[i%people]
		session := x.now.Load().session
		while(x)
		if i%4 == 3 {
			x.change(session, false, func() { r.emit(&events.SessionEnded{SessionID: session, User: x.user, By: "bob"}) })
			while(x)
			next := start(x)
			sessions++
			x.change(next, true, func() {})
			continue
		}
		lock := journal.NewID()
		target := []events.LockTarget{{Kind: "app", Name: x.app}, {Kind: "user", Name: x.user}, {Kind: "session", Name: session}}[i%4]
		x.change(session, false, func() { r.emit(&events.LockPlaced{LockID: lock, Target: target, By: "admin"}) })
		while(x)
		x.change(session, true, func() { r.emit(&events.LockLifted{LockID: lock, By: "admin"}) })
	}
	over.Store(true)
	for _, x := range tenants { // what has no end is cut
		session := x.now.Load().session
		x.change(session, false, func() { r.emit(&events.SessionEnded{SessionID: session, User: x.user, By: "bob"}) })
	}
	wg.Wait()
	r.clean()
	t.Logf("%d calls passed, %d were refused, %d endless ones were cut, of %d sessions", passed.Load(), refused.Load(), cut.Load(), sessions)
	if passed.Load() == 0 || refused.Load() == 0 || cut.Load() == 0 {
		t.Error("too few to tell")
	}
	if n := len(r.aws.Calls("AssumeRole")); n > sessions {
		t.Errorf("%d calls of AssumeRole for %d sessions", n, sessions)
	}
	if err := outcomes(r.audit(), a); err != nil {
		t.Error(err)
	}
}

// outcomes checks that what reached AWS was admitted, and each call once, and that each
// call that was admitted has one outcome.
func outcomes(es []journal.Entry, a *mixedAWS) error {
	type call struct {
		path              string
		admitted, ended   int
		completed, before bool // before: an outcome stands before what it is of
	}
	calls := map[string]*call{}
	of := func(id string) *call {
		if calls[id] == nil {
			calls[id] = &call{}
		}
		return calls[id]
	}
	var errs []error
	kinds := map[string]int{}
	for _, e := range es {
		switch d := e.Data.(type) {
		case *events.AWSRequestAdmitted:
			c := of(d.RequestID)
			c.admitted++
			c.path = d.Path
		case *events.AWSRequestCompleted:
			c := of(d.RequestID)
			c.ended++
			c.before = c.admitted == 0
			c.completed = true
			if d.Interrupted == "" {
				kinds[d.Operation]++
			}
			if strings.HasPrefix(d.Path, "/endless") && d.Interrupted != "lock" && d.Interrupted != "session_ended" {
				errs = append(errs, fmt.Errorf("%s ended by %q", d.Path, d.Interrupted))
			}
		case *events.AWSRequestDenied:
			of(d.RequestID).ended++ // once it was admitted, if its access was taken before it was sent
		case *events.AWSRequestFailed:
			errs = append(errs, fmt.Errorf("%s failed: %s", d.Path, d.Reason))
		}
	}
	completed := 0
	paths := map[string]int{}
	for id, c := range calls {
		if c.ended != 1 || c.admitted > 1 || c.completed && (c.before || c.admitted == 0) {
			errs = append(errs, fmt.Errorf("request %s for %s: %+v", id, c.path, *c))
		}
		if c.admitted == 1 {
			paths[c.path]++
		}
		if c.completed {
			completed++
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	lists := 0
	for path, n := range a.arrived {
		if strings.HasPrefix(path, "/list") {
			lists += n // whose path is the bucket's
			continue
		}
		if n != 1 || paths[path] != 1 {
			errs = append(errs, fmt.Errorf("%s reached AWS %d times, admitted %d times", path, n, paths[path]))
		}
	}
	if lists > paths["/"] {
		errs = append(errs, fmt.Errorf("%d lists reached AWS, %d were admitted", lists, paths["/"]))
	}
	if len(a.arrived) > completed {
		errs = append(errs, fmt.Errorf("%d calls reached AWS, %d completed", len(a.arrived), completed))
	}
	for _, kind := range mixed {
		if kinds[kind.operation] == 0 {
			errs = append(errs, fmt.Errorf("no %s completed", kind.operation))
		}
	}
	return errors.Join(errs[:min(len(errs), 20)]...)
}
