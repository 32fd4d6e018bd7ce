package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/posternhq/postern/proxy/once"
	"github.com/posternhq/postern/proxy/sigv4"
)

var (
	errUnknownKey  = errors.New("unknown access key")
	errNoEndpoint  = errors.New("AWS has no endpoint")
	errMisdirected = errors.New("misdirected request")
	errTarget      = errors.New("request target cannot be sent unchanged")
	errOver        = errors.New("the session is over")
	errBody        = errors.New("cannot read the request's body")
	errHeaders     = errors.New("the request's headers are longer than the postern proxy takes, 64 KiB in all")
	errForm        = errors.New("postern does not take the forms by which browsers POST files to S3 (presigned POST)")
)

// verified is a request that a session's credentials signed.
type verified struct {
	by *credential
	// unknown: nobody has verified it. It was signed with temporary credentials that
	// the proxy may have given out, and the proxy verifies it.
	unknown bool
	// unsigned: it has no signature at all, see package sigv4.
	unsigned bool
	// hash is the body's SHA-256 where it had to be computed, else "".
	hash string
	// body is the body where it had to be read for that; nil: the request's.
	body *sigv4.HashedBody
	// declared: the chunks of stream carry their hashes in the place of signatures.
	declared bool
	// stream checks, as it passes, a body that carries signatures of its own;
	// nil: there are none.
	stream *sigv4.StreamReader
	// said is the body by HTTP/2, where to close it wakes who reads; else nil.
	said io.ReadCloser
	// heard is the body as it comes from the client; nil where none is sent on as it comes.
	heard *heard
}

// heard is a client's body that remembers why it could not be read.
type heard struct {
	io.ReadCloser
	broken atomic.Pointer[error]
}

func (b *heard) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		b.broken.Store(&err)
	}
	return n, err
}

// garbled is why the client's body could not be read, nil where it could.
func (v *verified) garbled() error {
	if v == nil || v.heard == nil {
		return nil
	}
	if err := v.heard.broken.Load(); err != nil {
		return fmt.Errorf("%w: %w", errBody, *err)
	}
	return nil
}

// anew gives r to be sent anew, nil where its body has gone already.
func (v *verified) anew(r *http.Request) *http.Request {
	if v.body == nil && !once.Empty(r) {
		return nil
	}
	r = r.Clone(r.Context())
	if v.body != nil && !once.Empty(r) { // an empty one was left out
		r.Body = io.NopCloser(v.body.Reader())
	}
	return r
}

type verifiedKey struct{}

// with is r with v, for links.
func (v *verified) with(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), verifiedKey{}, v))
}

func (v *verified) close() {
	if v.body != nil {
		_ = v.body.Close() // an unlinked temporary file
	}
}

// verify checks that r was signed, for now, with credentials that this helper
// gave out, or not at all: then it is asked in the name of the first session.
// Errors are *sigv4.Error or wrap one of this file's.
func (h *Helper) verify(r *http.Request) (*verified, error) {
	a, err := sigv4.Parse(r)
	if c := h.keys.first(); err != nil && c != nil && sigv4.Anonymous(r, err) {
		return &verified{by: c, unsigned: true}, nil
	}
	if errors.Is(err, sigv4.ErrMissing) && h.isForm(r) {
		return nil, errForm
	}
	if err != nil {
		return nil, err
	}
	c := h.keys.find(a.AccessKeyID)
	if c == nil && a.SessionToken != "" {
		if c = h.keys.first(); c != nil {
			return &verified{by: c, unknown: true}, nil
		}
	}
	if c == nil {
		return nil, fmt.Errorf("%w %s", errUnknownKey, a.AccessKeyID)
	}
	v := &verified{by: c}
	switch {
	case a.Payload.Signed():
		v.declared = a.Payload != sigv4.PayloadEvents
		v.heard = &heard{ReadCloser: r.Body}
		v.stream, err = sigv4.NewStreamReader(v.heard, sigv4.StreamConfig{
			Verify:        &sigv4.Chain{Auth: a, Secret: c.secret},
			Declare:       v.declared,
			DecodedLength: sigv4.DecodedLength(r.Header),
			Keys:          &h.verifier.Keys,
		})
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errBody, err)
		}
	case a.Payload != sigv4.PayloadUndeclared:
	case r.ContentLength == 0:
		v.hash = sigv4.EmptyHash
	default:
		if v.body, err = sigv4.HashBody(r.Body, h.cfg.Dir); err != nil {
			return nil, fmt.Errorf("%w: %w", errBody, err)
		}
		v.hash = v.body.Hash
	}
	now := time.Now()
	err = h.verifier.Verify(r, a, c.secret, v.hash, now)
	if errors.Is(err, sigv4.ErrSkewed) {
		// SDKs go by AWS's clock once its answers have told them that this machine's is wrong.
		err = h.verifier.Verify(r, a, c.secret, v.hash, now.Add(time.Duration(h.ahead.Load())))
	}
	if err != nil {
		v.close()
		return nil, err
	}
	return v, nil
}

// maxAhead bounds how far AWS's clock is believed to be from ours.
const maxAhead = 24 * time.Hour

// tells notes what an answer says of AWS's clock.
func (h *Helper) tells(resp *http.Response) {
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil && time.Until(at).Abs() < maxAhead {
		h.ahead.Store(int64(time.Until(at)))
	}
}
