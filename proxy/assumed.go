package proxy

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy/sigv4"
)

// given is what AWS answers where it gives credentials: AssumeRoleResult of STS,
// CreateSessionResult of S3 Express.
type given struct {
	Credentials struct {
		AccessKeyId, SecretAccessKey, SessionToken string
		Expiration                                 time.Time
	}
	AssumedRoleUser struct{ AssumedRoleId, Arn string }
	SourceIdentity  string
}

// readGiven reads an answer of AssumeRole or CreateSession.
func readGiven(body []byte) (*given, error) {
	var doc struct {
		given
		Result *given `xml:"AssumeRoleResult"`
	}
	if err := xml.Unmarshal(body, &doc); err != nil {
		return nil, fmt.Errorf("read AWS's answer: %w", err)
	}
	a := &doc.given
	if doc.Result != nil {
		a = doc.Result
	}
	if c := a.Credentials; c.AccessKeyId == "" || c.SecretAccessKey == "" || c.SessionToken == "" || c.Expiration.IsZero() {
		return nil, errors.New("AWS's answer has no credentials")
	}
	return a, nil
}

// rewriteGiven is such an answer with another secret, another session token and
// another end; "" leaves secret and token. Where the old ones would still be in it,
// there is none.
func rewriteGiven(body []byte, a *given, secret, token string, expires time.Time) ([]byte, error) {
	out, err := replaceText(body, "Expiration", expires.UTC().Format(time.RFC3339))
	if err != nil || secret == "" {
		return out, err
	}
	if out, err = replaceText(out, "SecretAccessKey", secret); err != nil {
		return nil, err
	}
	if out, err = replaceText(out, "SessionToken", token); err != nil {
		return nil, err
	}
	again, err := readGiven(out)
	if err != nil || again.Credentials.SecretAccessKey != secret || again.Credentials.SessionToken != token ||
		bytes.Contains(out, []byte(a.Credentials.SecretAccessKey)) || bytes.Contains(out, []byte(a.Credentials.SessionToken)) {
		return nil, errors.New("AWS's answer holds its secret in more places than one")
	}
	return out, nil
}

// replaceText replaces the text of the only element of this name. text needs no
// escaping.
func replaceText(doc []byte, element, text string) ([]byte, error) {
	open, end := []byte("<"+element+">"), []byte("</"+element+">")
	i, j := bytes.Index(doc, open), bytes.Index(doc, end)
	if i < 0 || j < i || bytes.Count(doc, open) != 1 || bytes.Count(doc, end) != 1 {
		return nil, fmt.Errorf("AWS's answer has no %s, or several", element)
	}
	return slices.Concat(doc[:i+len(open)], []byte(text), doc[j:]), nil
}

// hold takes the credentials out of AWS's answer, records them, keeps them, and
// puts into the answer what the user gets. An error means that the user gets
// nothing.
func (f *flight) hold() error {
	body, err := io.ReadAll(io.LimitReader(f.answer.Body, stsAnswer))
	if err != nil {
		return fmt.Errorf("read AWS's answer: %w", err)
	}
	a, err := readGiven(body)
	if err != nil {
		return err
	}
	secret, token := "", "" // AWS's
	if !f.handOut {
		secret = loopbackSecret()
	}
	keys := a.Credentials
	x := &issued{
		Credentials: sigv4.Credentials{AccessKeyID: keys.AccessKeyId, SecretAccessKey: keys.SecretAccessKey, SessionToken: keys.SessionToken, S3Session: f.bucket != ""},
		secret:      cmp.Or(secret, keys.SecretAccessKey), session: f.id, roleARN: f.assumed, expires: keys.Expiration,
	}
	use := "assume_role"
	if f.bucket != "" { // the role stays, whichever it is
		use = "proxy"
		x.account, x.roleSessionName, x.sourceIdentity = f.about.Account, f.about.RoleSessionName, f.about.SourceIdentity
	} else {
		x.account, x.roleSessionName, x.sourceIdentity = accountOf(a.AssumedRoleUser.Arn), f.session.RoleSessionName, a.SourceIdentity
	}
	if !f.handOut {
		if token, err = f.p.tickets.seal(x); err != nil {
			return err
		}
	}
	body, err = rewriteGiven(body, a, secret, token, earlier(keys.Expiration, f.session.ExpiresAt))
	if err != nil {
		return err
	}
	var dry *events.DryRun
	if f.handOut {
		dry = narrowing(f.session, unbound)
	}
	err = f.p.recorder.now(f.ctx, f.event(&events.AWSCredentialsIssued{
		AccessKeyID: x.AccessKeyID, SessionID: f.id, User: f.user, App: f.session.App, AWSRoleARN: x.roleARN, Account: x.account,
		RoleSessionName: x.roleSessionName, SourceIdentity: x.sourceIdentity, AssumedRoleID: a.AssumedRoleUser.AssumedRoleId,
		IssuedAt: f.p.now().UTC(), ExpiresAt: keys.Expiration.UTC(), Use: use, Proxy: f.p.cfg.Name,
		HandedOut: f.handOut, Bucket: f.bucket, RequestID: f.about.RequestID, SourceAccessKeyID: f.about.AccessKeyID, ClientAddr: f.about.ClientAddr, DryRun: dry,
	}))
	if err != nil {
		return fmt.Errorf("the issue of credentials could not be recorded, so they are not handed out: %w", err)
	}
	if f.handOut {
		if err := f.p.shared.leave(f.ctx, x); err != nil {
			return fmt.Errorf("other proxies could not be told of the credentials, so they are not handed out: %w", err)
		}
	}
	f.p.issued.add(x)
	f.answer.Body = io.NopCloser(bytes.NewReader(body))
	f.answer.ContentLength = int64(len(body))
	f.answer.Header.Set("Content-Length", strconv.Itoa(len(body)))
	return nil
}

// loopbackSecret has the form of a secret access key: 40 characters of base64.
func loopbackSecret() string {
	var b [30]byte
	rand.Read(b[:]) // never fails (crypto/rand, Go 1.24)
	return base64.StdEncoding.EncodeToString(b[:])
}

// failAssumption answers a call whose credentials the user does not get.
func (f *flight) failAssumption(err error) {
	if f.ctx.Err() != nil {
		what, detail := f.interruption(nil)
		f.record(&events.AWSRequestCompleted{Status: f.answer.StatusCode, Interrupted: what, InterruptedDetail: detail})
		f.refuse(what, detail)
		return
	}
	f.fail("forward", "ServiceUnavailable", http.StatusServiceUnavailable, err.Error())
}
