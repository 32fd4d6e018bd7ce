package simaws

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"errors"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
)

func apiCode(err error) string {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode()
	}
	if err != nil {
		return "no API error: " + err.Error()
	}
	return ""
}

func (f *fixture) assume(t *testing.T, in *sts.AssumeRoleInput) *sts.AssumeRoleOutput {
	t.Helper()
	out, err := sts.NewFromConfig(f.aws()).AssumeRole(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func credsOf(c *types.Credentials) []string {
	return []string{*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken}
}

// TestAssumeRole follows a session from AssumeRole to its record.
func TestAssumeRole(t *testing.T) {
	f := newSim(t, nil)
	out := f.assume(t, &sts.AssumeRoleInput{RoleArn: aws.String(testRole), RoleSessionName: aws.String("alice@example.com"),
		SourceIdentity: aws.String("alice"), DurationSeconds: aws.Int32(900), Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("blue")}}})
	if got := time.Until(*out.Credentials.Expiration); got > 15*time.Minute || got < 14*time.Minute {
		t.Errorf("expires in %s, asked for 15m", got)
	}
	me, err := sts.NewFromConfig(f.aws(credsOf(out.Credentials)...)).GetCallerIdentity(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	arn := "arn:aws:sts::111122223333:assumed-role/Reader/alice@example.com"
	if *me.Arn != arn || *me.Account != testAccount || !strings.HasPrefix(*me.UserId, "AROA") || !strings.HasSuffix(*me.UserId, ":alice@example.com") {
		t.Errorf("caller %s %s %s", *me.Arn, *me.Account, *me.UserId)
	}
	id, _ := awsmiddleware.GetRequestIDMetadata(me.ResultMetadata)
	rec := f.record(t, id)
	role := f.iam.role(testRole)
	want := map[string]any{
		"type": "AssumedRole", "principalId": role.ID + ":alice@example.com", "arn": arn, "accountId": testAccount, "accessKeyId": *out.Credentials.AccessKeyId,
		"sessionContext": map[string]any{
			"sessionIssuer":  map[string]any{"type": "Role", "principalId": role.ID, "arn": testRole, "accountId": testAccount, "userName": "Reader"},
			"attributes":     map[string]any{"creationDate": at(rec, "userIdentity", "sessionContext", "attributes", "creationDate"), "mfaAuthenticated": "false"},
			"sourceIdentity": "alice",
		},
	}
	if diff := cmp.Diff(want, rec["userIdentity"]); diff != "" {
		t.Error(diff)
	}
	id, _ = awsmiddleware.GetRequestIDMetadata(out.ResultMetadata)
	rec = f.record(t, id)
	for path, want := range map[string]any{
		"eventName": "AssumeRole", "eventSource": "sts.amazonaws.com", "awsRegion": "us-east-1", "eventVersion": "1.11", "eventType": "AwsApiCall",
		"eventCategory": "Management", "recipientAccountId": testAccount, "managementEvent": true,
		"userIdentity.type": "IAMUser", "userIdentity.userName": "postern", "userIdentity.accessKeyId": f.key.ID,
		"requestParameters.roleArn": testRole, "requestParameters.roleSessionName": "alice@example.com", "requestParameters.sourceIdentity": "alice",
		"responseElements.credentials.accessKeyId": *out.Credentials.AccessKeyId, "tlsDetails.clientProvidedHostHeader": "sts.us-east-1.amazonaws.com",
	} {
		if got := at(rec, strings.Split(path, ".")...); got != want {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
	raw, _ := json.Marshal(f.records(t))
	if strings.Contains(string(raw), *out.Credentials.SecretAccessKey) || strings.Contains(string(raw), *out.Credentials.SessionToken) {
		t.Error("a secret is in the trail")
	}
}

func TestAssumeRoleRefusals(t *testing.T) {
	f := newSim(t, nil)
	put := func(name, trust string) string {
		arn := "arn:aws:iam::" + otherAccount + ":role/" + name
		if err := f.PutRole(Role{ARN: arn, TrustPolicy: trust}); err != nil {
			t.Fatal(err)
		}
		return arn
	}
	const head = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole",`
	user := `"Principal":{"AWS":"arn:aws:iam::111122223333:user/postern"}`
	plain := put("Plain", head+user+`}]}`)
	external := put("External", head+user+`,"Condition":{"StringEquals":{"sts:ExternalId":"s3kr1t"}}}]}`)
	stranger := put("Stranger", head+`"Principal":{"AWS":"arn:aws:iam::999900001111:root"}}]}`)
	denied := put("Denied", strings.Replace(trustAccount, `[{"Effect"`, `[{"Effect":"Deny","Principal":"*","Action":"sts:*","Condition":{"StringLike":{"sts:RoleSessionName":"mallory*"}}},{"Effect"`, 1))
	onlyRole := put("OnlyReader", head+`"Principal":{"AWS":"`+testRole+`"}}]}`)

	reader := f.assume(t, &sts.AssumeRoleInput{RoleArn: aws.String(testRole), RoleSessionName: aws.String("alice"), SourceIdentity: aws.String("alice"),
		Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("blue")}}})
	session := credsOf(reader.Credentials)
	wrong := "User: arn:aws:iam::111122223333:user/postern is not authorized to perform: "

	for _, tc := range []struct {
		name    string
		creds   []string
		in      sts.AssumeRoleInput
		code    string
		message string
	}{
		{"trusted user", nil, sts.AssumeRoleInput{RoleArn: &plain}, "", ""},
		{"untrusted account", nil, sts.AssumeRoleInput{RoleArn: &stranger}, "AccessDenied", wrong + "sts:AssumeRole on resource: " + stranger},
		{"no such role", nil, sts.AssumeRoleInput{RoleArn: aws.String(plain + "X")}, "AccessDenied", wrong + "sts:AssumeRole on resource: " + plain + "X"},
		{"external id missing", nil, sts.AssumeRoleInput{RoleArn: &external}, "AccessDenied", "sts:AssumeRole"},
		{"external id wrong", nil, sts.AssumeRoleInput{RoleArn: &external, ExternalId: aws.String("other")}, "AccessDenied", "sts:AssumeRole"},
		{"external id right", nil, sts.AssumeRoleInput{RoleArn: &external, ExternalId: aws.String("s3kr1t")}, "", ""},
		{"tags without TagSession", nil, sts.AssumeRoleInput{RoleArn: &plain, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}, "AccessDenied", wrong + "sts:TagSession on resource: " + plain},
		{"source identity without SetSourceIdentity", nil, sts.AssumeRoleInput{RoleArn: &plain, SourceIdentity: aws.String("alice")}, "AccessDenied", wrong + "sts:SetSourceIdentity on resource: " + plain},
		{"explicit deny", nil, sts.AssumeRoleInput{RoleArn: &denied, RoleSessionName: aws.String("mallory1")}, "AccessDenied", "sts:AssumeRole"},
		{"explicit deny of another", nil, sts.AssumeRoleInput{RoleArn: &denied}, "", ""},
		{"user where a role is trusted", nil, sts.AssumeRoleInput{RoleArn: &onlyRole}, "AccessDenied", "sts:AssumeRole"},
		{"role session, carrying a source identity that is not allowed", session, sts.AssumeRoleInput{RoleArn: &onlyRole}, "AccessDenied", "sts:SetSourceIdentity"},
		{"source identity changed in a chain", session, sts.AssumeRoleInput{RoleArn: aws.String(testRole), SourceIdentity: aws.String("bob")}, "AccessDenied", "sts:SetSourceIdentity"},
		{"chained", session, sts.AssumeRoleInput{RoleArn: aws.String(testRole), DurationSeconds: aws.Int32(3600)}, "", ""},
		{"chained for too long", session, sts.AssumeRoleInput{RoleArn: aws.String(testRole), DurationSeconds: aws.Int32(3601)}, "ValidationError", "1 hour session limit for roles assumed by role chaining"},
		{"longer than the role allows", nil, sts.AssumeRoleInput{RoleArn: &plain, DurationSeconds: aws.Int32(3601)}, "ValidationError", "MaxSessionDuration"},
		{"too short", nil, sts.AssumeRoleInput{RoleArn: &plain, DurationSeconds: aws.Int32(899)}, "ValidationError", "greater than or equal to 900"},
		{"bad session name", nil, sts.AssumeRoleInput{RoleArn: &plain, RoleSessionName: aws.String("a b")}, "ValidationError", "roleSessionName"},
		{"bad session policy", nil, sts.AssumeRoleInput{RoleArn: &plain, Policy: aws.String("{}")}, "MalformedPolicyDocument", "no statement"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.in.RoleSessionName == nil {
				tc.in.RoleSessionName = aws.String("alice")
			}
			_, err := sts.NewFromConfig(f.aws(tc.creds...)).AssumeRole(t.Context(), &tc.in)
			if apiCode(err) != tc.code || err != nil && !strings.Contains(err.Error(), tc.message) {
				t.Errorf("got %v, want %s %q", err, tc.code, tc.message)
			}
		})
	}

	// A call across accounts is in both accounts' trails, as one event.
	shared := map[any][]string{}
	for _, r := range f.records(t) {
		if at(r, "requestParameters", "roleArn") == plain && r["errorCode"] == nil {
			shared[r["sharedEventID"]] = append(shared[r["sharedEventID"]], r["recipientAccountId"].(string))
		}
	}
	if diff := cmp.Diff([][]string{{testAccount, otherAccount}}, values(shared), cmp.Transformer("sort", func(s []string) map[string]bool {
		m := map[string]bool{}
		for _, x := range s {
			m[x] = true
		}
		return m
	})); diff != "" {
		t.Error(diff)
	}
}

