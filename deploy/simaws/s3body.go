package simaws

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// s3Body is the decoded request body. Reading it to the end verifies it
// against everything the client declared; an error is an *apiError or the
// connection's. What was read counts for nothing before io.EOF.
type s3Body struct {
	c       *call
	src     io.Reader
	size    int64 // decoded bytes expected; -1 when unknown
	got     int64
	sha     hash.Hash // nil when the payload is not signed as a whole
	md5     hash.Hash
	sums    map[string]hash.Hash
	want    map[string]string // algorithm → base64, from headers
	trailer *chunkReader      // where trailing checksums come from
	done    bool
}

// openBody prepares the body for reading. algs are algorithms to compute in
// any case.
func (c *call) openBody(algs ...string) (*s3Body, error) {
	b := &s3Body{c: c, size: c.r.ContentLength, md5: md5.New(), sums: map[string]hash.Hash{}, want: map[string]string{}}
	raw := &countingReader{r: c.r.Body, n: &c.received}
	b.src = raw
	h := c.r.Header
	for name, v := range h {
		if alg := checksumOf(name); alg != "" {
			if len(v) > 1 {
				return nil, failure(http.StatusBadRequest, "InvalidRequest", "Value for "+strings.ToLower(name)+" header is invalid.")
			}
			b.want[alg] = v[0]
			algs = append(algs, alg)
		}
	}
	if len(b.want) > 1 {
		return nil, failure(http.StatusBadRequest, "InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
	}
	signedTrailer, signedChunks := c.sig.chunked()
	switch p := c.sig.payload; {
	case signedChunks, p == streamingUnsigned:
		n, err := strconv.ParseInt(h.Get("X-Amz-Decoded-Content-Length"), 10, 64)
		if err != nil || n < 0 {
			return nil, failure(http.StatusLengthRequired, "MissingContentLength", "You must provide the Content-Length HTTP header.")
		}
		b.size = n
		var trailers []string
		for t := range strings.SplitSeq(h.Get("X-Amz-Trailer"), ",") {
			if t = strings.ToLower(strings.TrimSpace(t)); t != "" {
				trailers = append(trailers, t)
				if alg := checksumOf(t); alg != "" {
					algs = append(algs, alg)
				}
			}
		}
		if (len(trailers) > 0) != (signedTrailer || p == streamingUnsigned) {
			return nil, failure(http.StatusBadRequest, "MalformedTrailerError", "The request contained trailing data that was not well-formed or did not conform to our published schema.")
		}
		b.trailer = newChunkReader(raw, c.sig, trailers)
		b.src = b.trailer
	case p == unsignedPayload:
	default:
		b.sha = sha256.New()
	}
	if b.size < 0 && c.r.Method == http.MethodPut {
		return nil, failure(http.StatusLengthRequired, "MissingContentLength", "You must provide the Content-Length HTTP header.")
	}
	for _, a := range algs {
		if s := newChecksum(a); s != nil {
			b.sums[strings.ToUpper(a)] = s
		}
	}
	return b, nil
}

type countingReader struct {
	r io.Reader
	n *int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	*c.n += int64(n)
	return n, err
}

func (b *s3Body) Read(p []byte) (int, error) {
	if b.done {
		return 0, io.EOF
	}
	n, err := b.src.Read(p)
	b.got += int64(n)
	b.md5.Write(p[:n])
	if b.sha != nil {
		b.sha.Write(p[:n])
	}
	for _, s := range b.sums {
		s.Write(p[:n])
	}
	switch {
	case b.size >= 0 && b.got > b.size:
		return n, failure(http.StatusBadRequest, "IncompleteBody", "The request body terminated unexpectedly")
	case err == io.EOF:
		b.done = true
		if err := b.verify(); err != nil {
			return n, err
		}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return n, failure(http.StatusBadRequest, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header")
	}
	return n, err
}

func (b *s3Body) verify() error {
	if b.size >= 0 && b.got != b.size {
		return failure(http.StatusBadRequest, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header")
	}
	if b.sha != nil {
		if have := hex.EncodeToString(b.sha.Sum(nil)); have != b.c.sig.payload {
			return failure(http.StatusBadRequest, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.",
				field{"ClientComputedContentSHA256", b.c.sig.payload}, field{"S3ComputedContentSHA256", have})
		}
	}
	if v := b.c.r.Header.Get("Content-Md5"); v != "" {
		raw, err := base64.StdEncoding.DecodeString(v)
		if err != nil || len(raw) != md5.Size {
			return failure(http.StatusBadRequest, "InvalidDigest", "The Content-MD5 you specified was invalid.")
		}
		if !bytes.Equal(raw, b.md5.Sum(nil)) {
			return failure(http.StatusBadRequest, "BadDigest", "The Content-MD5 you specified did not match what we received.")
		}
	}
	if b.trailer != nil {
		for name, v := range b.trailer.trailers {
			if alg := checksumOf(name); alg != "" {
				b.want[alg] = v
			}
		}
	}
	for alg, v := range b.want {
		if base64Sum(b.sums[alg]) != v {
			return failure(http.StatusBadRequest, "BadDigest", "The "+alg+" you specified did not match the calculated checksum.")
		}
	}
	return nil
}

// smallS3Body reads and verifies the body of everything but object data.
func (c *call) smallS3Body() error {
	b, err := c.openBody()
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	n, err := io.Copy(&buf, io.LimitReader(b, maxSmallBody+1))
	if err != nil {
		return err
	}
	if n > maxSmallBody {
		return failure(http.StatusBadRequest, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
	}
	c.body = buf.Bytes()
	return nil
}
