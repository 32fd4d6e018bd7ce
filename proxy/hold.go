package proxy

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/proxy/grants"
	"github.com/posternhq/postern/proxy/sigv4"
)

const (
	// holdFor is how long a call waits for its approval. botocore and the AWS CLI
	// give up reading after 60 s
	// (https://docs.aws.amazon.com/cli/latest/reference/#cli-read-timeout), and
	// nothing that HTTP has keeps them: neither 1xx answers nor a slow header.
	holdFor = 50 * time.Second
	// holdBytes bounds a held call's body where the client has not declared its
	// hash, and maxHolds the calls of one user that wait at a proxy.
	holdBytes = 64 << 20
	maxHolds  = 20
)

// holds counts the calls that wait, by user.
type holds struct {
	mu     sync.Mutex
	byUser map[string]int
}

func (h *holds) enter(user string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.byUser[user] >= maxHolds {
		return false
	}
	if h.byUser == nil {
		h.byUser = map[string]int{}
	}
	h.byUser[user]++
	return true
}

func (h *holds) leave(user string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.byUser[user]--; h.byUser[user] == 0 {
		delete(h.byUser, user)
	}
}

// approved waits until the call is approved, and takes the approval, which is
// good for one call. Otherwise it has answered the client. Locks on its access request
// stop the call, waiting or running.
func (c *call) approved(roles []string, watch *grants.Watch) bool {
	if !c.p.holds.enter(c.user) {
		c.deny(denial{cause: grants.CauseRule, reason: fmt.Sprintf("%d of your calls wait for their approval at this proxy already", maxHolds), next: "postern request ls"})
		return false
	}
	defer c.p.holds.leave(c.user)
	body, ok := c.bodyHash()
	if !ok {
		return false
	}
	digest := c.digest(body)
	end := time.NewTimer(c.p.cfg.HoldFor)
	defer end.Stop()
	for {
		id := c.p.grants.FindCall(c.id, digest, c.p.now())
		if id == "" {
			if id, ok = c.ask(roles, digest); !ok {
				return false
			}
		}
		if d, ok := watch.Also(events.LockTarget{Kind: "request", Name: id}, c.p.now()); !ok {
			c.denyDecision(&d)
			return false
		}
		verdict, by := c.await(id, end.C)
		rule := fmt.Sprintf("role %s wants %s approved", strings.Join(roles, ", "), cmp.Or(c.about.Action, "this call"))
		no := func(what string) bool {
			c.deny(denial{cause: grants.CauseRule, rule: rule, reason: what, pending: id, next: "postern request show " + id})
			return false
		}
		switch verdict {
		case grants.CallApproved:
			taken, err := c.take(id, digest)
			if err != nil {
				c.fail("record", "ServiceUnavailable", http.StatusServiceUnavailable, "the use of the approval could not be recorded, so the call was not sent to AWS; try again: "+err.Error())
				return false
			}
			if taken {
				c.about.AccessRequestIDs = append(slices.Clip(c.about.AccessRequestIDs), id)
				return true
			}
		case grants.CallUsed: // by the same call elsewhere: this one asks for itself
		case grants.CallDenied:
			return no(fmt.Sprintf("%s, and %s denied access request %s for it", rule, strings.Join(by, ", "), id))
		case grants.CallDropped:
			return no(fmt.Sprintf("%s, and %s took access request %s for it back", rule, strings.Join(by, ", "), id))
		case grants.CallExpired:
			return no(fmt.Sprintf("%s, and nobody decided on access request %s in time", rule, id))
		default:
			if c.ctx.Err() != nil {
				c.cut()
				return false
			}
			if verdict == "" { // nobody is asked yet
				return no(fmt.Sprintf("%s, and no broker has made access request %s of it in %v: brokers are away, or one has refused, whose log says why", rule, id, c.p.cfg.HoldFor))
			}
			return no(fmt.Sprintf("%s, and nobody has in %v: make the identical call again once access request %s is approved", rule, c.p.cfg.HoldFor, id))
		}
	}
}

// await waits for a verdict on a call, until end or the end of the call.
func (c *call) await(id string, end <-chan time.Time) (grants.Verdict, []string) {
	for {
		v, by, changed := c.p.grants.CallVerdict(id, c.p.now())
		if v != "" && v != grants.CallPending {
			return v, by
		}
		select {
		case <-changed:
		case <-end:
			return v, nil
		case <-c.ctx.Done():
			return v, nil
		}
	}
}

