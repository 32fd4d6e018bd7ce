package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/posternhq/postern/proxy/awserr"
	"github.com/posternhq/postern/proxy/once"
	"github.com/posternhq/postern/proxy/sigv4"
	"github.com/posternhq/postern/proxy/sts"
)

// sign makes the request that goes to AWS.
func (c *call) sign(creds sigv4.Credentials) (*http.Request, error) {
	r := c.r
	out := (&http.Request{
		Method: r.Method, Host: r.Host, RequestURI: r.RequestURI,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, // or Expect is not waited for
		URL:    &url.URL{Scheme: "https", Host: c.host.Addr()},
		Header: endToEnd(r.Header), ContentLength: r.ContentLength, Trailer: r.Trailer,
	}).WithContext(c.ctx)
	if r.ContentLength != 0 {
		out.Body = c.body
	} else if once.Repeats(r.Method) {
		delete(out.Header, "Content-Length") // it is not sent, and so not to be signed
	} else if _, ok := r.Header["Content-Length"]; ok {
		out.Body, out.TransferEncoding = http.NoBody, []string{"identity"} // net/http's way to send "Content-Length: 0" with any method
	}
	if c.upgrades() {
		out.Header["Connection"], out.Header["Upgrade"] = []string{"Upgrade"}, r.Header["Upgrade"]
	}
	if _, ok := r.Header["User-Agent"]; !ok {
		out.Header["User-Agent"] = nil // or net/http would send its own
	}
	if c.unsigned {
		out.RequestURI = ""
		return out, sigv4.SetTarget(out.URL, r.RequestURI)
	}
	var signed *sigv4.Authorization
	var err error
	if c.upgrades() && c.auth.Presigned {
		// Services of WebSockets read the query only, as browsers can set no header.
		signed, err = c.p.signer.Presign(out, creds, c.auth, c.hash, time.Minute, c.p.now())
	} else {
		signed, err = c.p.signer.Sign(out, creds, c.auth, c.hash, c.p.now())
	}
	if err != nil {
		return nil, err
	}
	if c.auth.Payload.Signed() {
		// Each chunk or frame of the body is signed anew as it passes. Unless it was
		// signed with issued credentials, the helper has verified the client's own
		// signatures.
		cfg := sigv4.StreamConfig{
			Sign:          &sigv4.Chain{Auth: signed, Secret: creds.SecretAccessKey},
			DecodedLength: sigv4.DecodedLength(r.Header), Keys: &c.p.signer.Keys,
		}
		cfg.Declared = c.declared && c.issued == nil && c.auth.Payload != sigv4.PayloadEvents
		if c.issued != nil {
			cfg.Verify = &sigv4.Chain{Auth: c.auth, Secret: c.issued.secret}
		}
		if c.body.reader, err = sigv4.NewStreamReader(c.body.reader, cfg); err != nil {
			return nil, err
		}
	}
	if got := out.URL.RequestURI(); !c.auth.Presigned && got != r.RequestURI {
		return nil, fmt.Errorf("the request target %.200q cannot be sent to AWS byte for byte", r.RequestURI)
	}
	return out, nil
}

// hopByHop are the headers that concern one connection only (RFC 9110, section
// 7.6.1). Expect is not among them: the wait for "100 Continue" is passed on.
var hopByHop = []string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// endToEnd copies headers without those of the connection, and without what helper and
// proxy alone say to one another: behind AWS's hosts are customers' own APIs, too.
func endToEnd(h http.Header) http.Header {
	out := make(http.Header, len(h)+2)
	for name, v := range h {
		if !strings.HasPrefix(name, headerPrefix) {
			out[name] = v
		}
	}
	dropNamed(out)
	trailers := strings.Contains(strings.ToLower(h.Get("Te")), "trailers")
	for _, name := range hopByHop {
		delete(out, name)
	}
	if trailers {
		out["Te"] = []string{"trailers"}
	}
	return out
}

// dropNamed deletes the headers that Connection names: they go no further.
func dropNamed(h http.Header) {
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = textproto.CanonicalMIMEHeaderKey(textproto.TrimString(name)); !slices.Contains(hopByHop, name) {
				delete(h, name)
			}
		}
	}
}

// credentials are those to sign with, and their end: the session's, or the user's
// own of the same session.
func (c *call) credentials() (creds sigv4.Credentials, expires time.Time, ok bool) {
	if c.issued != nil {
		c.about.AccessKeyID = c.issued.AccessKeyID
		return c.issued.Credentials, c.issued.expires, true
	}
	got, err := c.p.holder.Get(c.ctx, c.session, c.cause)
	if err != nil {
		c.failCredentials(err)
		return creds, expires, false
	}
	c.about.AccessKeyID = got.AccessKeyID
	return got.Credentials, got.Expires, true
}

// verify checks the signature of a request that the helper could not check.
func (c *call) verify() bool {
	if c.issued == nil {
		return true
	}
	err := c.p.verifier.Verify(c.r, c.auth, c.issued.secret, c.hash, c.p.now())
	if err == nil {
		return true
	}
	d := denial{cause: "signature", reason: err.Error()}
	if e, ok := errors.AsType[*sigv4.Error](err); ok {
		d.code, d.status = e.Code(awserr.WrongSignature(c.r)), e.Status()
	}
	c.deny(d)
	return false
}

// failCredentials answers a call for which there are no credentials.
func (c *call) failCredentials(err error) {
	if c.ctx.Err() != nil {
		c.cut()
		return
	}
	if e, ok := err.(*sts.Error); ok && !e.Temporary {
		c.fail("credentials", awserr.AccessDenied(c.r), http.StatusForbidden, e.Reason)
		return
	}
	c.fail("credentials", "ServiceUnavailable", http.StatusServiceUnavailable, err.Error())
}
