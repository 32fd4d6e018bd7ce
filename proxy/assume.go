package proxy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy/awsreq"
	"github.com/posternhq/postern/proxy/grants"
	"github.com/posternhq/postern/proxy/sigv4"
)

const (
	// shortest is the least that STS issues, byDefault what it issues unasked
	// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html).
	shortest  = 15 * time.Minute
	byDefault = time.Hour
	// stsAnswer bounds an answer of STS, in bytes.
	stsAnswer = 64 << 10
)

// assume prepares a call of STS that hands out credentials. AssumeRole is bound
// to the user and to the session's end. All other calls that hand some out are
// refused: nothing would tie their credentials to the user.
// What S3 Express gives for a directory bucket works through this proxy alone.
func (c *call) assume(rec *awsreq.Request) bool {
	if rec.Operation == "CreateSession" && rec.Service == "s3" {
		if c.host.S3 != awsreq.S3Express {
			c.deny(denial{cause: "credentials", reason: "only directory buckets, at the hosts of their zones, have sessions"})
			return false
		}
		c.gives, c.assumed, c.bucket = true, c.about.AWSRoleARN, c.host.Bucket
		delete(c.r.Header, "Accept-Encoding") // the answer is to be read here
		return true
	}
	if rec.Service != "sts" {
		return true
	}
	switch rec.Operation {
	case "GetCallerIdentity", "GetAccessKeyInfo", "DecodeAuthorizationMessage":
		return true
	case "AssumeRole":
	default:
		c.deny(denial{cause: "credentials", reason: fmt.Sprintf("sts:%s hands out credentials that nothing ties to you; sts:AssumeRole does", rec.Operation)})
		return false
	}
	form, err := c.assumeForm()
	if err == nil {
		err = c.pin(form)
	}
	if err != nil {
		c.deny(denial{cause: "credentials", reason: err.Error()})
		return false
	}
	if !c.unlocked(form.Get("RoleArn")) {
		return false
	}
	c.gives, c.assumed = true, form.Get("RoleArn")
	c.handOut = c.mayHave(events.CredentialAssumeRole) && c.rest() >= shortest
	c.replaceBody(form.Encode())
	return true
}

// assumeForm reads the call's parameters where they can be written anew.
func (c *call) assumeForm() (url.Values, error) {
	media, _, _ := strings.Cut(c.r.Header.Get("Content-Type"), ";")
	if c.r.Method != http.MethodPost || c.query != "" || c.auth.Presigned || !c.body.whole ||
		strings.TrimSpace(media) != "application/x-www-form-urlencoded" {
		return nil, errors.New("postern writes your name into AssumeRole, and can do so only where it is a POST with its parameters in the body, signed in the header")
	}
	form, err := url.ParseQuery(string(c.body.head))
	if err != nil {
		return nil, fmt.Errorf("the parameters of AssumeRole cannot be read: %w", err)
	}
	for name, v := range form {
		if len(v) > 1 {
			return nil, fmt.Errorf("the parameter %s of AssumeRole stands there twice", name)
		}
		for _, own := range [...]string{"RoleArn", "RoleSessionName", "SourceIdentity", "DurationSeconds"} {
			if name != own && strings.EqualFold(name, own) { // STS might take it for the one that is pinned
				return nil, fmt.Errorf("the parameter %.40q of AssumeRole is called %s", name, own)
			}
		}
	}
	return form, nil
}

// pin binds an AssumeRole to the user and to the session's end.
func (c *call) pin(form url.Values) error {
	s := c.session
	form.Set("RoleSessionName", s.RoleSessionName)
	who := s.SourceIdentity
	if who == "" {
		who = s.RoleSessionName
	}
	if v := form.Get("SourceIdentity"); v != "" && v != who {
		return fmt.Errorf("SourceIdentity %q is not you: leave it out, or say %q", v, who)
	}
	for name := range form {
		low := strings.ToLower(name)
		if strings.HasPrefix(low, "tags.") && strings.HasSuffix(low, ".key") && len(form.Get(name)) >= 7 && strings.EqualFold(form.Get(name)[:7], "postern") {
			return fmt.Errorf("the session tag %q is postern's to set", form.Get(name))
		}
	}
	asked := byDefault
	if v := form.Get("DurationSeconds"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			return nil // STS says what is wrong with it
		}
		asked = time.Duration(n) * time.Second
	}
	if asked > c.rest() {
		form.Set("DurationSeconds", strconv.Itoa(int(max(shortest, c.rest().Truncate(time.Second))/time.Second)))
	}
	return nil
}

// rest is how long the session lasts.
func (c *call) rest() time.Duration { return c.session.ExpiresAt.Sub(c.p.now()) }

// mayHave tells whether a role lets the user have real credentials of a kind.
// Those that carry all of the IAM role's power are not for sessions that postern
// narrows.
func (c *call) mayHave(kind string) bool {
	return slices.Contains(c.session.RealCredentials, kind) && narrowed(c.session, false) == ""
}

// unlocked answers a call for a role that is locked.
func (c *call) unlocked(roleARN string) bool {
	x := &issued{roleARN: roleARN, account: accountOf(roleARN)}
	w, d := c.p.grants.Watch(c.id, c.user, c.p.now(), func(grants.Decision) {}, x.targets()...)
	if w == nil {
		c.denyDecision(&d)
		return false
	}
	w.Stop()
	return true
}

// accountOf is the account in an ARN, "" if there is none.
func accountOf(arn string) string {
	if parts := strings.SplitN(arn, ":", 6); len(parts) == 6 {
		return parts[4]
	}
	return ""
}

// replaceBody puts another body in the place of the client's, which was read.
func (c *call) replaceBody(text string) {
	b := []byte(text)
	sum := sha256.Sum256(b)
	auth := *c.auth
	auth.Payload = sigv4.PayloadUndeclared
	c.auth, c.hash = &auth, hex.EncodeToString(sum[:])
	c.body.head, c.body.reader = b, bytes.NewReader(b)
	h := c.r.Header
	c.r.ContentLength, h["Content-Length"] = int64(len(b)), []string{strconv.Itoa(len(b))}
	// The answer is to be read here: XML, as it is.
	for _, name := range []string{"X-Amz-Content-Sha256", "Content-Md5", "Accept", "Accept-Encoding", "Expect"} {
		delete(h, name)
	}
}
