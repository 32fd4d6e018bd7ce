package proxy_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sigv4"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

// own calls an endpoint of the proxy's own.
func (r *rig) own(user, path string, in, out any) (status int, reason string) {
	r.t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		r.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, "https://postern.internal"+path, bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: r.transport(user)}).Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
			r.t.Fatal(err)
		}
		return resp.StatusCode, ""
	}
	var e struct{ Error string }
	if err := json.NewDecoder(resp.Body).Decode(&e); err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, e.Error
}

type tokenOut struct {
	URL, Username, Password string
	ExpiresAt               time.Time `json:"expires_at"`
}

// presigned is a URL as an AWS client makes it with the helper's keys.
func presigned(t *testing.T, rawURL, service, expires string, headers ...string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, rawURL+"&X-Amz-Expires="+expires, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	hash := "UNSIGNED-PAYLOAD"
	if service != "s3" {
		hash = sigv4.EmptyHash
	}
	u, _, err := presigner.PresignHTTP(t.Context(), helperKey, req, hash, service, "us-east-1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// wishes are one of each kind, as the AWS CLI makes them.
func wishes(t *testing.T) map[string]map[string]string {
	return map[string]map[string]string{
		events.CredentialEKS:        {"cluster": "prod", "url": presigned(t, "https://sts.us-east-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15", "sts", "60", "x-k8s-aws-id", "prod")},
		events.CredentialRDS:        {"url": presigned(t, "https://db.abc.us-east-1.rds.amazonaws.com:5432/?Action=connect&DBUser=app", "rds-db", "900")},
		events.CredentialURL:        {"url": presigned(t, "https://b.s3.us-east-1.amazonaws.com/a%20b?", "s3", "3600")},
		events.CredentialCodeCommit: {"url": "https://git-codecommit.us-east-1.amazonaws.com/v1/repos/ledger"},
	}
}

// Each kind is refused unless a role allows it, is in an event of its own before
// it is handed out, and is good for 15 minutes or the session's rest.
func TestTokens(t *testing.T) {
	r := newRig(t, serveNothing)
	long := r.session(func(s *events.SessionStarted) {
		s.RealCredentials = []string{events.CredentialEKS, events.CredentialRDS, events.CredentialURL, events.CredentialCodeCommit}
	})
	short := r.session(func(s *events.SessionStarted) {
		s.RealCredentials, s.ExpiresAt = long.RealCredentials, time.Now().Add(5*time.Minute)
	})
	none := r.session(func(s *events.SessionStarted) { s.Requestable = []string{"kube"} })
	resources := map[string]string{
		events.CredentialEKS:        "eks:AccessKubernetesApi arn:aws:eks:us-east-1:111122223333:cluster/prod",
		events.CredentialRDS:        "rds-db:connect arn:aws:rds-db:us-east-1:111122223333:dbuser:*/app",
		events.CredentialURL:        "s3:GetObject arn:aws:s3:::b/a b",
		events.CredentialCodeCommit: "codecommit:GitPush arn:aws:codecommit:us-east-1:111122223333:ledger",
	}
	for kind, in := range wishes(t) {
		in["kind"] = kind
		for _, s := range []*events.SessionStarted{long, short} {
			in["session_id"] = s.SessionID
			var out tokenOut
			if status, reason := r.own("alice", "/v1/tokens", in, &out); status != http.StatusOK {
				t.Errorf("%s: %d %s", kind, status, reason)
				continue
			}
			life := 15 * time.Minute
			if s == short {
				life = 5 * time.Minute
			}
			if out.ExpiresAt.After(s.ExpiresAt) || time.Until(out.ExpiresAt) > life || time.Until(out.ExpiresAt) < life-time.Minute {
				t.Errorf("%s lasts %v", kind, time.Until(out.ExpiresAt))
			}
			signedAt, valid := signedFor(t, kind, out)
			if end := signedAt.Add(valid); kind != events.CredentialEKS && !end.Equal(out.ExpiresAt) || signedAt.After(time.Now()) || end.After(s.ExpiresAt) {
				t.Errorf("%s: signed at %v for %v, said to end at %v", kind, signedAt, valid, out.ExpiresAt)
			}
			if kind == events.CredentialEKS && signedAt.Add(15*time.Minute).After(out.ExpiresAt) {
				t.Errorf("%s: Kubernetes takes it until %v, the session ends at %v", kind, signedAt.Add(15*time.Minute), s.ExpiresAt)
			}
			for _, worthless := range []string{helperKey.AccessKeyID, helperKey.SecretAccessKey} {
				if strings.Contains(out.URL+out.Username, worthless) {
					t.Errorf("%s: the helper's key is in it", kind)
				}
			}
		}
		in["session_id"] = none.SessionID
		if status, reason := r.own("alice", "/v1/tokens", in, &tokenOut{}); status != http.StatusForbidden ||
			!strings.Contains(reason, "options.real_credentials: ["+kind+"]") || !strings.Contains(reason, "postern request create --roles kube") {
			t.Errorf("%s without the option: %d %s", kind, status, reason)
		}
		in["session_id"] = long.SessionID
		if status, reason := r.own("mallory", "/v1/tokens", in, &tokenOut{}); status != http.StatusForbidden {
			t.Errorf("%s of somebody else's session: %d %s", kind, status, reason)
		}
	}
	if n := len(r.aws.Calls("GetCallerIdentity")); n != 0 {
		t.Errorf("%d requests reached AWS", n)
	}
	es := r.audit()
	issued := payloads[*events.AWSTokenIssued](es)
	if len(issued) != 8 {
		t.Errorf("%d issued", len(issued))
	}
	for _, e := range issued {
		if got := e.Action + " " + strings.Join(e.Resources, " "); got != resources[e.Kind] || e.User != "alice" || !strings.HasPrefix(e.AccessKeyID, "ASIASTANDIN") || e.ExpiresAt.IsZero() {
			t.Errorf("%s is recorded as %+v", e.Kind, e)
		}
	}
	if n := len(payloads[*events.AWSRequestDenied](es)); n != 8 {
		t.Errorf("%d denied", n)
	}
}

// signedFor is the time in a signature and how long it is valid by its own word.
func signedFor(t *testing.T, kind string, out tokenOut) (time.Time, time.Duration) {
	t.Helper()
	const form = "20060102T150405Z"
	text, valid := out.Password, 15*time.Minute
	if kind != events.CredentialCodeCommit {
		u, err := url.Parse(out.URL)
		if err != nil {
			t.Fatal(err)
		}
		text = u.Query().Get("X-Amz-Date")
		if valid, err = time.ParseDuration(u.Query().Get("X-Amz-Expires") + "s"); err != nil {
			t.Fatal(err)
		}
	}
	at, err := time.Parse(form, text[:len(form)])
	if err != nil {
		t.Fatal(err)
	}
	return at, valid
}

// Nothing else can be had in the name of a token.
func TestTokensRefused(t *testing.T) {
	r := newRig(t, serveNothing)
	s := r.session(func(s *events.SessionStarted) {
		s.RealCredentials = events.CredentialKinds()
		s.Permissions = []events.Permission{
			{Role: "dba", Effect: "Allow", Actions: []string{"rds-db:connect"}, Resources: []string{"arn:aws:rds-db:*:*:dbuser:*/app"}},
			{Role: "dev", Effect: "Allow", Actions: []string{"codecommit:GitPull", "s3:GetObject"}, Resources: []string{"arn:aws:codecommit:*", "arn:aws:s3:::b/*"}},
		}
	})
	const sts, db = "https://sts.us-east-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15", "https://db.abc.us-east-1.rds.amazonaws.com:5432/?Action=connect&DBUser="
	for name, c := range map[string]struct{ kind, url, cluster, want string }{
		"another action":           {"eks_token", presigned(t, "https://sts.us-east-1.amazonaws.com/?Action=AssumeRole&Version=2011-06-15", "sts", "60", "x-k8s-aws-id", "prod"), "prod", "a presigned GetCallerIdentity"},
		"two actions":              {"eks_token", presigned(t, sts+"&Action=AssumeRole", "sts", "60", "x-k8s-aws-id", "prod"), "prod", "a presigned GetCallerIdentity"},
		"more than the action":     {"eks_token", presigned(t, sts+"&x=y", "sts", "60", "x-k8s-aws-id", "prod"), "prod", "a presigned GetCallerIdentity"},
		"for no cluster":           {"eks_token", presigned(t, sts, "sts", "60"), "prod", "covers x-k8s-aws-id"},
		"for a cluster of no name": {"eks_token", presigned(t, sts, "sts", "60", "x-k8s-aws-id", "a b"), "a b", "is not the name of a cluster"},
		"S3 as a token":            {"eks_token", presigned(t, "https://b.s3.us-east-1.amazonaws.com/k?", "s3", "60"), "prod", "a presigned URL of STS"},
		"STS as a URL":             {"presigned_url", presigned(t, sts, "sts", "60"), "", "only URLs of S3"},
		"not AWS":                  {"presigned_url", presigned(t, "https://b.s3.us-east-1.amazonaws.com.example/k?", "s3", "60"), "", "only URLs of S3"},
		"not presigned":            {"presigned_url", "https://b.s3.us-east-1.amazonaws.com/k", "", ""},
		"http":                     {"presigned_url", "http://b.s3.us-east-1.amazonaws.com/k", "", "not an https URL"},
		"no such kind":             {"ssh", presigned(t, sts, "sts", "60"), "", `kind "ssh"`},
		"not a database":           {"rds_token", presigned(t, "https://sts.us-east-1.amazonaws.com/?Action=connect&DBUser=app", "rds-db", "900"), "", "presigned connect of rds-db"},
		"a database by STS's name": {"rds_token", presigned(t, db+"app", "sts", "900"), "", "presigned connect of rds-db"},
		"a repository elsewhere":   {"codecommit", "https://git-codecommit.us-east-1.amazonaws.com.example/v1/repos/x", "", "CodeCommit repository"},
		"another partition's URL":  {"presigned_url", presigned(t, "https://b.s3.cn-north-1.amazonaws.com.cn/k?", "s3", "60"), "", "in partition aws-cn"},
		"another's database":       {"rds_token", presigned(t, "https://db.abc.us-gov-west-1.rds.amazonaws.com:5432/?Action=connect&DBUser=app", "rds-db", "900"), "", "in partition aws-us-gov"},
		"another's repository":     {"codecommit", "https://git-codecommit.us-gov-west-1.amazonaws.com/v1/repos/x", "", "in partition aws-us-gov"},
		"no repository":            {"codecommit", "https://git-codecommit.us-east-1.amazonaws.com/v1/repos/x/../y", "", "CodeCommit repository"},
		"user the role lacks":      {"rds_token", presigned(t, db+"root", "rds-db", "900"), "", "no role of the session allows rds-db:connect"},
		"push the role lacks":      {"codecommit", "https://git-codecommit.us-east-1.amazonaws.com/v1/repos/x", "", "no role of the session allows codecommit:GitPush"},
		"object the role lacks":    {"presigned_url", presigned(t, "https://c.s3.us-east-1.amazonaws.com/k?", "s3", "60"), "", "no role of the session allows s3:GetObject"},
		"cluster the role lacks":   {"eks_token", presigned(t, sts, "sts", "60", "x-k8s-aws-id", "prod"), "prod", "no role of the session allows eks:AccessKubernetesApi"},
	} {
		in := map[string]string{"session_id": s.SessionID, "kind": c.kind, "url": c.url, "cluster": c.cluster}
		if status, reason := r.own("alice", "/v1/tokens", in, &tokenOut{}); status < 400 || status >= 500 || !strings.Contains(reason, c.want) {
			t.Errorf("%s: %d %s", name, status, reason)
		}
	}
	for name, in := range map[string]map[string]string{
		"the user that the role has":   {"kind": "rds_token", "url": presigned(t, db+"app", "rds-db", "900")},
		"the object that the role has": {"kind": "presigned_url", "url": presigned(t, "https://b.s3.us-east-1.amazonaws.com/k?", "s3", "60")},
	} {
		in["session_id"] = s.SessionID
		if status, reason := r.own("alice", "/v1/tokens", in, &tokenOut{}); status != http.StatusOK {
			t.Errorf("%s: %d %s", name, status, reason)
		}
	}
	es := r.audit()
	if n := len(payloads[*events.AWSTokenIssued](es)); n != 2 {
		t.Errorf("%d issued", n)
	}
}

// Credentials that carry all of a role's power.
func TestExport(t *testing.T) {
	r := newRig(t, serveNothing)
	may := func(s *events.SessionStarted) { s.RealCredentials = []string{events.CredentialExport} }
	type creds struct {
		ID      string    `json:"access_key_id"`
		Secret  string    `json:"secret_access_key"`
		Token   string    `json:"session_token"`
		Expires time.Time `json:"expires_at"`
		Notice  string    `json:"notice"`
	}
	s := r.session(may)
	seen := map[string]bool{}
	for range 2 {
		var out creds
		if status, reason := r.own("alice", "/v1/credentials", map[string]string{"session_id": s.SessionID}, &out); status != http.StatusOK {
			t.Fatalf("%d %s", status, reason)
		}
		if seen[out.ID] || out.Secret == "" || out.Token == "" || out.Expires.After(s.ExpiresAt) || time.Until(out.Expires) < 58*time.Minute || out.Notice != "" {
			t.Errorf("issued %s until %v", out.ID, out.Expires)
		}
		seen[out.ID] = true
	}
	for name, c := range map[string]struct {
		change func(*events.SessionStarted)
		want   string
	}{
		"no role allows it": {func(s *events.SessionStarted) { s.RealCredentials = nil }, "options.real_credentials: [export]"},
		"narrowed": {func(s *events.SessionStarted) {
			s.Permissions = []events.Permission{{Role: "reader", Effect: "Allow", Actions: []string{"@Read"}}}
		}, "role reader narrows"},
		"ten minutes left": {func(s *events.SessionStarted) { s.ExpiresAt = time.Now().Add(10 * time.Minute) }, "postern apps login prod"},
	} {
		s := r.session(may, c.change)
		if status, reason := r.own("alice", "/v1/credentials", map[string]string{"session_id": s.SessionID}, &creds{}); status != http.StatusForbidden || !strings.Contains(reason, c.want) {
			t.Errorf("%s: %d %s", name, status, reason)
		}
	}
	es := r.audit()
	n := 0
	for _, e := range payloads[*events.AWSCredentialsIssued](es) {
		if e.Use == "export" && e.HandedOut && seen[e.AccessKeyID] && e.User == "alice" && e.ClientAddr != "" && e.RoleSessionName == "alice" {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d of 2 issues are on record", n)
	}
	if n := len(payloads[*events.AWSRequestDenied](es)); n != 3 {
		t.Errorf("%d denied", n)
	}
}

// Where postern's own credentials are temporary, whoever gets some is told why they last
// an hour.
func TestExportByTemporaryCredentials(t *testing.T) {
	r := newRig(t, serveNothing, func(c *proxy.Config, a *ststest.AWS) { c.AWS.Base = a.Temporary() })
	s := r.session(func(s *events.SessionStarted) {
		s.RealCredentials, s.ExpiresAt = []string{events.CredentialExport}, time.Now().Add(4*time.Hour)
	})
	var out struct {
		Expires time.Time `json:"expires_at"`
		Notice  string    `json:"notice"`
	}
	if status, reason := r.own("alice", "/v1/credentials", map[string]string{"session_id": s.SessionID}, &out); status != http.StatusOK {
		t.Fatalf("%d %s", status, reason)
	}
	if out.Expires.After(time.Now().Add(time.Hour)) || !strings.Contains(out.Notice, "end after 1 hour at most, because postern runs with temporary AWS credentials") {
		t.Errorf("%+v", out)
	}
}

var presigner = v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
