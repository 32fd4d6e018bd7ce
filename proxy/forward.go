package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy/awserr"
	"github.com/posternhq/postern/proxy/grants"
	"github.com/posternhq/postern/proxy/once"
	"github.com/posternhq/postern/proxy/sigv4"
	"github.com/posternhq/postern/proxy/sts"
)

// flight is the exchange with AWS of an admitted call.
type flight struct {
	*call
	answer  *http.Response
	headed  time.Time
	written int64
	// started says that the client has been sent the answer's status.
	started atomic.Bool
	// failed says that the answer's body may name an error, said is its beginning.
	failed bool
	said   []byte
}

// forward sends the request to AWS and the answer to the client, both as they
// come, and records what became of it.
func (c *call) forward(out *http.Request) {
	f := &flight{call: c}
	rc := http.NewResponseController(c.w)
	if !c.body.whole {
		// AWS may answer before it has all of the body; HTTP/2 needs no leave.
		_ = rc.EnableFullDuplex()
	}
	// Whoever waits for the client's bytes, or for the client to take some, is
	// woken when the call is cut.
	unhook := context.AfterFunc(c.ctx, func() {
		past := time.Unix(1, 0)
		_ = rc.SetReadDeadline(past) // fails only where the connection is gone
		if f.started.Load() {
			_ = rc.SetWriteDeadline(past)
		}
	})
	once.Only(out)
	answer, err := c.p.upstreamFor(c).RoundTrip(out)
	if err == nil && answer.StatusCode < 100 { // net/http takes it, and does not pass it on
		_ = answer.Body.Close()
		err = fmt.Errorf("it answers with the status %03d", answer.StatusCode)
	}
	if err != nil {
		unhook()
		f.unanswered(err)
		return
	}
	defer answer.Body.Close()
	f.answer, f.headed, f.failed = answer, c.p.now(), mayFail(answer.StatusCode, c.about.Operation)
	c.begins(answer.StatusCode)
	if c.gives && answer.StatusCode == http.StatusOK {
		if err := f.hold(); err != nil {
			unhook()
			f.failAssumption(err)
			return
		}
	}
	if answer.StatusCode == http.StatusSwitchingProtocols {
		unhook()
		f.complete(f.switched())
		return
	}
	err = f.relay(rc)
	if !unhook() && err == nil {
		err = context.Cause(c.ctx) // it was cut at its very end
	}
	f.complete(err)
	if err != nil {
		// The client has part of an answer. Closing the connection is the one way
		// left to say that it is not all.
		panic(http.ErrAbortHandler)
	}
}

// unanswered handles the lack of an answer.
func (f *flight) unanswered(err error) {
	switch {
	case f.ctx.Err() != nil:
		what, detail := f.interruption(nil)
		f.record(&events.AWSRequestCompleted{Interrupted: what, InterruptedDetail: detail})
		if what == "client_gone" {
			panic(http.ErrAbortHandler)
		}
		f.refuse(what, detail)
	case f.body.broken.Load() != nil:
		if e, ok := errors.AsType[*sigv4.Error](*f.body.broken.Load()); ok {
			f.w.Header().Set("Connection", "close")
			f.fail("forward", e.Code(awserr.WrongSignature(f.r)), e.Status(), e.Error())
			return
		}
		f.record(&events.AWSRequestCompleted{Interrupted: "client_gone", InterruptedDetail: "the request's body broke off"})
		panic(http.ErrAbortHandler)
	case noSuchName(err):
		// No retry mends this.
		f.fail("forward", "InvalidRequest", http.StatusBadRequest, "AWS has no endpoint "+f.host.Name+" that this proxy could find: is the region right? "+err.Error())
	default:
		f.fail("forward", "ServiceUnavailable", http.StatusServiceUnavailable, "AWS could not be reached at "+f.host.Name+": "+err.Error()+sts.Advice(err))
	}
}

func noSuchName(err error) bool {
	dns, ok := errors.AsType[*net.DNSError](err)
	return ok && dns.IsNotFound
}

// refuse tells a client whose upload was cut why.
func (f *flight) refuse(what, detail string) {
	f.w.Header().Set("Connection", "close")
	e := awserr.Error{Code: awserr.AccessDenied(f.r), Message: "postern: " + detail, RequestID: f.about.RequestID}
	switch what {
	case "upstream":
		e.Code, e.Status = "ServiceUnavailable", http.StatusServiceUnavailable
	case "session_expired", "session_ended":
		// Not overHeader: what was sent to AWS the helper must not send again.
		e.Message += ". Run: postern apps login " + f.about.App
	}
	awserr.Write(f.w, f.r, e)
}

