package proxy

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/posternhq/postern/proxy/awsreq"
	"github.com/posternhq/postern/proxy/sigv4"
)

// headSize is how much of a body is read to recognise the request.
const headSize = 64 << 10

// body is a request's body on its way to AWS: what was read of it to recognise
// or to hash it comes first, then the rest straight from the client.
type body struct {
	src io.ReadCloser
	// head is the beginning, whole says that nothing follows.
	head  []byte
	whole bool
	// text is what head says to the service, all that the body says where complete.
	text     []byte
	complete bool
	// spilled takes the place of head and src once the body was hashed.
	spilled *sigv4.HashedBody
	reader  io.Reader
	passed  atomic.Int64
	// broken is why the client's side failed.
	broken atomic.Pointer[error]
	// wakes: to close src wakes who reads from it, as by HTTP/2. closed: it was.
	wakes  bool
	closed atomic.Bool
}

func newBody(r *http.Request) *body {
	b := &body{src: r.Body, wakes: r.ProtoMajor == 2}
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		b.src, b.whole, b.complete = http.NoBody, true, true
	}
	b.reader = b.src
	return b
}

// Read is for the transport, which counts as having passed what it took.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.reader.Read(p)
	b.passed.Add(int64(n))
	if err != nil && err != io.EOF && !b.closed.Load() {
		b.broken.Store(&err)
	}
	return n, err
}

// Close is for the transport. The client's side is the server's to close, but for
// conversations: the transport is done with an answer only once it has read or closed
// the body, and the client may have nothing more to say.
func (b *body) Close() error {
	if !b.wakes {
		return nil
	}
	b.closed.Store(true)
	return b.src.Close()
}

func (b *body) count() int64 { return b.passed.Load() }

// release frees a spilled body.
func (b *body) release() {
	if b.spilled != nil {
		_ = b.spilled.Close() // unlinked long ago
	}
}

// begin reads the beginning of a body of some length, -1 for one that is not told. packed
// says that its service unpacks it.
func (b *body) begin(length int64, packed bool) error {
	defer b.read(packed) // of one that breaks off, too
	size := int64(headSize)
	if length > 0 && length < size {
		size = length
	}
	head := make([]byte, size)
	n, err := io.ReadFull(b.src, head)
	b.head = head[:n]
	switch {
	case err == nil:
		b.whole = length == int64(n)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF) && length < 0:
		b.whole = true
	default:
		return err
	}
	b.reader = bytes.NewReader(b.head)
	if !b.whole {
		b.reader = io.MultiReader(b.reader, b.src)
	}
	return nil
}

// read notes what the beginning says.
func (b *body) read(packed bool) {
	b.text, b.complete = b.head, b.whole
	if packed {
		var err error
		b.text, err = io.ReadAll(io.LimitReader(unpacked(bytes.NewReader(b.head)), headSize))
		b.complete = b.whole && err == nil && len(b.text) < headSize
	}
}

// all is all of a body that was read whole, from its beginning.
func (b *body) all() io.ReadSeeker {
	if b.spilled != nil {
		return b.spilled.Reader()
	}
	return bytes.NewReader(b.head)
}

// unpacked reads a body as a service does that takes it compressed; what is not is as it is.
func unpacked(body io.ReadSeeker) io.Reader {
	z, err := gzip.NewReader(body)
	if err == nil {
		return z
	}
	_, _ = body.Seek(0, io.SeekStart) // in memory, or a file that was just written
	return body
}

// longestForm bounds what is unpacked of one.
const longestForm = 64 << 20

// namesAnother tells whether a form names an operation behind what recognition saw of it,
// besides the one that it was taken for. Not ok: the client was answered.
func (c *call) namesAnother(rec *awsreq.Request) (another, ok bool) {
	in := c.input()
	if !c.p.table.PartOfForm(in, rec) {
		return false, true
	}
	if !c.body.whole && !c.readBody() {
		return false, false
	}
	form := &io.LimitedReader{R: c.body.all(), N: math.MaxInt64}
	if c.packed() {
		form = &io.LimitedReader{R: unpacked(c.body.all()), N: longestForm}
	}
	all, err := awsreq.CountActions(form)
	seen, _ := awsreq.CountActions(bytes.NewReader(in.Body)) // memory does not fail
	query, _ := awsreq.CountActions(strings.NewReader(in.RawQuery))
	return err != nil || form.N == 0 || all > seen && query+all > 1, true
}

