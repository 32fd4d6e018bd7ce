package proxy

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/proxy/awserr"
	"github.com/posternhq/postern/proxy/awsreq"
	"github.com/posternhq/postern/proxy/grants"
	"github.com/posternhq/postern/proxy/params"
	"github.com/posternhq/postern/proxy/sigv4"
)

// Headers by which the helper speaks to the proxy. None reaches AWS.
const (
	headerPrefix  = "Postern-"
	sessionHeader = "Postern-Session"
	hashHeader    = "Postern-Payload-Sha256"
	// chunksHeader says that signed chunks carry their SHA-256 in the place of their
	// signatures, which the helper has verified.
	chunksHeader = "Postern-Chunk-Sha256"
	// In answers, for the helper: the role to ask for, or the access request to
	// wait for, before the call is made again.
	offerHeader   = "Postern-Requestable-Role"
	pendingHeader = "Postern-Access-Request"
	// overHeader in an answer names the session that the request came by, where that
	// or the sign-in is over: the user may have another by now.
	overHeader = "Postern-Session-Over"
	// unverifiedHeader says that the helper does not know the key that signed.
	unverifiedHeader = "Postern-Unverified"
	// unsignedHeader says that there is no signature.
	unsignedHeader = "Postern-Unsigned"
)

var (
	errShutdown = errors.New("the proxy is shutting down")
	errExpired  = errors.New("the session expired")
)

// cutError is the cause of the end of a running request whose access was taken
// away.
type cutError struct{ grants.Decision }

func (e *cutError) Error() string { return e.Reason() }

// call is one request on its way.
type call struct {
	p       *Proxy
	w       http.ResponseWriter
	r       *http.Request
	ctx     context.Context // ends with the client, the session, or a lock
	about   events.AWSRequest
	user    string
	id      string // session
	hash    string // of the payload, from the helper
	path    string
	query   string
	host    awsreq.Host
	auth    *sigv4.Authorization
	session *events.SessionStarted
	cause   string // id of the event that this call rests on
	role    string
	dryRun  *events.DryRun
	params  json.RawMessage // to be recorded
	body    *body
	// own: an endpoint of the proxy's own, whose errors are not AWS's.
	own   bool
	offer []string // roles that would allow a refused call
	// unsigned: it goes to AWS as it is, without credentials.
	unsigned bool
	// unverified: the signature is to be verified here, with the secret of issued.
	unverified bool
	issued     *issued
	// declared: chunks carry their hashes in the place of their signatures.
	declared bool
	// gives tells a call whose answer has credentials in it, and handOut says that
	// the user gets them as they are, rather than ones that work through this proxy
	// alone. Credentials are of the role assumed, or of the directory bucket named.
	gives           bool
	assumed, bucket string
	handOut         bool
}

// ServeHTTP handles one request of the helper, or one to the proxy itself.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !p.handlers.enter() {
		w.Header().Set("Connection", "close")
		http.Error(w, errShutdown.Error(), http.StatusServiceUnavailable)
		return
	}
	defer p.handlers.leave()
	received := p.now()
	user, err := p.userOf(r, received)
	if r.Host == InternalHost {
		p.internal(w, r, user, err)
		return
	}
	c := &call{p: p, w: w, r: r, user: user, about: events.AWSRequest{
		RequestID: journal.NewID(), ReceivedAt: received.UTC(), User: user,
		Method: r.Method, Host: r.Host, ClientAddr: r.RemoteAddr,
		UserAgent: r.UserAgent(), Proxy: p.cfg.Name,
	}}
	if err != nil {
		if v := r.Header[sessionHeader]; len(v) == 1 {
			c.id = v[0]
		}
		w.Header().Set("Connection", "close")
		c.deny(denial{cause: "unauthenticated", reason: err.Error(), next: "postern login", over: c.id})
		return
	}
	if r.Method == http.MethodConnect {
		c.tunnel()
		return
	}
	c.serve()
}

