package sigv4

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/posternhq/postern/deploy/simaws/sdktest"
)

func sdkCreds() aws.Credentials {
	return aws.Credentials{AccessKeyID: testCreds.AccessKeyID, SecretAccessKey: testCreds.SecretAccessKey, SessionToken: testCreds.SessionToken}
}

// sdkSign signs as AWS's own SDK for Go does.
func sdkSign(t *testing.T, r *http.Request, service, hash string) {
	t.Helper()
	err := v4.NewSigner(func(o *v4.SignerOptions) {
		o.DisableURIPathEscaping = singleEncoded(service)
	}).SignHTTP(context.Background(), sdkCreds(), r, hash, service, "us-east-1", testNow)
	if err != nil {
		t.Fatal(err)
	}
}

// TestSDKAgrees: what the SDK signs verifies, and where we sign the same headers
// the signature is the SDK's, byte for byte.
func TestSDKAgrees(t *testing.T) {
	for _, service := range []string{"s3", "execute-api"} {
		for _, target := range []string{"/", "/a/b", "/a%20b/%2B/%C3%A9", "/k?x=1&a=2&a=1&e=&sp=a%20b&pl=%2B", "/a~b-c_d.e?list-type=2&prefix=%2Fa%2F"} {
			r, err := http.NewRequest(http.MethodPost, "https://b.s3.amazonaws.com"+target, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header = http.Header{"Content-Type": {"text/plain"}, "X-Amz-Meta-X": {"a  b"}, "X-Amz-Content-Sha256": {EmptyHash}}
			sdkSign(t, r, service, EmptyHash)
			a, err := Parse(r)
			if err != nil {
				t.Fatal(err)
			}
			if err := new(Verifier).Verify(r, a, testCreds.SecretAccessKey, "", testNow); err != nil {
				t.Errorf("%s %s: %v", service, target, err)
			}
			ours, err := new(Signer).Sign(r, testCreds, a, "", testNow)
			if err != nil {
				t.Fatal(err)
			}
			if ours.Signature != a.Signature {
				t.Errorf("%s %s: we sign %s over %v, the SDK %s over %v", service, target, ours.Signature, ours.SignedHeaders, a.Signature, a.SignedHeaders)
			}
		}
	}
}

// TestResignedSampleBySDK: every request of the sample, signed anew by us, has
// the signature that the SDK computes for the same request.
func TestResignedSampleBySDK(t *testing.T) {
	n := 0
	for _, q := range sample(t) {
		r := q.http(t)
		in, err := Parse(r)
		if err != nil || in.Presigned {
			continue
		}
		// The SDK signs one value a header, and reads "+" and the like as we do;
		// it does not normalise paths, which none here needs.
		ours, err := new(Signer).Sign(r, testCreds, in, bodyHash(in, q.Body), testNow)
		if err != nil {
			t.Fatalf("%s %s: %v", q.Service, q.Operation, err)
		}
		sdk := r.Clone(t.Context())
		sdk.URL.Scheme, sdk.URL.Host = "https", r.Host
		for name := range sdk.Header {
			if !contains(ours.SignedHeaders, name) {
				sdk.Header.Del(name)
			}
		}
		if !contains(ours.SignedHeaders, "Content-Length") {
			sdk.ContentLength = 0
		}
		err = v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = singleEncoded(in.Service) }).
			SignHTTP(t.Context(), sdkCreds(), sdk, ours.PayloadHash, in.Service, in.Region, testNow)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse(sdk)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Join(got.SignedHeaders, ";") != strings.Join(ours.SignedHeaders, ";") {
			continue
		}
		n++
		if got.Signature != ours.Signature {
			t.Errorf("%s %s %s: we sign %s, the SDK %s", q.Service, q.Operation, q.URL, ours.Signature, got.Signature)
		}
	}
	t.Logf("%d requests compared", n)
	if n < 4500 {
		t.Errorf("only %d requests could be compared", n)
	}
}