func values[K comparable, V any](m map[K]V) (out []V) {
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

// TestBadCredentials: the codes that SDKs know for keys and tokens gone wrong.
func TestBadCredentials(t *testing.T) {
	now := time.Now()
	f := newSim(t, func(c *Config) { c.Clock = func() time.Time { return now } })
	good := f.assume(t, &sts.AssumeRoleInput{RoleArn: aws.String(testRole), RoleSessionName: aws.String("alice"), DurationSeconds: aws.Int32(900)}).Credentials
	other := f.assume(t, &sts.AssumeRoleInput{RoleArn: aws.String(testRole), RoleSessionName: aws.String("bob"), DurationSeconds: aws.Int32(900)}).Credentials
	code := func(creds ...string) string {
		_, err := sts.NewFromConfig(f.aws(creds...)).GetCallerIdentity(t.Context(), nil)
		return apiCode(err)
	}
	for _, tc := range []struct {
		name, code          string
		id, secret, session string
	}{
		{"good", "", *good.AccessKeyId, *good.SecretAccessKey, *good.SessionToken},
		{"unknown key", "InvalidClientTokenId", "AKIAAAAAAAAAAAAAAAAA", "x", ""},
		{"wrong secret", "SignatureDoesNotMatch", f.key.ID, f.key.Secret + "x", ""},
		{"token missing", "InvalidClientTokenId", *good.AccessKeyId, *good.SecretAccessKey, ""},
		{"another session's token", "InvalidClientTokenId", *good.AccessKeyId, *good.SecretAccessKey, *other.SessionToken},
		{"token changed", "InvalidClientTokenId", *good.AccessKeyId, *good.SecretAccessKey, strings.Replace(*good.SessionToken, "IQoJ", "IQoJA", 1)},
		{"long-lived key with a token", "InvalidClientTokenId", f.key.ID, f.key.Secret, *good.SessionToken},
	} {
		if got := code(tc.id, tc.secret, tc.session); got != tc.code {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.code)
		}
	}
	// Signed by AWS's clock, so that only the session's age is wrong.
	get := func(at time.Time) string {
		now = at
		req := f.signed(t, "GET", "https://sts.us-east-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15", "", credsOf(good), at)
		res, err := f.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		return readAll(t, res.Body)
	}
	end := *good.Expiration
	if got := get(end.Add(-time.Second)); !strings.Contains(got, "<Arn>") {
		t.Errorf("a second before the end: %s", got)
	}
	if got := get(end); !strings.Contains(got, "<Code>ExpiredToken</Code>") {
		t.Errorf("at the end: %s", got)
	}
	now = now.Add(time.Hour)
	if got := code(); got != "SignatureDoesNotMatch" {
		t.Errorf("clock skew: %q", got)
	}
}

