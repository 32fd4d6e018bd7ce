package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/proxy/awserr"
	"github.com/posternhq/postern/proxy/datachannel"
	"github.com/posternhq/postern/proxy/grants"
)

// halfOpen is how long one end of a tunnel may go on after the other has
// finished. Nobody uses that for long: it is the time to take what is under way.
const halfOpen = time.Minute

// tunnels is what the proxy's tunnels share.
type tunnels struct {
	starts datachannel.Starts[startKey, start]
	// halfOpen is the constant, but in tests.
	halfOpen time.Duration
}

// startKey is what a tunnel can be told by. StreamUrl is in the region of the
// call that returned it.
type startKey struct{ session, region string }

// start is a call whose answer named a data channel.
type start struct {
	requestID, operation string
	cause                string // id of its admitted event
	role                 string
}

// begins remembers a call that AWS answered with a data channel.
func (c *call) begins(status int) {
	if status == http.StatusOK && datachannel.Begins(c.about.Service, c.about.Operation) {
		c.p.tunnels.starts.Add(startKey{c.id, c.about.Region},
			start{requestID: c.about.RequestID, operation: c.about.Operation, cause: c.cause, role: c.role}, c.p.now())
	}
}

// tunnel carries one data channel: bytes both ways whose TLS is between the
// client and AWS. What the call that it belongs to was permitted, it is too: a
// role need not allow ssmmessages:OpenDataChannel besides, but may deny it.
func (c *call) tunnel() {
	a := &c.about
	if v := c.r.Header[sessionHeader]; len(v) == 1 {
		c.id, a.SessionID = v[0], v[0]
	}
	if !c.parseTunnel() {
		return
	}
	ctx, cancel := context.WithCancelCause(c.r.Context())
	defer cancel(nil)
	c.ctx = ctx
	watch, d := c.p.grants.Watch(c.id, c.user, c.p.now(), func(d grants.Decision) { cancel(&cutError{d}) }, c.besides()...)
	c.know(&d)
	a.Region = c.host.Region
	if watch == nil {
		c.denyDecision(&d)
		return
	}
	defer watch.Stop()
	expiry := time.AfterFunc(c.session.ExpiresAt.Sub(c.p.now()), func() { cancel(errExpired) })
	defer expiry.Stop()

	what := grants.Call{Action: a.Action, AccessLevel: a.AccessLevel, Resources: a.Resources, Region: a.Region, Account: a.Account}
	d = c.p.grants.Check(c.id, c.user, what, c.p.now())
	if !d.Allowed && !d.Unlisted() {
		c.denyDecision(&d)
		return
	}
	c.dryRun = d.DryRunDenial(&what)
	from, ok := c.p.tunnels.starts.Take(startKey{c.id, a.Region}, c.p.now())
	if !ok {
		c.deny(denial{cause: "no_start", reason: fmt.Sprintf(
			"session %s has started nothing that has a data channel in %s in the last %v; a tunnel needs ssm:StartSession, ssm:ResumeSession or ecs:ExecuteCommand first, through this proxy",
			c.id, a.Region, datachannel.Window)})
		return
	}
	c.cause = from.cause
	if c.role = d.Role(); c.role == "" {
		c.role = from.role
	}
	t := &tunnel{call: c, from: from, cancel: cancel}
	if aws := t.open(); aws != nil {
		t.carry(aws)
	}
}

// parseTunnel makes sure of where the tunnel is to lead.
func (c *call) parseTunnel() bool {
	a := &c.about
	a.Service, a.SigningName, a.Operation = datachannel.Service, datachannel.Service, datachannel.Operation
	a.Action, a.AccessLevel, a.Resources = datachannel.Action, datachannel.AccessLevel, []string{"*"}
	refuse := func(reason string) bool {
		c.deny(denial{cause: "host", reason: reason})
		return false
	}
	if c.r.ProtoMajor != 1 {
		return refuse("tunnels take HTTP/1.1")
	}
	_, port, err := net.SplitHostPort(c.r.Host)
	if err != nil || port != "443" {
		return refuse(fmt.Sprintf("CONNECT to %q: tunnels lead to port 443", c.r.Host))
	}
	if c.host, err = c.p.table.ParseHost(c.r.Host); err != nil {
		return refuse(err.Error())
	}
	a.Partition, a.Region = c.host.Partition, c.host.Region
	switch {
	case !datachannel.Is(&c.host):
		return refuse(fmt.Sprintf("CONNECT to %q: tunnels lead to ssmmessages endpoints only; all else of AWS goes request by request", c.r.Host))
	case c.id == "":
		c.deny(denial{cause: grants.CauseNoSession, reason: "the request names no session", next: "postern apps login"})
		return false
	}
	return true
}

// tunnel is one that has been let through.
type tunnel struct {
	*call
	from           start
	cancel         context.CancelCauseFunc
	sent, received int64 // each written by one goroutine of carry
}

// endError is the cause of the end of a tunnel that one of its ends broke off.
type endError struct {
	what string // as in events
	error
}

// errOver is the cause of the end of a tunnel whose one end had said all it had
// to say and then left, with some of the other's last words, such as the
// farewells of WebSocket and TLS, still on their way to it.
var errOver = errors.New("the tunnel is over")

// end is one of a tunnel's two.
type end struct {
	net.Conn
	name     string      // as the cause of an end, in events
	finished atomic.Bool // it will send nothing more
}

