package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	awssts "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/deploy/simaws"
	"github.com/posternhq/postern/proxy/sts"
)

const realAccount = "444455556666"

// realResources: one app whose role may be handed everything, one whose role may
// be handed nothing.
const realResources = `kind: role
version: v7
metadata: {name: real}
spec:
  options: {real_credentials: [eks_token, rds_token, codecommit, presigned_url, export]}
  allow:
    app_labels: {real: "yes"}
    aws_role_arns: ["arn:aws:iam::` + realAccount + `:role/Deploy"]
---
kind: role
version: v7
metadata: {name: unreal}
spec:
  allow:
    app_labels: {real: "no"}
    aws_role_arns: ["arn:aws:iam::*:role/Deploy"]
---
kind: app
version: v3
metadata: {name: real, labels: {real: "yes"}}
spec: {cloud: AWS, aws: {account_id: "` + realAccount + `", region: us-east-1}}
---
kind: app
version: v3
metadata: {name: unreal, labels: {real: "no"}}
spec: {cloud: AWS, aws: {account_id: "` + realAccount + `", role_arns: ["arn:aws:iam::` + realAccount + `:role/Deploy"], region: us-east-1}}
---
kind: app
version: v3
metadata: {name: second, labels: {real: "no"}}
spec: {cloud: AWS, aws: {account_id: "555566667777", role_arns: ["arn:aws:iam::555566667777:role/Deploy"], region: us-east-1}}
---
kind: app
version: v3
metadata: {name: third, labels: {real: "no"}}
spec: {cloud: AWS, aws: {account_id: "666677778888", role_arns: ["arn:aws:iam::666677778888:role/Deploy"], region: eu-west-1}}
`

// real is a running postern before a simulated AWS that the test reaches too,
// around postern.
type real struct {
	clients
	sim *simaws.Sim
}