// userOf names the user by the certificate that TLS has verified. Connections
// outlive certificates, so it is looked at again.
func (p *Proxy) userOf(r *http.Request, now time.Time) (string, error) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return "", errors.New("no client certificate")
	}
	cert := r.TLS.PeerCertificates[0]
	switch {
	case cert.Subject.CommonName == "":
		return "", errors.New("the client certificate names no user")
	case now.After(cert.NotAfter):
		return cert.Subject.CommonName, fmt.Errorf("your certificate expired at %s", cert.NotAfter.UTC().Format(time.RFC3339))
	}
	if reason := p.grants.Revoked(cert.SerialNumber.Text(16), now); reason != "" {
		return cert.Subject.CommonName, errors.New(reason)
	}
	return cert.Subject.CommonName, nil
}

// besides is what stops a call beside its session's targets: the sign-in and the
// machine by which it comes, which need not be those that started the session.
func (c *call) besides() []events.LockTarget {
	cert := c.r.TLS.PeerCertificates[0]
	out := append(c.issued.targets(), grants.Signin(cert.SerialNumber.Text(16)))
	if id := cert.Subject.SerialNumber; id != "" {
		out = append(out, grants.Device(id))
	}
	return out
}

// serve takes the call through its stages. Each stage that refuses has answered
// the client and recorded why.
func (c *call) serve() {
	if !c.parse() {
		return
	}
	ctx, cancel := context.WithCancelCause(c.r.Context())
	defer cancel(nil)
	c.ctx = ctx
	watch, d := c.p.grants.Watch(c.id, c.user, c.p.now(), func(d grants.Decision) { cancel(&cutError{d}) }, c.besides()...)
	c.know(&d)
	if watch == nil {
		c.glance()
		c.recognize()
		c.denyDecision(&d)
		return
	}
	defer watch.Stop()
	if !c.unsigned && c.abroad(c.host.Partition) {
		c.recognize()
		c.denyAbroad(c.host.Partition)
		return
	}
	if c.auth.V2 && c.host.Region == "" {
		// Signature Version 2 has no region and s3.amazonaws.com names none: most
		// likely the bucket is where the session is at home.
		c.auth.Region = c.session.Region
	}
	expiry := time.AfterFunc(c.session.ExpiresAt.Sub(c.p.now()), func() { cancel(errExpired) })
	defer expiry.Stop()

	c.body = newBody(c.r)
	defer c.body.release()
	if !c.peek() {
		return
	}
	rec := c.recognize()
	if !c.unambiguous(&rec) || !c.allowed(&rec, watch) {
		return
	}
	var creds sigv4.Credentials
	if !c.unsigned {
		var ok bool
		if creds, _, ok = c.credentials(); !ok {
			return
		}
	}
	if !c.hashBody() || !c.verify() || !c.assume(&rec) {
		return
	}
	out, err := c.sign(creds)
	if err != nil {
		c.deny(denial{cause: "signature", code: "InvalidRequest", status: http.StatusBadRequest, reason: err.Error()})
		return
	}
	// A body that had to be read may have taken long, and a lock come meanwhile.
	if d, ok := watch.Fresh(c.p.now()); !ok {
		c.denyDecision(&d)
		return
	}
	if !c.admit() {
		return
	}
	c.forward(out)
}

// unambiguous refuses what AWS might read otherwise than postern does.
func (c *call) unambiguous(rec *awsreq.Request) bool {
	if c.unsigned && bytes.Contains(c.body.head, []byte("AWSAccessKeyId=")) {
		c.deny(denial{cause: "signature", reason: "the request is signed in its body, by Signature Version 2, which postern does not take"})
		return false
	}
	if !rec.Ambiguous {
		another, ok := c.namesAnother(rec)
		if !ok {
			return false
		}
		if another {
			rec.Ambiguous, rec.Doubt = true, "names its operation several times"
		}
	}
	if rec.Ambiguous {
		c.deny(denial{cause: "signature", reason: "the request " + rec.Doubt + "; AWS and postern might read it differently"})
		return false
	}
	return true
}

// allowed decides the call, and waits where somebody has to approve it. It keeps what of
// the decision is recorded.
func (c *call) allowed(rec *awsreq.Request, watch *grants.Watch) bool {
	what := c.p.asked(rec)
	decision := c.p.grants.Check(c.id, c.user, what, c.p.now())
	if roles := decision.Approvers(&what); len(roles) > 0 {
		if !c.approved(roles, watch) {
			return false
		}
		what.Approved = true
		decision = c.p.grants.Check(c.id, c.user, what, c.p.now())
	}
	if !decision.Allowed {
		c.refused(&decision, &what)
		return false
	}
	c.role, c.dryRun = decision.Role(), decision.DryRun(&what)
	if what.Among(c.p.cfg.RecordParameters) {
		c.params = c.parameters()
	}
	return true
}