// TestPresign: header-signed in, presigned out, and back; the SDK's presigned too.
func TestPresign(t *testing.T) {
	req, err := http.NewRequest(http.MethodGet, "https://b.s3.amazonaws.com/a%20b?versionId=1&X-Amz-Expires=600", nil)
	if err != nil {
		t.Fatal(err)
	}
	uri, _, err := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }).
		PresignHTTP(t.Context(), sdkCreds(), req, "UNSIGNED-PAYLOAD", "s3", "us-east-1", testNow)
	if err != nil {
		t.Fatal(err)
	}
	r := wire(t, "GET "+strings.TrimPrefix(uri, "https://b.s3.amazonaws.com")+" HTTP/1.1\nHost: b.s3.amazonaws.com\n\n")
	a, err := Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	if a.SessionToken != testCreds.SessionToken || a.Expires != 10*time.Minute {
		t.Errorf("%+v", a)
	}
	var v Verifier
	if err := v.Verify(r, a, testCreds.SecretAccessKey, "", testNow.Add(9*time.Minute)); err != nil {
		t.Fatal(err)
	}
	other := Credentials{AccessKeyID: "ASIA2", SecretAccessKey: "other", SessionToken: "other+token"}
	var s Signer
	out, err := s.Sign(r, other, a, "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.URL.RequestURI(); got != "/a%20b?versionId=1" {
		t.Errorf("header-signed: %s", got)
	}
	in, err := Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Verify(r, in, "other", "", testNow); err != nil || out.Presigned {
		t.Errorf("header-signed: %v", err)
	}
	if _, err := s.Presign(r, other, in, "", time.Minute, testNow); err != nil {
		t.Fatal(err)
	}
	// X-Amz-Content-Sha256 stays a header there, and signed.
	p, err := Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Verify(r, p, "other", "", testNow.Add(time.Minute)); err != nil || !p.Presigned {
		t.Errorf("presigned: %v", err)
	}
	if strings.Contains(r.URL.RawQuery, "tok%2Fen") || r.Header.Get("Authorization") != "" {
		t.Errorf("the client's credentials are still there: %s", r.URL.RawQuery)
	}
	for i := range len(r.URL.RawQuery) {
		q := r.URL.RawQuery
		m := r.Clone(t.Context())
		m.URL.RawQuery = q[:i] + string(rune(q[i]^1)) + q[i+1:]
		if a, err := Parse(m); err == nil && a.AccessKeyID == other.AccessKeyID {
			if v.Verify(m, a, "other", "", testNow) == nil {
				t.Errorf("%s accepted", m.URL.RawQuery)
			}
		}
	}
}

// TestS3Tokens: what the client sent as credentials never goes on.
func TestS3Tokens(t *testing.T) {
	for _, express := range []bool{false, true} {
		r, a := signed(t, "s3express", "GET /k HTTP/1.1\nHost: b\nX-Amz-S3session-Token: client\nDate: x\n\n")
		c := testCreds
		c.S3Session = express
		if _, err := new(Signer).Sign(r, c, a, "", testNow); err != nil {
			t.Fatal(err)
		}
		normal, session := r.Header.Get("X-Amz-Security-Token"), r.Header.Get("X-Amz-S3session-Token")
		if express {
			normal, session = session, normal
		}
		if normal != testCreds.SessionToken || session != "" || r.Header.Get("Date") != "" {
			t.Errorf("express %v: %v", express, r.Header)
		}
	}
}