// packed tells whether the service unpacks what it is sent: CloudWatch does, and SDKs send
// what is longer than 10 KiB so
// (https://docs.aws.amazon.com/sdkref/latest/guide/feature-compression.html).
func (c *call) packed() bool {
	return c.host.SigningName == "monitoring" && strings.EqualFold(c.r.Header.Get("Content-Encoding"), "gzip")
}

// tells whether recognition may need the body. S3's objects are left alone: their names
// are in the head. So are streams of events, whose client may wait for an answer before
// it goes on.
func (c *call) tells() bool {
	return !c.body.whole && !c.auth.Payload.Signed() && (c.host.S3 == awsreq.NotS3 || c.saysMore())
}

// peek reads the beginning of the body if recognition may need it.
func (c *call) peek() bool {
	if !c.tells() {
		return true
	}
	err := c.body.begin(c.r.ContentLength, c.packed())
	switch {
	case err == nil:
		return true
	case c.ctx.Err() != nil:
		c.cut()
	default:
		c.fail("body", "RequestTimeout", http.StatusBadRequest, "the request's body broke off: "+err.Error())
	}
	return false
}

// glanceTime is how long a call that is refused in any case is asked what it was.
const glanceTime = time.Second

// glance is peek for such a call, whose record is to say what somebody tried who may do
// nothing any more. What does not come in time is not waited for, nor what waits for leave
// to come.
func (c *call) glance() {
	c.body = newBody(c.r)
	if c.tells() && c.r.Header.Get("Expect") == "" {
		rc := http.NewResponseController(c.w)
		_ = rc.SetReadDeadline(time.Now().Add(glanceTime)) // fails only where the connection is gone
		if c.body.begin(c.r.ContentLength, c.packed()) == nil {
			_ = rc.SetReadDeadline(time.Time{})
		}
	}
	if !c.body.whole { // or net/http would wait for the rest before it answers
		c.w.Header().Set("Connection", "close")
	}
}

// saysMore tells whether what a request asks of S3 may be in its body: lists of objects
// are, and a new bucket's tags.
func (c *call) saysMore() bool {
	switch c.r.Method {
	case http.MethodPost:
		return true
	case http.MethodPut:
		rec := c.p.table.Lookup(c.input())
		return rec.Operation == "CreateBucket"
	}
	return false
}

// hashBody computes the payload's hash where the signature needs one that nobody
// has declared. The helper's word is enough: AWS checks it.
func (c *call) hashBody() bool {
	if c.auth.Payload != sigv4.PayloadUndeclared || c.hash != "" {
		return true
	}
	b := c.body
	if b.whole && len(b.head) == 0 {
		c.hash = sigv4.EmptyHash
		return true
	}
	if !c.readBody() {
		return false
	}
	c.hash = b.spilled.Hash
	return true
}

// readBody reads the whole body into memory or a file, and hashes it.
func (c *call) readBody() bool {
	b := c.body
	if b.spilled != nil {
		return true
	}
	hashed, err := sigv4.HashBody(b.reader, c.p.cfg.SpillDir)
	full, noRoom := errors.AsType[*fs.PathError](err) // of the file that takes it
	switch {
	case err == nil:
		b.spilled, b.reader = hashed, hashed
		return true
	case c.ctx.Err() != nil:
		c.cut()
	case noRoom:
		c.p.noRoom(full)
		c.fail("body", "ServiceUnavailable", http.StatusServiceUnavailable, "this proxy has no room for the request's body, which it has to hash, so it was not sent to AWS; try again later, or tell its operator, whose log says more")
	default:
		c.fail("body", "RequestTimeout", http.StatusBadRequest, "the request's body could not be read to its end: "+err.Error())
	}
	return false
}

// noRoom tells the operator, once and now and then, that bodies cannot be kept.
func (p *Proxy) noRoom(err *fs.PathError) {
	why := fmt.Errorf("%s: %w", filepath.Dir(err.Path), err.Err) // the file has another name each time
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.full.News(why) {
		p.log.Error().Err(why).Msg("bodies that have to be hashed, of more than 1 MiB, cannot be kept there, and their calls are refused: make room (df)")
	}
}
