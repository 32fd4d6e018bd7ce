package proxy_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

// echo answers with the hash of what it got.
func echo(w http.ResponseWriter, r *http.Request, _ ststest.Key) {
	h := sha256.New()
	n, err := io.Copy(h, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("X-Amz-Request-Id", "AWSREQUESTID")
	fmt.Fprintf(w, "%d %x", n, h.Sum(nil))
}

func withEcho(_ *proxy.Config, a *ststest.AWS) { a.Serve = echo }

// One call leaves a chain: session, credentials, admitted, completed.
func TestCallIsRecorded(t *testing.T) {
	r := newRig(t, withEcho)
	s := r.session(func(s *events.SessionStarted) { s.RequestIDs = []string{"req-1"} })
	c := r.client(s)
	req := c.request(t, "PUT", "https://bucket.s3.us-east-1.amazonaws.com/key%20one?x-id=PutObject", strings.NewReader("hello"))
	req.Header.Set("User-Agent", "test-agent")
	resp, body := c.do(t, req)
	if want := fmt.Sprintf("5 %x", sha256.Sum256([]byte("hello"))); resp.StatusCode != 200 || body != want {
		t.Fatalf("%d %s, want %s", resp.StatusCode, body, want)
	}
	r.clean()
	es := r.audit()
	var order []string
	for _, e := range es {
		order = append(order, string(e.Data.Type()))
	}
	if diff := cmp.Diff([]string{
		string(events.TypeAWSCredentialsIssued), string(events.TypeAWSRequestAdmitted), string(events.TypeAWSRequestCompleted)}, order); diff != "" {
		t.Fatal(diff)
	}
	admitted, completed := es[1], es[2]
	if completed.CausationID != admitted.ID || completed.CorrelationID != admitted.CorrelationID {
		t.Errorf("completed %+v does not follow from admitted %+v", completed.Meta, admitted.Meta)
	}
	got := completed.Data.(*events.AWSRequestCompleted)
	if got.LatencyMicros <= 0 || got.DurationMicros < got.LatencyMicros {
		t.Errorf("latency %d µs, duration %d µs", got.LatencyMicros, got.DurationMicros)
	}
	if admitted.CorrelationID != got.RequestID {
		t.Errorf("correlation %s, request %s", admitted.CorrelationID, got.RequestID)
	}
	want := &events.AWSRequestCompleted{
		AWSRequest: events.AWSRequest{
			RequestID: got.RequestID, ReceivedAt: got.ReceivedAt, ClientAddr: got.ClientAddr,
			User: "alice", SessionID: s.SessionID, AccessRequestIDs: []string{"req-1"}, App: "prod",
			AWSRoleARN: s.AWSRoleARN, RoleSessionName: "alice", AccessKeyID: "ASIASTANDIN000000001",
			Account: "111122223333", Partition: "aws", Region: "us-east-1", Service: "s3", SigningName: "s3",
			Operation: "PutObject", Action: "s3:PutObject", AccessLevel: "Write", Resources: got.Resources,
			Method: "PUT", Host: "bucket.s3.us-east-1.amazonaws.com", Path: "/key%20one", UserAgent: "test-agent", Proxy: "test",
		},
		Status: 200, AWSRequestID: "AWSREQUESTID", RequestBytes: 5, ResponseBytes: int64(len(body)),
		LatencyMicros: got.LatencyMicros, DurationMicros: got.DurationMicros,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&events.AWSRequestAdmitted{AWSRequest: want.AWSRequest}, admitted.Data); diff != "" {
		t.Errorf("admitted (-want +got):\n%s", diff)
	}
}

// The path that the client wrote is the path that AWS gets.
func TestTargetsAreByteExact(t *testing.T) {
	var mu sync.Mutex
	var got []string
	r := newRig(t, func(_ *proxy.Config, a *ststest.AWS) {
		a.Serve = func(w http.ResponseWriter, r *http.Request, _ ststest.Key) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, r.RequestURI)
		}
	})
	c := r.client(r.session())
	var want []string
	for _, target := range []string{
		"/", "/?", "/a//b", "//a", "//a//", "/a%2Fb", "/a%2fb", "/a+b", "/a%20b", "/%E2%98%83", "/a/../b", "/./a/.", "/a;b=c,d",
		"/a:b@c!$&'()*", "/~_-.", "/a?b=c+d&e=%2F", "/a?list-type=2&prefix=a%20b%2B", "/a?versions", "/a?x=%C3%A9&x=", "/a?b?c",
	} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "https://bucket.s3.us-east-1.amazonaws.com/", nil)
		if err != nil {
			t.Fatal(err)
		}
		path, query, _ := strings.Cut(target, "?")
		req.URL.Opaque = "//bucket.s3.us-east-1.amazonaws.com" + path
		req.URL.RawQuery = query
		c.sign(t, req, "UNSIGNED-PAYLOAD")
		// What the SDK's signer has written is what goes over the wire.
		path, query, _ = strings.Cut(target, "?")
		req.URL.Opaque, req.URL.RawQuery, req.URL.ForceQuery = path, query, strings.HasSuffix(target, "?")
		if strings.HasPrefix(path, "//") {
			req.URL.Opaque, req.URL.Path, req.URL.RawPath = "", path, path
		}
		resp, body := c.do(t, req)
		if resp.StatusCode != 200 {
			t.Errorf("%s: %d %s", target, resp.StatusCode, body)
		}
		want = append(want, target)
	}
	r.clean()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("targets (-sent +arrived):\n%s", diff)
	}
}