// ask records durably that the call waits. The broker makes an access request
// of it.
func (c *call) ask(roles []string, digest string) (id string, ok bool) {
	e := c.event(&events.AWSCallHeld{
		AWSRequest: c.about, AccessRequestID: journal.NewID(), Digest: digest, Roles: roles, Parameters: string(c.parameters()),
	})
	held := e.Data.(*events.AWSCallHeld)
	if err := c.p.recorder.now(c.ctx, e); err != nil {
		if c.ctx.Err() != nil {
			c.cut()
		} else {
			c.fail("record", "ServiceUnavailable", http.StatusServiceUnavailable, "the call needs an approval, which could not be asked for; try again: "+err.Error())
		}
		return "", false
	}
	return held.AccessRequestID, true
}

// take uses an approval up: the first event on its channel is the only one, so
// one call alone is let through, whichever proxy holds it.
func (c *call) take(id, digest string) (bool, error) {
	e := c.event(&events.AWSCallReleased{AWSRequest: c.about, AccessRequestID: id, Digest: digest})
	_, err := c.p.journal.AppendIf(c.ctx, 0, e)
	if err != nil && !errors.Is(err, journal.ErrConflict) {
		return false, err
	}
	c.p.grants.CallMade(id)
	if err == nil {
		c.cause = e.ID
	}
	return err == nil, nil
}

// bodyHash is the hash of the whole body: declared, which AWS checks, or read.
func (c *call) bodyHash() (string, bool) {
	switch {
	case c.auth.Payload == sigv4.PayloadHashed:
		return c.auth.PayloadHash, true
	case c.auth.Payload == sigv4.PayloadEvents:
		c.deny(denial{cause: grants.CauseRule, reason: "a stream of events cannot be approved before it is sent"})
		return "", false
	case c.r.ContentLength > holdBytes:
		c.deny(denial{cause: grants.CauseRule, reason: fmt.Sprintf("a call that needs an approval can have a body of %d MiB at most, unless its hash is declared", holdBytes>>20)})
		return "", false
	case c.hash != "" && c.auth.Payload == sigv4.PayloadUndeclared: // what AWS does not check is anybody's word
		return c.hash, true
	}
	if !c.readBody() {
		return "", false
	}
	return c.body.spilled.Hash, true
}

// signing are the parts of a presigned query and the headers that change with
// every signature, and say nothing about the call.
var signing = []string{
	"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-Signedheaders", "X-Amz-Signature", "X-Amz-Security-Token", "X-Amz-S3session-Token",
	"X-Amz-Content-Sha256", "X-Amz-User-Agent", "X-Amzn-Trace-Id",
}

// said are the headers that say something about the call, besides X-Amz-* and X-Amzn-*.
var said = []string{
	"Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Type", "Expires", "Range",
	"If-Match", "If-Modified-Since", "If-None-Match", "If-Unmodified-Since",
	// Parameters of single operations, by the service models of botocore 1.43 (Apache-2.0), and
	// which API is invoked.
	"Allow-Revert", "Authentication", "Content-Range", "Description", "Grafana-Token", "Graphidentifier", "Inputsource", "Instance-Id",
	"Latest-Version-Number", "Match-For-Version-Type", "Mcp-Protocol-Version", "Mcp-Session-Id", "Response-Content-Type", "Responsecontenttype",
	"Staging", "Uniqueids", "Useclientcertificateocspendpoint", "Versionlabel", "X-Apigw-Api-Id",
}

// digest is what an approval is bound to: role and session name at AWS, method,
// host, path, query, the headers that say something, and the body.
func (c *call) digest(body string) string {
	h := sha256.New()
	line := func(fields ...string) { fmt.Fprintf(h, "%q\n", fields) }
	line("postern held call 1", c.about.AWSRoleARN, c.about.RoleSessionName)
	line(c.r.Method, c.host.Name, c.path)
	for _, part := range strings.Split(c.query, "&") {
		name, _, _ := strings.Cut(part, "=")
		if plain, err := url.QueryUnescape(name); err == nil && slices.Contains(signing, http.CanonicalHeaderKey(plain)) {
			continue
		}
		line("query", part)
	}
	names := make([]string, 0, len(c.r.Header))
	for name := range c.r.Header {
		amz := strings.HasPrefix(name, "X-Amz-") || strings.HasPrefix(name, "X-Amzn-")
		if slices.Contains(said, name) || amz && !slices.Contains(signing, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		line(append([]string{"header", name}, c.r.Header[name]...)...)
	}
	line("body", body)
	return hex.EncodeToString(h.Sum(nil))
}
