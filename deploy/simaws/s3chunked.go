package simaws

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

const (
	minChunk      = 8192    // all but the last
	maxChunk      = 1 << 30 // no client comes near
	maxTrailerLen = 16 << 10
)

// chunkReader decodes aws-chunked bodies, signed or not, and verifies each
// chunk's and the trailer's signature:
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html and
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
type chunkReader struct {
	r        *bufio.Reader
	sig      *signature
	signed   bool
	expected []string          // trailer names announced in x-amz-trailer
	trailers map[string]string // after io.EOF

	left     int64  // bytes left in the current chunk
	small    bool   // a chunk below the minimum was seen: it must be the last
	previous string // the last signature, on which the next one builds
	given    string // the current chunk's
	sum      hash.Hash
	err      error
}

func newChunkReader(r io.Reader, sig *signature, trailers []string) *chunkReader {
	return &chunkReader{r: bufio.NewReaderSize(r, 64<<10), sig: sig, expected: trailers, trailers: map[string]string{},
		signed: sig.payload != streamingUnsigned, previous: sig.provided, sum: sha256.New()}
}

func malformedChunk(why string) error {
	return failure(http.StatusBadRequest, "InvalidRequest", "The aws-chunked body is malformed: "+why)
}

func (c *chunkReader) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	if c.left == 0 {
		if c.err = c.next(); c.err != nil {
			return 0, c.err
		}
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if c.signed {
		c.sum.Write(p[:n])
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err == nil && c.left == 0 {
		err = c.endChunk()
	}
	c.err = err
	return n, err
}

// next reads a chunk's header, and after the last chunk the trailer.
func (c *chunkReader) next() error {
	line, err := c.line()
	if err != nil {
		return err
	}
	size, ext, hasExt := strings.Cut(line, ";")
	n, err := strconv.ParseInt(size, 16, 64)
	if err != nil || n < 0 || n > maxChunk || size[0] == '+' {
		return malformedChunk("bad chunk size")
	}
	if c.signed {
		var ok bool
		if c.given, ok = strings.CutPrefix(ext, "chunk-signature="); !ok || !c.lengthOf(c.given) {
			return malformedChunk("a chunk has no signature")
		}
	} else if hasExt {
		return malformedChunk("an unsigned chunk has an extension")
	}
	if n > 0 && c.small {
		return failure(http.StatusForbidden, "InvalidChunkSizeError", "Only the last chunk is allowed to have a size less than 8192 bytes")
	}
	c.small = n < minChunk
	c.left = n
	if n > 0 {
		return nil
	}
	if c.signed {
		if err := c.checkChunk(); err != nil {
			return err
		}
	}
	return c.readTrailer()
}

func (c *chunkReader) endChunk() error {
	var crlf [2]byte
	if _, err := io.ReadFull(c.r, crlf[:]); err != nil {
		return io.ErrUnexpectedEOF
	}
	if string(crlf[:]) != "\r\n" {
		return malformedChunk("a chunk is longer than it said")
	}
	if !c.signed {
		return nil
	}
	return c.checkChunk()
}

// lengthOf tells whether a chunk's signature has its algorithm's length: SigV4A's are
// of many, and are filled up with asterisks, so that what is sent has one.
func (c *chunkReader) lengthOf(given string) bool {
	return len(given) == 64 && c.sig.alg == algorithm || len(given) == 144 && c.sig.alg == algorithmECDSA
}

func (c *chunkReader) checkChunk() error {
	return c.checkNext(payloadEnd, emptySHA256+"\n"+hex.EncodeToString(c.sum.Sum(nil)), c.given)
}

// checkNext verifies the next signature of the chain, of what kind says.
func (c *chunkReader) checkNext(kind, last, given string) error {
	c.sum.Reset()
	if c.sig.alg == algorithmECDSA {
		given = strings.TrimRight(given, "*")
	}
	toSign := c.sig.alg + kind + "\n" + c.sig.stamp + "\n" + c.sig.scope() + "\n" + c.previous + "\n" + last
	if !c.sig.check(toSign, given) {
		return authFailure(protoS3, faultSignature, "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
			field{"AWSAccessKeyId", c.sig.accessKey}, field{"StringToSign", toSign}, field{"SignatureProvided", given})
	}
	c.previous = given
	return nil
}

// readTrailer reads what follows the empty chunk, to the end of the body. AWS
// and its SDKs end trailer lines with \r\n, some write \n\r\n; both are taken.
func (c *chunkReader) readTrailer() error {
	raw, err := io.ReadAll(io.LimitReader(c.r, maxTrailerLen+1))
	if err != nil {
		return err
	}
	text := string(raw)
	if len(raw) > maxTrailerLen || !strings.HasSuffix(text, "\r\n") {
		return malformedChunk("the body does not end as announced")
	}
	var canonical strings.Builder
	given := ""
	for line := range strings.SplitSeq(text, "\n") {
		if line = strings.TrimSuffix(line, "\r"); line == "" {
			continue
		}
		k, v, ok := strings.Cut(line, ":")
		k, v = strings.ToLower(strings.TrimSpace(k)), strings.TrimSpace(v)
		switch _, dup := c.trailers[k]; {
		case k == "x-amz-trailer-signature" && c.signed && given == "":
			given = v
		case !ok || dup || given != "" || !slices.Contains(c.expected, k):
			return failure(http.StatusBadRequest, "MalformedTrailerError", "The request contained trailing data that was not well-formed or did not conform to our published schema.")
		default:
			c.trailers[k] = v
			canonical.WriteString(k + ":" + v + "\n")
		}
	}
	if len(c.trailers) != len(c.expected) {
		return failure(http.StatusBadRequest, "MalformedTrailerError", "The request contained trailing data that was not well-formed or did not conform to our published schema.")
	}
	if c.signed && len(c.expected) > 0 {
		if err := c.checkNext("-TRAILER", sha256Hex([]byte(canonical.String())), given); err != nil {
			return err
		}
	} else if given != "" {
		return malformedChunk("a trailer signature without trailer")
	}
	return io.EOF
}

// line reads up to \r\n.
func (c *chunkReader) line() (string, error) {
	raw, err := c.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) || len(raw) > 1024 {
		return "", malformedChunk("a chunk header without end")
	}
	if err != nil {
		return "", io.ErrUnexpectedEOF
	}
	s, ok := strings.CutSuffix(string(raw), "\r\n")
	if !ok || s == "" {
		return "", malformedChunk("bad chunk header")
	}
	return s, nil
}
