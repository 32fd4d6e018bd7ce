package proxy_test

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

// A body that is signed chunk by chunk has its chunks signed anew on the way,
// with the chain that AWS expects.
func TestSignedChunks(t *testing.T) {
	r := newRig(t, func(_ *proxy.Config, a *ststest.AWS) {
		a.Serve = func(w http.ResponseWriter, r *http.Request, k ststest.Key) {
			body, err := unchunk(r, k.Secret)
			if err != nil {
				t.Error(err)
			}
			fmt.Fprint(w, body)
		}
	})
	cl := r.client(r.session())
	send := func(framed string, decoded int, declared bool) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), "PUT", object, strings.NewReader(framed))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Amz-Decoded-Content-Length", strconv.Itoa(decoded))
		req.Header.Set("Content-Encoding", "aws-chunked")
		req = cl.sign(t, req, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
		if declared {
			req.Header.Set("Postern-Chunk-Sha256", "1")
		}
		resp, body := cl.do(t, req)
		return resp.StatusCode, body
	}
	// The helper has verified these signatures; the proxy replaces them unread.
	signature := ";chunk-signature=" + strings.Repeat("0", 64) + "\r\n"
	big := strings.Repeat("x", 70_000)
	good := fmt.Sprintf("%x%s%s\r\n5%shello\r\n0%s\r\n", len(big), signature, big, signature, signature)
	if status, body := send(good, len(big)+5, false); status != 200 || body != big+"hello" {
		t.Errorf("%d %.100s (%d bytes)", status, body, len(body))
	}
	// Or it tells the hashes in their place, and the proxy takes its word.
	hash := func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return ";chunk-signature=" + hex.EncodeToString(sum[:]) + "\r\n"
	}
	good = fmt.Sprintf("%x%s%s\r\n5%shello\r\n0%s\r\n", len(big), hash(big), big, hash("hello"), hash(""))
	if status, body := send(good, len(big)+5, true); status != 200 || body != big+"hello" {
		t.Errorf("hashes declared: %d %.100s (%d bytes)", status, body, len(body))
	}
	r.clean()
}

// chunkChain signs the chunks of a body one after the other (Amazon S3 API Reference,
// "Signature calculations for the Authorization header: transferring payload in
// multiple chunks", and "… including trailing headers").
type chunkChain struct {
	key                   []byte
	date, scope, previous string
}

// chunksOf begins with the signature of a request's head.
func chunksOf(r *http.Request, secret string) *chunkChain {
	_, rest, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	credential, rest, _ := strings.Cut(rest, ",")
	c := &chunkChain{key: []byte("AWS4" + secret), date: r.Header.Get("X-Amz-Date")}
	_, c.scope, _ = strings.Cut(credential, "/")
	_, c.previous, _ = strings.Cut(rest, "Signature=")
	for part := range strings.SplitSeq(c.scope, "/") {
		c.key = c.mac(part)
	}
	return c
}

func (c *chunkChain) mac(s string) []byte {
	h := hmac.New(sha256.New, c.key)
	io.WriteString(h, s)
	return h.Sum(nil)
}

func hexHash(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }

// next is the signature of a chunk.
func (c *chunkChain) next(data []byte) string {
	c.previous = hex.EncodeToString(c.mac(strings.Join([]string{"AWS4-HMAC-SHA256-PAYLOAD", c.date, c.scope, c.previous, hexHash(nil), hexHash(data)}, "\n")))
	return c.previous
}

// trailer is the signature of trailing headers, each "name:value" and a line feed.
func (c *chunkChain) trailer(lines string) string {
	return hex.EncodeToString(c.mac(strings.Join([]string{"AWS4-HMAC-SHA256-TRAILER", c.date, c.scope, c.previous, hexHash([]byte(lines))}, "\n")))
}

// unchunk checks and decodes the aws-chunked body of r.
func unchunk(r *http.Request, secret string) (string, error) {
	chain := chunksOf(r, secret)
	in := bufio.NewReader(r.Body)
	var out strings.Builder
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return "", err
		}
		size, signature, _ := strings.Cut(strings.TrimSpace(line), ";chunk-signature=")
		n, err := strconv.ParseInt(size, 16, 32)
		if err != nil {
			return "", err
		}
		data := make([]byte, n+2)
		if _, err := io.ReadFull(in, data); err != nil {
			return "", err
		}
		data = data[:n]
		if want := chain.next(data); signature != want {
			return "", fmt.Errorf("chunk of %d bytes: signature %s, want %s", n, signature, want)
		}
		out.Write(data)
		if n == 0 {
			return out.String(), nil
		}
	}
}

// Chunks that do not add up end the upload with AWS's own error.
func TestBadChunks(t *testing.T) {
	r := newRig(t, withEcho)
	cl := r.client(r.session())
	req, err := http.NewRequestWithContext(t.Context(), "PUT", object, strings.NewReader("nonsense\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	resp, body := cl.do(t, cl.sign(t, req, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"))
	if resp.StatusCode != http.StatusBadRequest || !strings.Contains(body, "chunk header") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}
