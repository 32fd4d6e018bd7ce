package proxy_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	awssts "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

const deployRole = "arn:aws:iam::444455556666:role/deploy"

// asHelper says what a helper says of a request: the session, and whether it
// knows the key that signed it.
type asHelper struct {
	http.RoundTripper
	session string
}

func (h asHelper) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Postern-Session", h.session)
	if r.Header.Get("X-Amz-Security-Token") != "" || r.Header.Get("X-Amz-S3session-Token") != "" {
		r.Header.Set("Postern-Unverified", "1")
	}
	return h.RoundTripper.RoundTrip(r)
}

// sdk is the configuration of an AWS SDK that goes through a helper.
func (r *rig) sdk(s *events.SessionStarted, user string, creds aws.Credentials) aws.Config {
	return aws.Config{
		Region: "us-east-1", Retryer: func() aws.Retryer { return aws.NopRetryer{} },
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return creds, nil }),
		HTTPClient:  &http.Client{Transport: asHelper{r.transport(user), s.SessionID}},
	}
}

func (r *rig) assume(s *events.SessionStarted, creds aws.Credentials, change ...func(*awssts.AssumeRoleInput)) (aws.Credentials, error) {
	r.t.Helper()
	in := &awssts.AssumeRoleInput{RoleArn: aws.String(deployRole), RoleSessionName: aws.String("terraform")}
	for _, f := range change {
		f(in)
	}
	out, err := awssts.NewFromConfig(r.sdk(s, "alice", creds)).AssumeRole(r.t.Context(), in)
	if err != nil {
		return aws.Credentials{}, err
	}
	c := out.Credentials
	return aws.Credentials{AccessKeyID: *c.AccessKeyId, SecretAccessKey: *c.SecretAccessKey, SessionToken: *c.SessionToken, CanExpire: true, Expires: *c.Expiration}, nil
}

func (r *rig) get(s *events.SessionStarted, user string, creds aws.Credentials) error {
	_, err := s3.NewFromConfig(r.sdk(s, user, creds)).PutObject(r.t.Context(), &s3.PutObjectInput{Bucket: aws.String("b"), Key: aws.String("k"), Body: strings.NewReader("body")})
	return err
}

func codeOf(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode() + ": " + api.ErrorMessage()
	}
	return ""
}

// The user's own AssumeRole is the user's by name and by time, what it gives works
// through the proxy alone, and chains.
func TestAssumeRole(t *testing.T) {
	var signer string
	r := newRig(t, func(_ *proxy.Config, a *ststest.AWS) {
		a.Serve = func(_ http.ResponseWriter, _ *http.Request, k ststest.Key) { signer = k.ID + " " + k.ARN }
	})
	s := r.session(func(s *events.SessionStarted) { s.ExpiresAt = time.Now().Add(40 * time.Minute) })
	creds, err := r.assume(s, helperKey)
	if err != nil {
		t.Fatal(err)
	}
	if creds.Expires.After(s.ExpiresAt) || creds.Expires.Before(s.ExpiresAt.Add(-time.Minute)) {
		t.Errorf("they expire at %v, the session at %v", creds.Expires, s.ExpiresAt)
	}
	if err := r.get(s, "alice", creds); err != nil {
		t.Fatal(err)
	}
	if want := creds.AccessKeyID + " " + deployRole; signer != want {
		t.Errorf("AWS sees %s, want %s", signer, want)
	}
	const next = "arn:aws:iam::444455556666:role/next"
	chained, err := r.assume(s, creds, func(in *awssts.AssumeRoleInput) { in.RoleArn = aws.String(next) })
	if err != nil {
		t.Fatal(err)
	}
	if err := r.get(s, "alice", chained); err != nil || !strings.HasSuffix(signer, next) {
		t.Errorf("chained: %v, AWS sees %s", err, signer)
	}
	if got := codeOf(r.get(s, "mallory", creds)); !strings.Contains(got, "AccessDenied") {
		t.Errorf("somebody else uses them: %s", got)
	}
	forged := creds
	forged.SecretAccessKey = "guess"
	if got := codeOf(r.get(s, "alice", forged)); !strings.HasPrefix(got, "SignatureDoesNotMatch") {
		t.Errorf("signed with another secret: %s", got)
	}
	foreign := creds
	foreign.AccessKeyID = "ASIASOMEBODYSOWN0001"
	if got := codeOf(r.get(s, "alice", foreign)); !strings.HasPrefix(got, "InvalidAccessKeyId: postern: access key ASIASOMEBODYSOWN0001 is not") {
		t.Errorf("a key that the proxy does not know: %s", got)
	}
	calls := r.aws.Calls("AssumeRole")
	if len(calls) != 3 {
		t.Fatalf("%d calls", len(calls))
	}
	for _, form := range calls[1:] {
		if n := form.Get("RoleSessionName"); n != "alice" {
			t.Errorf("RoleSessionName %q", n)
		}
	}

	es := r.audit()
	issues := payloads[*events.AWSCredentialsIssued](es)
	if len(issues) != 3 {
		t.Fatalf("%d issues", len(issues))
	}
	own := issues[1]
	if own.AccessKeyID != creds.AccessKeyID || own.Use != "assume_role" || own.HandedOut || own.AWSRoleARN != deployRole || own.RoleSessionName != "alice" ||
		own.User != "alice" || own.SessionID != s.SessionID || own.SourceAccessKeyID != issues[0].AccessKeyID || issues[2].SourceAccessKeyID != own.AccessKeyID {
		t.Errorf("recorded as %+v", own)
	}
	for _, e := range payloads[*events.AWSRequestAdmitted](es) {
		switch {
		case e.Operation == "PutObject" && e.AccessKeyID == creds.AccessKeyID:
			if e.AWSRoleARN != deployRole || e.Account != "444455556666" || e.SessionID != s.SessionID || e.User != "alice" {
				t.Errorf("its request is recorded as %+v", e)
			}
		case e.AccessKeyID == own.SourceAccessKeyID && e.RequestID != own.RequestID:
			t.Errorf("the event names request %s, not %s", own.RequestID, e.RequestID)
		}
	}
	r.clean()
}

