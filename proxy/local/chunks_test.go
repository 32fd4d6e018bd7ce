package local_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/posternhq/postern/proxy/local"
	"github.com/posternhq/postern/proxy/sigv4"
)

// chunked is an upload whose chunks are signed each for itself
// (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html).
func chunked(t *testing.T, env []local.Var, chunks ...string) (*http.Request, []byte) {
	t.Helper()
	var frame bytes.Buffer
	n := 0
	for _, c := range append(chunks, "") {
		fmt.Fprintf(&frame, "%x;chunk-signature=%064d\r\n%s\r\n", len(c), 0, c)
		n += len(c)
	}
	r := request(t, "PUT", "https://bucket.s3.eu-central-1.amazonaws.com/key", nil)
	r.ContentLength = int64(frame.Len())
	r.Header.Set("X-Amz-Decoded-Content-Length", fmt.Sprint(n))
	r.Header.Set("Content-Encoding", "aws-chunked")
	sign(t, r, env, "s3", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
	a, err := sigv4.Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	s, err := sigv4.NewStreamReader(&frame, sigv4.StreamConfig{Sign: &sigv4.Chain{Auth: a, Secret: value(t, env, "AWS_SECRET_ACCESS_KEY")}, DecodedLength: int64(n)})
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(s)
	if err != nil {
		t.Fatal(err)
	}
	return r, body
}

// Signed chunks pass with their hashes for signatures; at the first that is not signed right the upload
// breaks off, so that the proxy never sees a whole body.
func TestSignedChunks(t *testing.T) {
	var s seen
	h := pair(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		s.add(fmt.Sprint(r.ContentLength, len(b), err == nil, bytes.Contains(b, []byte("tampere"))))
		sum := sha256.Sum256(nil)
		if err == nil && (r.Header.Get("Postern-Chunk-Sha256") == "" || !bytes.Contains(b, []byte("0;chunk-signature="+hex.EncodeToString(sum[:])))) {
			t.Errorf("the chunks do not carry their hashes")
		}
	})
	c := client(t, h.Env(), false)
	send := func(r *http.Request, body []byte) (int, string) {
		r.Body = io.NopCloser(bytes.NewReader(body))
		resp, text := do(t, c, r)
		return resp.StatusCode, text
	}
	first, second := strings.Repeat("a", 64<<10), "the end"
	r, body := chunked(t, h.Env(), first, second)
	if status, text := send(r, body); status != 200 {
		t.Fatalf("%d %s", status, text)
	}
	if got, want := s.take(), fmt.Sprint(len(body), len(body), true, false); len(got) != 1 || got[0] != want {
		t.Errorf("at the proxy %v, want %s", got, want)
	}
	r, body = chunked(t, h.Env(), first, second)
	status, text := send(r, bytes.Replace(body, []byte(second), []byte("tampere"), 1))
	if status < 400 || status >= 500 || !strings.Contains(text, "<Error><Code>") {
		t.Errorf("%d %s", status, text)
	}
	for _, got := range s.take() {
		if strings.Contains(got, "true") {
			t.Errorf("a body with a wrong chunk reached the proxy whole: %s", got)
		}
	}
}
