package sigv4

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/events/eventstest/datatest"
)

// suiteContext is a case's context.json (aws-c-auth, tests/aws-signing-test-suite).
type suiteContext struct {
	Credentials struct {
		AccessKeyID     string `json:"access_key_id"`
		SecretAccessKey string `json:"secret_access_key"`
		Token           string
	}
	Expiration int `json:"expiration_in_seconds"`
	Normalize  *bool
	Region     string
	Service    string
	SignBody   bool `json:"sign_body"`
	Timestamp  time.Time
}

// suiteRequest reads a request as the suite writes them: raw bytes in the path,
// folded header lines, no space after colons.
func suiteRequest(t *testing.T, raw []byte) (*http.Request, []byte) {
	t.Helper()
	head, body, _ := strings.Cut(strings.ReplaceAll(string(raw), "\r\n", "\n"), "\n\n")
	lines := strings.Split(head, "\n")
	line := strings.TrimSuffix(lines[0], " HTTP/1.1")
	method, target, _ := strings.Cut(line, " ")
	r := &http.Request{Method: method, RequestURI: target, Header: http.Header{}, ContentLength: int64(len(body))}
	last := ""
	for _, l := range lines[1:] {
		if l == "" {
			continue
		}
		if l[0] == ' ' || l[0] == '\t' {
			v := r.Header[last]
			v[len(v)-1] += "\n" + l
			continue
		}
		k, v, _ := strings.Cut(l, ":")
		last = http.CanonicalHeaderKey(k)
		if last == "Host" {
			r.Host = v
			continue
		}
		r.Header[last] = append(r.Header[last], v)
	}
	return r, []byte(body)
}

func suiteCase(t *testing.T, dir string) {
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var ctx suiteContext
	if err := json.Unmarshal(read("context.json"), &ctx); err != nil {
		t.Fatal(err)
	}
	v := standard
	if ctx.Normalize != nil && !*ctx.Normalize {
		v = asIs
	}
	for _, kind := range []string{"header", "query"} {
		r, body := suiteRequest(t, read(kind+"-signed-request.txt"))
		a, err := Parse(r)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		hash := bodyHash(a, body)
		if !ctx.SignBody {
			hash = EmptyHash
		}
		if a.PayloadHash != "" {
			hash = a.PayloadHash
		}
		m := messageOf(r)
		if kind == "query" && ctx.Credentials.Token != "" && !strings.Contains(string(read("query-canonical-request.txt")), "X-Amz-Security-Token") {
			v |= tokenAfter
		}
		canonical := new(scratch).canonical(&m, a.Service, a.SignedHeaders, hash, v)
		if d := cmp.Diff(string(bytes.TrimSpace(read(kind+"-canonical-request.txt"))), string(canonical)); d != "" {
			t.Errorf("%s canonical request: %s", kind, d)
		}
		s := new(scratch)
		sts := s.stringToSign(canonical, &a.Scope, a.Time)
		if d := cmp.Diff(string(bytes.TrimSpace(read(kind+"-string-to-sign.txt"))), string(sts)); d != "" {
			t.Errorf("%s string to sign: %s", kind, d)
		}
		if want := string(bytes.TrimSpace(read(kind + "-signature.txt"))); a.Signature != want {
			t.Errorf("%s: parsed signature %s, want %s", kind, a.Signature, want)
		}
		var ver Verifier
		if err := ver.Verify(r, a, ctx.Credentials.SecretAccessKey, hash, ctx.Timestamp); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if err := ver.Verify(r, a, ctx.Credentials.SecretAccessKey+"x", hash, ctx.Timestamp); err == nil {
			t.Errorf("%s: accepted with another secret", kind)
		}
		if kind == "header" {
			signAgain(t, r, a, hash, &ctx)
		}
	}
}

// signAgain: our own signature with the case's credentials is the published one,
// where both sign the same headers.
func signAgain(t *testing.T, r *http.Request, a *Authorization, hash string, ctx *suiteContext) {
	if r.URL == nil {
		u, err := http.NewRequest(http.MethodGet, "https://"+r.Host, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.URL = u.URL
	}
	var s Signer
	got, err := s.Sign(r, Credentials{AccessKeyID: ctx.Credentials.AccessKeyID, SecretAccessKey: ctx.Credentials.SecretAccessKey, SessionToken: ctx.Credentials.Token}, a, hash, ctx.Timestamp)
	if err != nil {
		t.Logf("not to be sent on: %v", err)
		return
	}
	if strings.Join(got.SignedHeaders, ";") == strings.Join(a.SignedHeaders, ";") && got.Signature != a.Signature {
		t.Errorf("signed again: %s, want %s", got.Signature, a.Signature)
	}
}

func TestSuite(t *testing.T) {
	for _, dir := range datatest.Glob(t, "data/sigv4/v4/*") {
		t.Run(filepath.Base(dir), func(t *testing.T) { suiteCase(t, dir) })
	}
}

// TestFixtures runs the project's own cases of the same form.
func TestFixtures(t *testing.T) {
	dirs, err := filepath.Glob("testdata/suite/*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	for _, d := range dirs {
		t.Run(filepath.Base(d), func(t *testing.T) { suiteCase(t, d) })
	}
}
