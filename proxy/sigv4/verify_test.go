package sigv4

import (
	"bufio"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// wire reads a request as net/http's server does.
func wire(t testing.TB, text string) *http.Request {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.ReplaceAll(text, "\n", "\r\n"))))
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return r
}

var (
	testCreds = Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret", SessionToken: "tok/en+="}
	testNow   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

// signed is a request signed by Sign for service s.
func signed(t testing.TB, service, text string) (*http.Request, *Authorization) {
	t.Helper()
	r := wire(t, text)
	target := r.RequestURI
	in := &Authorization{Scope: Scope{Region: "us-east-1", Service: service}, Payload: PayloadHashed, PayloadHash: EmptyHash}
	var s Signer
	a, err := s.Sign(r, testCreds, in, "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.URL.RequestURI(); got != target {
		t.Fatalf("target %q would go out as %q", target, got)
	}
	r.RequestURI = target
	return r, a
}

func TestParseRefuses(t *testing.T) {
	const (
		cred = "Credential=AKID/20260301/us-east-1/s3/aws4_request"
		sh   = "SignedHeaders=host;x-amz-date"
		date = "X-Amz-Date: 20260301T120000Z\n"
	)
	sig := "Signature=" + strings.Repeat("a", 64)
	auth := func(s string) string { return "GET / HTTP/1.1\nHost: h\n" + date + "Authorization: " + s + "\n\n" }
	query := func(s string) string { return "GET /?" + s + " HTTP/1.1\nHost: h\n\n" }
	good := "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID%2F20260301%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20260301T120000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-" + sig
	for _, c := range []struct {
		text string
		kind error
		code string
	}{
		{"GET / HTTP/1.1\nHost: h\n\n", ErrMissing, "MissingAuthenticationToken"},
		{auth("Bearer x"), ErrUnsupported, "IncompleteSignature"},
		{auth("AWS AKID:sig"), ErrUnsupported, "IncompleteSignature"},
		{auth("AWS4-HMAC-SHA256"), ErrMalformed, "IncompleteSignature"},
		{auth("AWS4-HMAC-SHA256 " + cred + ", " + sh), ErrMalformed, "IncompleteSignature"},
		{auth("AWS4-HMAC-SHA256 " + cred + ", " + sig), ErrMalformed, "IncompleteSignature"},
		{auth("AWS4-HMAC-SHA256 " + sh + ", " + sig), ErrMalformed, "IncompleteSignature"},
		{auth("AWS4-HMAC-SHA256 " + cred + ", " + cred + ", " + sh + ", " + sig), ErrMalformed, "IncompleteSignature"},
		{auth("AWS4-HMAC-SHA256 " + cred + ", " + sh + ", " + sig + ", X=y"), ErrMalformed, "IncompleteSignature"},
		{auth("AWS4-HMAC-SHA256 " + cred + ", " + sh + ", " + sig + "a"), ErrMalformed, "AuthorizationHeaderMalformed"},
		{auth("AWS4-HMAC-SHA256 " + cred + ", " + sh + ", " + strings.ToUpper(sig)), ErrMalformed, "IncompleteSignature"},
		{auth("AWS4-HMAC-SHA256 " + cred + ", SignedHeaders=x-amz-date;host, " + sig), ErrMalformed, "AuthorizationHeaderMalformed"},
		{auth("AWS4-HMAC-SHA256 " + cred + ", SignedHeaders=host;host, " + sig), ErrMalformed, "AuthorizationHeaderMalformed"},
		{auth("AWS4-HMAC-SHA256 " + cred + ", SignedHeaders=Host, " + sig), ErrMalformed, "AuthorizationHeaderMalformed"},
		{auth("AWS4-HMAC-SHA256 " + cred + "/x, " + sh + ", " + sig), ErrMalformed, "IncompleteSignature"},
		{auth("AWS4-HMAC-SHA256 Credential=AKID/20261301/us-east-1/s3/aws4_request, " + sh + ", " + sig), ErrMalformed, "IncompleteSignature"},
		{auth("AWS4-HMAC-SHA256 Credential=AKID/20260301//s3/aws4_request, " + sh + ", " + sig), ErrMalformed, "IncompleteSignature"},
		{auth("AWS4-HMAC-SHA256 Credential=AKID/20260301/us-east-1/s3/aws5_request, " + sh + ", " + sig), ErrMalformed, "IncompleteSignature"},
		{strings.Replace(auth("AWS4-HMAC-SHA256 "+cred+", "+sh+", "+sig), date, "", 1), ErrMalformed, "AuthorizationHeaderMalformed"},
		{strings.Replace(auth("AWS4-HMAC-SHA256 "+cred+", "+sh+", "+sig), date, date+date, 1), ErrMalformed, "AuthorizationHeaderMalformed"},
		{strings.Replace(auth("AWS4-HMAC-SHA256 "+cred+", "+sh+", "+sig), date, date+"X-Amz-Content-Sha256: STREAMING-X\n", 1), ErrMalformed, "AuthorizationHeaderMalformed"},
		{strings.Replace(auth("AWS4-HMAC-SHA256 "+cred+", "+sh+", "+sig), date, date+"Authorization: AWS4-HMAC-SHA256 x\n", 1), ErrMalformed, "IncompleteSignature"},
		{strings.Replace(auth("AWS4-HMAC-SHA256 "+cred+", "+sh+", "+sig), "GET /", "GET /?"+good, 1), ErrMalformed, "IncompleteSignature"},
		{strings.Replace(auth("AWS4-HMAC-SHA256 "+cred+", "+sh+", "+sig), "GET /", "GET /?x-amz-%73ignature=1", 1), ErrMalformed, "IncompleteSignature"},
		{query(good + "&X-Amz-Date=20260301T120000Z"), ErrMalformed, "IncompleteSignature"},
		{query(good + "&x-amz-date=20260301T120000Z"), ErrMalformed, "IncompleteSignature"},
		{query(strings.Replace(good, "Expires=60", "Expires=604801", 1)), ErrMalformed, "AuthorizationQueryParametersError"},
		{query(strings.Replace(good, "Expires=60", "Expires=-1", 1)), ErrMalformed, "AuthorizationQueryParametersError"},
		{query(strings.Replace(good, "&X-Amz-Expires=60", "", 1)), ErrMalformed, "AuthorizationQueryParametersError"},
		{query(strings.Replace(good, "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1", 1)), ErrUnsupported, "IncompleteSignature"},
		{query(strings.Replace(good, "X-Amz-Algorithm=AWS4-HMAC-SHA256&", "", 1)), ErrMalformed, "IncompleteSignature"},
	} {
		a, err := Parse(wire(t, c.text))
		e := (*Error)(nil)
		if !errors.As(err, &e) || !errors.Is(err, c.kind) || e.Code("InvalidSignatureException") != c.code {
			t.Errorf("%q:\n%+v %v, want %v (%s)", c.text, a, err, c.kind, c.code)
		}
	}
	if a, err := Parse(wire(t, query(good))); err != nil || !a.Presigned || a.Payload != PayloadUnsigned || a.Expires != time.Minute {
		t.Errorf("%+v %v", a, err)
	}
}

// What is refused goes into logs and events, and what stands in the place of a scheme may
// be a secret.
func TestParseTellsNoSecret(t *testing.T) {
	for _, auth := range []string{"hunter2", "hunter2 x", "Bearer hunter2", "AWS4-HMAC-SHA256 hunter2", "AWS4-HMAC-SHA256 hunter2=x"} {
		if _, err := Parse(wire(t, "GET / HTTP/1.1\nHost: h\nAuthorization: "+auth+"\n\n")); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", auth, err)
		}
	}
	if _, err := Parse(wire(t, "GET / HTTP/1.1\nHost: h\nAuthorization: bearer x\n\n")); err == nil || !strings.Contains(err.Error(), `"Bearer"`) {
		t.Errorf("a known scheme: %v", err)
	}
}