// relay copies the answer. An error means that the client did not get all of it.
func (f *flight) relay(rc *http.ResponseController) error {
	h := f.w.Header()
	for name, v := range endToEnd(f.answer.Header) {
		// S3 sends the names of user metadata in lower case, and for clients what
		// follows the prefix is a key; net/http has made them canonical.
		if strings.HasPrefix(name, "X-Amz-Meta-") {
			name = strings.ToLower(name)
		}
		h[name] = v
	}
	for _, name := range []string{"Content-Type", "Date"} {
		if _, ok := h[name]; !ok {
			h[name] = nil // or net/http would make one up
		}
	}
	announced := len(f.answer.Trailer)
	for name := range f.answer.Trailer {
		h.Add("Trailer", name)
	}
	f.started.Store(true)
	f.w.WriteHeader(f.answer.StatusCode)
	// The client of a conversation waits for the head before it says more.
	if f.answer.ContentLength < 0 && rc.Flush() != nil {
		return errClient
	}
	if err := f.copy(rc); err != nil {
		return err
	}
	for name, v := range f.answer.Trailer {
		if len(f.answer.Trailer) != announced {
			name = http.TrailerPrefix + name
		}
		h[name] = v
	}
	return nil
}

// errClient marks a failure on the client's side.
var errClient = errors.New("the client does not take the answer")

// copy streams the answer's body. It flushes whenever AWS pauses, that is after
// every read that did not fill the buffer.
func (f *flight) copy(rc *http.ResponseController) error {
	buf := f.p.buffers.Get().(*[]byte)
	defer f.p.buffers.Put(buf)
	for {
		n, err := f.answer.Body.Read(*buf)
		if n > 0 {
			if f.failed {
				f.said = append(f.said, (*buf)[:min(n, maxSaid-len(f.said))]...)
			}
			wrote, werr := f.w.Write((*buf)[:n])
			f.written += int64(wrote)
			if werr != nil {
				return errClient
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		// An answer of known length that is complete is flushed by its end.
		if n < len(*buf) && f.written != f.answer.ContentLength {
			if rc.Flush() != nil {
				return errClient
			}
		}
	}
}

// interruption says what cut the exchange short.
func (f *flight) interruption(err error) (what, detail string) {
	switch cause := context.Cause(f.ctx); cause := cause.(type) {
	case nil:
		if errors.Is(err, errClient) {
			return "client_gone", ""
		}
		return "upstream", err.Error()
	case *cutError:
		if cause.Cause() == grants.CauseEnded {
			return "session_ended", cause.Reason()
		}
		// An event that this version cannot read cuts as a lock does.
		return "lock", cause.Reason()
	default:
		switch cause {
		case errExpired:
			return "session_expired", "session " + f.id + " expired"
		case errShutdown:
			return "upstream", errShutdown.Error()
		}
		return "client_gone", ""
	}
}

// complete records an exchange that AWS answered.
func (f *flight) complete(err error) {
	h := f.answer.Header
	e := &events.AWSRequestCompleted{
		Status:        f.answer.StatusCode,
		AWSRequestID:  requestID(h),
		AWSErrorCode:  f.errorCode(),
		ResponseBytes: f.written,
		LatencyMicros: f.headed.Sub(f.about.ReceivedAt).Microseconds(),
	}
	if err != nil {
		e.Interrupted, e.InterruptedDetail = f.interruption(err)
	}
	f.record(e)
}

// requestID is the id that AWS gave to the request: S3's has a name of its own, and so
// has that of some services, Amazon Transcribe's streams among them
// (https://docs.aws.amazon.com/transcribe/latest/APIReference/API_streaming_StartStreamTranscription.html).
func requestID(h http.Header) string {
	for _, name := range [...]string{"X-Amzn-Requestid", "X-Amz-Request-Id", "X-Amzn-Request-Id"} {
		if id := h.Get(name); id != "" {
			return id
		}
	}
	return ""
}

func (f *flight) record(e *events.AWSRequestCompleted) {
	e.AWSRequest = f.about
	e.RequestBytes = f.body.count()
	e.DurationMicros = f.p.now().Sub(f.about.ReceivedAt).Microseconds()
	f.p.recorder.later(f.event(e), false)
}
