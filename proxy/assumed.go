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

// assumeAnswer is what STS answers.
type assumeAnswer struct {
	Result struct {
		Credentials struct {
			AccessKeyId, SecretAccessKey, SessionToken string
			Expiration                                 time.Time
		}
		AssumedRoleUser struct{ AssumedRoleId, Arn string }
		SourceIdentity  string
	} `xml:"AssumeRoleResult"`
}

// readAssumed reads an answer of AssumeRole.
func readAssumed(body []byte) (*assumeAnswer, error) {
	a := new(assumeAnswer)
	if err := xml.Unmarshal(body, a); err != nil {
		return nil, fmt.Errorf("read the answer of STS: %w", err)
	}
	if c := a.Result.Credentials; c.AccessKeyId == "" || c.SecretAccessKey == "" || c.SessionToken == "" || c.Expiration.IsZero() {
		return nil, errors.New("STS answered AssumeRole without credentials")
	}
	return a, nil
}

// rewriteAssumed is an answer of AssumeRole with another secret and another end;
// "" leaves the secret. Where the old secret would still be in it, there is none.
func rewriteAssumed(body []byte, a *assumeAnswer, secret string, expires time.Time) ([]byte, error) {
	out, err := replaceText(body, "Expiration", expires.UTC().Format(time.RFC3339))
	if err != nil || secret == "" {
		return out, err
	}
	if out, err = replaceText(out, "SecretAccessKey", secret); err != nil {
		return nil, err
	}
	again, err := readAssumed(out)
	if err != nil || again.Result.Credentials.SecretAccessKey != secret || bytes.Contains(out, []byte(a.Result.Credentials.SecretAccessKey)) {
		return nil, errors.New("the answer of STS holds its secret in more places than one")
	}
	return out, nil
}

// replaceText replaces the text of the only element of this name. text needs no
// escaping.
func replaceText(doc []byte, element, text string) ([]byte, error) {
	open, end := []byte("<"+element+">"), []byte("</"+element+">")
	i, j := bytes.Index(doc, open), bytes.Index(doc, end)
	if i < 0 || j < i || bytes.Count(doc, open) != 1 || bytes.Count(doc, end) != 1 {
		return nil, fmt.Errorf("the answer of STS has no %s, or several", element)
	}
	return slices.Concat(doc[:i+len(open)], []byte(text), doc[j:]), nil
}

// hold takes the credentials out of AWS's answer, records them, keeps them, and
// puts into the answer what the user gets. An error means that the user gets
// nothing.
func (f *flight) hold() error {
	body, err := io.ReadAll(io.LimitReader(f.answer.Body, stsAnswer))
	if err != nil {
		return fmt.Errorf("read the answer of STS: %w", err)
	}
	a, err := readAssumed(body)
	if err != nil {
		return err
	}
	given, as := a.Result.Credentials, a.Result.AssumedRoleUser
	secret := "" // AWS's
	if !f.handOut {
		secret = loopbackSecret()
	}
	body, err = rewriteAssumed(body, a, secret, earlier(given.Expiration, f.session.ExpiresAt))
	if err != nil {
		return err
	}
	x := &issued{
		Credentials: sigv4.Credentials{AccessKeyID: given.AccessKeyId, SecretAccessKey: given.SecretAccessKey, SessionToken: given.SessionToken},
		secret:      cmp.Or(secret, given.SecretAccessKey), session: f.id, roleARN: f.assumed, account: accountOf(as.Arn),
		roleSessionName: f.session.RoleSessionName, sourceIdentity: a.Result.SourceIdentity, expires: given.Expiration,
	}
	err = f.p.recorder.now(f.ctx, f.event(&events.AWSCredentialsIssued{
		AccessKeyID: x.AccessKeyID, SessionID: f.id, User: f.user, App: f.session.App, AWSRoleARN: x.roleARN, Account: x.account,
		RoleSessionName: x.roleSessionName, SourceIdentity: x.sourceIdentity, AssumedRoleID: as.AssumedRoleId,
		IssuedAt: f.p.now().UTC(), ExpiresAt: given.Expiration.UTC(), Use: "assume_role", Proxy: f.p.cfg.Name,
		HandedOut: f.handOut, RequestID: f.about.RequestID, SourceAccessKeyID: f.about.AccessKeyID, ClientAddr: f.about.ClientAddr,
	}))
	if err != nil {
		return fmt.Errorf("the issue of credentials could not be recorded, so they are not handed out: %w", err)
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
