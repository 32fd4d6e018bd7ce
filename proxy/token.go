package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy/awsreq"
	"github.com/posternhq/postern/proxy/sigv4"
)

// tokenLife is how long what is signed here is good for, at most: it cannot be
// called back. Kubernetes' authenticator, RDS and CodeCommit take 15 minutes
// from the time of the signature, whatever the signature says.
const tokenLife = 15 * time.Minute

// tokenRequest asks for a signature that works without postern.
type tokenRequest struct {
	SessionID string `json:"session_id"`
	// Kind is one of events.CredentialKinds.
	Kind string `json:"kind"`
	// URL is what to sign. A presigned one as an AWS client made it, whose signature
	// is replaced; of a Git repository, its own.
	URL string `json:"url"`
	// Cluster is the header x-k8s-aws-id that an EKS token covers.
	Cluster string `json:"cluster,omitempty"`
}

// tokenAnswer is the signed URL, or what Git sends in its place.
type tokenAnswer struct {
	URL       string    `json:"url,omitempty"`
	Username  string    `json:"username,omitempty"`
	Password  string    `json:"password,omitempty"`
	ExpiresAt time.Time `json:"expires_at"`
}

// token gives out a signature that works without postern: decide, sign, record,
// hand it out.
func (p *Proxy) token(w http.ResponseWriter, r *http.Request, user string) {
	var in tokenRequest
	if !read(w, r, &in) {
		return
	}
	c := p.ask(w, r, user, in.SessionID)
	wish, err := c.understand(&in)
	if err != nil {
		c.deny(denial{cause: "unsupported", status: http.StatusBadRequest, reason: err.Error()})
		return
	}
	stop, ok := c.open()
	if !ok {
		return
	}
	defer stop()
	c.name(wish)
	if at := awsreq.PartitionOf(wish.req.URL.Hostname()); c.abroad(at) {
		c.denyAbroad(at)
		return
	}
	if !slices.Contains(c.session.RealCredentials, in.Kind) {
		c.denyReal(in.Kind)
		return
	}
	d := p.grants.Check(c.id, user, wish.call, p.now())
	if !d.Allowed {
		c.denyDecision(&d)
		return
	}
	c.role, c.dryRun = d.Role(), d.DryRun(&wish.call)
	creds, expires, ok := c.credentials()
	if !ok {
		return
	}
	out, err := c.signToken(wish, creds, earlier(expires, c.session.ExpiresAt))
	if err != nil {
		c.deny(denial{cause: "signature", status: http.StatusBadRequest, reason: err.Error()})
		return
	}
	if !c.recorded(&events.AWSTokenIssued{AWSRequest: c.about, Kind: in.Kind, ExpiresAt: out.ExpiresAt, Role: c.role, DryRun: c.dryRun}) {
		return
	}
	answer(w, http.StatusOK, out)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// signToken signs so that nothing is good beyond end. Where the life is fixed,
// the signature is dated back.
func (c *call) signToken(w *wish, creds sigv4.Credentials, end time.Time) (*tokenAnswer, error) {
	at := c.p.now().Truncate(time.Second)
	life := min(tokenLife, end.Sub(at)).Truncate(time.Second)
	if life <= 0 {
		return nil, errors.New("nothing is left of the session")
	}
	if w.git {
		at = at.Add(life - tokenLife)
		return &tokenAnswer{Username: sigv4.GitUser(creds), ExpiresAt: at.Add(tokenLife).UTC(),
			Password: c.p.signer.SignGit(w.req.URL.Hostname(), w.req.URL.EscapedPath(), w.call.Region, creds, at)}, nil
	}
	expires := w.auth.Expires
	if w.auth.V2 { // names the end
		expires = w.auth.Time.Sub(at)
	}
	expires = min(expires, life)
	until := at.Add(expires)
	if w.fixed {
		if until = at.Add(life); life < tokenLife {
			at, expires = at.Add(life-tokenLife), tokenLife
		} else {
			expires = w.auth.Expires
		}
	}
	hash := ""
	if w.auth.Payload == sigv4.PayloadUndeclared {
		hash = sigv4.EmptyHash
	}
	if _, err := c.p.signer.Presign(w.req, creds, w.auth, hash, expires, at); err != nil {
		return nil, err
	}
	return &tokenAnswer{URL: "https://" + w.req.Host + w.req.URL.RequestURI(), ExpiresAt: until.UTC()}, nil
}

// denyReal answers who asks for a kind of credentials that no role allows.
func (c *call) denyReal(kind string) {
	d := denial{cause: "credentials", rule: "no role of the session has " + kind + " in real_credentials"}
	switch role := narrowed(c.session, false); {
	case role != "" && slices.Contains(c.session.RealCredentials, kind):
		d.rule = "role " + role + " narrows"
		d.reason = fmt.Sprintf("role %s narrows what this session may do, which credentials that work without postern cannot: use AWS through postern", role)
	default:
		d.reason = fmt.Sprintf("credentials that work without postern need a role with options.real_credentials: [%s], and no role of session %s has it; ask who runs postern", kind, c.id)
		if len(c.session.Requestable) > 0 {
			d.next = fmt.Sprintf(`postern request create --roles %s --reason "…"`, c.session.Requestable[0])
		}
	}
	c.deny(d)
}