func TestTime(t *testing.T) {
	r, a := signed(t, "sts", "GET / HTTP/1.1\nHost: sts.amazonaws.com\n\n")
	var s Signer
	p := wire(t, "GET /?Action=GetCallerIdentity HTTP/1.1\nHost: sts.amazonaws.com\n\n")
	pa, err := s.Presign(p, testCreds, &Authorization{Scope: Scope{Region: "us-east-1", Service: "sts"}, Payload: PayloadUnsigned, PayloadHash: EmptyHash}, "", time.Hour, testNow)
	if err != nil {
		t.Fatal(err)
	}
	var v Verifier
	for _, c := range []struct {
		r    *http.Request
		a    *Authorization
		at   time.Duration
		want error
	}{
		{r, a, 0, nil}, {r, a, MaxSkew, nil}, {r, a, -MaxSkew, nil},
		{r, a, MaxSkew + time.Second, ErrSkewed}, {r, a, -MaxSkew - time.Second, ErrSkewed},
		{p, pa, 0, nil}, {p, pa, -MaxSkew, nil}, {p, pa, time.Hour, nil},
		{p, pa, time.Hour + time.Second, ErrExpired}, {p, pa, -MaxSkew - time.Second, ErrSkewed},
	} {
		if err := v.Verify(c.r, c.a, testCreds.SecretAccessKey, EmptyHash, testNow.Add(c.at)); !errors.Is(err, c.want) {
			t.Errorf("presigned %v, %v later: %v, want %v", c.a.Presigned, c.at, err, c.want)
		}
	}
	other := *a
	other.Date = "20260228"
	if err := v.Verify(r, &other, testCreds.SecretAccessKey, EmptyHash, testNow); !errors.Is(err, ErrMismatch) {
		t.Errorf("another day's scope: %v", err)
	}
}

