package simaws

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/events/eventstest/datatest"
)

// The SigV4 suite's credentials.
const (
	suiteKey    = "AKIDEXAMPLE"
	suiteSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)

const (
	streamingSigned    = streamingPrefix + algorithm + payloadEnd
	streamingSignedTrl = streamingPrefix + algorithm + trailerEnd
)

// offline is a Sim that serves nothing, with one key of a given id.
func offline(t *testing.T, id, secret string, now time.Time) *Sim {
	t.Helper()
	s, err := New(Config{Dir: t.TempDir(), Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.PutUser(User{Account: testAccount, Name: "u"}); err != nil {
		t.Fatal(err)
	}
	s.iam.state.Keys[id] = &keyRecord{ID: id, Secret: secret, UserARN: "arn:aws:iam::" + testAccount + ":user/u"}
	return s
}

// newCall makes a call out of a parsed request, as ServeHTTP does.
func newCall(t *testing.T, s *Sim, r *http.Request) *call {
	t.Helper()
	c := &call{w: &countingWriter{ResponseWriter: discardResponse{}}, r: r, at: s.now()}
	var ok bool
	if c.ep, ok = parseHost(r.Host); !ok {
		t.Fatalf("%q is not taken for a host of AWS", r.Host)
	}
	c.path, c.query = rawTarget(r)
	var err error
	if c.params, err = parseParams(c.query); err != nil {
		t.Fatal(err)
	}
	c.recognise()
	return c
}

type discardResponse struct{}

func (discardResponse) Header() http.Header         { return http.Header{} }
func (discardResponse) Write(p []byte) (int, error) { return len(p), nil }
func (discardResponse) WriteHeader(int)             {}

// TestSuite verifies AWS's own SigV4 test suite, header and query signed, and
// that no request of it passes with its signature changed.
func TestSuite(t *testing.T) {
	s := offline(t, suiteKey, suiteSecret, time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC))
	for _, dir := range datatest.Glob(t, "data/sigv4/v4/*") {
		for _, kind := range []string{"header", "query"} {
			t.Run(filepath.Base(dir)+"/"+kind, func(t *testing.T) {
				raw, err := os.ReadFile(filepath.Join(dir, kind+"-signed-request.txt"))
				if err != nil {
					t.Fatal(err)
				}
				// A token added after signing is signed by nobody; that is for
				// a few services, and none that is simulated.
				late := filepath.Base(dir) == "post-sts-header-after"
				if err := suiteRequest(t, s, string(raw)); (err != nil) != late {
					t.Errorf("refused: %v, want that to be %v", err, late)
				}
				if err := suiteRequest(t, s, flipSignature(string(raw))); err == nil || !strings.Contains(err.Error(), "SignatureDoesNotMatch") {
					t.Errorf("with another signature: %v", err)
				}
			})
		}
	}
}

func flipSignature(raw string) string {
	i := strings.Index(raw, "Signature=") + len("Signature=")
	flipped := byte('0')
	if raw[i] == '0' {
		flipped = '1'
	}
	return raw[:i] + string(flipped) + raw[i+1:]
}

func suiteRequest(t *testing.T, s *Sim, raw string) error {
	t.Helper()
	head, body, _ := strings.Cut(strings.ReplaceAll(raw, "\r\n", "\n"), "\n\n")
	// The suite's targets hold raw spaces and bytes that net/http refuses to
	// parse; the path is put in by hand.
	line, headers, _ := strings.Cut(head, "\n")
	method, rest, _ := strings.Cut(line, " ")
	target := rest[:strings.LastIndex(rest, " HTTP/")]
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(method + " / HTTP/1.1\r\n" + strings.ReplaceAll(headers, "\n", "\r\n") + "\r\n\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	r.RequestURI = target
	r.Body = io.NopCloser(strings.NewReader(body))
	c := newCall(t, s, r)
	c.ep.service, c.proto = "service", protoQuery
	if fail := c.readSmallBody(); fail != nil {
		return fail
	}
	if strings.Contains(raw, "Security-Token") { // a token that this AWS did not make
		var fail *apiError
		if c.sig, fail = parseSignature(c.proto, r, c.params); fail == nil {
			fail = c.checkSignature(&identity{secret: suiteSecret})
		}
		if fail != nil {
			return fail
		}
		return nil
	}
	if fail := s.authenticate(c); fail != nil {
		return fail
	}
	return nil
}

// TestBotocore verifies thousands of requests of all services as botocore
// signs them; their hosts must lead to the signing name and region used.
func TestBotocore(t *testing.T) {
	dec := json.NewDecoder(datatest.Gunzip(t, "data/aws-requests-sample.ndjson.gz"))
	sims := map[string]*Sim{}
	verified, unsigned := 0, 0
	for {
		var rec struct {
			Service, Operation, Method, URL string
			Headers                         map[string]string
			Body                            string
		}
		if err := dec.Decode(&rec); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		auth := rec.Headers["Authorization"]
		u, err := url.Parse(rec.URL)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(auth, algorithm+" ") {
			unsigned++
			continue
		}
		stamp := rec.Headers["X-Amz-Date"]
		at, err := time.Parse(amzTime, stamp)
		if err != nil {
			t.Fatalf("%s.%s: %v", rec.Service, rec.Operation, err)
		}
		if sims[stamp] == nil {
			sims[stamp] = offline(t, "AKIAEXAMPLEPOSTERN01", "example-secret-key-not-real-000000000000", at)
		}
		body, err := base64.StdEncoding.DecodeString(rec.Body)
		if err != nil {
			t.Fatal(err)
		}
		r := &http.Request{Method: rec.Method, Host: u.Host, URL: u, Header: http.Header{}, RequestURI: u.RequestURI(),
			Body: io.NopCloser(strings.NewReader(string(body))), ContentLength: int64(len(body))}
		if i := strings.Index(rec.URL, u.Host); i >= 0 {
			r.RequestURI = rec.URL[i+len(u.Host):]
		}
		for k, v := range rec.Headers {
			r.Header.Set(k, v)
		}
		c := newCall(t, sims[stamp], r)
		if c.proto != protoS3 {
			if fail := c.readSmallBody(); fail != nil {
				t.Fatal(fail)
			}
		}
		if fail := sims[stamp].authenticate(c); fail != nil {
			t.Errorf("%s.%s %s %s: %v", rec.Service, rec.Operation, rec.Method, rec.URL, fail)
			continue
		}
		verified++
	}
	t.Logf("%d verified, %d not signed with SigV4", verified, unsigned)
	if verified < 4600 {
		t.Errorf("only %d requests verified", verified)
	}
}

// TestChunkVectors are the worked examples of AWS's documentation on signed
// chunks, with and without trailer.
func TestChunkVectors(t *testing.T) {
	sig := func(seed, payload string) *signature {
		sig := &signature{alg: algorithm, provided: seed, payload: payload, stamp: "20130524T000000Z", date: "20130524", region: "us-east-1", service: "s3"}
		if err := sig.checkWith(&identity{secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}); err != nil {
			t.Fatal(err)
		}
		return sig
	}
	a := strings.Repeat("a", 65536)
	plain := "10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n" + a + "\r\n" +
		"400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n" + a[:1024] + "\r\n" +
		"0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n"
	trailing := "10000;chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n" + a + "\r\n" +
		"400;chunk-signature=1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n" + a[:1024] + "\r\n" +
		"0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n" +
		"x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
	const (
		plainSeed    = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
		trailingSeed = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
	)
	crc := []string{"x-amz-checksum-crc32c"}
	for _, tc := range []struct {
		name, seed, payload, body string
		trailers                  []string
		code                      string // "" for success
	}{
		{"signed", plainSeed, streamingSigned, plain, nil, ""},
		{"signed with trailer", trailingSeed, streamingSignedTrl, trailing, crc, ""},
		{"trailer lines end as minio writes them", trailingSeed, streamingSignedTrl, strings.Replace(trailing, "sOO8/Q==\r\n", "sOO8/Q==\n\r\n", 1), crc, ""},
		{"another seed", trailingSeed, streamingSigned, plain, nil, "SignatureDoesNotMatch"},
		{"data changed", plainSeed, streamingSigned, strings.Replace(plain, "aa\r\n400", "ab\r\n400", 1), nil, "SignatureDoesNotMatch"},
		{"last chunk cut off", plainSeed, streamingSigned, plain[:strings.Index(plain, "400;")], nil, "unexpected EOF"},
		{"last chunk's signature wrong", plainSeed, streamingSigned, strings.Replace(plain, "b6c6ea8a", "b6c6ea8b", 1), nil, "SignatureDoesNotMatch"},
		{"trailer changed", trailingSeed, streamingSignedTrl, strings.Replace(trailing, "sOO8/Q==", "sOO8/Q=a", 1), crc, "SignatureDoesNotMatch"},
		{"trailer missing", trailingSeed, streamingSignedTrl, strings.Replace(trailing, "x-amz-checksum-crc32c:sOO8/Q==\r\n", "", 1), crc, "MalformedTrailerError"},
		{"trailer not announced", trailingSeed, streamingSignedTrl, trailing, nil, "MalformedTrailerError"},
		{"bytes after the end", plainSeed, streamingSigned, plain + "x", nil, "InvalidRequest"},
		{"signature missing", plainSeed, streamingSigned, strings.Replace(plain, ";chunk-signature=ad", ";chunk-sig=ad", 1), nil, "InvalidRequest"},
		{"small chunk in the middle", plainSeed, streamingUnsigned, "5\r\nhello\r\n5\r\nworld\r\n0\r\nx-amz-checksum-crc32c:AAAAAA==\r\n\r\n", crc, "InvalidChunkSizeError"},
		{"unsigned", plainSeed, streamingUnsigned, "2000\r\n" + a[:8192] + "\r\n5\r\naaaaa\r\n0\r\nx-amz-checksum-crc32c:AAAAAA==\r\n\r\n", crc, ""},
		{"unsigned, chunk longer than said", plainSeed, streamingUnsigned, "4\r\naaaaa\r\n0\r\n\r\n", nil, "InvalidRequest"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := io.ReadAll(newChunkReader(strings.NewReader(tc.body), sig(tc.seed, tc.payload), tc.trailers))
			if tc.code != "" {
				if err == nil || !strings.HasPrefix(err.Error(), tc.code) {
					t.Fatalf("error %v, want %s", err, tc.code)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if strings.Trim(string(got), "a") != "" || len(got) < 8192 {
				t.Errorf("decoded %d bytes, not all of them a", len(got))
			}
		})
	}
}

// TestCombineCRC: joining the CRCs of parts is as good as reading the whole.
func TestCombineCRC(t *testing.T) {
	parts := []string{"hello, ", "", strings.Repeat("world", 9999), "!"}
	for _, alg := range []string{"CRC32", "CRC32C", "CRC64NVME"} {
		whole := newChecksum(alg)
		var sums []string
		var sizes []int64
		for _, p := range parts {
			io.WriteString(whole, p)
			one := newChecksum(alg)
			io.WriteString(one, p)
			sums, sizes = append(sums, base64Sum(one)), append(sizes, int64(len(p)))
		}
		got, ok := combineCRC(alg, sums, sizes)
		if diff := cmp.Diff(base64Sum(whole), got); diff != "" || !ok {
			t.Errorf("%s: %v %s", alg, ok, diff)
		}
	}
	// CRC-64/NVME's published check value.
	h := newChecksum("CRC64NVME")
	io.WriteString(h, "123456789")
	if got := sha256Hex(nil); got != emptySHA256 {
		t.Errorf("empty hash constant is %s", emptySHA256)
	}
	if got := base64Sum(h); got != base64.StdEncoding.EncodeToString([]byte{0xae, 0x8b, 0x14, 0x86, 0x0a, 0x79, 0x98, 0x88}) {
		t.Errorf("CRC64NVME of 123456789 is %s", got)
	}
}

// FuzzChunks: the decoder never panics and never passes on more than it read.
func FuzzChunks(f *testing.F) {
	f.Add("5\r\nhello\r\n0\r\n\r\n", false)
	f.Add("2000\r\n"+strings.Repeat("a", 8192)+"\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", false)
	f.Add("0;chunk-signature="+strings.Repeat("0", 64)+"\r\n\r\n", true)
	f.Fuzz(func(t *testing.T, body string, signed bool) {
		sig := &signature{alg: algorithm, payload: streamingUnsigned, provided: strings.Repeat("0", 64)}
		if err := sig.checkWith(&identity{secret: "k"}); err != nil {
			t.Fatal(err)
		}
		var trailers []string
		if signed {
			sig.payload = streamingSigned
		} else if strings.Contains(body, "crc32") {
			trailers = []string{"x-amz-checksum-crc32"}
		}
		got, err := io.ReadAll(newChunkReader(strings.NewReader(body), sig, trailers))
		if len(got) > len(body) {
			t.Errorf("%d bytes out of %d", len(got), len(body))
		}
		if signed && err == nil {
			t.Error("a body was accepted that nobody signed")
		}
	})
}

// FuzzTarget: whatever arrives as path, query and Authorization, parsing
// neither panics nor lets anything through.
func FuzzTarget(f *testing.F) {
	f.Add("/b/%2F..//k", "a=1&X-Amz-Algorithm=AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=A/20200101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature="+strings.Repeat("a", 64))
	f.Add("//", "X-Amz-Signature=%zz&X-Amz-Credential=a/b/c", "")
	f.Fuzz(func(t *testing.T, path, query, auth string) {
		r := &http.Request{Method: "GET", Host: "s3.us-east-1.amazonaws.com", Header: http.Header{}, URL: &url.URL{}, RequestURI: "/" + path + "?" + query}
		if auth != "" {
			r.Header.Set("Authorization", auth)
		}
		params, err := parseParams(query)
		if err != nil {
			return
		}
		if _, fail := parseSignature(protoS3, r, params); fail != nil && fail.status < 400 {
			t.Errorf("refusal with status %d", fail.status)
		}
		for _, service := range []string{"s3", "sts"} {
			paths, err := canonicalPaths(service, "/"+path)
			for _, p := range paths {
				if err == nil && !strings.HasPrefix(p, "/") {
					t.Errorf("canonical path %q", p)
				}
			}
		}
		canonicalQuery(params)
	})
}