// What would make the credentials somebody else's, or nobody's, does not reach AWS.
func TestAssumeRoleRefused(t *testing.T) {
	r := newRig(t, serveNothing)
	s := r.session()
	for name, c := range map[string]struct {
		change func(*awssts.AssumeRoleInput)
		want   string
	}{
		"as somebody else": {func(in *awssts.AssumeRoleInput) { in.SourceIdentity = aws.String("bob") }, `SourceIdentity "bob" is not you`},
		"a tag of postern's": {func(in *awssts.AssumeRoleInput) {
			in.Tags = []types.Tag{{Key: aws.String("team"), Value: aws.String("a")}, {Key: aws.String("posternUser"), Value: aws.String("bob")}}
		}, `the session tag "posternUser" is postern's to set`},
	} {
		if _, err := r.assume(s, helperKey, c.change); !strings.Contains(codeOf(err), "AccessDenied: postern: "+c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	cl := r.client(s)
	for _, spelling := range []string{"&rolesessionname=bob", "&SOURCEIDENTITY=bob", "&durationSeconds=43200", "&tags.member.1.key=posternUser&tags.member.1.value=bob"} {
		body := "Action=AssumeRole&Version=2011-06-15&RoleArn=" + url.QueryEscape(deployRole) + spelling
		if resp, text := cl.do(t, cl.call(t, "sts", "POST", "https://sts.us-east-1.amazonaws.com/", body, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}})); resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d %s", spelling, resp.StatusCode, text)
		}
	}
	client := awssts.NewFromConfig(r.sdk(s, "alice", helperKey))
	if _, err := client.GetFederationToken(t.Context(), &awssts.GetFederationTokenInput{Name: aws.String("bob")}); !strings.Contains(codeOf(err), "nothing ties to you") {
		t.Errorf("GetFederationToken: %v", err)
	}
	if _, err := client.GetSessionToken(t.Context(), nil); !strings.Contains(codeOf(err), "nothing ties to you") {
		t.Errorf("GetSessionToken: %v", err)
	}
	r.emit(&events.LockPlaced{LockID: "l1", Target: events.LockTarget{Kind: "aws_role", Name: deployRole}, By: "admin", Message: "incident"})
	if _, err := r.assume(s, helperKey); !strings.Contains(codeOf(err), "incident") {
		t.Errorf("a locked role: %v", err)
	}
	if n := len(r.aws.Calls("AssumeRole")) + len(r.aws.Calls("GetSessionToken")) + len(r.aws.Calls("GetFederationToken")); n > 1 { // the proxy's own
		t.Errorf("%d calls of STS", n)
	}
	for _, d := range payloads[*events.AWSRequestDenied](r.audit()) {
		if d.Cause != "credentials" && d.Cause != "lock" {
			t.Errorf("recorded as %+v", d)
		}
	}
}

// A lock on the assumed role stops what was assumed before.
func TestAssumedRoleLocked(t *testing.T) {
	r := newRig(t, serveNothing)
	s := r.session()
	creds, err := r.assume(s, helperKey)
	if err != nil {
		t.Fatal(err)
	}
	r.emit(&events.LockPlaced{LockID: "l1", Target: events.LockTarget{Kind: "account", Name: "444455556666"}, By: "admin", Message: "incident"})
	if got := codeOf(r.get(s, "alice", creds)); !strings.Contains(got, "incident") {
		t.Errorf("after the lock: %s", got)
	}
	if err := r.get(s, "alice", helperKey); err != nil {
		t.Errorf("the session itself: %v", err)
	}
}

// Where a role allows it, what the user gets are AWS's own; where the session is
// narrowed or about to end, they are not.
func TestAssumeRoleHandedOut(t *testing.T) {
	r := newRig(t, serveNothing)
	for name, c := range map[string]struct {
		change func(*events.SessionStarted)
		want   bool
	}{
		"allowed": {func(*events.SessionStarted) {}, true},
		"narrowed": {func(s *events.SessionStarted) {
			s.Permissions = []events.Permission{{Role: "engineer", Effect: "Allow", Actions: []string{"sts:*", "s3:*"}}}
		}, false},
		"ten minutes left": {func(s *events.SessionStarted) { s.ExpiresAt = time.Now().Add(10 * time.Minute) }, false},
	} {
		s := r.session(func(s *events.SessionStarted) {
			s.RealCredentials = []string{events.CredentialAssumeRole}
			c.change(s)
		})
		creds, err := r.assume(s, helperKey)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if real := strings.HasPrefix(creds.SecretAccessKey, "secret-"); real != c.want {
			t.Errorf("%s: handed out: %v", name, real)
		}
		if err := r.get(s, "alice", creds); err != nil {
			t.Errorf("%s: through the proxy: %v", name, err)
		}
		if creds.Expires.After(s.ExpiresAt) {
			t.Errorf("%s: they outlive the session", name)
		}
	}
	r.clean()
	handed := 0
	for _, e := range payloads[*events.AWSCredentialsIssued](r.audit()) {
		if e.HandedOut {
			handed++
		}
	}
	if handed != 1 {
		t.Errorf("%d events of credentials handed out", handed)
	}
}