func TestUnsignedHeadersRefused(t *testing.T) {
	var v Verifier
	r, a := signed(t, "s3", "GET /k HTTP/1.1\nHost: b.s3.amazonaws.com\n\n")
	r.Header.Set("X-Amz-Acl", "public-read")
	if err := v.Verify(r, a, testCreds.SecretAccessKey, "", testNow); !errors.Is(err, ErrUnsigned) {
		t.Errorf("x-amz-acl added: %v", err)
	}
	delete(r.Header, "X-Amz-Acl")
	a.SignedHeaders = a.SignedHeaders[1:]
	if err := v.Verify(r, a, testCreds.SecretAccessKey, "", testNow); !errors.Is(err, ErrUnsigned) {
		t.Errorf("host not signed: %v", err)
	}
}

func TestPayload(t *testing.T) {
	var v Verifier
	r, a := signed(t, "s3", "GET /k HTTP/1.1\nHost: b.s3.amazonaws.com\n\n")
	if err := v.Verify(r, a, testCreds.SecretAccessKey, hexSum([]byte("x")), testNow); !errors.Is(err, ErrPayload) {
		t.Errorf("another body: %v", err)
	}
	a.Payload, a.PayloadHash = PayloadUndeclared, ""
	if err := v.Verify(r, a, testCreds.SecretAccessKey, "", testNow); !errors.Is(err, ErrPayload) {
		t.Errorf("undeclared and not computed: %v", err)
	}
}

// Any changed byte of method, target, host, signed header or signature is refused.
func TestMutations(t *testing.T) {
	var v Verifier
	const text = "PUT /a%20b/c?x=1&y=%2F HTTP/1.1\nHost: b.s3.amazonaws.com\nContent-Type: text/plain\nX-Amz-Acl: private\n\n"
	check := func(what string, change func(*http.Request)) {
		t.Helper()
		r, _ := signed(t, "s3", text)
		change(r)
		a, err := Parse(r)
		if err != nil || a.AccessKeyID != testCreds.AccessKeyID {
			return // no secret would be found for it
		}
		if err := v.Verify(r, a, testCreds.SecretAccessKey, "", testNow); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	r, a := signed(t, "s3", text)
	if err := v.Verify(r, a, testCreds.SecretAccessKey, "", testNow); err != nil {
		t.Fatal(err)
	}
	flip := func(s string, i int) string { return s[:i] + string(rune(s[i]^1)) + s[i+1:] }
	check("method", func(r *http.Request) { r.Method = "POST" })
	check("host", func(r *http.Request) { r.Host = "c.s3.amazonaws.com" })
	for i := 1; i < len(r.RequestURI); i++ {
		check("target at "+r.RequestURI[i:], func(r *http.Request) { r.RequestURI = flip(r.RequestURI, i) })
	}
	for _, name := range []string{"Authorization", "Content-Type", "X-Amz-Acl", "X-Amz-Content-Sha256", "X-Amz-Date", "X-Amz-Security-Token"} {
		for i := range len(r.Header[name][0]) {
			check(name, func(r *http.Request) { r.Header[name] = []string{flip(r.Header[name][0], i)} })
		}
		check(name+" twice", func(r *http.Request) { r.Header[name] = append(r.Header[name], r.Header[name][0]) })
		check(name+" missing", func(r *http.Request) { delete(r.Header, name) })
	}
	check("query added", func(r *http.Request) { r.RequestURI += "&acl" })
}

// What net/http's own server and client make of a request in between is what was
// signed: paths, hosts and queries of every kind arrive and verify, HTTP/1.1 and 2.
func TestThroughNetHTTP(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		type got struct {
			target string
			err    error
		}
		results := make(chan got, 1)
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			a, err := Parse(r)
			if err == nil {
				err = new(Verifier).Verify(r, a, testCreds.SecretAccessKey, "", testNow)
			}
			if err == nil && (r.ProtoMajor == 2) != h2 {
				err = errors.New(r.Proto)
			}
			results <- got{r.RequestURI, err}
		}))
		srv.EnableHTTP2 = h2
		srv.StartTLS()
		defer srv.Close()
		for _, service := range []string{"s3", "execute-api"} {
			for _, target := range []string{
				"/", "/a/b", "//a", "//a//b/", "/a/../b/./c", "/a%2Fb", "/a+b", "/a%2Bb", "/a%20b", "/a~b", "/a%7Eb", "/%C3%A9", "/a;b,c=d@e:f!$&'()*",
				"/a?b", "/?", "/a?x=y&x=", "/a?b=c+d", "/a?b=c%20d", "/a?=x", "/a?&&b", "/a?b=%zz", "/a?b=/", "/a?B=1&b=2", "/a%3Fb?c", "/[x]", "/a|b",
			} {
				r, err := http.NewRequest(http.MethodPut, srv.URL, nil)
				if err != nil {
					t.Fatal(err)
				}
				host := r.URL.Host
				r.Host, r.RequestURI = "b.s3.amazonaws.com", target
				r.Header = http.Header{"X-Amz-Meta-A": {" a  b ", "c"}, "Content-Type": {"x"}, "Range": {"bytes=0-1"}}
				in := &Authorization{Scope: Scope{Region: "us-east-1", Service: service}, Payload: PayloadUnsigned, PayloadHash: "UNSIGNED-PAYLOAD",
					SignedHeaders: []string{"content-length", "host", "range"}}
				r.Header["X-Amz-Content-Sha256"] = []string{"UNSIGNED-PAYLOAD"}
				if _, err := new(Signer).Sign(r, testCreds, in, "", testNow); err != nil {
					t.Errorf("%s: %v", target, err)
					continue
				}
				r.URL.Scheme, r.URL.Host = "https", host
				resp, err := srv.Client().Transport.RoundTrip(r)
				if err != nil {
					t.Errorf("%s: %v", target, err)
					continue
				}
				resp.Body.Close()
				if g := <-results; g.err != nil || g.target != target {
					t.Errorf("HTTP/2 %v, %s: %q arrived as %q: %v", h2, service, target, g.target, g.err)
				}
			}
		}
	}
}

