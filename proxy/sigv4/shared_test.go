package sigv4

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/events/eventstest/datatest"
)

const (
	sampleKey    = "AKIAEXAMPLEPOSTERN01"
	sampleSecret = "example-secret-key-not-real-000000000000"
)

type sampleRequest struct {
	Service, Operation, Method, URL string
	Headers                         map[string]string
	Body                            []byte
}

// sample reads the requests that boto3 signed.
func sample(t testing.TB) []sampleRequest {
	var out []sampleRequest
	for dec := json.NewDecoder(datatest.Gunzip(t, "data/aws-requests-sample.ndjson.gz")); dec.More(); {
		var s sampleRequest
		if err := dec.Decode(&s); err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

// http makes the request as net/http's server would from the wire.
func (s *sampleRequest) http(t testing.TB) *http.Request {
	t.Helper()
	rest := strings.TrimPrefix(s.URL, "https://")
	i := strings.IndexAny(rest, "/?")
	host, target := rest, "/"
	if i >= 0 {
		host, target = rest[:i], rest[i:]
	}
	if target[0] == '?' {
		target = "/" + target
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", s.Method, target)
	if _, ok := s.Headers["Host"]; !ok {
		fmt.Fprintf(&b, "Host: %s\r\n", host)
	}
	for k, v := range s.Headers {
		fmt.Fprintf(&b, "%s: %s\r\n", k, v)
	}
	b.WriteString("\r\n")
	r, err := http.ReadRequest(bufio.NewReader(&b))
	if err != nil {
		t.Fatalf("%s %s: %v", s.Service, s.Operation, err)
	}
	return r
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// bodyHash is what a proxy would pass as payloadHash.
func bodyHash(a *Authorization, body []byte) string {
	if a.Payload == PayloadUndeclared {
		return hexSum(body)
	}
	return ""
}

func TestSampleVerifies(t *testing.T) {
	reqs := sample(t)
	var v Verifier
	verified, unsigned := 0, 0
	failed := map[string]int{}
	for _, s := range reqs {
		r := s.http(t)
		a, err := Parse(r)
		if err != nil {
			if e := (*Error)(nil); !asError(err, &e) || e.Kind != ErrMissing && e.Kind != ErrUnsupported {
				t.Errorf("%s %s: %v", s.Service, s.Operation, err)
			}
			unsigned++
			continue
		}
		if err := v.Verify(r, a, sampleSecret, bodyHash(a, s.Body), a.Time); err != nil {
			failed[s.Service]++
			t.Errorf("%s %s %s: %v", s.Service, s.Operation, s.URL, err)
			continue
		}
		if a.AccessKeyID != sampleKey {
			t.Errorf("%s %s: key %s", s.Service, s.Operation, a.AccessKeyID)
		}
		verified++
	}
	t.Logf("%d verified, %d unsigned by design, of %d", verified, unsigned, len(reqs))
	if len(reqs) == 4617 && (verified != 4606 || unsigned != 11) {
		t.Errorf("want 4606 verified and 11 unsigned")
	}
}

func TestResignedSampleVerifies(t *testing.T) {
	var (
		v     Verifier
		s     Signer
		creds = Credentials{AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: "another", SessionToken: "tok/en+="}
		now   = time.Date(2026, 11, 22, 23, 59, 59, 0, time.UTC)
	)
	for _, q := range sample(t) {
		r := q.http(t)
		in, err := Parse(r)
		if err != nil {
			continue
		}
		target := r.RequestURI
		if _, err := s.Sign(r, creds, in, bodyHash(in, q.Body), now); err != nil {
			t.Fatalf("%s %s: %v", q.Service, q.Operation, err)
		}
		if got := r.URL.RequestURI(); got != target && !in.Presigned {
			t.Errorf("%s %s: target %q became %q", q.Service, q.Operation, target, got)
		}
		a, err := Parse(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Verify(r, a, creds.SecretAccessKey, bodyHash(a, q.Body), now); err != nil {
			t.Errorf("%s %s: %v", q.Service, q.Operation, err)
		}
		for _, h := range in.SignedHeaders {
			if !slices.Contains(a.SignedHeaders, h) && !perHop(h) {
				t.Errorf("%s %s: %s is no longer signed", q.Service, q.Operation, h)
			}
		}
	}
}