// The SDK with its defaults, through the proxy: chunked trailers, checksums,
// what it wants.
func TestSDKForS3(t *testing.T) {
	objects := map[string]string{}
	r := newRig(t, func(_ *proxy.Config, a *ststest.AWS) {
		a.Serve = func(w http.ResponseWriter, r *http.Request, _ ststest.Key) {
			if r.Method == "PUT" {
				b, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				objects[r.URL.Path] = string(b)
				objects["te "+r.URL.Path] = fmt.Sprint(r.TransferEncoding, r.ContentLength)
				return
			}
			fmt.Fprint(w, objects[r.URL.Path])
		}
	})
	s := r.session()
	c := r.client(s)
	client := s3.New(s3.Options{
		Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("POSTERNHELPER", "worthless", ""),
		HTTPClient: named{c}, RetryMaxAttempts: 1, RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
	})
	// A body that cannot be rewound is sent as STREAMING-UNSIGNED-PAYLOAD-TRAILER.
	if _, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("a b/ü"),
		Body: io.MultiReader(strings.NewReader("hello")), ContentLength: aws.Int64(5)}); err != nil {
		t.Fatal(err)
	}
	const path = "/a b/ü"
	if !strings.Contains(objects[path], "hello") || !strings.Contains(objects[path], "x-amz-checksum-") {
		t.Errorf("AWS got %q, want the chunk framing and its trailer untouched", objects[path])
	}
	if _, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k"),
		Body: strings.NewReader("rewindable")}); err != nil {
		t.Fatal(err)
	}
	out, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k")})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Body.Close()
	if b, err := io.ReadAll(out.Body); err != nil || !strings.Contains(string(b), "rewindable") {
		t.Errorf("%q, %v", b, err)
	}
	r.clean()
}

// named adds the session, as the helper does.
type named struct{ c *client }

func (n named) Do(req *http.Request) (*http.Response, error) {
	req.Header.Set("Postern-Session", n.c.session)
	return n.c.Client.Do(req)
}

// Bodies whose hash nobody declares are hashed: by the helper's word, or here.
func TestUndeclaredPayload(t *testing.T) {
	r := newRig(t, withEcho)
	c := r.client(r.session())
	for _, size := range []int{0, 10, 100 << 10, 3 << 20} {
		for _, told := range []bool{true, false} {
			body := strings.Repeat("x", size)
			hash := hexHash([]byte(body))
			req := c.call(t, "dynamodb", "POST", "https://dynamodb.us-east-1.amazonaws.com/", body, target("DynamoDB_20120810.GetItem", "1.0"))
			if told {
				req.Header.Set("Postern-Payload-Sha256", hash)
			}
			resp, got := c.do(t, req)
			if want := fmt.Sprintf("%d %s", size, hash); resp.StatusCode != 200 || got != want {
				t.Errorf("size %d, told %v: %d %s", size, told, resp.StatusCode, got)
			}
		}
	}
	r.clean()
}

// A thousand requests of ten sessions are ten calls of AssumeRole, at any
// concurrency.
func TestOneAssumeRolePerSession(t *testing.T) {
	r := newRig(t, withEcho)
	var clients []*client
	for range 10 {
		clients = append(clients, r.client(r.session()))
	}
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for n := range 16 {
				c := clients[(i+n)%len(clients)]
				if resp, body := c.do(t, c.request(t, "GET", "https://bucket.s3.us-east-1.amazonaws.com/k", nil)); resp.StatusCode != 200 {
					t.Errorf("%d %s", resp.StatusCode, body)
				}
			}
		})
	}
	wg.Wait()
	r.clean()
	if n := len(r.aws.Calls("AssumeRole")); n != 10 {
		t.Errorf("%d calls of AssumeRole", n)
	}
	es := r.audit()
	a, c := payloads[*events.AWSRequestAdmitted](es), payloads[*events.AWSRequestCompleted](es)
	if len(a) != 1024 || len(c) != 1024 {
		t.Errorf("%d admitted, %d completed", len(a), len(c))
	}
	if n := len(payloads[*events.AWSCredentialsIssued](es)); n != 10 {
		t.Errorf("%d credentials issued", n)
	}
}