// TestConsole goes the whole way of federation: credentials, sign-in token,
// login, console page.
func TestConsole(t *testing.T) {
	f := newSim(t, nil)
	creds := f.assume(t, &sts.AssumeRoleInput{RoleArn: aws.String(testRole), RoleSessionName: aws.String("alice"), SourceIdentity: aws.String("alice")}).Credentials
	chained, err := sts.NewFromConfig(f.aws(credsOf(creds)...)).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: aws.String(testRole), RoleSessionName: aws.String("alice")})
	if err != nil {
		t.Fatal(err)
	}
	get := func(u string, cookies ...*http.Cookie) (*http.Response, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cookies {
			req.AddCookie(c)
		}
		res, err := f.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		return res, readAll(t, res.Body)
	}
	signinToken := func(host string, c *types.Credentials, secret, duration string) (*http.Response, string) {
		ses, _ := json.Marshal(map[string]string{"sessionId": *c.AccessKeyId, "sessionKey": secret, "sessionToken": *c.SessionToken})
		q := url.Values{"Action": {"getSigninToken"}, "Session": {string(ses)}}
		if duration != "" {
			q.Set("SessionDuration", duration)
		}
		return get("https://" + host + "/federation?" + q.Encode())
	}
	for _, tc := range []struct {
		name, host, secret, duration string
		creds                        *types.Credentials
		status                       int
	}{
		{"12 hours", "signin.aws.amazon.com", *creds.SecretAccessKey, "43200", creds, 200},
		{"no duration", "us-east-1.signin.aws.amazon.com", *creds.SecretAccessKey, "", creds, 200},
		{"too long", "signin.aws.amazon.com", *creds.SecretAccessKey, "43201", creds, 400},
		{"wrong secret", "signin.aws.amazon.com", "wrong", "3600", creds, 400},
		{"chained, an hour", "signin.aws.amazon.com", *chained.Credentials.SecretAccessKey, "3600", chained.Credentials, 200},
		{"chained, longer", "signin.aws.amazon.com", *chained.Credentials.SecretAccessKey, "3601", chained.Credentials, 400},
		{"another partition", "signin.amazonaws.cn", *creds.SecretAccessKey, "3600", creds, 400},
	} {
		if res, body := signinToken(tc.host, tc.creds, tc.secret, tc.duration); res.StatusCode != tc.status {
			t.Errorf("%s: %d %s, want %d", tc.name, res.StatusCode, body, tc.status)
		}
	}

	_, body := signinToken("signin.aws.amazon.com", creds, *creds.SecretAccessKey, "3600")
	var token struct{ SigninToken string }
	if err := json.Unmarshal([]byte(body), &token); err != nil {
		t.Fatal(err)
	}
	login := func(dest, token string) (*http.Response, string) {
		return get("https://signin.aws.amazon.com/federation?" + url.Values{"Action": {"login"}, "Issuer": {"https://postern.test"}, "Destination": {dest}, "SigninToken": {token}}.Encode())
	}
	dest := "https://us-east-1.console.aws.amazon.com/s3/buckets?region=us-east-1"
	for _, bad := range [][2]string{{"https://evil.example/", token.SigninToken}, {"http://console.aws.amazon.com/", token.SigninToken}, {dest, token.SigninToken + "x"}, {dest, *creds.SessionToken}} {
		if res, _ := login(bad[0], bad[1]); res.StatusCode != http.StatusBadRequest {
			t.Errorf("login to %s: %d, want 400", bad[0], res.StatusCode)
		}
	}
	res, _ := login(dest, token.SigninToken)
	if res.StatusCode != http.StatusFound || res.Header.Get("Location") != dest || len(res.Cookies()) != 1 {
		t.Fatalf("login: %d to %q with %d cookies", res.StatusCode, res.Header.Get("Location"), len(res.Cookies()))
	}
	if page, _ := get(dest); page.StatusCode != http.StatusForbidden {
		t.Errorf("console without sign-in: %d", page.StatusCode)
	}
	if _, page := get(dest, res.Cookies()...); !strings.Contains(page, "arn:aws:sts::111122223333:assumed-role/Reader/alice") {
		t.Errorf("the console does not say who is signed in:\n%s", page)
	}
	var names []string
	for _, r := range f.records(t) {
		if r["eventSource"] == "signin.amazonaws.com" && r["eventName"] == "ConsoleLogin" {
			names = append(names, at(r, "userIdentity", "arn").(string)+" "+at(r, "additionalEventData", "LoginTo").(string))
		}
	}
	if diff := cmp.Diff([]string{"arn:aws:sts::111122223333:assumed-role/Reader/alice " + dest}, names); diff != "" {
		t.Error(diff)
	}
}