// TestRealCredentials: what has to work without postern does, where a role
// allows it, and is refused with the next step where none does.
func TestRealCredentials(t *testing.T) {
	embeddedtest.Lib(t)
	needs(t, "aws", "--version")
	sim, err := simaws.New(simaws.Config{Dir: t.TempDir(), TrailDelay: -1, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	embeddedtest.Run(t, sim)
	key, err := sim.AccessKey(realAccount, "ambient")
	if err != nil {
		t.Fatal(err)
	}
	for role, trusted := range map[string]string{
		realAccount + ":role/Deploy": "arn:aws:iam::" + realAccount + ":root", realAccount + ":role/Second": "arn:aws:iam::" + realAccount + ":role/Deploy",
		"555566667777:role/Deploy": "arn:aws:iam::" + realAccount + ":root", "666677778888:role/Deploy": "arn:aws:iam::" + realAccount + ":root",
	} {
		if err := sim.PutRole(simaws.Role{ARN: "arn:aws:iam::" + role,
			TrustPolicy: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + trusted + `"},"Action":"sts:AssumeRole"}]}`}); err != nil {
			t.Fatal(err)
		}
	}
	r := &real{sim: sim, clients: clients{home: t.TempDir(), dev: startDevWith(t, plainBinary(t),
		[]string{"--aws=live", "--aws-dial", sim.Addr(), "--aws-ca", sim.CAFile()},
		[]string{"AWS_ACCESS_KEY_ID=" + key.ID, "AWS_SECRET_ACCESS_KEY=" + key.Secret})}}
	r.grant(t, realResources, "real,unreal")
	for name, run := range map[string]func(*testing.T){
		"kubectl": r.kubectl, "database": r.database, "git": r.git, "presign": r.presign,
		"profile": r.profile, "terraform": r.terraform, "accounts": r.accounts, "export": r.export, "container": r.container, "metadata": r.metadata,
	} {
		t.Run(name, run)
	}
}

// aws is alice's `postern aws` on an app.
func (r *real) aws(t *testing.T, app string, args ...string) *exec.Cmd {
	t.Helper()
	return r.postern(t, "alice", r.home, append([]string{"aws", "--app", app}, args...)...)
}

// refused checks that the app whose role allows nothing says what would.
func (r *real) refused(t *testing.T, kind string, cmd *exec.Cmd) {
	t.Helper()
	text, code := exitOf(cmd)
	if code == 0 || !strings.Contains(text, "options.real_credentials: ["+kind+"]") {
		t.Errorf("%v: exit code %d: %s", cmd.Args, code, text)
	}
}

// around reaches the simulated AWS without postern.
func (r *real) around(t *testing.T) *http.Client {
	t.Helper()
	roots, err := sts.RootsWith(r.sim.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	tr := http.DefaultTransport.(*http.Transport).Clone()
	tr.Proxy, tr.TLSClientConfig.RootCAs = nil, roots
	tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", r.sim.Addr())
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

const realARN = "arn:aws:sts::" + realAccount + ":assumed-role/Deploy/alice"

// kubectl: `aws eks update-kubeconfig`, and then kubectl itself, at a Kubernetes
// API that asks STS who signed the token, as EKS does.
func (r *real) kubectl(t *testing.T) {
	needs(t, "kubectl", "version", "--client")
	sts := r.around(t)
	who := make(chan string, 8)
	api := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		token, _ := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer k8s-aws-v1.")
		link, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		ask, err := http.NewRequestWithContext(req.Context(), http.MethodGet, string(link), nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		ask.Header.Set("x-k8s-aws-id", "prod")
		resp, err := sts.Do(ask)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusOK {
			http.Error(w, string(body), http.StatusUnauthorized)
			return
		}
		_, arn, _ := strings.Cut(string(body), "<Arn>")
		arn, _, _ = strings.Cut(arn, "</Arn>")
		who <- arn
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"gitVersion":"v1.32.0"}`)
	}))
	defer api.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw})
	r.sim.PutCluster(simaws.Cluster{Name: "prod", Endpoint: api.URL, CAData: base64.StdEncoding.EncodeToString(ca)})

	config := filepath.Join(t.TempDir(), "config")
	// Another user's entry in it stays as it is.
	if err := os.WriteFile(config, []byte("apiVersion: v1\nkind: Config\nclusters: []\ncontexts: []\nusers:\n- name: other\n  user:\n    exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: aws, args: [eks, get-token]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, r.aws(t, "real", "eks", "update-kubeconfig", "--name", "prod", "--alias", "here", "--kubeconfig", config))
	kubectl := r.postern(t, "alice", r.home)
	kubectl.Path, kubectl.Args = "/usr/bin/env", []string{"env", "kubectl", "--kubeconfig", config, "--context", "here", "get", "--raw", "/version"}
	if got := output(t, kubectl); !strings.Contains(got, "v1.32.0") {
		t.Errorf("kubectl: %s", got)
	}
	if got := <-who; got != realARN {
		t.Errorf("Kubernetes sees %s", got)
	}
	text, err := os.ReadFile(config)
	if err != nil || strings.Count(string(text), "command: aws") != 1 {
		t.Errorf("the other entry was changed: %v\n%s", err, text)
	}
	// What the AWS CLI prints by itself, but for the token.
	var cred struct {
		Kind, APIVersion string
		Status           struct {
			ExpirationTimestamp time.Time
			Token               string
		}
	}
	if err := json.Unmarshal([]byte(output(t, r.aws(t, "real", "--region", "us-east-1", "eks", "get-token", "--cluster-name", "prod"))), &cred); err != nil ||
		cred.Kind != "ExecCredential" || cred.APIVersion != "client.authentication.k8s.io/v1beta1" || time.Until(cred.Status.ExpirationTimestamp) < 10*time.Minute {
		t.Errorf("%v: %+v", err, cred)
	}
	r.refused(t, "eks_token", r.aws(t, "unreal", "--region", "us-east-1", "eks", "get-token", "--cluster-name", "prod"))
}

func (r *real) database(t *testing.T) {
	args := []string{"rds", "generate-db-auth-token", "--hostname", "db.abc.us-east-1.rds.amazonaws.com", "--port", "5432", "--username", "app"}
	token := strings.TrimSpace(output(t, r.aws(t, "real", args...)))
	if arn, err := r.sim.DatabaseLogin(token, "app"); err != nil || arn != realARN {
		t.Errorf("the database sees %s: %v", arn, err)
	}
	if _, err := r.sim.DatabaseLogin(strings.Replace(token, "app", "root", 1), "root"); err == nil {
		t.Error("the token serves another user")
	}
	r.refused(t, "rds_token", r.aws(t, "unreal", args...))
}

// git clones from and pushes to a repository whose server asks for what
// CodeCommit asks for.
func (r *real) git(t *testing.T) {
	needs(t, "git", "http-backend", "--help")
	root, work := t.TempDir(), t.TempDir()
	const host = "git-codecommit.us-east-1.amazonaws.com"
	output(t, exec.Command("git", "init", "--quiet", "--bare", "--initial-branch=main", filepath.Join(root, "v1", "repos", "ledger")))
	output(t, exec.Command("git", "-C", filepath.Join(root, "v1", "repos", "ledger"), "config", "http.receivepack", "true"))
	execPath := strings.TrimSpace(output(t, exec.Command("git", "--exec-path")))
	backend := &cgi.Handler{Path: filepath.Join(execPath, "git-http-backend"), Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"}}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		user, password, ok := req.BasicAuth()
		arn, err := "", error(nil)
		if ok {
			arn, err = r.sim.GitLogin(host, "/v1/repos/ledger", user, password)
		}
		if !ok || err != nil || arn != realARN {
			w.Header().Set("WWW-Authenticate", `Basic realm="CodeCommit"`)
			http.Error(w, "who are you", http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, req)
	}))
	defer server.Close()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	git := func(app string, args ...string) *exec.Cmd {
		cmd := r.postern(t, "alice", r.home)
		cmd.Path, cmd.Dir = "/usr/bin/env", work
		cmd.Args = append([]string{"env", "git", "-c", "http.sslVerify=false", "-c", "http.curloptResolve=" + host + ":" + u.Port() + ":127.0.0.1",
			"-c", "credential.helper=", "-c", "credential.helper=!" + r.dev.bin + " aws --app " + app + " codecommit credential-helper $@", "-c", "credential.UseHttpPath=true",
			"-c", "user.name=alice", "-c", "user.email=alice@example.com"}, args...)
		cmd.Env = append(cmd.Env, "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_SYSTEM="+os.DevNull)
		return cmd
	}
	repo := "https://" + host + ":" + u.Port() + "/v1/repos/ledger"
	output(t, git("real", "clone", "--quiet", repo, "."))
	output(t, git("real", "commit", "--quiet", "--allow-empty", "-m", "first"))
	output(t, git("real", "push", "--quiet", "origin", "HEAD:main"))
	if heads := output(t, git("real", "ls-remote", repo)); !strings.Contains(heads, "refs/heads/main") {
		t.Errorf("after the push: %s", heads)
	}
	r.refused(t, "codecommit", git("unreal", "ls-remote", repo))
}

func (r *real) presign(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("ledger"), 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, r.aws(t, "real", "s3", "mb", "s3://real-presign"))
	output(t, r.aws(t, "real", "s3", "cp", "--no-progress", file, "s3://real-presign/a b+ü"))
	get := func(link string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.TrimSpace(link), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := r.around(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	link := output(t, r.aws(t, "real", "s3", "presign", "s3://real-presign/a b+ü"))
	if status, body := get(link); status != http.StatusOK || body != "ledger" {
		t.Errorf("the real URL: %d %s", status, body)
	}
	if u, err := url.Parse(strings.TrimSpace(link)); err != nil || u.Query().Get("X-Amz-Expires") != "900" {
		t.Errorf("an URL of an hour was asked for; this one is %s", link)
	}
	// Without the role option it is good through postern, whichever helper runs.
	link = strings.TrimSpace(output(t, r.aws(t, "unreal", "s3", "presign", "s3://real-presign/a b+ü")))
	if status, _ := get(link); status == http.StatusOK {
		t.Errorf("around postern: %d", status)
	}
	needs(t, "curl", "--version")
	if got := output(t, r.postern(t, "alice", r.home, "exec", "--app", "unreal", "--", "sh", "-c", `curl --silent --fail --cacert "$AWS_CA_BUNDLE" "`+link+`"`)); got != "ledger" {
		t.Errorf("through postern: %s", got)
	}
}

// profile: the AWS CLI assumes a role by its configuration, keeps the credentials
// in its cache, and uses them again in another run.
func (r *real) profile(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "config")
	if err := os.WriteFile(config, []byte("[profile second]\nrole_arn = arn:aws:iam::"+realAccount+":role/Second\ncredential_source = Environment\nrole_session_name = mallory\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		cmd := r.aws(t, "unreal", "--profile", "second", "sts", "get-caller-identity", "--query", "Arn", "--output", "text")
		cmd.Env = append(cmd.Env, "AWS_CONFIG_FILE="+config, "HOME="+dir)
		if got := strings.TrimSpace(output(t, cmd)); got != "arn:aws:sts::"+realAccount+":assumed-role/Second/alice" {
			t.Errorf("caller identity %s", got)
		}
	}
	// What it was given is worth nothing around postern.
	var out struct {
		Credentials struct{ AccessKeyId, SecretAccessKey, SessionToken string }
	}
	if err := json.Unmarshal([]byte(output(t, r.aws(t, "unreal", "sts", "assume-role", "--role-arn", "arn:aws:iam::"+realAccount+":role/Second", "--role-session-name", "xy", "--output", "json"))), &out); err != nil {
		t.Fatal(err)
	}
	k := out.Credentials
	if text, err := r.awsAround(t, "AWS_ACCESS_KEY_ID="+k.AccessKeyId, "AWS_SECRET_ACCESS_KEY="+k.SecretAccessKey, "AWS_SESSION_TOKEN="+k.SessionToken); err == nil || !strings.Contains(text, "InvalidClientTokenId") {
		t.Errorf("around postern: %v %s", err, text)
	}
}

// awsAround asks AWS who the environment is, without postern.
func (r *real) awsAround(t *testing.T, env ...string) (string, error) {
	t.Helper()
	return r.runAround(t, []string{"aws", "sts", "get-caller-identity", "--query", "Arn", "--output", "text"}, env...)
}

// runAround runs a client that goes to the simulated AWS and not through postern.
func (r *real) runAround(t *testing.T, argv []string, env ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Env = environ(map[string]string{"AWS_ENDPOINT_URL": "https://" + r.sim.Addr(), "AWS_CA_BUNDLE": r.sim.CAFile(), "AWS_DEFAULT_REGION": "us-east-1",
		"POSTERN_IDENTITY": r.dev.Identities["alice"], "POSTERN_HOME": r.home}, env...)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

const boto3Who = "import boto3; print(boto3.client('sts').get_caller_identity()['Arn'])"

// export: credential_process and the environment.
func (r *real) export(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(config, []byte("[profile p]\ncredential_process = "+r.dev.bin+" creds --app real\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := r.awsAround(t, "AWS_PROFILE=p", "AWS_CONFIG_FILE="+config); err != nil || got != realARN {
		t.Errorf("credential_process: %v %s", err, got)
	}
	env := strings.Fields(output(t, r.postern(t, "alice", r.home, "creds", "--app", "real", "--format=env")))
	if got, err := r.runAround(t, []string{"python3", "-c", boto3Who}, env...); err != nil || got != realARN {
		t.Errorf("environment: %v %s", err, got)
	}
	if got := output(t, r.postern(t, "alice", r.home, "creds", "--app", "real", "--format=sh")); !strings.HasPrefix(got, "export AWS_ACCESS_KEY_ID=ASIA") {
		t.Error("--format=sh exports no access key")
	}
	// They work through postern too.
	cmd := r.postern(t, "alice", r.home, "exec", "--app", "real", "--", "env")
	cmd.Args = append(cmd.Args, append(env, "aws", "sts", "get-caller-identity", "--query", "Arn", "--output", "text")...)
	if got := strings.TrimSpace(output(t, cmd)); got != realARN {
		t.Errorf("through postern: %s", got)
	}
	r.refused(t, "export", r.postern(t, "alice", r.home, "creds", "--app", "unreal"))
}

// serve runs `postern creds serve` until the test ends and returns what it prints.
func (r *real) serve(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := r.postern(t, "alice", r.home, append([]string{"creds", "serve", "--app", "real", "--format=json"}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() }) // the test's context has ended by then
	var vars map[string]string
	if err := json.NewDecoder(out).Decode(&vars); err != nil {
		t.Fatal(err)
	}
	env := []string{"AWS_EC2_METADATA_DISABLED=false"}
	for k, v := range vars {
		env = append(env, k+"="+v)
	}
	return env
}

// container: the AWS CLI, boto3 and the SDK for Go ask postern for credentials as
// they ask the agent of ECS.
func (r *real) container(t *testing.T) {
	env := r.serve(t)
	r.threeClients(t, env)
	if got, err := r.awsAround(t, append(env, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE="+os.DevNull)...); err == nil {
		t.Errorf("without the token: %s", got)
	}
}

// metadata: the same as they ask the metadata service of an instance.
func (r *real) metadata(t *testing.T) { r.threeClients(t, r.serve(t, "--imds")) }

func (r *real) threeClients(t *testing.T, env []string) {
	t.Helper()
	if got, err := r.awsAround(t, env...); err != nil || got != realARN {
		t.Errorf("AWS CLI: %v %s", err, got)
	}
	if got, err := r.runAround(t, []string{"python3", "-c", boto3Who}, env...); err != nil || got != realARN {
		t.Errorf("boto3: %v %s", err, got)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.runAround(t, []string{self, "-test.run=^TestWhoAmI$", "-test.v"}, append(env, "POSTERN_TEST_WHOAMI=1")...); err != nil || !strings.Contains(got, "I am "+realARN) {
		t.Errorf("SDK for Go: %v %s", err, got)
	}
}

// TestWhoAmI is the SDK for Go with whatever credentials its default chain finds,
// as a process of its own.
func TestWhoAmI(t *testing.T) {
	if os.Getenv("POSTERN_TEST_WHOAMI") == "" {
		t.Skip("a part of TestRealCredentials")
	}
	cfg, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out, err := awssts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("I am %s", *out.Arn)
}

// terraform: the AWS provider's assume_role block.
func (r *real) terraform(t *testing.T) {
	run := r.terraforms(t, "assume.tf", "unreal")
	if out := run("apply", "-auto-approve", "-input=false"); !strings.Contains(out, "assumed-role/Second/alice") {
		t.Errorf("apply: %s", out)
	}
	run("plan", "-detailed-exitcode", "-input=false")
	run("destroy", "-auto-approve", "-input=false")
}

// accounts: one run of Terraform in three accounts, by aliases of its provider, each
// in the region of its app.
func (r *real) accounts(t *testing.T) {
	run := r.terraforms(t, "accounts.tf", "unreal", "second", "third")
	want := "arn:aws:sts::" + realAccount + ":assumed-role/Deploy/alice arn:aws:sts::555566667777:assumed-role/Deploy/alice arn:aws:sts::666677778888:assumed-role/Deploy/alice us-east-1 us-east-1 eu-west-1"
	if out := run("apply", "-auto-approve", "-input=false"); !strings.Contains(out, want) {
		t.Errorf("apply: %s", out)
	}
}

// terraforms prepares a configuration, and runs it with sessions on apps.
func (r *real) terraforms(t *testing.T, file string, apps ...string) func(args ...string) string {
	t.Helper()
	plugins := terraformPlugins()
	if _, err := exec.LookPath("terraform"); err != nil || plugins == "" || testing.Short() {
		t.Skipf("needs terraform with its AWS provider, and not -short: %v", err)
	}
	dir := t.TempDir()
	config, err := os.ReadFile(filepath.Join("testdata/clients", file))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "main.tf"), config, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	exec := []string{"exec"}
	for _, app := range apps {
		exec = append(exec, "--app", app)
	}
	run := func(args ...string) string {
		t.Helper()
		cmd := r.postern(t, "alice", r.home, slices.Concat(exec, []string{"--", "terraform", "-chdir=" + dir}, args, []string{"-no-color"})...)
		cmd.Env = append(cmd.Env, "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1", "TF_CLI_CONFIG_FILE="+os.DevNull)
		return output(t, cmd)
	}
	run("init", "-plugin-dir="+plugins)
	return run
}