func TestDenials(t *testing.T) {
	r := newRig(t, func(_ *proxy.Config, a *ststest.AWS) {
		a.Serve = func(w http.ResponseWriter, r *http.Request, _ ststest.Key) {
			t.Errorf("%s %s reached AWS", r.Method, r.RequestURI)
		}
		a.Assume = func(url.Values) *ststest.Refusal {
			return &ststest.Refusal{Status: 403, Code: "AccessDenied", Message: "no"}
		}
	})
	bucket := "https://bucket.s3.us-east-1.amazonaws.com/k"
	plain := r.session()
	ended := r.session()
	r.emit(&events.SessionEnded{SessionID: ended.SessionID, User: "alice", By: "bob", Reason: "enough"})
	locked := r.session(func(s *events.SessionStarted) { s.App = "locked" })
	r.emit(&events.LockPlaced{LockID: "lock-1", Target: events.LockTarget{Kind: "app", Name: "locked"}, By: "admin", Message: "incident"})
	narrow := r.session(func(s *events.SessionStarted) {
		s.Permissions = []events.Permission{{Role: "reader", Effect: "Allow", Actions: []string{"s3:Get*"}}, {Role: "guard", Effect: "Deny", Actions: []string{"s3:PutObject"}}}
		s.Requestable = []string{"writer", "deleter"}
		s.Offers = []events.Permission{{Role: "writer", Effect: "Allow", Actions: []string{"s3:Put*"}}}
	})
	gov := r.session(func(s *events.SessionStarted) { s.Partition, s.Region = "aws-us-gov", "us-gov-west-1" })
	old := r.session(func(s *events.SessionStarted) { s.ExpiresAt = time.Now().Add(-time.Minute) })
	for _, c := range []struct {
		name, session, method, url string
		change                     func(*http.Request)
		status                     int
		code, cause                string
		message                    string
	}{
		{"no session", "", "GET", bucket, nil, 403, "AccessDenied", "no_session", "Run: postern apps login"},
		{"unknown session", "01JUNKNOWN", "GET", bucket, nil, 403, "AccessDenied", "no_session", "01JUNKNOWN"},
		{"ended", ended.SessionID, "GET", bucket, nil, 403, "AccessDenied", "session_ended", "was ended by bob: enough. Run: postern apps login prod"},
		{"expired", old.SessionID, "GET", bucket, nil, 403, "AccessDenied", "session_expired", "Run: postern apps login prod"},
		{"locked", locked.SessionID, "GET", bucket, nil, 403, "AccessDenied", "lock", "lock lock-1 on app locked, placed by admin: incident"},
		{"rule", narrow.SessionID, "PUT", bucket, nil, 403, "AccessDenied", "rule", "No access request lifts that: ask whoever may change role guard"},
		{"not allowed", narrow.SessionID, "DELETE", bucket, nil, 403, "AccessDenied", "rule", "Run: postern request create --roles deleter --reason"},
		{"host", plain.SessionID, "GET", "https://evil.example.com/", nil, 403, "AccessDenied", "host", "evil.example.com"},
		{"host that looks it", plain.SessionID, "GET", "https://s3.us-east-1.amazonaws.com.evil.com/", nil, 403, "AccessDenied", "host", "evil.com"},
		{"another partition", plain.SessionID, "GET", "https://bucket.s3.us-gov-west-1.amazonaws.com/k", nil, 403, "AccessDenied", "host", "is of partition aws, and bucket.s3.us-gov-west-1.amazonaws.com is in partition aws-us-gov"},
		{"another partition's domain", plain.SessionID, "GET", "https://s3.cn-north-1.amazonaws.com.cn/bucket/k", nil, 403, "AccessDenied", "host", "in partition aws-cn"},
		{"another partition, by no region", plain.SessionID, "GET", "https://iam.us-gov.amazonaws.com/", nil, 403, "AccessDenied", "host", "in partition aws-us-gov"},
		{"another partition than GovCloud", gov.SessionID, "GET", bucket, nil, 403, "AccessDenied", "host", "of partition aws-us-gov, and bucket.s3.us-east-1.amazonaws.com is in partition aws,"},
		{"not signed", plain.SessionID, "GET", bucket, func(r *http.Request) { r.Header.Del("Authorization") }, 403, "AccessDenied", "signature", "is not signed"},
		{"upgrade", plain.SessionID, "GET", bucket, func(r *http.Request) {
			r.Header.Set("Connection", "upgrade")
			r.Header.Set("Upgrade", "h2c")
		}, 501, "NotImplemented", "unsupported", "WebSocket"},
		{"no credentials", plain.SessionID, "GET", bucket, nil, 403, "AccessDenied", "failed", "AWS refused " + ststest.BaseARN},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl := r.clientAs("alice", c.session)
			req := cl.request(t, c.method, c.url, nil)
			if c.session == "" {
				req.Header.Del("Postern-Session")
			}
			if c.change != nil {
				c.change(req)
			}
			resp, body := cl.do(t, req)
			if resp.StatusCode != c.status || !strings.Contains(body, c.code) || !strings.Contains(body, c.message) {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
			if resp.Header.Get("X-Amz-Request-Id") == "" {
				t.Error("no request id")
			}
			over := ""
			if c.cause == "no_session" || c.cause == "session_ended" || c.cause == "session_expired" {
				over = c.session
			}
			if got := resp.Header.Get("Postern-Session-Over"); got != over {
				t.Errorf("the helper is told that session %q is over, want %q", got, over)
			}
		})
	}
	es := r.audit()
	var got []string
	for _, e := range es {
		switch d := e.Data.(type) {
		case *events.AWSRequestDenied:
			got = append(got, d.Cause+" "+d.Code)
			if d.User != "alice" || d.RequestID == "" || d.Cause == "lock" && d.LockID != "lock-1" || d.Cause == "rule" && d.Rule == "" {
				t.Errorf("%+v", d)
			}
		case *events.AWSRequestFailed:
			got = append(got, "failed "+d.Stage+" "+d.Code)
		default:
			t.Errorf("%T", d)
		}
	}
	slices.Sort(got)
	want := []string{
		"no_session AccessDenied", "no_session AccessDenied", "session_ended AccessDenied", "session_expired AccessDenied",
		"lock AccessDenied", "rule AccessDenied", "rule AccessDenied", "host AccessDenied", "host AccessDenied",
		"host AccessDenied", "host AccessDenied", "host AccessDenied", "host AccessDenied",
		"signature AccessDenied", "unsupported NotImplemented", "failed credentials AccessDenied",
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// A name that nobody has is said so, and not to be tried again.
func TestNoSuchEndpoint(t *testing.T) {
	r := newRig(t)
	r.p.SetDial(func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", IsNotFound: true}}
	})
	cl := r.client(r.session())
	resp, body := cl.do(t, cl.request(t, "GET", "https://s3.eu-central-7.amazonaws.com/", nil))
	if resp.StatusCode != 400 || !strings.Contains(body, "is the region right?") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if f := payloads[*events.AWSRequestFailed](r.audit()); len(f) != 1 || f[0].Stage != "forward" {
		t.Errorf("%+v", f)
	}
}