// parameters is what the call says, without secrets.
func (c *call) parameters() json.RawMessage {
	return c.p.params.Of(&params.Input{Service: c.about.Service, Operation: c.about.Operation, RawQuery: c.query,
		ContentType: c.r.Header.Get("Content-Type"), Body: c.body.text, Whole: c.body.complete})
}

// parse takes the request's head apart.
func (c *call) parse() bool {
	h := c.r.Header
	if v := h[sessionHeader]; len(v) == 1 {
		c.id = v[0]
		c.about.SessionID = v[0]
	}
	if v := h[hashHeader]; len(v) == 1 {
		c.hash = v[0]
	}
	_, c.unverified = h[unverifiedHeader]
	_, c.unsigned = h[unsignedHeader]
	_, c.declared = h[chunksHeader]
	for name := range h {
		if strings.HasPrefix(name, headerPrefix) {
			delete(h, name)
		}
	}
	dropNamed(h) // AWS does not get them, so nothing is to be decided by them
	c.path, c.query, _ = strings.Cut(c.r.RequestURI, "?")
	c.about.Path = c.path
	if !strings.HasPrefix(c.path, "/") {
		c.deny(denial{cause: "host", code: "InvalidRequest", status: http.StatusBadRequest, reason: "the request target is not a path"})
		return false
	}
	host, err := c.p.table.ParseHost(c.r.Host)
	if err != nil {
		c.deny(denial{cause: "host", reason: err.Error()})
		return false
	}
	c.host = host
	c.about.Partition, c.about.Region = host.Partition, host.Region
	c.auth, err = sigv4.Parse(c.r)
	if c.unsigned = c.unsigned && sigv4.Anonymous(c.r, err); c.unsigned {
		c.auth, err = &sigv4.Authorization{Payload: sigv4.PayloadUnsigned}, nil
	}
	if err != nil {
		d := denial{cause: "signature", reason: err.Error()}
		if e, ok := errors.AsType[*sigv4.Error](err); ok {
			if e.Service == "" {
				e.Service = host.SigningName
			}
			d.code, d.status = e.Code(awserr.WrongSignature(c.r)), e.Status()
		}
		c.deny(d)
		return false
	}
	c.about.SigningName = c.auth.Service
	if c.issued = c.p.issuedFor(c.r.Context(), c.auth); c.issued != nil {
		c.id, c.about.SessionID = c.issued.session, c.issued.session
	}
	switch {
	case c.unverified && c.issued == nil:
		c.deny(denial{cause: "signature", code: awserr.UnknownAccessKey(c.r), reason: fmt.Sprintf(
			"access key %s is not of credentials that postern gave you, or they are no longer known: assume the role again, or leave out the profile and keys that are not postern's", c.auth.AccessKeyID)})
	case c.id == "":
		c.deny(denial{cause: grants.CauseNoSession, reason: "the request names no session", next: "postern apps login"})
	case c.upgrades() && !c.upgradeable():
		c.deny(denial{cause: "unsupported", code: "NotImplemented", status: http.StatusNotImplemented, reason: "of upgrades postern carries WebSockets over HTTP/1.1"})
	default:
		return true
	}
	return false
}

// know copies what the session says into the call.
func (c *call) know(d *grants.Decision) {
	s := d.Session()
	if s == nil {
		return
	}
	c.session, c.cause = s, d.EventID()
	a := &c.about
	a.AccessRequestIDs, a.App, a.AWSRoleARN = s.RequestIDs, s.App, s.AWSRoleARN
	a.RoleSessionName, a.SourceIdentity, a.Account = s.RoleSessionName, s.SourceIdentity, s.Account
	if x := c.issued; x != nil {
		a.AWSRoleARN, a.RoleSessionName, a.SourceIdentity, a.Account = x.roleARN, x.roleSessionName, x.sourceIdentity, x.account
	}
}