// TestSigV4A: the SDK signs for a multi-region access point; we verify, sign
// anew and verify that.
func TestSigV4A(t *testing.T) {
	var got *http.Request
	client := s3.New(s3.Options{
		Region:      "us-east-1",
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return sdkCreds(), nil }),
		HTTPClient: roundTrip(func(r *http.Request) (*http.Response, error) {
			got = r.Clone(context.Background())
			return &http.Response{StatusCode: 200, Body: http.NoBody, Header: http.Header{}}, nil
		}),
	})
	_, err := client.GetObject(t.Context(), &s3.GetObjectInput{
		Bucket: aws.String("arn:aws:s3::123456789012:accesspoint:mfzwi23gnjvgw.mrap"), Key: aws.String("a b/+é"),
	})
	if err != nil || got == nil {
		t.Fatal(err)
	}
	a, err := Parse(got)
	if err != nil {
		t.Fatal(err)
	}
	if a.Algorithm != SigV4A || a.Region != "*" || a.Service != "s3" {
		t.Fatalf("%+v", a)
	}
	var v Verifier
	if err := v.Verify(got, a, testCreds.SecretAccessKey, "", a.Time); err != nil {
		t.Fatal(err)
	}
	if err := v.Verify(got, a, "another", "", a.Time); err == nil {
		t.Fatal("verified with another secret")
	}
	var s Signer
	if _, err := s.Sign(got, Credentials{AccessKeyID: "ASIA2", SecretAccessKey: "other"}, a, "", testNow); err != nil {
		t.Fatal(err)
	}
	again, err := Parse(got)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Verify(got, again, "other", "", testNow); err != nil {
		t.Fatal(err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) Do(r *http.Request) (*http.Response, error) { return f(r) }

// events is an event stream signed by the SDK's signer, as Transcribe's client
// sends it.
func events(t testing.TB, seed string, payloads ...string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(seed)
	if err != nil {
		t.Fatal(err)
	}
	signer := v4.NewStreamSigner(sdkCreds(), "transcribe", "us-east-1", raw)
	var out bytes.Buffer
	for i, p := range append(payloads, "") {
		// The second event is signed on the next day.
		at := testNow.Add(time.Duration(i) * 12 * time.Hour)
		out.Write(sdktest.SignedEvent(t, signer, []byte(p), at))
	}
	return out.Bytes()
}

func eventsAuth() *Authorization {
	return &Authorization{
		Scope:     Scope{AccessKeyID: testCreds.AccessKeyID, Date: "20260301", Region: "us-east-1", Service: "transcribe"},
		Signature: strings.Repeat("5a", 32), Time: testNow, Payload: PayloadEvents,
	}
}

func TestEvents(t *testing.T) {
	a := eventsAuth()
	body := events(t, a.Signature, "one", strings.Repeat("two", 1000), "three")
	cfg := StreamConfig{Verify: &Chain{a, testCreds.SecretAccessKey}, DecodedLength: -1}
	got, err := io.ReadAll(stream(t, bytes.NewReader(body), cfg))
	if err != nil || !bytes.Equal(got, body) {
		t.Fatal(err)
	}
	out := *a
	out.Signature = strings.Repeat("b7", 32)
	cfg.Sign = &Chain{&out, "other"}
	signed, err := io.ReadAll(stream(t, bytes.NewReader(body), cfg))
	if err != nil || len(signed) != len(body) || bytes.Equal(signed, body) {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(stream(t, bytes.NewReader(signed), StreamConfig{Verify: &Chain{&out, "other"}, DecodedLength: -1})); err != nil {
		t.Fatal(err)
	}
	// The SDK's decoder reads them (it checks the checksums) and finds the payloads.
	r := bytes.NewReader(signed)
	for _, want := range []string{"one", strings.Repeat("two", 1000), "three", ""} {
		m, err := eventstream.NewDecoder().Decode(r, nil)
		if err != nil || string(m.Payload) != want {
			t.Fatalf("%q %v", m.Payload, err)
		}
	}
	for i := range body {
		bad := bytes.Clone(body)
		bad[i] ^= 1
		cfg := StreamConfig{Verify: &Chain{a, testCreds.SecretAccessKey}, DecodedLength: -1}
		if got, err := io.ReadAll(stream(t, bytes.NewReader(bad), cfg)); err == nil || len(got) > i {
			t.Fatalf("byte %d changed: %d released, %v", i, len(got), err)
		}
		if _, err := io.ReadAll(stream(t, bytes.NewReader(body[:i]), cfg)); err == nil {
			t.Fatalf("cut at %d and accepted", i)
		}
	}
}

func FuzzEvents(f *testing.F) {
	a := eventsAuth()
	f.Add(events(f, a.Signature, "one", "two"))
	f.Add([]byte{0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, body []byte) {
		cfg := StreamConfig{Sign: &Chain{a, "other"}, DecodedLength: -1, MaxChunk: 1 << 20}
		signed, err := io.ReadAll(stream(t, bytes.NewReader(body), cfg))
		if len(signed) > len(body) {
			t.Fatal("longer than what came in")
		}
		if err == nil {
			cfg = StreamConfig{Verify: &Chain{a, "other"}, DecodedLength: -1, MaxChunk: 1 << 20}
			if _, err := io.ReadAll(stream(t, bytes.NewReader(signed), cfg)); err != nil {
				t.Fatalf("what we signed does not verify: %v", err)
			}
		}
	})
}

// TestAuthority: in HTTP/2 the AWS SDK for JavaScript signs ":authority", not "host"
// (this is what its SignatureV4 made). What is signed anew has "host".
func TestAuthority(t *testing.T) {
	const host, secret = "transcribestreaming.us-east-1.amazonaws.com", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	signed := func(host string) *http.Request {
		return &http.Request{Method: "POST", Host: host, URL: &url.URL{}, RequestURI: "/stream-transcription", Proto: "HTTP/2.0", ProtoMajor: 2, Header: http.Header{
			"X-Amz-Date": {"20260301T120000Z"}, "X-Amz-Content-Sha256": {"STREAMING-AWS4-HMAC-SHA256-EVENTS"},
			"Authorization": {"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260301/us-east-1/transcribe/aws4_request, " +
				"SignedHeaders=:authority;x-amz-content-sha256;x-amz-date, Signature=fd0363d22e41264f52a0bb6e5e8796f2dd7d94033c71872c38f78797315b44d2"},
		}}
	}
	r := signed(host)
	a, err := Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	var v Verifier
	if err := v.Verify(r, a, secret, "", a.Time); err != nil {
		t.Error(err)
	}
	if err := v.Verify(signed("transcribestreaming.us-east-2.amazonaws.com"), a, secret, "", a.Time); !errors.Is(err, ErrMismatch) {
		t.Errorf("for another host: %v", err)
	}
	var s Signer
	out, err := s.Sign(r, Credentials{AccessKeyID: "ASIA2", SecretAccessKey: "other"}, a, "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(out.SignedHeaders, ";"); got != "host;x-amz-content-sha256;x-amz-date" {
		t.Errorf("signed anew: %s", got)
	}
}
