package proxy

import (
	"fmt"
	"net/http"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy/grants"
	"github.com/posternhq/postern/proxy/sts"
)

// unbound is why credentials are not for sessions that postern narrows.
const unbound = "credentials that work without postern cannot"

type exportRequest struct {
	SessionID string `json:"session_id"`
}

type exportAnswer struct {
	AccessKeyID     string    `json:"access_key_id"`
	SecretAccessKey string    `json:"secret_access_key"`
	SessionToken    string    `json:"session_token"`
	ExpiresAt       time.Time `json:"expires_at"`
	Notice          string    `json:"notice,omitempty"`
}

// export hands out credentials of the session's role that work without postern:
// new ones each time, whose access key id is in an event of their own. They last
// as long as the session, or an hour where postern's own are temporary.
func (p *Proxy) export(w http.ResponseWriter, r *http.Request, user string) {
	var in exportRequest
	if !read(w, r, &in) {
		return
	}
	c := p.ask(w, r, user, in.SessionID)
	c.about.Service, c.about.Operation, c.about.Action = "sts", "AssumeRole", "sts:AssumeRole"
	stop, ok := c.open()
	if !ok {
		return
	}
	defer stop()
	c.about.Resources = []string{c.session.AWSRoleARN}
	if !c.mayHave(events.CredentialExport) {
		c.denyReal(events.CredentialExport)
		return
	}
	if c.rest() < shortest {
		c.deny(denial{cause: "credentials", next: "postern apps login " + c.session.App, reason: fmt.Sprintf(
			"session %s ends in %s, and AWS issues no credentials for less than 15 minutes", c.id, c.rest().Truncate(time.Second))})
		return
	}
	d := p.grants.Check(c.id, user, grants.Call{Action: c.about.Action, Resources: c.about.Resources}, p.now())
	if !d.Allowed {
		c.denyDecision(&d)
		return
	}
	creds, err := p.holder.Export(c.ctx, c.session, c.cause, r.RemoteAddr, narrowing(c.session, unbound))
	if err != nil {
		c.failCredentials(err)
		return
	}
	if c.ctx.Err() != nil {
		c.cut()
		return
	}
	s := c.session
	x := &issued{Credentials: creds.Credentials, secret: creds.SecretAccessKey, session: c.id, roleARN: s.AWSRoleARN, account: s.Account,
		roleSessionName: s.RoleSessionName, sourceIdentity: s.SourceIdentity, expires: creds.Expires}
	if err := p.shared.leave(c.ctx, x); err != nil {
		c.fail("record", "ServiceUnavailable", http.StatusServiceUnavailable, "other proxies could not be told of it, so it is not handed out; try again: "+err.Error())
		return
	}
	p.issued.add(x)
	notice := ""
	if creds.Chained && creds.Expires.Before(s.ExpiresAt) {
		notice = "these credentials end " + sts.ChainedEnd + "; ask for new ones then"
	}
	answer(w, http.StatusOK, exportAnswer{AccessKeyID: creds.AccessKeyID, SecretAccessKey: creds.SecretAccessKey,
		SessionToken: creds.SessionToken, ExpiresAt: earlier(creds.Expires, s.ExpiresAt).UTC(), Notice: notice})
}
