package sigv4

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
)

const (
	chunkExtension   = ";chunk-signature="
	trailerSignature = "x-amz-trailer-signature:"
	// maxTrailer bounds all trailers of a body together.
	maxTrailer = 8 << 10
)

// chunk reads one chunk of the aws-chunked encoding into buf:
//
//	hex-size;chunk-signature=SIG CRLF data CRLF
//
// and after the empty one the trailer, if there is one, and the final CRLF
// (Amazon S3 API Reference, "Signature calculations: transferring payload in
// multiple chunks" and "… and trailing headers").
func (s *StreamReader) chunk() error {
	size, sigAt, sigLen, err := s.chunkHeader()
	if err != nil {
		return err
	}
	dataAt := len(s.buf)
	if err := s.read(size); err != nil {
		return err
	}
	field := s.buf[sigAt : sigAt+sigLen]
	var sum [32]byte
	if !s.declared {
		sum = sha256.Sum256(s.buf[dataAt:])
	} else if n, err := hex.Decode(sum[:], field[:min(sigSize, sigLen)]); err != nil || n != len(sum) {
		return s.bad("chunk that declares no SHA-256")
	}
	if err := s.link("PAYLOAD", sigAt, sigLen, &sum); err != nil {
		return err
	}
	if s.declare {
		if sigLen < sigSize {
			return s.bad("chunk signature of %d digits cannot be replaced", sigLen)
		}
		hex.Encode(field, sum[:])
		for i := sigSize; i < sigLen; i++ {
			field[i] = '*'
		}
	}
	if size == 0 {
		s.last = true
		if s.trailer {
			return s.trailers()
		}
	}
	return s.crlf()
}

// chunkHeader reads the line before the data and tells where in buf its
// signature is.
func (s *StreamReader) chunkHeader() (size, sigAt, sigLen int, err error) {
	line, err := s.line(256)
	if err != nil {
		return 0, 0, 0, err
	}
	i := bytes.IndexByte(line, ';')
	if i < 1 || i > 8 || !bytes.HasPrefix(line[i:], []byte(chunkExtension)) {
		return 0, 0, 0, s.bad("chunk header is not SIZE%sSIGNATURE", chunkExtension)
	}
	for _, c := range line[:i] {
		d, ok := unhex(c)
		if !ok {
			return 0, 0, 0, s.bad("chunk size is no hexadecimal number")
		}
		size = size<<4 | int(d)
	}
	if size > s.max {
		return 0, 0, 0, s.bad("chunk of %d bytes; at most %d are taken, send smaller ones", size, s.max)
	}
	if s.decoded >= 0 {
		if s.decoded -= int64(size); s.decoded < 0 {
			return 0, 0, 0, s.bad("more bytes than X-Amz-Decoded-Content-Length")
		}
	}
	sigAt = i + len(chunkExtension)
	return size, sigAt, len(line) - len("\r\n") - sigAt, nil
}

// link verifies the signature at buf[at:at+n], signs anew in its place, or both.
func (s *StreamReader) link(kind string, at, n int, sum *[32]byte) error {
	hashes := [2]*[32]byte{sum}
	list := hashes[:1]
	if kind == "PAYLOAD" {
		empty := emptySum()
		hashes = [2]*[32]byte{&empty, sum}
		list = hashes[:2]
	}
	field := s.buf[at : at+n]
	if s.verify != nil {
		want := bytes.TrimRight(field, "*")
		if s.verify.ecdsa == nil && len(want) != sigSize {
			return s.bad("chunk signature is not %d hex digits", sigSize)
		}
		if !s.verify.check(s.verify.message(kind, s.verify.auth.Time, list...), want) {
			return &Error{Kind: ErrMismatch, Service: s.service(), Detail: "signature of a chunk of the body"}
		}
	}
	if s.sign == nil {
		return nil
	}
	if s.sign.ecdsa == nil && n != sigSize || s.sign.ecdsa != nil && n != sigSizeA {
		return s.bad("chunk signature of %d digits cannot be replaced", n)
	}
	sig, err := s.sign.make(s.sign.message(kind, s.sign.auth.Time, list...))
	if err != nil {
		return err
	}
	for i := copy(field, sig); i < n; i++ {
		field[i] = '*'
	}
	return nil
}

// trailers reads NAME:VALUE lines, the last of them the trailer's signature, and
// the empty line.
func (s *StreamReader) trailers() error {
	h := sha256.New()
	start := len(s.buf)
	var canonical []byte
	for {
		at := len(s.buf)
		line, err := s.line(maxTrailer)
		if err != nil {
			return err
		}
		if len(s.buf)-start > maxTrailer {
			return s.bad("trailer of more than %d bytes", maxTrailer)
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) >= len(trailerSignature) && asciiEqualFold(line[:len(trailerSignature)], trailerSignature) {
			var sum [32]byte
			h.Sum(sum[:0])
			if err := s.link("TRAILER", at+len(trailerSignature), len(line)-len(trailerSignature), &sum); err != nil {
				return err
			}
			return s.crlf()
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || len(name) == 0 {
			// Some clients put an empty line before the signature.
			if len(line) == 0 && len(s.buf)-start > len("\r\n") {
				continue
			}
			return s.bad("trailer line is not NAME:VALUE, or has no signature after it")
		}
		canonical = append(canonical[:0], bytes.ToLower(name)...)
		canonical = append(canonical, ':')
		canonical = append(append(canonical, bytes.TrimSpace(value)...), '\n')
		h.Write(canonical)
	}
}

// line appends one line with its end to buf and returns it.
func (s *StreamReader) line(limit int) ([]byte, error) {
	at := len(s.buf)
	part, err := s.src.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		return nil, s.bad("line of more than %d bytes", limit)
	}
	if s.buf = append(s.buf, part...); err != nil {
		return nil, s.cut(err)
	}
	line := s.buf[at:]
	if len(line) > limit {
		return nil, s.bad("line of more than %d bytes", limit)
	}
	if !bytes.HasSuffix(line, []byte("\r\n")) {
		return nil, s.bad("line does not end in CRLF")
	}
	return line, nil
}

func (s *StreamReader) crlf() error {
	at := len(s.buf)
	if err := s.read(2); err != nil {
		return err
	}
	if s.buf[at] != '\r' || s.buf[at+1] != '\n' {
		return s.bad("chunk does not end in CRLF")
	}
	return nil
}