// Another user's certificate does not open a session.
func TestSessionBelongsToCertificate(t *testing.T) {
	r := newRig(t, withEcho)
	c := r.clientAs("mallory", r.session().SessionID)
	if resp, body := c.do(t, c.request(t, "GET", "https://bucket.s3.us-east-1.amazonaws.com/k", nil)); resp.StatusCode != 403 {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if d := payloads[*events.AWSRequestDenied](r.audit()); len(d) != 1 || d[0].User != "mallory" || d[0].Cause != "no_session" || d[0].AWSRoleARN != "" {
		t.Errorf("%+v", d)
	}
}

// The stand-in is reached over HTTP/2 of the client just as well.
func TestHTTP2Client(t *testing.T) {
	r := newRig(t, withEcho)
	c := r.client(r.session())
	tr := r.transport("alice")
	tr.Protocols = new(http.Protocols)
	tr.Protocols.SetHTTP2(true)
	tr.TLSClientConfig = r.tls("alice")
	tr.DialTLSContext = nil
	tr.DialContext = r.dial
	c.Transport = tr
	resp, body := c.do(t, c.request(t, "PUT", "https://bucket.s3.us-east-1.amazonaws.com/k", strings.NewReader("hello")))
	if resp.ProtoMajor != 2 || resp.StatusCode != 200 || !strings.HasPrefix(body, "5 ") {
		t.Errorf("%s %d %s", resp.Proto, resp.StatusCode, body)
	}
	r.clean()
}
