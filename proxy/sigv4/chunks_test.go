package sigv4

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The examples of Amazon S3 API Reference, "Signature calculations for the
// Authorization header: Transferring payload in multiple chunks" and "…
// Including trailing headers".
const (
	docsSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	docsKey    = "AKIAIOSFODNN7EXAMPLE"
)

func docsRequest(t testing.TB, trailer bool) *http.Request {
	t.Helper()
	r, err := http.NewRequest(http.MethodPut, "https://s3.amazonaws.com/examplebucket/chunkObject.txt", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = 66824
	r.Header = http.Header{
		"X-Amz-Date":                   {"20130524T000000Z"},
		"X-Amz-Storage-Class":          {"REDUCED_REDUNDANCY"},
		"X-Amz-Decoded-Content-Length": {"66560"},
		"Content-Encoding":             {"aws-chunked"},
		"X-Amz-Content-Sha256":         {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD"},
		"Content-Length":               {"66824"},
	}
	signed, sig := "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class",
		"4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
	if trailer {
		r.ContentLength = 0
		delete(r.Header, "Content-Length")
		r.Header["X-Amz-Content-Sha256"] = []string{"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"}
		r.Header["X-Amz-Trailer"] = []string{"x-amz-checksum-crc32c"}
		signed = "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer"
		sig = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
	}
	r.Header["Authorization"] = []string{"AWS4-HMAC-SHA256 Credential=" + docsKey + "/20130524/us-east-1/s3/aws4_request,SignedHeaders=" + signed + ",Signature=" + sig}
	return r
}

var docsTime = time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)

func docsBody(trailer bool) []byte {
	var b bytes.Buffer
	sigs := []string{
		"ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
		"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
		"b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
	}
	if trailer {
		sigs = []string{
			"b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
			"1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
			"2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
		}
	}
	for i, n := range []int{64 << 10, 1 << 10, 0} {
		fmt.Fprintf(&b, "%x;chunk-signature=%s\r\n%s", n, sigs[i], strings.Repeat("a", n))
		if n > 0 || !trailer {
			b.WriteString("\r\n")
		}
	}
	if trailer {
		b.WriteString("x-amz-checksum-crc32c:sOO8/Q==\r\n")
		b.WriteString("x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n")
	}
	return b.Bytes()
}

// verified parses and verifies the request, as a stream's seed must be.
func verified(t testing.TB, r *http.Request, secret string, now time.Time) *Authorization {
	t.Helper()
	a, err := Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	var v Verifier
	if err := v.Verify(r, a, secret, "", now); err != nil {
		t.Fatal(err)
	}
	return a
}

func stream(t testing.TB, body io.Reader, cfg StreamConfig) *StreamReader {
	t.Helper()
	s, err := NewStreamReader(body, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestChunksOfTheDocs(t *testing.T) {
	for _, trailer := range []bool{false, true} {
		t.Run(fmt.Sprintf("trailer=%v", trailer), func(t *testing.T) {
			r := docsRequest(t, trailer)
			in := verified(t, r, docsSecret, docsTime)
			body := docsBody(trailer)
			if !trailer && len(body) != 66824 {
				t.Fatalf("body of %d bytes", len(body))
			}
			// The helper verifies …
			got, err := io.ReadAll(stream(t, iotest.OneByteReader(bytes.NewReader(body)),
				StreamConfig{Verify: &Chain{in, docsSecret}, DecodedLength: DecodedLength(r.Header)}))
			if err != nil || !bytes.Equal(got, body) {
				t.Fatalf("verified stream differs: %v", err)
			}
			// … the proxy signs …
			creds := Credentials{AccessKeyID: "ASIA", SecretAccessKey: "other", SessionToken: "token"}
			var s Signer
			out, err := s.Sign(r, creds, in, "", docsTime)
			if err != nil {
				t.Fatal(err)
			}
			signed, err := io.ReadAll(stream(t, bytes.NewReader(got), StreamConfig{Sign: &Chain{out, creds.SecretAccessKey}, Keys: &s.Keys, DecodedLength: -1}))
			if err != nil || len(signed) != len(body) {
				t.Fatalf("signed stream of %d bytes instead of %d: %v", len(signed), len(body), err)
			}
			// … both at once give the same …
			once, err := io.ReadAll(stream(t, bytes.NewReader(body), StreamConfig{Verify: &Chain{in, docsSecret}, Sign: &Chain{out, creds.SecretAccessKey}, DecodedLength: 66560}))
			if err != nil || !bytes.Equal(once, signed) {
				t.Fatalf("verifying and signing at once differs: %v", err)
			}
			// … and AWS verifies that.
			again := verified(t, r, creds.SecretAccessKey, docsTime)
			var sink bytes.Buffer
			if _, err := io.Copy(&sink, stream(t, bytes.NewReader(signed), StreamConfig{Verify: &Chain{again, creds.SecretAccessKey}, DecodedLength: 66560})); err != nil {
				t.Fatal(err)
			}
			if bytes.Equal(signed, body) || !bytes.Equal(sink.Bytes(), signed) {
				t.Fatal("the signatures are still the old ones")
			}
		})
	}
}

// small is a short signed body, to try everything on it.
func small(t testing.TB, mode PayloadMode, chunks ...string) (*Authorization, []byte) {
	t.Helper()
	a := &Authorization{
		Scope:     Scope{AccessKeyID: docsKey, Date: "20130524", Region: "us-east-1", Service: "s3"},
		Signature: strings.Repeat("0", 64), Time: docsTime, Payload: mode,
	}
	var b bytes.Buffer
	for _, c := range append(chunks, "") {
		fmt.Fprintf(&b, "%x;chunk-signature=%s\r\n%s", len(c), strings.Repeat("0", 64), c)
		if c != "" || mode == PayloadChunked {
			b.WriteString("\r\n")
		}
	}
	if mode == PayloadChunkedTrailer {
		b.WriteString("x-amz-checksum-crc32:AAAAAA==\r\nx-amz-meta-b: two  words \r\nx-amz-trailer-signature:" + strings.Repeat("0", 64) + "\r\n\r\n")
	}
	signed, err := io.ReadAll(stream(t, &b, StreamConfig{Sign: &Chain{a, docsSecret}, DecodedLength: -1}))
	if err != nil {
		t.Fatal(err)
	}
	return a, signed
}

// Any change of any byte is refused, and nothing of the chunk it is in gets out.
func TestChunksMutated(t *testing.T) {
	for _, mode := range []PayloadMode{PayloadChunked, PayloadChunkedTrailer} {
		a, body := small(t, mode, "hello", "world, again")
		for i := range body {
			for _, flip := range []byte{1, 0x20, 0x80} {
				bad := bytes.Clone(body)
				bad[i] ^= flip
				got, err := io.ReadAll(stream(t, bytes.NewReader(bad), StreamConfig{Verify: &Chain{a, docsSecret}, DecodedLength: -1}))
				if err == nil {
					// The case of a size's digits and of a trailer's name carries no meaning.
					if bytes.EqualFold(bad, body) && flip == 0x20 {
						continue
					}
					t.Fatalf("mode %d: byte %d (%q to %q) changed and accepted", mode, i, body[i], bad[i])
				}
				if !bytes.HasPrefix(body, got) || len(got) > i {
					t.Fatalf("mode %d: %d bytes released of a body that is bad at %d", mode, len(got), i)
				}
				if e := (*Error)(nil); !errors.As(err, &e) {
					t.Fatalf("untyped error: %v", err)
				}
			}
		}
	}
}

func TestChunksCutOrLengthened(t *testing.T) {
	for _, mode := range []PayloadMode{PayloadChunked, PayloadChunkedTrailer} {
		a, body := small(t, mode, "hello", "world")
		for i := range body {
			if _, err := io.ReadAll(stream(t, bytes.NewReader(body[:i]), StreamConfig{Verify: &Chain{a, docsSecret}, DecodedLength: -1})); !errors.Is(err, ErrPayload) {
				t.Fatalf("mode %d: cut at %d: %v", mode, i, err)
			}
		}
		for _, cfg := range []struct {
			tail    string
			decoded int64
		}{{"x", -1}, {string(body), -1}, {"", 9}, {"", 11}, {"", 0}} {
			_, err := io.ReadAll(stream(t, strings.NewReader(string(body)+cfg.tail), StreamConfig{Verify: &Chain{a, docsSecret}, DecodedLength: cfg.decoded}))
			if !errors.Is(err, ErrPayload) {
				t.Errorf("mode %d: %d more bytes, decoded length %d: %v", mode, len(cfg.tail), cfg.decoded, err)
			}
		}
		s := stream(t, bytes.NewReader(body), StreamConfig{Verify: &Chain{a, docsSecret}, DecodedLength: 10})
		if got, err := io.ReadAll(s); err != nil || !bytes.Equal(got, body) {
			t.Errorf("mode %d: the whole: %v", mode, err)
		}
	}
}

func TestChunksMalformed(t *testing.T) {
	a, _ := small(t, PayloadChunked, "x")
	sig := strings.Repeat("0", 64)
	for _, body := range []string{
		"5\r\nhello\r\n", "5;chunk-signature=\r\nhello\r\n", ";chunk-signature=" + sig + "\r\n\r\n",
		"-5;chunk-signature=" + sig + "\r\nhello\r\n", "0x5;chunk-signature=" + sig + "\r\nhello\r\n",
		"123456789;chunk-signature=" + sig + "\r\n", "ffffffff;chunk-signature=" + sig + "\r\n",
		"5;chunk-signature=" + sig + "\nhello\r\n", "5;chunk-signature=" + sig + ";x=y\r\nhello\r\n",
		"5;x=y;chunk-signature=" + sig + "\r\nhello\r\n", strings.Repeat("0", 100<<10),
		"5;chunk-signature=" + strings.Repeat("*", 64) + "\r\nhello\r\n",
	} {
		s := stream(t, strings.NewReader(body), StreamConfig{Verify: &Chain{a, docsSecret}, Sign: &Chain{a, docsSecret}, DecodedLength: -1})
		if got, err := io.ReadAll(s); err == nil || len(got) > 0 {
			t.Errorf("%.60q: %q %v", body, got, err)
		}
		if _, err := s.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("%.60q: the error does not stay: %v", body, err)
		}
	}
}

// A SigV4A stream keeps its length by padding.
func TestChunksSigV4A(t *testing.T) {
	a, _ := small(t, PayloadChunked)
	a.Algorithm, a.Region = SigV4A, "*"
	var b bytes.Buffer
	for _, c := range []string{"hello", "world", ""} {
		fmt.Fprintf(&b, "%x;chunk-signature=%s\r\n%s\r\n", len(c), strings.Repeat("*", sigSizeA), c)
	}
	n := b.Len()
	for range 20 { // signatures vary in length
		signed, err := io.ReadAll(stream(t, bytes.NewReader(b.Bytes()), StreamConfig{Sign: &Chain{a, docsSecret}, DecodedLength: -1}))
		if err != nil || len(signed) != n {
			t.Fatalf("%d bytes of %d: %v", len(signed), n, err)
		}
		cfg := StreamConfig{Verify: &Chain{a, docsSecret}, DecodedLength: -1}
		if _, err := io.ReadAll(stream(t, bytes.NewReader(signed), cfg)); err != nil {
			t.Fatal(err)
		}
		cfg.Verify = &Chain{a, "another secret"}
		if _, err := io.ReadAll(stream(t, bytes.NewReader(signed), cfg)); !errors.Is(err, ErrMismatch) {
			t.Fatalf("another key: %v", err)
		}
	}
}

// FuzzChunks: whatever comes in, what is released verified and is a prefix of it.
// What one reader makes that verifies and signs, two make of which the first
// declares hashes to the second; and a false hash makes a signature that AWS, who
// holds it against the data, does not take.
func TestChunksDeclared(t *testing.T) {
	for _, mode := range []PayloadMode{PayloadChunked, PayloadChunkedTrailer} {
		a, body := small(t, mode, "hello", "world")
		out := *a
		sign := &Chain{&out, "other"}
		want, err := io.ReadAll(stream(t, bytes.NewReader(body), StreamConfig{Verify: &Chain{a, docsSecret}, Sign: sign, DecodedLength: -1}))
		if err != nil {
			t.Fatal(err)
		}
		declared, err := io.ReadAll(stream(t, bytes.NewReader(body), StreamConfig{Verify: &Chain{a, docsSecret}, Declare: true, DecodedLength: -1}))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256([]byte("hello"))
		hash := hex.EncodeToString(sum[:])
		if len(declared) != len(body) || !bytes.Contains(declared, []byte(hash)) {
			t.Errorf("declared: %s", declared)
		}
		again := func(body []byte) ([]byte, error) {
			return io.ReadAll(stream(t, bytes.NewReader(body), StreamConfig{Sign: sign, Declared: true, DecodedLength: -1}))
		}
		if got, err := again(declared); err != nil || !bytes.Equal(got, want) {
			t.Errorf("signed %s, error %v, want %s", got, err, want)
		}
		lie, err := again(bytes.Replace(declared, []byte("hello"), []byte("hullo"), 1))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(stream(t, bytes.NewReader(lie), StreamConfig{Verify: sign, DecodedLength: -1})); err == nil {
			t.Error("data that is not what was declared verifies at AWS")
		}
		if _, err := again(bytes.Replace(declared, []byte(hash[:8]), []byte("nonsense"), 1)); err == nil {
			t.Error("signed what is no hash")
		}
	}
	a, body := small(t, PayloadChunked, "hello")
	for _, cfg := range []StreamConfig{
		{Verify: &Chain{a, docsSecret}, Sign: &Chain{a, docsSecret}, Declare: true},
		{Verify: &Chain{a, docsSecret}, Declared: true},
	} {
		if _, err := NewStreamReader(bytes.NewReader(body), cfg); err == nil {
			t.Errorf("taken: %+v", cfg)
		}
	}
}

func FuzzChunks(f *testing.F) {
	for _, mode := range []PayloadMode{PayloadChunked, PayloadChunkedTrailer} {
		_, body := small(f, mode, "hello", "world")
		f.Add(body, uint8(mode))
		f.Add(body[:len(body)-3], uint8(mode))
	}
	f.Add([]byte("ffffffff;chunk-signature="), uint8(PayloadChunked))
	f.Fuzz(func(t *testing.T, body []byte, mode uint8) {
		a, _ := small(t, PayloadChunked)
		if a.Payload = PayloadMode(mode); a.Payload != PayloadChunked && a.Payload != PayloadChunkedTrailer {
			return
		}
		sign, err := io.ReadAll(stream(t, bytes.NewReader(body), StreamConfig{Sign: &Chain{a, docsSecret}, DecodedLength: -1, MaxChunk: 1 << 20}))
		if len(sign) > len(body) || err == nil && len(sign) != len(body) {
			t.Fatalf("%d bytes of %d released: %v", len(sign), len(body), err)
		}
		if err == nil {
			if got, err := io.ReadAll(stream(t, bytes.NewReader(sign), StreamConfig{Verify: &Chain{a, docsSecret}, DecodedLength: -1, MaxChunk: 1 << 20})); err != nil || !bytes.Equal(got, sign) {
				t.Fatalf("what we signed does not verify: %v", err)
			}
		}
		got, _ := io.ReadAll(stream(t, bytes.NewReader(body), StreamConfig{Verify: &Chain{a, docsSecret}, DecodedLength: -1, MaxChunk: 1 << 20}))
		if !bytes.HasPrefix(body, got) {
			t.Fatal("released what did not come in")
		}
	})
}

// Memory is bounded by what has arrived, not by what is announced.
func TestChunkBufferGrowsWithArrival(t *testing.T) {
	a, _ := small(t, PayloadChunked)
	body := "1000000;chunk-signature=" + strings.Repeat("0", 64) + "\r\nshort"
	s := stream(t, strings.NewReader(body), StreamConfig{Verify: &Chain{a, docsSecret}, DecodedLength: -1})
	if _, err := io.ReadAll(s); !errors.Is(err, ErrPayload) {
		t.Fatal(err)
	}
	if d := cmp.Diff(true, cap(s.buf) < 256<<10); d != "" {
		t.Errorf("16 MiB announced, 5 bytes came, %d bytes held", cap(s.buf))
	}
}

// BenchmarkChunks64K: the bar is 0.5 of plain SHA-256 over the same bytes.
func BenchmarkChunks64K(b *testing.B) {
	const n, count = 64 << 10, 64
	chunks := make([]string, count)
	for i := range chunks {
		chunks[i] = strings.Repeat("x", n)
	}
	a, body := small(b, PayloadChunked, chunks...)
	out := *a
	var keys Keys
	// The two are timed in turns, so that what else the machine does hits both.
	versus := func(b *testing.B, run func()) {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		var plain, ours time.Duration
		for b.Loop() {
			t0 := time.Now()
			sha256.Sum256(body)
			t1 := time.Now()
			run()
			plain, ours = plain+t1.Sub(t0), ours+time.Since(t1)
		}
		b.ReportMetric(float64(plain)/float64(ours), "of-sha256")
	}
	for name, cfg := range map[string]StreamConfig{
		"verify":      {Verify: &Chain{a, docsSecret}},
		"sign":        {Sign: &Chain{&out, "other"}},
		"verify+sign": {Verify: &Chain{a, docsSecret}, Sign: &Chain{&out, "other"}},
	} {
		cfg.Keys, cfg.DecodedLength = &keys, -1
		b.Run(name, func(b *testing.B) {
			versus(b, func() {
				if _, err := io.Copy(io.Discard, stream(b, bytes.NewReader(body), cfg)); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
	// Helper and proxy are two processes: here two goroutines and a pipe.
	b.Run("verify|sign", func(b *testing.B) {
		versus(b, func() {
			r, w := io.Pipe()
			go func() {
				_, err := io.Copy(w, stream(b, bytes.NewReader(body), StreamConfig{Verify: &Chain{a, docsSecret}, Declare: true, Keys: &keys, DecodedLength: -1}))
				w.CloseWithError(err)
			}()
			if _, err := io.Copy(io.Discard, stream(b, r, StreamConfig{Sign: &Chain{&out, "other"}, Declared: true, Keys: &keys, DecodedLength: -1})); err != nil {
				b.Fatal(err)
			}
		})
	})
}