// Clients differ in how they read these; each reading is signed for all bytes.
func TestReadings(t *testing.T) {
	for _, c := range []struct {
		target string
		v      variant
	}{{"/a//b", asIs}, {"/a/./b?x=1+1", asIs | literalPlus}, {"/?x=1+1", literalPlus}} {
		r, a := signed(t, "execute-api", "GET "+c.target+" HTTP/1.1\nHost: h\n\n")
		s := new(scratch)
		m := messageOf(r)
		msg := s.stringToSign(s.canonical(&m, a.Service, a.SignedHeaders, a.PayloadHash, c.v), &a.Scope, a.Time)
		sum := new(Keys).get(testCreds.SecretAccessKey, &a.Scope).sign(msg, &s.enc)
		if hexOf(sum) == a.Signature {
			t.Fatalf("%s: the readings do not differ", c.target)
		}
		a.Signature = hexOf(sum)
		if err := new(Verifier).Verify(r, a, testCreds.SecretAccessKey, "", testNow); err != nil {
			t.Errorf("%s: %v", c.target, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	sig := strings.Repeat("a", 64)
	f.Add("/", "AWS4-HMAC-SHA256 Credential=AKID/20260301/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature="+sig, "20260301T120000Z")
	f.Add("/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID%2F20260301%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20260301T120000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature="+sig, "", "")
	f.Add("//a/../%zz?&=&+", "AWS4-ECDSA-P256-SHA256 Credential=AKID/20260301/s3/aws4_request,SignedHeaders=host,Signature="+sig, "20260301T120000Z")
	f.Fuzz(func(t *testing.T, target, auth, date string) {
		r := &http.Request{Method: "GET", RequestURI: target, Host: "h", Header: http.Header{}}
		if auth != "" {
			r.Header["Authorization"] = []string{auth}
		}
		if date != "" {
			r.Header["X-Amz-Date"] = []string{date}
		}
		a, err := Parse(r)
		if err != nil {
			if e := (*Error)(nil); !errors.As(err, &e) || e.Code("InvalidSignatureException") == "" {
				t.Fatalf("untyped: %v", err)
			}
			return
		}
		if a.AccessKeyID == "" || a.Service == "" || len(a.SignedHeaders) == 0 || a.Time.IsZero() {
			t.Fatalf("incomplete: %+v", a)
		}
		if err := new(Verifier).Verify(r, a, "a secret nobody has", EmptyHash, a.Time); err == nil {
			t.Fatalf("verified: %q %q", target, auth)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	r, a := signed(b, "dynamodb", "POST / HTTP/1.1\nHost: dynamodb.us-east-1.amazonaws.com\nContent-Type: application/x-amz-json-1.0\nX-Amz-Target: DynamoDB_20120810.GetItem\n\n")
	var v Verifier
	b.ReportAllocs()
	for b.Loop() {
		if err := v.Verify(r, a, testCreds.SecretAccessKey, "", testNow); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	r, _ := signed(b, "s3", "GET /a/key?versionId=1 HTTP/1.1\nHost: b.s3.amazonaws.com\n\n")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	r, a := signed(b, "s3", "GET /a/key?versionId=1 HTTP/1.1\nHost: b.s3.amazonaws.com\n\n")
	var s Signer
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Sign(r, testCreds, a, "", testNow); err != nil {
			b.Fatal(err)
		}
	}
}
