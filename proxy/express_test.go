package proxy_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

const directoryBucket = "fast--use1-az4--x-s3"

// serveExpress is a directory bucket: it gives credentials, and says which key
// signed everything else.
func serveExpress(signed *[]string) func(*proxy.Config, *ststest.AWS) {
	return func(_ *proxy.Config, a *ststest.AWS) {
		a.Serve = func(w http.ResponseWriter, r *http.Request, k ststest.Key) {
			if r.URL.RawQuery != "session=" {
				*signed = append(*signed, k.ID+" "+r.Header.Get("X-Amz-S3session-Token"))
				return
			}
			x := ststest.Key{ID: "ASIAEXPRESS", Secret: "secret-of-aws", ARN: k.ARN}
			a.Know(x)
			w.Header().Set("Content-Type", "application/xml")
			fmt.Fprintf(w, `<CreateSessionResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Credentials><SessionToken>bucket-token</SessionToken><SecretAccessKey>%s</SecretAccessKey><AccessKeyId>%s</AccessKeyId><Expiration>%s</Expiration></Credentials></CreateSessionResult>`,
				x.Secret, x.ID, time.Now().Add(5*time.Minute).UTC().Format(time.RFC3339))
		}
	}
}

// What S3 Express gives for a bucket works through the proxy alone, as the
// session's: recorded, bound to the user, and cut by locks.
func TestDirectoryBucket(t *testing.T) {
	var signed []string
	r := newRig(t, serveExpress(&signed))
	s := r.session(func(s *events.SessionStarted) { s.ExpiresAt = time.Now().Add(2 * time.Minute) })
	client := func(user string) *s3.Client { return s3.NewFromConfig(r.sdk(s, user, helperKey)) }
	out, err := client("alice").CreateSession(t.Context(), &s3.CreateSessionInput{Bucket: aws.String(directoryBucket)})
	if err != nil {
		t.Fatal(err)
	}
	given := out.Credentials
	if len(*given.SecretAccessKey) != 40 || given.Expiration.After(s.ExpiresAt) {
		t.Errorf("a secret of %d characters until %v; the session ends at %v", len(*given.SecretAccessKey), given.Expiration, s.ExpiresAt)
	}
	put := func(user string, with types.SessionCredentials) error {
		c := s3.NewFromConfig(r.sdk(s, user, helperKey), func(o *s3.Options) { o.ExpressCredentials = oneSession{with} })
		_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(directoryBucket), Key: aws.String("k"), Body: strings.NewReader("body")})
		return err
	}
	if err := put("alice", *given); err != nil || len(signed) != 1 || signed[0] != "ASIAEXPRESS bucket-token" {
		t.Errorf("%v; AWS sees %v", err, signed)
	}
	if got := codeOf(put("mallory", *given)); !strings.Contains(got, "AccessDenied") {
		t.Errorf("somebody else uses them: %s", got)
	}
	forged := *given
	forged.SecretAccessKey = aws.String("guess")
	if got := codeOf(put("alice", forged)); !strings.HasPrefix(got, "SignatureDoesNotMatch") {
		t.Errorf("signed with another secret: %s", got)
	}
	r.emit(&events.LockPlaced{LockID: "l1", Target: events.LockTarget{Kind: "session", Name: s.SessionID}, By: "admin", Message: "incident"})
	if got := codeOf(put("alice", *given)); !strings.Contains(got, "incident") {
		t.Errorf("after the lock: %s", got)
	}
	if len(signed) != 1 {
		t.Errorf("refused requests reached AWS: %v", signed)
	}

	es := r.audit()
	issues := payloads[*events.AWSCredentialsIssued](es)
	if len(issues) != 2 {
		t.Fatalf("%d issues", len(issues))
	}
	if x := issues[1]; x.AccessKeyID != "ASIAEXPRESS" || x.Bucket != directoryBucket || x.Use != "proxy" || x.HandedOut || x.SessionID != s.SessionID ||
		x.AWSRoleARN != s.AWSRoleARN || x.Account != s.Account || x.RoleSessionName != s.RoleSessionName || x.SourceAccessKeyID != issues[0].AccessKeyID {
		t.Errorf("recorded as %+v", x)
	}
	for _, e := range payloads[*events.AWSRequestAdmitted](es) {
		if e.Operation == "PutObject" && (e.AccessKeyID != "ASIAEXPRESS" || e.User != "alice" || e.AWSRoleARN != s.AWSRoleARN || e.Action != "s3express:CreateSession") {
			t.Errorf("its request is recorded as %+v", e)
		}
	}
	r.clean()
}

// Where only a host of a zone gives credentials, no other is asked for some.
func TestSessionElsewhere(t *testing.T) {
	r := newRig(t, serveNothing)
	s := r.session()
	c := r.client(s)
	resp, body := c.do(t, c.request(t, http.MethodGet, "https://"+directoryBucket+".s3.us-east-1.amazonaws.com/?session", nil))
	if resp.StatusCode != http.StatusForbidden || !strings.Contains(body, "only directory buckets") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

type oneSession struct{ types.SessionCredentials }

func (s oneSession) Retrieve(context.Context, string) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: *s.AccessKeyId, SecretAccessKey: *s.SecretAccessKey, SessionToken: *s.SessionToken, CanExpire: true, Expires: *s.Expiration}, nil
}
