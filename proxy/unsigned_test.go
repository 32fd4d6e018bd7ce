package proxy_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

// Operations that AWS takes without a signature go to AWS without one, decided
// and recorded as all others; what is signed in whatever other way does not.
func TestUnsigned(t *testing.T) {
	var seen []string
	r := newRig(t, func(_ *proxy.Config, a *ststest.AWS) {
		a.Lax = true
		a.Serve = func(w http.ResponseWriter, r *http.Request, _ ststest.Key) {
			b, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			for name := range r.Header {
				if name == "Authorization" || strings.HasPrefix(name, "Postern-") || strings.Contains(name, "Token") {
					t.Errorf("AWS gets the header %s", name)
				}
			}
			seen = append(seen, r.Method+" "+r.Host+r.RequestURI+" "+string(b))
			w.Header().Set("X-Amzn-Requestid", "id-of-aws")
		}
	})
	s := r.session(func(s *events.SessionStarted) {
		s.Permissions = []events.Permission{{Role: "engineer", Effect: "Allow"}, {Role: "engineer", Effect: "Deny", Actions: []string{"cognito-idp:SignUp"}}}
	})
	cl := r.client(s)
	call := func(method, url, target, body string, change ...func(*http.Request)) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Postern-Session", s.SessionID)
		req.Header.Set("Postern-Unsigned", "1")
		if target != "" {
			req.Header.Set("X-Amz-Target", target)
			req.Header.Set("Content-Type", "application/x-amz-json-1.1")
		} else if body != "" {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		for _, f := range change {
			f(req)
		}
		resp, text := cl.do(t, req)
		return resp.StatusCode, text
	}
	const cognito, s3 = "https://cognito-idp.us-east-1.amazonaws.com/", "https://b.s3.us-east-1.amazonaws.com/"
	const prefix = "AWSCognitoIdentityProviderService."
	for _, c := range []struct{ method, url, target, body string }{
		{"POST", cognito, prefix + "InitiateAuth", `{"ClientId":"c"}`},
		{"GET", s3 + "a%20public/key+%C3%A9?versionId=v", "", ""},
	} {
		if status, text := call(c.method, c.url, c.target, c.body); status != http.StatusOK {
			t.Errorf("%s: %d %s", c.url, status, text)
		}
	}
	sts := "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn:aws:iam::1:role/r&RoleSessionName=x&WebIdentityToken=t"
	for what, c := range map[string]struct {
		method, url, target, body, want string
		change                          func(*http.Request)
	}{
		"a role denies it":        {"POST", cognito, prefix + "SignUp", "{}", "role engineer denies cognito-idp:SignUp", nil},
		"credentials of nobody's": {"POST", "https://sts.us-east-1.amazonaws.com/", "", sts, "sts:AssumeRoleWithWebIdentity hands out credentials", nil},
		"a bearer token":          {"GET", s3 + "k", "", "", "unset it (AWS_BEARER_TOKEN_BEDROCK", func(r *http.Request) { r.Header.Set("Authorization", "Bearer t0ken") }},
		"version 2 in the query":  {"GET", "https://sdb.amazonaws.com/?Action=ListDomains&AWSAccessKeyId=AKIA&Signature=x", "", "", "is not signed", nil},
		"version 2 in the body":   {"POST", "https://sdb.amazonaws.com/", "", "Action=ListDomains&AWSAccessKeyId=AKIA&Signature=x", "Signature Version 2", nil},
		"a form for S3":           {"POST", s3, "", "x", "is not signed", func(r *http.Request) { r.Header.Set("Content-Type", "multipart/form-data; boundary=b") }},
		"a session token":         {"GET", s3 + "k", "", "", "is not signed", func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "t") }},
		"no word of the helper's": {"GET", s3 + "k", "", "", "is not signed", func(r *http.Request) { r.Header.Del("Postern-Unsigned") }},
	} {
		var change []func(*http.Request)
		if c.change != nil {
			change = append(change, c.change)
		}
		if status, text := call(c.method, c.url, c.target, c.body, change...); status < 400 || status >= 500 || !strings.Contains(text, c.want) {
			t.Errorf("%s: %d %s", what, status, text)
		}
	}
	want := []string{"POST cognito-idp.us-east-1.amazonaws.com/ " + `{"ClientId":"c"}`, "GET b.s3.us-east-1.amazonaws.com/a%20public/key+%C3%A9?versionId=v "}
	if strings.Join(seen, "\n") != strings.Join(want, "\n") {
		t.Errorf("AWS sees %q", seen)
	}
	es := r.audit()
	admitted := payloads[*events.AWSRequestAdmitted](es)
	if len(admitted) != 2 || admitted[0].Action != "cognito-idp:InitiateAuth" || admitted[0].AccessKeyID != "" || admitted[0].User != "alice" || admitted[1].Action != "s3:GetObjectVersion" {
		t.Errorf("admitted %+v", admitted)
	}
	if done := payloads[*events.AWSRequestCompleted](es); len(done) != 2 || done[0].AWSRequestID != "id-of-aws" {
		t.Errorf("completed %+v", done)
	}
	denied := payloads[*events.AWSRequestDenied](es)
	if all := shown(denied); !slices.ContainsFunc(denied, func(d *events.AWSRequestDenied) bool {
		return d.Cause == "signature" && d.User == "alice" && strings.Contains(d.Reason, `"Bearer"`)
	}) || strings.Contains(all, "t0ken") {
		t.Errorf("denied %s", all)
	}
	if n := len(r.aws.Calls("AssumeRole")); n != 0 {
		t.Errorf("%d roles assumed for what needs none", n)
	}
}
