package sigv4

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// DefaultMaxChunk bounds one chunk or frame, in bytes. AWS's clients use 64 KiB to
// 1 MiB; a frame of an event stream has at most 16 MiB of payload.
const DefaultMaxChunk = 17 << 20

// Chain tells whose signatures a body carries, or shall carry.
type Chain struct {
	// Auth is the request's signature that the body's chain of signatures
	// starts from: [Parse]'s for verifying, [Signer.Sign]'s for signing.
	Auth   *Authorization
	Secret string
}

// StreamConfig says what a StreamReader does with a body.
type StreamConfig struct {
	// Verify, if set, checks each chunk or frame; Sign, if set, signs it anew.
	// With both the body is hashed once.
	Verify, Sign *Chain
	// Declare, with Verify alone, has each chunk carry its SHA-256 in the place of
	// its signature, for a reader with Sign and Declared, which then need not hash
	// what it signs. It can trust whoever declared no further than that: AWS holds
	// each chunk against its signature, which covers the declared hash, and refuses
	// one that is not the data's. Trailers and frames keep their signatures.
	Declare, Declared bool
	// DecodedLength is X-Amz-Decoded-Content-Length, to which the chunks must
	// add up; negative if unknown.
	DecodedLength int64
	// MaxChunk bounds one chunk or frame; 0 means DefaultMaxChunk. It bounds the
	// reader's memory as well.
	MaxChunk int
	// Keys may be shared; nil derives keys anew.
	Keys *Keys
}

// StreamReader passes on a body whose chunks or frames are signed each for
// itself, checking these signatures, replacing them, or both. Framing and length
// of the body stay as they are, so Content-Length holds.
//
// Nothing of a chunk is released before all of it has arrived and verified: to
// sign one, it must be known whole in any case. A body that fails ends with an
// error after its last good chunk, never with io.EOF, and the error stays. What
// is missing from the end (the final chunk, a trailer) is an error too.
type StreamReader struct {
	src    *bufio.Reader
	closer io.Closer
	next   func() error // reads one frame into buf
	buf    []byte
	off    int
	last   bool // buf holds the final frame
	err    error

	max          int
	decoded      int64 // bytes still to come, negative if unknown
	verify, sign *chain
	trailer      bool

	declare, declared bool
}

// DecodedLength reads X-Amz-Decoded-Content-Length, in bytes; -1 if a request has
// none that can be read.
func DecodedLength(h http.Header) int64 {
	v := h["X-Amz-Decoded-Content-Length"]
	if len(v) != 1 {
		return -1
	}
	n, err := strconv.ParseInt(v[0], 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// NewStreamReader reads body according to the payload mode of the configuration's
// chains, which must be one of the signed modes.
func NewStreamReader(body io.Reader, cfg StreamConfig) (*StreamReader, error) {
	if cfg.Verify == nil && cfg.Sign == nil {
		return nil, errors.New("signed stream: neither to verify nor to sign")
	}
	if cfg.Declare && cfg.Sign != nil || cfg.Declared && cfg.Verify != nil {
		return nil, errors.New("signed stream: hashes are declared by who only verifies to who only signs")
	}
	s := &StreamReader{src: bufio.NewReaderSize(body, 64<<10), max: cfg.MaxChunk, decoded: cfg.DecodedLength, declare: cfg.Declare, declared: cfg.Declared}
	s.closer, _ = body.(io.Closer)
	if s.max <= 0 {
		s.max = DefaultMaxChunk
	}
	var mode PayloadMode
	for _, c := range []struct {
		in  *Chain
		out **chain
	}{{cfg.Verify, &s.verify}, {cfg.Sign, &s.sign}} {
		if c.in == nil {
			continue
		}
		if m := c.in.Auth.Payload; mode != 0 && m != mode {
			return nil, errors.New("signed stream: the two chains are of different modes")
		}
		mode = c.in.Auth.Payload
		ch, err := newChain(c.in, cfg.Keys)
		if err != nil {
			return nil, fmt.Errorf("signed stream: %w", err)
		}
		*c.out = ch
	}
	switch mode {
	case PayloadChunked:
		s.next = s.chunk
	case PayloadChunkedTrailer:
		s.next, s.trailer = s.chunk, true
	case PayloadEvents:
		s.next = s.frame
	default:
		return nil, errors.New("signed stream: the body carries no signatures")
	}
	return s, nil
}

// Read implements io.Reader.
func (s *StreamReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := s.fill(); err != nil {
		return 0, err
	}
	n := copy(p, s.buf[s.off:])
	s.off += n
	return n, nil
}

// WriteTo implements io.WriterTo, which saves a copy.
func (s *StreamReader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		switch err := s.fill(); {
		case err == io.EOF:
			return total, nil
		case err != nil:
			return total, err
		}
		n, err := w.Write(s.buf[s.off:])
		s.off += n
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
}

// Close closes the body, if that can be closed.
func (s *StreamReader) Close() error {
	if s.closer == nil {
		return nil
	}
	return s.closer.Close()
}

func (s *StreamReader) fill() error {
	for s.off == len(s.buf) {
		if s.err != nil {
			return s.err
		}
		if s.last {
			s.err = s.end()
			continue
		}
		s.buf, s.off = s.buf[:0], 0
		if s.err = s.next(); s.err != nil {
			s.buf = s.buf[:0]
		}
	}
	return nil
}

// end makes sure that nothing follows the final chunk.
func (s *StreamReader) end() error {
	switch _, err := s.src.ReadByte(); {
	case err == nil:
		return s.bad("more bytes after the final chunk")
	case err != io.EOF:
		return fmt.Errorf("signed stream: %w", err)
	}
	if s.decoded > 0 {
		return s.bad("%d bytes fewer than X-Amz-Decoded-Content-Length", s.decoded)
	}
	return io.EOF
}

func (s *StreamReader) bad(format string, args ...any) error {
	return &Error{Kind: ErrPayload, Service: s.service(), Detail: fmt.Sprintf(format, args...)}
}

func (s *StreamReader) service() string {
	if s.verify != nil {
		return s.verify.auth.Service
	}
	return s.sign.auth.Service
}

// read appends n bytes to the buffer. It grows as bytes come, not as they are
// announced.
func (s *StreamReader) read(n int) error {
	for n > 0 {
		step := min(n, max(64<<10, len(s.buf)))
		at := len(s.buf)
		if cap(s.buf)-at < step {
			s.buf = append(make([]byte, 0, at+step), s.buf...)
		}
		s.buf = s.buf[:at+step]
		if _, err := io.ReadFull(s.src, s.buf[at:]); err != nil {
			return s.cut(err)
		}
		n -= step
	}
	return nil
}

// cut turns the end of input within a stream into an error of ours.
func (s *StreamReader) cut(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return s.bad("the body ends before its final chunk")
	}
	return fmt.Errorf("signed stream: %w", err)
}
