package cloudtrail

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
)

// maxRecord bounds one record. CloudTrail's own limit is 256 KB, 1 MB for
// large events; a file that goes far beyond it is not one of CloudTrail's.
const maxRecord = 4 << 20

// read calls each for every record of a log file, gzipped or plain, in order,
// holding one record and 256 KB in memory. The bytes are valid during the call
// only.
//
// An error of each ends it and is returned as it is, and so is one of r's own; every other
// error is a *FileError and says what is wrong with the file.
//
// content, nil for none, is given what a digest file vouches for: all of a plain
// file, the first member of a gzipped one, to its end whatever stands there. It
// is not whole when that end was not reached.
func read(r io.Reader, content hash.Hash, each func(position int, raw []byte, record *Record) error) (whole bool, err error) {
	from := &source{Reader: r}
	whole, err = readFrom(from, content, each)
	if _, bad := errors.AsType[*FileError](err); from.err != nil && (err == nil || bad) {
		return false, unread{from.err}
	}
	return whole, err
}

// unread says that a file could not be read, which is no fault of the file's, nor of others.
type unread struct{ error }

func (u unread) Unwrap() error { return u.error }

// source is what a file is read from. Where that breaks off, a connection to S3 say,
// nothing is wrong with the file: it is to be read another time.
type source struct {
	io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

func readFrom(r io.Reader, content hash.Hash, each func(int, []byte, *Record) error) (whole bool, err error) {
	b := buffers.Get().(*buffer)
	defer buffers.Put(b)
	b.in.Reset(r)
	magic, err := b.in.Peek(2)
	if err != nil {
		return false, &FileError{Reason: "file is empty or cut off"}
	}
	m := &members{in: &b.in, content: content}
	if magic[0] == 0x1f && magic[1] == 0x8b {
		m.z = &b.z
		if err = m.z.Reset(m.in); err != nil {
			return false, &FileError{Reason: "gzip: " + err.Error()}
		}
		m.z.Multistream(false)
	}
	w := &window{r: m, buf: b.window[:0], scan: scanner{resources: b.resources}}
	n := 0
	if err = w.file(&n, each); err != nil {
		err = w.explain(n, err)
	}
	if _, bad := errors.AsType[*FileError](err); bad && content != nil && !m.first {
		_, _ = io.Copy(io.Discard, io.LimitReader(m, maxContent))
	}
	return m.first, err
}

// buffer is what reading a file takes. Files are many and small, so that
// making it anew would be a good part of the work.
type buffer struct {
	in        bufio.Reader
	z         gzip.Reader
	window    []byte
	resources []span
}

var buffers = sync.Pool{New: func() any {
	return &buffer{window: make([]byte, 0, 256<<10), resources: make([]span, 0, 16)}
}}

// maxContent bounds what is read of a malformed file for its hash alone.
const maxContent = 1 << 30

// FileError says what is wrong with a file.
type FileError struct {
	// Records that were read: all that are records, or those before the place from
	// which on the file is no JSON.
	Records int
	Reason  string
}

func (e *FileError) Error() string {
	return fmt.Sprintf("%s (%d records were read)", e.Reason, e.Records)
}

// members reads gzip members one after the other, or a plain file.
type members struct {
	in      *bufio.Reader
	z       *gzip.Reader // nil for a plain file
	content hash.Hash
	first   bool // the end of the first member was reached, its checksum right
}

func (m *members) Read(p []byte) (int, error) {
	if m.z == nil {
		n, err := m.in.Read(p)
		m.sum(p[:n])
		m.first = m.first || err == io.EOF
		return n, err
	}
	n, err := m.z.Read(p)
	m.sum(p[:n])
	if err == io.EOF {
		m.first = true
		if err = m.z.Reset(m.in); err == nil {
			m.z.Multistream(false)
		}
	}
	return n, err
}

func (m *members) sum(p []byte) {
	if m.content != nil && !m.first {
		_, _ = m.content.Write(p) // a hash never fails
	}
}

// window is the part of a file that is in memory.
type window struct {
	r    io.Reader
	buf  []byte
	at   int   // where in buf reading goes on
	err  error // that ended the file, io.EOF or another
	scan scanner

	spoiled spoiled
}

var errTooLong = fmt.Errorf("a record is longer than %d bytes", maxRecord)

// more reads on. What was read before at is let go.
func (w *window) more() error {
	if w.err != nil {
		if w.err == io.EOF {
			return errShort
		}
		return w.err
	}
	if w.at > 0 {
		w.buf = w.buf[:copy(w.buf, w.buf[w.at:])]
		w.at = 0
	}
	if len(w.buf) == cap(w.buf) {
		if len(w.buf) > maxRecord {
			return errTooLong
		}
		w.buf = append(make([]byte, 0, 2*cap(w.buf)), w.buf...)
	}
	n, err := w.r.Read(w.buf[len(w.buf):cap(w.buf)])
	w.buf, w.err = w.buf[:len(w.buf)+n], err
	return nil
}

// peek returns the next byte that is no white space.
func (w *window) peek() (byte, error) {
	for {
		w.scan.b = w.buf
		if w.at = w.scan.space(w.at); w.at < len(w.buf) {
			return w.buf[w.at], nil
		}
		if err := w.more(); err != nil {
			return 0, err
		}
	}
}

// value scans the next value whole; it stays in the window until the next call
// of any method.
func (w *window) value(sh shape) ([]byte, error) {
	if _, err := w.peek(); err != nil {
		return nil, err
	}
	for {
		w.scan.b, w.scan.spaced = w.buf[w.at:], false
		w.scan.forget(recordShape)
		w.scan.resources = w.scan.resources[:0]
		end, err := w.scan.value(0, sh, none, 0)
		// What ends with the window may go on after it: 12 and 123.
		if err == errShort || err == nil && w.at+end == len(w.buf) && w.err == nil {
			if err := w.more(); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		if end > maxRecord {
			return nil, errTooLong
		}
		w.at += end
		return w.scan.b[:end], nil
	}
}

// eachOf calls do at each element of what open and shut enclose.
func (w *window) eachOf(open, shut byte, do func() error) error {
	if c, err := w.peek(); err != nil || c != open {
		return firstOf(err, errSyntax)
	}
	w.at++
	if c, err := w.peek(); err != nil {
		return err
	} else if c == shut {
		w.at++
		return nil
	}
	for {
		if err := do(); err != nil {
			return err
		}
		c, err := w.peek()
		if err != nil || c != ',' && c != shut {
			return firstOf(err, errSyntax)
		}
		w.at++
		if c == shut {
			return nil
		}
	}
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// byteOrderMark begins what some editors and PowerShell save as UTF-8.
var byteOrderMark = []byte("\xef\xbb\xbf")

// eachError carries an error of the caller's through.
type eachError struct{ error }

func (w *window) file(n *int, each func(int, []byte, *Record) error) error {
	c, err := w.peek()
	if err == nil && bytes.HasPrefix(w.buf[w.at:], byteOrderMark) {
		w.at += len(byteOrderMark)
		c, err = w.peek()
	}
	if err != nil {
		return err
	} else if c != '{' {
		return fmt.Errorf("starts with %c, not with an object", c)
	}
	if w.bare() {
		if done, err := w.lines(n, each); done || err != nil {
			return err
		}
	}
	seen := false
	err = w.eachOf('{', '}', func() error {
		if c, err := w.peek(); err != nil || c != '"' {
			return firstOf(err, errSyntax)
		}
		raw, err := w.value(other)
		if err != nil {
			return err
		}
		key := string(w.scan.key(0, len(raw), false))
		if c, err := w.peek(); err != nil || c != ':' {
			return firstOf(err, errSyntax)
		}
		w.at++
		next := w.record
		switch key {
		case "Records":
		case "Events":
			next = w.lookedUp
		default:
			_, err := w.value(other)
			return err
		}
		if seen {
			return fmt.Errorf("has %s twice", key)
		}
		seen = true
		if c, err := w.peek(); err != nil {
			return err
		} else if c != '[' {
			return fmt.Errorf("its %s is not a list", key)
		}
		return w.eachOf('[', ']', func() error {
			raw, r, err := next()
			if err != nil && !errors.Is(err, ErrNotRecord) {
				return err
			}
			position := *n + w.spoiled.n
			if err != nil {
				w.spoiled.add(fmt.Errorf("record %d: %w", position, err))
				return nil
			}
			if err := each(position, raw, r); err != nil {
				return eachError{err}
			}
			*n++
			return nil
		})
	})
	if err != nil {
		return err
	}
	if !seen {
		return errors.New("has no Records")
	}
	c, err = w.peek()
	switch {
	case err == nil:
		return fmt.Errorf("has %c after its end", c)
	case err == errShort: // as it should be
		return w.spoiled.err("records")
	case errors.Is(err, io.ErrUnexpectedEOF): // a member's trailer, or another one's header
		return errors.New("file is cut off, or has bytes after its end")
	}
	return err
}

// spoiled counts what is JSON and no record: what follows can be read.
type spoiled struct {
	first error
	n     int
}

func (s *spoiled) add(err error) {
	if s.n++; s.first == nil {
		s.first = err
	}
}

func (s *spoiled) err(things string) error {
	if s.n > 1 {
		return fmt.Errorf("%w, and %d more %s", s.first, s.n-1, things)
	}
	return s.first
}

// record reads the next element of a log file's Records.
func (w *window) record() ([]byte, *Record, error) {
	raw, err := w.value(recordShape)
	if err != nil {
		return nil, nil, err
	}
	r, err := w.scan.record(raw)
	return raw, r, err
}

// lookedUp reads the next element of Events, as `aws cloudtrail lookup-events` prints
// them: each has its record as text
// (https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_Event.html).
func (w *window) lookedUp() ([]byte, *Record, error) {
	raw, err := w.value(other)
	if err != nil {
		return nil, nil, err
	}
	var e struct{ CloudTrailEvent string }
	_ = json.Unmarshal(raw, &e) // what has none is no record
	text := []byte(strings.TrimSpace(e.CloudTrailEvent))
	r, err := Parse(text)
	return text, r, err
}

// explain makes the error that read returns.
func (w *window) explain(n int, err error) error {
	if e, ok := errors.AsType[eachError](err); ok {
		return e.error
	}
	reason := err.Error()
	_, corrupt := errors.AsType[flate.CorruptInputError](err)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, errShort):
		reason = "file is cut off"
	case errors.Is(err, gzip.ErrHeader):
		reason = "bytes after the end of the gzip data"
	case errors.Is(err, gzip.ErrChecksum):
		reason = "gzip checksum does not match"
	case corrupt:
		reason = "gzip data is damaged"
	case errors.Is(err, errSyntax), errors.Is(err, errDepth):
		reason = fmt.Sprintf("record %d: %s", n+w.spoiled.n, err)
	}
	return &FileError{Records: n, Reason: reason}
}
