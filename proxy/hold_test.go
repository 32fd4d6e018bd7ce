package proxy_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

// holding is a rig whose proxy holds calls for a while.
func holding(t *testing.T, d time.Duration) *rig {
	return newRig(t, holdingFor(d))
}

func holdingFor(d time.Duration) func(*proxy.Config, *ststest.AWS) {
	return func(c *proxy.Config, a *ststest.AWS) {
		c.HoldFor = d
		a.Serve = func(w http.ResponseWriter, r *http.Request, _ ststest.Key) { _, _ = io.Copy(io.Discard, r.Body) }
	}
}

// wants are permissions under which S3 objects are written with approval only.
func wants(s *events.SessionStarted) {
	s.Permissions = []events.Permission{{Role: "dev", Effect: "Allow"}, {Role: "dev", Effect: "Deny", Actions: []string{"s3:PutObject"}, Approval: true}}
}

// put is a call that waits for its approval.
func (c *client) put(t *testing.T, body string) *http.Request {
	return c.sign(t, c.plain(t, "PUT", body), "UNSIGNED-PAYLOAD")
}

func (c *client) plain(t *testing.T, method, body string) *http.Request {
	req, err := http.NewRequestWithContext(t.Context(), method, object, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// held follows the calls that begin to wait, and makes the access requests of
// them as a broker does.
func (r *rig) held(t *testing.T) func() *events.AWSCallHeld {
	t.Helper()
	found := make(chan *events.AWSCallHeld, 16)
	go func() {
		for e, err := range r.j.Follow(t.Context(), events.Audit, 0, "audit.held.>") {
			if d, ok := e.Data.(*events.AWSCallHeld); ok && err == nil {
				found <- d
			}
		}
	}()
	return func() *events.AWSCallHeld {
		t.Helper()
		select {
		case d := <-found:
			call := d.HeldCall()
			r.emit(&events.RequestCreated{RequestID: d.AccessRequestID, User: d.User, ExpiresAt: time.Now().Add(time.Hour), Call: &call})
			return d
		case <-time.After(time.Minute):
			t.Fatal("no call waits")
			return nil
		}
	}
}

func (r *rig) approve(d *events.AWSCallHeld) {
	r.emit(&events.RequestApproved{RequestID: d.AccessRequestID, User: d.User, Reviewers: []string{"bob"}, AccessExpiresAt: time.Now().Add(time.Hour)})
}

type answer struct {
	status int
	body   string
	header http.Header
}

// send makes a call in the background.
func (c *client) send(t *testing.T, req *http.Request) <-chan answer {
	out := make(chan answer, 1)
	go func() {
		resp, err := c.Do(req)
		if err != nil {
			out <- answer{body: err.Error()}
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		out <- answer{resp.StatusCode, string(b), resp.Header}
	}()
	return out
}

func TestHeldUntilApproved(t *testing.T) {
	r := holding(t, time.Minute)
	s := r.session(wants)
	cl, next := r.client(s), r.held(t)
	got := cl.send(t, cl.put(t, "one"))
	d := next()
	if d.Operation != "PutObject" || d.Action != "s3:PutObject" || len(d.Roles) != 1 || d.Roles[0] != "dev" || d.SessionID != s.SessionID || len(d.Digest) != 64 {
		t.Errorf("held: %+v", d)
	}
	r.approve(d)
	if a := <-got; a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if resp, body := cl.do(t, cl.request(t, "GET", object, nil)); resp.StatusCode != 200 {
		t.Errorf("a call that needs no approval: %d %s", resp.StatusCode, body)
	}
	r.clean()
	es := r.audit()
	released, admitted := payloads[*events.AWSCallReleased](es), payloads[*events.AWSRequestAdmitted](es)
	if len(released) != 1 || released[0].AccessRequestID != d.AccessRequestID || released[0].Digest != d.Digest {
		t.Errorf("released: %+v", released)
	}
	if len(admitted) != 2 || fmt.Sprint(admitted[0].AccessRequestIDs) != "["+d.AccessRequestID+"]" || len(admitted[1].AccessRequestIDs) != 0 {
		t.Errorf("admitted: %+v", admitted)
	}
}

// A client that can't wait so long makes the identical call again, once.
func TestApprovedLater(t *testing.T) {
	r := holding(t, 300*time.Millisecond)
	cl, next := r.client(r.session(wants)), r.held(t)
	got := cl.send(t, cl.put(t, "one"))
	d := next()
	a := <-got
	if a.status != 403 || !strings.Contains(a.body, "AccessDenied") || !strings.Contains(a.body, "Run: postern request show "+d.AccessRequestID) || a.header.Get("Postern-Access-Request") != d.AccessRequestID {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := <-cl.send(t, cl.put(t, "one")); !strings.Contains(a.body, d.AccessRequestID) {
		t.Errorf("the identical call while it waits asks again: %s", a.body)
	}
	r.approve(d)
	if a := <-cl.send(t, cl.put(t, "two")); a.status != 403 || strings.Contains(a.body, d.AccessRequestID) {
		t.Errorf("another body: %d %s", a.status, a.body)
	}
	next()
	other := cl.plain(t, "PUT", "one")
	other.Header.Set("X-Amz-Acl", "public-read")
	if a := <-cl.send(t, cl.sign(t, other, "UNSIGNED-PAYLOAD")); a.status != 403 || strings.Contains(a.body, d.AccessRequestID) {
		t.Errorf("another header: %d %s", a.status, a.body)
	}
	next()
	if a := <-cl.send(t, cl.put(t, "one")); a.status != 200 {
		t.Fatalf("the identical call: %d %s", a.status, a.body)
	}
	if a := <-cl.send(t, cl.put(t, "one")); a.status != 403 {
		t.Errorf("twice by one approval: %d %s", a.status, a.body)
	}
	again := r.client(r.session(wants))
	if a := <-again.send(t, again.put(t, "one")); a.status != 403 {
		t.Errorf("by another session: %d %s", a.status, a.body)
	}
	r.clean()
}

// An approval is of a body, not of what is said of it where AWS does not check that.
func TestApprovedBodyIsTheOneSent(t *testing.T) {
	r := holding(t, 300*time.Millisecond)
	cl, next := r.client(r.session(wants)), r.held(t)
	got := cl.send(t, cl.put(t, "one"))
	d := next()
	<-got
	r.approve(d)
	lies := cl.put(t, "two")
	lies.Header.Set("Postern-Payload-Sha256", hexHash([]byte("one")))
	if a := <-cl.send(t, lies); a.status != 403 || strings.Contains(a.body, d.AccessRequestID) {
		t.Errorf("another body, said to be the same: %d %s", a.status, a.body)
	}
	r.clean()
}

// What services are told in headers of theirs is part of a call: a model is not asked
// without the guardrail with which that was approved.
func TestApprovedWithItsHeaders(t *testing.T) {
	r := holding(t, 300*time.Millisecond)
	cl, next := r.client(r.session(func(s *events.SessionStarted) {
		s.Permissions = []events.Permission{{Role: "dev", Effect: "Allow"}, {Role: "dev", Effect: "Deny", Actions: []string{"bedrock:InvokeModel"}, Approval: true}}
	})), r.held(t)
	ask := func(guardrail, trace string) answer {
		header := http.Header{}
		if guardrail != "" {
			header.Set("X-Amzn-Bedrock-GuardrailIdentifier", guardrail)
		}
		req := cl.call(t, "bedrock", "POST", "https://bedrock-runtime.us-east-1.amazonaws.com/model/m/invoke", `{"prompt":"p"}`, header)
		req.Header.Set("X-Amzn-Trace-Id", trace)
		return <-cl.send(t, req)
	}
	if a := ask("g", "1"); a.status != 403 {
		t.Fatalf("not approved: %d %s", a.status, a.body)
	}
	d := next()
	r.approve(d)
	if a := ask("", "1"); a.status != 403 || strings.Contains(a.body, d.AccessRequestID) {
		t.Errorf("without the guardrail: %d %s", a.status, a.body)
	}
	if a := ask("g", "2"); a.status != 200 {
		t.Errorf("the identical call: %d %s", a.status, a.body)
	}
	r.clean()
}

// Of some operations a header says what they are about.
func TestApprovedForWhatHeadersName(t *testing.T) {
	r := holding(t, 300*time.Millisecond)
	cl, next := r.client(r.session(func(s *events.SessionStarted) {
		s.Permissions = []events.Permission{{Role: "dev", Effect: "Allow"}, {Role: "dev", Effect: "Deny", Actions: []string{"entityresolution:*"}, Approval: true}}
	})), r.held(t)
	ask := func(ids string) answer {
		return <-cl.send(t, cl.call(t, "entityresolution", "DELETE", "https://entityresolution.us-east-1.amazonaws.com/matchingworkflows/w/uniqueids", "", http.Header{"Uniqueids": {ids}}))
	}
	ask("approved")
	d := next()
	r.approve(d)
	if a := ask("another"); a.status != 403 || strings.Contains(a.body, d.AccessRequestID) {
		t.Errorf("another: %d %s", a.status, a.body)
	}
	if a := ask("approved"); a.status != 200 {
		t.Errorf("the approved: %d %s", a.status, a.body)
	}
	r.clean()
}

// An approval is good for one call, whichever proxy makes it.
func TestOneApprovalTwoProxies(t *testing.T) {
	r := holding(t, 2*time.Second)
	other := newRigBy(t, r.ca, r.nc, r.j, holdingFor(2*time.Second))
	s := r.session(wants)
	other.eventually("the other proxy follows", func() bool { return other.p.Seq() >= r.p.Seq() })
	here, there, next := r.client(s), other.client(s), r.held(t)
	one := here.send(t, here.put(t, "one"))
	d := next()
	other.eventually("the other proxy follows", func() bool { return other.p.Seq() >= r.p.Seq() })
	two := there.send(t, there.put(t, "one"))
	other.eventually("both wait", func() bool { return r.p.Holds() == 1 && other.p.Holds() == 1 })
	r.approve(d)
	a, b := <-one, <-two
	if a.status+b.status != 200+403 {
		t.Errorf("here %d %s, there %d %s", a.status, a.body, b.status, b.body)
	}
}

// Of a call that no broker asks anybody about it is not said that somebody may approve it.
func TestHeldAndNotAsked(t *testing.T) {
	r := holding(t, 100*time.Millisecond)
	cl := r.client(r.session(wants))
	if a := <-cl.send(t, cl.put(t, "one")); a.status != 403 || !strings.Contains(a.body, "no broker has made access request") || strings.Contains(a.body, "once access request") {
		t.Errorf("%d %s", a.status, a.body)
	}
	r.clean()
}

// A lock on the access request of a call keeps an approval from being used until it is
// lifted.
func TestApprovedAndLocked(t *testing.T) {
	r := holding(t, 300*time.Millisecond)
	cl, next := r.client(r.session(wants)), r.held(t)
	got := cl.send(t, cl.put(t, "one"))
	d := next()
	<-got
	r.approve(d)
	r.emit(&events.LockPlaced{LockID: "lock-3", Target: events.LockTarget{Kind: "request", Name: d.AccessRequestID}, By: "admin", Message: "wait"})
	if a := <-cl.send(t, cl.put(t, "one")); a.status != 403 || !strings.Contains(a.body, "lock lock-3 on access request "+d.AccessRequestID+", placed by admin: wait") {
		t.Errorf("by a locked approval: %d %s", a.status, a.body)
	}
	r.emit(&events.LockLifted{LockID: "lock-3", By: "admin"})
	if a := <-cl.send(t, cl.put(t, "one")); a.status != 200 {
		t.Errorf("the lock lifted: %d %s", a.status, a.body)
	}
	r.clean()
}

func TestHeldThenNot(t *testing.T) {
	for _, c := range []struct {
		name, want string
		then       func(*rig, *events.SessionStarted, *events.AWSCallHeld)
	}{
		{"denied", "bob denied access request", func(r *rig, _ *events.SessionStarted, d *events.AWSCallHeld) {
			r.emit(&events.RequestDenied{RequestID: d.AccessRequestID, User: "alice", Reviewers: []string{"bob"}})
		}},
		{"dropped", "alice took access request", func(r *rig, _ *events.SessionStarted, d *events.AWSCallHeld) {
			r.emit(&events.RequestDropped{RequestID: d.AccessRequestID, By: "alice"})
		}},
		{"expired", "nobody decided", func(r *rig, _ *events.SessionStarted, d *events.AWSCallHeld) {
			r.emit(&events.RequestExpired{RequestID: d.AccessRequestID, User: "alice"})
		}},
		{"locked", "lock lock-1 on user alice", func(r *rig, _ *events.SessionStarted, d *events.AWSCallHeld) {
			r.emit(&events.LockPlaced{LockID: "lock-1", Target: events.LockTarget{Kind: "user", Name: "alice"}, By: "admin"})
		}},
		{"its access request locked", "lock lock-2 on access request", func(r *rig, _ *events.SessionStarted, d *events.AWSCallHeld) {
			r.emit(&events.LockPlaced{LockID: "lock-2", Target: events.LockTarget{Kind: "request", Name: d.AccessRequestID}, By: "admin"})
		}},
		{"session ended", "was ended by bob", func(r *rig, s *events.SessionStarted, _ *events.AWSCallHeld) {
			r.emit(&events.SessionEnded{SessionID: s.SessionID, User: "alice", By: "bob"})
		}},
		{"approved too late", "nobody decided", func(r *rig, _ *events.SessionStarted, d *events.AWSCallHeld) {
			r.emit(&events.RequestApproved{RequestID: d.AccessRequestID, User: "alice", Reviewers: []string{"bob"}, AccessExpiresAt: time.Now().Add(-time.Second)})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := holding(t, time.Minute)
			s := r.session(wants)
			cl, next := r.client(s), r.held(t)
			got := cl.send(t, cl.put(t, "one"))
			c.then(r, s, next())
			if a := <-got; a.status != 403 || !strings.Contains(a.body, c.want) {
				t.Errorf("%d %s", a.status, a.body)
			}
			if n := len(payloads[*events.AWSRequestAdmitted](r.audit())); n != 0 {
				t.Errorf("%d admitted", n)
			}
		})
	}
}

// One user cannot make a proxy hold calls without end.
func TestHoldsAreBounded(t *testing.T) {
	r := holding(t, time.Minute)
	cl := r.client(r.session(wants))
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() { <-cl.send(t, cl.put(t, fmt.Sprint(i))) })
	}
	r.eventually("twenty wait", func() bool { return r.p.Holds() == 20 })
	if a := <-cl.send(t, cl.put(t, "more")); a.status != 403 || !strings.Contains(a.body, "20 of your calls wait") {
		t.Errorf("%d %s", a.status, a.body)
	}
	r.emit(&events.LockPlaced{LockID: "lock-1", Target: events.LockTarget{Kind: "user", Name: "alice"}, By: "admin"})
	wg.Wait()
}

// Reviewers see what is asked, and no secrets.
func TestHeldParameters(t *testing.T) {
	r := holding(t, 100*time.Millisecond)
	s := r.session(func(s *events.SessionStarted) {
		s.Permissions = []events.Permission{{Role: "dev", Effect: "Allow"}, {Role: "dev", Effect: "Deny", Actions: []string{"*"}, Approval: true}}
	})
	cl, next := r.client(s), r.held(t)
	for _, c := range []struct{ url, contentType, body, want string }{
		{"https://iam.amazonaws.com/", "application/x-www-form-urlencoded; charset=utf-8", "Action=CreateLoginProfile&UserName=bob&Password=hunter2&Version=2010-05-08",
			`{"Password":"[redacted]","UserName":"bob"}`},
		{"https://dynamodb.us-east-1.amazonaws.com/", "application/x-amz-json-1.0", `{"TableName":"t"}`, `{"TableName":"t"}`},
		{object + "?versionId=7", "", "data", `{"":"[not recorded]","versionId":"7"}`},
	} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", c.url, bytes.NewReader([]byte(c.body)))
		if err != nil {
			t.Fatal(err)
		}
		if c.contentType == "" {
			req.Method = "PUT"
		} else {
			req.Header.Set("Content-Type", c.contentType)
		}
		req.Header.Set("X-Amz-Target", "DynamoDB_20120810.DeleteTable")
		got := cl.send(t, cl.sign(t, req, "UNSIGNED-PAYLOAD"))
		if d := next(); d.Parameters != c.want {
			t.Errorf("%s: %s", c.url, d.Parameters)
		}
		<-got
	}
}