// abroad tells of a partition that is not the session's. Others run it, on whom its
// credentials would be wasted and to whom they must not get.
func (c *call) abroad(partition string) bool {
	return partition != cmp.Or(c.session.Partition, "aws")
}

func (c *call) denyAbroad(partition string) {
	c.deny(denial{cause: "host", reason: fmt.Sprintf(
		"session %s on %s is of partition %s, and %s is in partition %s, where its credentials are not known: choose another region, or an app of that partition",
		c.id, c.session.App, cmp.Or(c.session.Partition, "aws"), c.about.Host, partition)})
}

// input is what the request says, as far as its head and the part of the body that
// was read do.
func (c *call) input() *awsreq.Input {
	in := &awsreq.Input{
		Method: c.r.Method, Host: &c.host, Path: c.path, RawQuery: c.query, Header: c.r.Header,
		SigningName: c.auth.Service, SigningRegion: c.auth.Region, Account: c.about.Account,
	}
	if c.body != nil {
		in.Body, in.BodyComplete = c.body.text, c.body.complete
	}
	return in
}

// recognize tells what the request asks of AWS.
func (c *call) recognize() awsreq.Request {
	rec := c.p.table.Recognize(c.input())
	a := &c.about
	a.Partition, a.Region, a.Service, a.SigningName = rec.Partition, rec.Region, rec.Service, rec.SigningName
	a.Operation, a.Action, a.AccessLevel, a.Resources = rec.Operation, rec.Action, string(rec.Strongest()), rec.Resources
	for _, also := range rec.Also {
		a.Also = append(a.Also, also.Name)
	}
	return rec
}

// asked is what a request asks of AWS, for its decision.
func (p *Proxy) asked(rec *awsreq.Request) grants.Call {
	what := grants.Call{AccessLevel: string(rec.AccessLevel), Resources: rec.Resources, Region: rec.Region, Account: rec.Account}
	if rec.ActionKnown {
		what.Action = rec.Action
	}
	unnamed := len(rec.Resources) == 0
	if unnamed && rec.ActionKnown {
		what.Services = p.table.Services(rec.Service, rec.Operation, rec.Action)
	}
	for _, a := range rec.Also {
		also := grants.Action{Name: a.Name, Level: string(a.Level)}
		if unnamed {
			also.Services = p.table.Services(rec.Service, rec.Operation, a.Name)
		}
		what.Also = append(what.Also, also)
	}
	return what
}

// admit records that the request is about to go to AWS.
func (c *call) admit() bool {
	e := events.Event{
		Meta: events.Meta{ID: journal.NewID(), CorrelationID: c.about.RequestID, CausationID: c.cause},
		Data: &events.AWSRequestAdmitted{AWSRequest: c.about, Role: c.role, DryRun: c.dryRun, Parameters: c.params},
	}
	err := c.p.recorder.now(c.ctx, e)
	c.cause = e.ID
	if err == nil && c.ctx.Err() == nil {
		return true
	}
	if c.ctx.Err() != nil {
		c.cut()
		return false
	}
	// It may still arrive, so what follows names it as its cause.
	c.fail("record", "ServiceUnavailable", http.StatusServiceUnavailable,
		"the request could not be recorded, so it was not sent to AWS; try again: "+err.Error())
	return false
}

// cut answers a call that lost its access before AWS answered.
func (c *call) cut() {
	c.w.Header().Set("Connection", "close")
	switch e := context.Cause(c.ctx); e := e.(type) {
	case *cutError:
		c.denyDecision(&e.Decision)
	default:
		switch e {
		case errExpired:
			c.deny(denial{cause: grants.CauseExpired, reason: fmt.Sprintf("session %s expired", c.id), next: "postern apps login " + c.about.App})
		case errShutdown:
			c.fail("record", "ServiceUnavailable", http.StatusServiceUnavailable, e.Error())
		default:
			c.fail("body", "RequestTimeout", http.StatusBadRequest, "the client went away before the request was sent to AWS")
		}
	}
}

func (c *call) event(data events.Payload) events.Event {
	return events.Event{Meta: events.Meta{
		ID: journal.NewID(), Time: c.p.now(), CorrelationID: c.about.RequestID, CausationID: c.cause,
	}, Data: data}
}