// open records the tunnel and connects to AWS, in this order. nil: it came to
// nothing, and the client and the journal have been told.
func (t *tunnel) open() net.Conn {
	e := events.Event{
		Meta: events.Meta{ID: journal.NewID(), CorrelationID: t.about.RequestID, CausationID: t.cause},
		Data: &events.AWSTunnelOpened{AWSRequest: t.about, StartRequestID: t.from.requestID, StartOperation: t.from.operation, Role: t.role, DryRun: t.dryRun},
	}
	err := t.p.recorder.now(t.ctx, e)
	t.cause = e.ID
	if err != nil {
		t.cancel(&endError{"unrecorded", fmt.Errorf("the tunnel could not be recorded, so nothing was sent to AWS; try again: %w", err)})
	} else if t.ctx.Err() == nil {
		var aws net.Conn
		if aws, err = t.p.cfg.AWS.Link.Connect(t.ctx, t.r.Host); err == nil {
			return aws
		}
		t.cancel(&endError{"upstream", fmt.Errorf("AWS could not be reached at %s: %w", t.host.Name, err)})
	}
	what, detail := t.closed()
	answer := awserr.Error{Status: http.StatusForbidden, Message: "postern: " + detail, RequestID: t.about.RequestID}
	if what == "upstream" || what == "unrecorded" || what == "shutdown" {
		answer.Status = http.StatusServiceUnavailable
	}
	awserr.Write(t.w, t.r, answer)
	return nil
}

// carry takes the client's connection over and passes bytes both ways until
// both ends have finished, one has broken off, or the tunnel is cut.
func (t *tunnel) carry(aws net.Conn) {
	defer aws.Close()
	client, buffered, err := http.NewResponseController(t.w).Hijack()
	if err != nil {
		t.cancel(&endError{"client_gone", err})
		t.closed()
		return
	}
	defer client.Close()
	defer context.AfterFunc(t.ctx, func() { abort(aws); abort(client) })()
	if _, err := io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		t.cancel(&endError{"client_gone", err})
		t.closed()
		return
	}
	var wg sync.WaitGroup
	pass := func(dst, src *end, from io.Reader, count *int64) {
		if e := t.copy(dst, src, from, count); e != nil {
			t.cancel(e)
			return
		}
		if src.finished.Store(true); !dst.finished.Load() {
			e := &endError{src.name, fmt.Errorf("it had finished, and the other end had not %v later", t.p.tunnels.halfOpen)}
			timer := time.AfterFunc(t.p.tunnels.halfOpen, func() { t.cancel(e) })
			context.AfterFunc(t.ctx, func() { timer.Stop() })
		}
		// It may be gone; what it still has to say comes the other way.
		_ = dst.Conn.(interface{ CloseWrite() error }).CloseWrite()
	}
	near, far := &end{Conn: client, name: "client_gone"}, &end{Conn: aws, name: "upstream"}
	// What the client sent along with its request, nothing as a rule, was read.
	up := io.MultiReader(io.LimitReader(buffered, int64(buffered.Reader.Buffered())), client)
	wg.Go(func() { pass(far, near, up, &t.sent) })
	wg.Go(func() { pass(near, far, far, &t.received) })
	wg.Wait()
	t.closed()
}

// copy passes bytes on and counts them. An error says whose fault it is.
func (t *tunnel) copy(dst, src *end, from io.Reader, count *int64) error {
	buf := t.p.buffers.Get().(*[]byte)
	defer t.p.buffers.Put(buf)
	for {
		n, err := from.Read(*buf)
		if n > 0 {
			wrote, werr := dst.Write((*buf)[:n])
			*count += int64(wrote)
			if werr != nil && dst.finished.Load() {
				return errOver
			}
			if werr != nil {
				return &endError{dst.name, werr}
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return &endError{src.name, err}
		}
	}
}

// abort ends a connection without delivering what is still on its way: commands
// that were typed before a lock landed do not arrive after it.
func abort(c net.Conn) {
	if over, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = over.NetConn() // closing TLS in good order would wait for the peer
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// closed records what became of the tunnel.
func (t *tunnel) closed() (what, detail string) {
	what, detail = t.interruption()
	now := t.p.now()
	t.p.recorder.later(t.event(&events.AWSTunnelClosed{
		AWSRequest: t.about, StartRequestID: t.from.requestID, StartOperation: t.from.operation,
		ClosedAt: now.UTC(), SentBytes: t.sent, ReceivedBytes: t.received, DurationMicros: now.Sub(t.about.ReceivedAt).Microseconds(),
		Interrupted: what, InterruptedDetail: detail,
	}), false)
	return what, detail
}

// interruption says what cut the tunnel, nothing where both ends had finished.
func (t *tunnel) interruption() (what, detail string) {
	cause := context.Cause(t.ctx)
	if cut, ok := errors.AsType[*cutError](cause); ok {
		if cut.Cause() == grants.CauseEnded {
			return "session_ended", cut.Reason()
		}
		return "lock", cut.Reason() // an event that this version cannot read cuts as a lock does
	}
	if end, ok := errors.AsType[*endError](cause); ok {
		return end.what, end.Error()
	}
	switch {
	case cause == nil, errors.Is(cause, errOver):
		return "", ""
	case errors.Is(cause, errExpired):
		return "session_expired", "session " + t.id + " expired"
	case errors.Is(cause, errShutdown):
		return "shutdown", cause.Error()
	}
	return "client_gone", ""
}
