package local_test

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/proxy/awserr"
	"github.com/posternhq/postern/proxy/local"
)

// Whatever is changed after signing, nothing goes out.
func TestMutations(t *testing.T) {
	var s seen
	h := pair(t, func(w http.ResponseWriter, r *http.Request) { s.add(r.Method, r.RequestURI) })
	env := h.Env()
	c := client(t, env, false)
	fresh := func() *http.Request {
		r := request(t, "PUT", "https://bucket.s3.eu-central-1.amazonaws.com/key?a=1&b=2", strings.NewReader("body"))
		r.Header.Set("X-Amz-Meta-Colour", "red")
		return sign(t, r, env, "s3", bodyHash)
	}
	if resp, body := do(t, c, fresh()); resp.StatusCode != 200 || len(s.take()) != 1 {
		t.Fatalf("the unchanged request: %d %s", resp.StatusCode, body)
	}
	auth := func(f func(string) string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", f(r.Header.Get("Authorization"))) }
	}
	for _, m := range []struct {
		name, code string
		do         func(*http.Request)
	}{
		{"method", "SignatureDoesNotMatch", func(r *http.Request) { r.Method = "POST" }},
		{"path", "SignatureDoesNotMatch", func(r *http.Request) { r.URL.Path = "/kez" }},
		{"query value", "SignatureDoesNotMatch", func(r *http.Request) { r.URL.RawQuery = "a=1&b=3" }},
		{"query more", "SignatureDoesNotMatch", func(r *http.Request) { r.URL.RawQuery += "&acl" }},
		{"host", "SignatureDoesNotMatch", func(r *http.Request) {
			r.URL.Host = "bucket2.s3.eu-central-1.amazonaws.com"
			r.Host = r.URL.Host
		}},
		{"signed header", "SignatureDoesNotMatch", func(r *http.Request) { r.Header.Set("X-Amz-Meta-Colour", "blue") }},
		{"unsigned x-amz header", "AccessDenied", func(r *http.Request) { r.Header.Set("X-Amz-Acl", "public-read") }},
		{"declared hash", "SignatureDoesNotMatch", func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", emptyHash) }},
		{"hash to unsigned", "SignatureDoesNotMatch", func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", unsigned) }},
		{"time", "SignatureDoesNotMatch", func(r *http.Request) {
			r.Header.Set("X-Amz-Date", time.Now().UTC().Add(time.Second).Format("20060102T150405Z"))
		}},
		{"region", "SignatureDoesNotMatch", auth(func(a string) string { return strings.Replace(a, "eu-central-1", "us-east-1", 1) })},
		{"service", "SignatureDoesNotMatch", auth(func(a string) string { return strings.Replace(a, "/s3/", "/s3express/", 1) })},
		{"one bit", "SignatureDoesNotMatch", auth(func(a string) string {
			last := a[len(a)-1]
			return a[:len(a)-1] + map[bool]string{true: "1", false: "0"}[last == '0']
		})},
		{"no signature", "IncompleteSignature", auth(func(a string) string { return a[:strings.Index(a, ", Signature")] })},
		{"old signature version", "IncompleteSignature", auth(func(string) string { return "AWS AKIA:abc=" })},
		{"unknown key", "InvalidAccessKeyId", auth(func(a string) string { return strings.Replace(a, "AKIA", "AKIB", 1) })},
		{"none at all", "MissingAuthenticationToken", func(r *http.Request) { r.Header.Del("Authorization") }},
		{"Host against CONNECT", "InvalidRequest", func(r *http.Request) {
			r.Host = "other.s3.eu-central-1.amazonaws.com"
			sign(t, r, env, "s3", bodyHash)
		}},
		{"Host that is not AWS", "InvalidRequest", func(r *http.Request) {
			r.Host = "attacker.example"
			sign(t, r, env, "s3", bodyHash)
		}},
	} {
		r := fresh()
		m.do(r)
		resp, body := do(t, c, r)
		if resp.StatusCode < 400 || resp.StatusCode >= 500 || resp.StatusCode == 429 || !strings.Contains(body, m.code) {
			t.Errorf("%s: %d %s, want %s", m.name, resp.StatusCode, body, m.code)
		}
		if got := s.take(); len(got) > 0 {
			t.Errorf("%s: forwarded %v", m.name, got)
		}
		if strings.Contains(body, value(t, env, "AWS_SECRET_ACCESS_KEY")) {
			t.Errorf("%s: the secret is in %s", m.name, body)
		}
	}
}

// The body counts where it has to be hashed here.
func TestUndeclaredBodyChanged(t *testing.T) {
	var s seen
	h := pair(t, func(w http.ResponseWriter, r *http.Request) { s.add(r.RequestURI) })
	r := request(t, "POST", "https://dynamodb.eu-central-1.amazonaws.com/", strings.NewReader("bodz"))
	r.Header.Set("X-Amz-Target", "DynamoDB_20120810.PutItem")
	resp, body := do(t, client(t, h.Env(), false), sign(t, r, h.Env(), "dynamodb", bodyHash))
	var got struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || resp.StatusCode != 403 || got.Type != "InvalidSignatureException" || !strings.Contains(got.Message, "postern exec") || len(s.take()) != 0 {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

// The proxy's troubles come with its address and, where a retry cannot mend
// them, with a status that SDKs do not retry.
func TestProxyTrouble(t *testing.T) {
	p := newPKI(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	ok := standIn(t, p, func(http.ResponseWriter, *http.Request) {})
	for _, c := range []struct {
		name, addr string
		tls        *tls.Config
		status     int
		want       string
	}{
		{"nobody there", closed.Addr().String(), p.client(), 503, "is it running"},
		{"another CA's proxy", ok.Listener.Addr().String(), newPKI(t).client(), 403, "does not prove to be the postern proxy"},
		{"no certificate", ok.Listener.Addr().String(), &tls.Config{RootCAs: p.roots}, 403, "postern login"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := run(t, local.Config{ProxyAddr: c.addr, ProxyTLS: c.tls, Sessions: []local.Session{{ID: "S"}}})
			r := sign(t, request(t, "GET", "https://s3.eu-central-1.amazonaws.com/bucket/key", nil), h.Env(), "s3", emptyHash)
			resp, body := do(t, client(t, h.Env(), false), r)
			if resp.StatusCode != c.status || !strings.Contains(body, c.addr) || !strings.Contains(body, c.want) {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
		})
	}
}

// Somebody who finds the port without being a proxy's client gets told so.
func TestNotAProxyRequest(t *testing.T) {
	h := pair(t, func(http.ResponseWriter, *http.Request) { t.Error("forwarded") })
	resp, body := do(t, http.DefaultClient, request(t, "GET", "http://"+h.Addr()+"/", nil))
	if resp.StatusCode != 400 || !strings.Contains(body, "HTTPS_PROXY") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	conn, err := net.Dial("tcp", h.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "\x16\x03\x01 this is no HTTP\r\n\r\n")
	if b, err := io.ReadAll(conn); err != nil || !strings.Contains(string(b), "400 Bad Request") {
		t.Errorf("%q %v", b, err)
	}
}

// An SDK on a machine whose clock is wrong goes by AWS's once an answer has told it, and so
// does the helper; by that clock nothing else is good.
func TestWrongClock(t *testing.T) {
	theirs := 2 * time.Hour
	h := pair(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(theirs).UTC().Format(http.TimeFormat))
	})
	call := func(ahead time.Duration) int {
		r := request(t, "GET", "https://dynamodb.eu-central-1.amazonaws.com/", nil)
		c := aws.Credentials{AccessKeyID: value(t, h.Env(), "AWS_ACCESS_KEY_ID"), SecretAccessKey: value(t, h.Env(), "AWS_SECRET_ACCESS_KEY")}
		if err := v4.NewSigner().SignHTTP(t.Context(), c, r, emptyHash, "dynamodb", "eu-central-1", time.Now().Add(ahead)); err != nil {
			t.Fatal(err)
		}
		resp, _ := do(t, client(t, h.Env(), false), r)
		return resp.StatusCode
	}
	for _, c := range []struct {
		ahead time.Duration
		want  int
	}{{theirs, 403}, {0, 200}, {theirs, 200}, {0, 200}, {-theirs, 403}, {theirs + time.Hour, 403}} {
		if got := call(c.ahead); got != c.want {
			t.Errorf("signed %v ahead of this machine, AWS %v: %d, want %d", c.ahead, theirs, got, c.want)
		}
	}
	theirs = 48 * time.Hour // is not believed
	if first, then := call(0), call(theirs); first != 200 || then != 403 {
		t.Errorf("AWS two days ahead: %d, then %d", first, then)
	}
}

// spoken takes lines of a log.
type spoken chan string

func (s spoken) Write(p []byte) (int, error) {
	s <- string(p)
	return len(p), nil
}

// Clients show nothing of what a HEAD was refused for, so the helper says it.
func TestRefusedHead(t *testing.T) {
	p := newPKI(t)
	s := standIn(t, p, func(w http.ResponseWriter, r *http.Request) {
		awserr.Write(w, r, awserr.Error{Code: "AccessDenied", Message: "postern: role dev denies s3:GetObject. Run: postern request create", RequestID: "r"})
	})
	said := make(spoken, 10)
	h := run(t, local.Config{ProxyAddr: s.Listener.Addr().String(), ProxyTLS: p.client(), Sessions: []local.Session{{ID: "S"}},
		Log: zerolog.New(said).Level(zerolog.WarnLevel)})
	for _, method := range []string{"GET", "HEAD"} {
		r := sign(t, request(t, method, "https://bucket.s3.eu-central-1.amazonaws.com/key", nil), h.Env(), "s3", emptyHash)
		if resp, _ := do(t, client(t, h.Env(), false), r); resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d", method, resp.StatusCode)
		}
	}
	got := ""
	if len(said) == 1 {
		got = <-said
	}
	if !strings.Contains(got, `"path":"/key","reason":"role dev denies s3:GetObject. Run: postern request create"`) {
		t.Errorf("said %s", got)
	}
}

// A browser's form for S3 is told what would do instead; what else has no signature
// that postern knows is told where keys come from.
func TestRefusesForms(t *testing.T) {
	var s seen
	h := pair(t, func(_ http.ResponseWriter, r *http.Request) { s.add(r.Method, r.RequestURI) })
	for _, c := range []struct{ url, kind, want string }{
		{"https://bucket.s3.eu-central-1.amazonaws.com/", "multipart/form-data; boundary=b", "presign a PUT"},
		{"https://s3.eu-central-1.amazonaws.com/bucket", "Multipart/Form-Data; boundary=b", "presign a PUT"},
		{"https://bucket.s3.eu-central-1.amazonaws.com/", "multipart/mixed; boundary=b", "postern exec"},
		{"https://sqs.eu-central-1.amazonaws.com/", "multipart/form-data; boundary=b", "postern exec"},
	} {
		r := request(t, "POST", c.url, strings.NewReader("--b--"))
		r.Header.Set("Content-Type", c.kind)
		resp, body := do(t, client(t, h.Env(), false), r)
		if resp.StatusCode != 403 || !strings.Contains(body, c.want) {
			t.Errorf("%s %s: %d %s", c.url, c.kind, resp.StatusCode, body)
		}
	}
	if got := s.take(); len(got) > 0 {
		t.Errorf("forwarded %v", got)
	}
}
