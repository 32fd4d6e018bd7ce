package local_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/proxy/local"
	"github.com/posternhq/postern/proxy/sigv4"
)

// The request target reaches the proxy byte for byte, or the request is refused
// with a 400; what no URL library would write included.
func TestTargets(t *testing.T) {
	const host = "bucket.s3.eu-central-1.amazonaws.com"
	var s seen
	h := pair(t, func(w http.ResponseWriter, r *http.Request) { s.add(r.RequestURI) })
	pem, err := os.ReadFile(value(t, h.Env(), "AWS_CA_BUNDLE"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	for _, c := range []struct{ target, want string }{
		{"/", "/"},
		{"/key?", "/key?"},
		{"/?", "/?"},
		{"/a//b/../c/./d", "/a//b/../c/./d"},
		{"//a", "//a"},
		{"/a+b%20c%2Fd%2fe", "/a+b%20c%2Fd%2fe"},
		{"/a!b'c(d)*e:f@g=h&i$j,k;l~m", "/a!b'c(d)*e:f@g=h&i$j,k;l~m"},
		{"/%E6%97%A5", "/%E6%97%A5"},
		{"/日", "/日"},
		{`/a"b<c>d^e|f{g}`, `/a"b<c>d^e|f{g}`},
		{"/k?x=;y&z=%zz&&=&a", "/k?x=;y&z=%zz&&=&a"},
		{"/k?X=1&x=%2B+ü", "/k?X=1&x=%2B+ü"},
		{"https://" + host + "/k?x=1", "/k?x=1"},
		{`//"`, ""},
		{"/%zz", ""},
		{"*", ""},
	} {
		r := &http.Request{Method: "GET", Host: host, RequestURI: c.target, URL: &url.URL{}, Header: http.Header{}}
		creds := sigv4.Credentials{AccessKeyID: value(t, h.Env(), "AWS_ACCESS_KEY_ID"), SecretAccessKey: value(t, h.Env(), "AWS_SECRET_ACCESS_KEY")}
		in := &sigv4.Authorization{Scope: sigv4.Scope{Region: "eu-central-1", Service: "s3"}, Payload: sigv4.PayloadUnsigned, PayloadHash: unsigned}
		// An error is about sending r, which is done by hand here.
		_, _ = new(sigv4.Signer).Sign(r, creds, in, "", time.Now())
		raw, _ := connect(t, h.Addr(), host+":443", "")
		conn := tls.Client(raw, &tls.Config{RootCAs: roots, ServerName: host})
		// In one piece: a target that is refused at once closes the connection.
		var text bytes.Buffer
		fmt.Fprintf(&text, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", c.target, host)
		if err := r.Header.Write(&text); err != nil {
			t.Fatal(err)
		}
		text.WriteString("\r\n")
		if _, err := conn.Write(text.Bytes()); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), r)
		if err != nil {
			t.Errorf("%s: %v", c.target, err)
			continue
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Error(err)
		}
		got := strings.Join(s.take(), " and ")
		if diff := cmp.Diff(c.want, got); diff != "" || (c.want == "") != (resp.StatusCode == 400) {
			t.Errorf("%s: %d %s (-want +got):\n%s", c.target, resp.StatusCode, body, diff)
		}
	}
}

// The certificate is for the host that CONNECT named: TLS to another one fails.
func TestServerNameAgainstConnect(t *testing.T) {
	h := pair(t, func(http.ResponseWriter, *http.Request) { t.Error("forwarded") })
	raw, _ := connect(t, h.Addr(), "s3.eu-central-1.amazonaws.com:443", "")
	conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, ServerName: "sts.amazonaws.com"})
	if err := conn.Handshake(); err == nil {
		t.Error("TLS for a host that CONNECT did not name")
	}
}

// What is signed with temporary credentials that the helper does not know is
// passed on as it is, marked; the proxy may know them.
func TestUnknownTemporaryKey(t *testing.T) {
	var s seen
	h := pair(t, func(_ http.ResponseWriter, r *http.Request) {
		s.add(r.Header.Get("Postern-Unverified"), r.Header.Get("Postern-Session"), r.Header.Get("X-Amz-Security-Token"), r.Header.Get("Authorization")[:41])
	})
	c := client(t, h.Env(), false)
	r := request(t, "GET", "https://bucket.s3.eu-central-1.amazonaws.com/key", nil)
	r.Header.Set("X-Amz-Security-Token", "token")
	r.Header.Set("Postern-Unverified", "") // nobody marks it but the helper
	theirs := []local.Var{{Name: "AWS_ACCESS_KEY_ID", Value: "ASIATHEIRS"}, {Name: "AWS_SECRET_ACCESS_KEY", Value: "secret"}}
	sign(t, r, theirs, "s3", unsigned)
	if resp, body := do(t, c, r); resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	do(t, c, sign(t, request(t, "GET", "https://bucket.s3.eu-central-1.amazonaws.com/key", nil), h.Env(), "s3", unsigned))
	want := "1 01K0SESSION1 token AWS4-HMAC-SHA256 Credential=ASIATHEIRS/20"
	if got := s.take(); len(got) != 2 || got[0] != want || !strings.HasPrefix(got[1], " ") {
		t.Errorf("%q, want %q first", got, want)
	}
}

// What has no signature is passed on as it is, marked, in the name of the first
// session; the proxy decides.
func TestUnsigned(t *testing.T) {
	var s seen
	h := pair(t, func(_ http.ResponseWriter, r *http.Request) {
		s.add(r.Header.Get("Postern-Unsigned"), r.Header.Get("Postern-Session"), r.Header.Get("Authorization"), r.RequestURI)
	})
	c := client(t, h.Env(), false)
	if resp, body := do(t, c, request(t, "GET", "https://bucket.s3.eu-central-1.amazonaws.com/a%20public/key", nil)); resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	bearer := request(t, "GET", "https://bucket.s3.eu-central-1.amazonaws.com/key", nil)
	bearer.Header.Set("Authorization", "Bearer x")
	if resp, body := do(t, c, bearer); resp.StatusCode != 400 || !strings.Contains(body, "unset it (AWS_BEARER_TOKEN_BEDROCK") {
		t.Errorf("a token of another kind: %d %s", resp.StatusCode, body)
	}
	signed := request(t, "GET", "https://bucket.s3.eu-central-1.amazonaws.com/key", nil)
	signed.Header.Set("Postern-Unsigned", "1") // nobody marks it but the helper
	do(t, c, sign(t, signed, h.Env(), "s3", unsigned))
	if got := s.take(); len(got) != 2 || got[0] != "1 01K0SESSION1  /a%20public/key" || !strings.HasPrefix(got[1], " 01K0SESSION1 AWS4") {
		t.Errorf("%q", got)
	}
}
