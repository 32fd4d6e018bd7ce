package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awssts "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/deploy/simaws"
	"github.com/posternhq/postern/proxy/sts"
)

// TestDevLive runs `postern dev --aws=live` as a script does that knows the
// contract only: a stand-in for AWS that checks every signature, the ambient AWS
// credentials, ready.json and identity files.
func TestDevLive(t *testing.T) {
	embeddedtest.Lib(t)
	if _, err := exec.LookPath("aws"); err != nil {
		t.Skip("the AWS CLI is not installed here")
	}
	sim, err := simaws.New(simaws.Config{Dir: t.TempDir(), TrailDelay: time.Second, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	embeddedtest.Run(t, sim)
	key, err := sim.AccessKey("444455556666", "ambient")
	if err != nil {
		t.Fatal(err)
	}
	const trust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::444455556666:root"},"Action":"sts:AssumeRole"}]}`
	err = sim.PutRole(simaws.Role{
		ARN:         "arn:aws:iam::444455556666:role/Deploy",
		TrustPolicy: trust,
	})
	if err != nil {
		t.Fatal(err)
	}
	// As of a role that somebody assumed: postern's sessions are chained to it.
	if err := sim.PutRole(simaws.Role{ARN: "arn:aws:iam::444455556666:role/Runner", TrustPolicy: trust}); err != nil {
		t.Fatal(err)
	}
	link := sts.Link{Dial: sim.Addr()}
	if link.RootCAs, err = sts.RootsWith(sim.CAFile()); err != nil {
		t.Fatal(err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	link.Apply(transport)
	defer transport.CloseIdleConnections()
	ambient, err := awssts.New(awssts.Options{Region: "us-east-1", HTTPClient: &http.Client{Transport: transport}, Credentials: credentials.NewStaticCredentialsProvider(key.ID, key.Secret, "")}).
		AssumeRole(t.Context(), &awssts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::444455556666:role/Runner"), RoleSessionName: aws.String("ci")})
	if err != nil {
		t.Fatal(err)
	}
	own := ambient.Credentials
	dev := startDevWith(t, plainBinary(t),
		[]string{"--aws=live", "--aws-dial", sim.Addr(), "--aws-ca", sim.CAFile(), "--cloudtrail", sim.TrailDir()},
		[]string{"AWS_ACCESS_KEY_ID=" + *own.AccessKeyId, "AWS_SECRET_ACCESS_KEY=" + *own.SecretAccessKey, "AWS_SESSION_TOKEN=" + *own.SessionToken})
	if dev.AWSSimURL != "" {
		t.Errorf("aws_sim_url %q where AWS is live", dev.AWSSimURL)
	}
	home := t.TempDir()
	run := func(user string, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), dev.bin, args...)
		cmd.Env = append(os.Environ(), "POSTERN_IDENTITY="+dev.Identities[user], "POSTERN_HOME="+home, "AWS_CONFIG_FILE="+os.DevNull)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	must := func(user string, args ...string) string {
		t.Helper()
		out, err := run(user, args...)
		if err != nil {
			t.Fatalf("postern %s as %s: %v\n%s", strings.Join(args, " "), user, err, out)
		}
		return out
	}
	role := filepath.Join(t.TempDir(), "deploy.yaml")
	if err := os.WriteFile(role, []byte(`kind: role
version: v7
metadata: {name: deploy}
spec:
  options: {real_credentials: [export]}
  allow:
    app_labels: {'*': '*'}
    aws_role_arns: ["arn:aws:iam::444455556666:role/Deploy"]
`), 0o600); err != nil {
		t.Fatal(err)
	}
	must("admin", "create", "-f", role)
	var request struct{ ID string }
	if err := json.Unmarshal([]byte(must("alice", "request", "create", "--roles", "deploy", "--reason", "release", "--format=json")), &request); err != nil {
		t.Fatal(err)
	}
	must("bob", "request", "review", "--approve", request.ID)
	if out := must("alice", "aws", "sts", "get-caller-identity"); !strings.Contains(out, "arn:aws:sts::444455556666:assumed-role/Deploy/alice") {
		t.Errorf("caller identity: %s", out)
	}
	if out := must("alice", "console", "--print"); !strings.HasPrefix(strings.TrimSpace(out), "https://signin.aws.amazon.com/federation?Action=login&") &&
		!strings.Contains(out, "signin.aws.amazon.com/federation") {
		t.Errorf("console link: %s", out)
	}
	// What role chaining shortens is said where it matters.
	if out := must("alice", "console", "--print"); !strings.Contains(out, "this console session ends after 1 hour at most, because postern runs with temporary AWS credentials (role chaining)") {
		t.Errorf("console: %s", out)
	}
	if out := must("alice", "creds"); !strings.Contains(out, "these credentials end after 1 hour at most") {
		t.Errorf("credentials: %s", out)
	}
	if err := sim.Flush(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for {
		out, err := run("admin", "audit", "search", "--action", "GetCallerIdentity", "--outcome", "matched", "--format=json")
		if err == nil && strings.Contains(out, `"verdict":"matched"`) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no match with CloudTrail: %v\n%s", err, out)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestDevSaysWhatIsMissing: without the ClickHouse library, how to get it.
func TestDevSaysWhatIsMissing(t *testing.T) {
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), plainBinary(t), "dev", "--ephemeral", "--listen", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "POSTERN_CLICKHOUSE_LIB=", "XDG_DATA_HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "task setup") || !strings.Contains(string(out), "clickhouse.dsn") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestSecondDevLeavesTheFirstAlone: one directory, one postern, even where its
// state goes into a directory of its own.
func TestSecondDevLeavesTheFirstAlone(t *testing.T) {
	embeddedtest.Lib(t)
	dev := startDevWith(t, plainBinary(t), []string{"--ephemeral"}, nil)
	dir := filepath.Dir(filepath.Dir(dev.CAFile))
	out, err := exec.Command(dev.bin, "dev", "--data-dir", dir, "--listen", "127.0.0.1:0").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another postern uses this directory") {
		t.Errorf("%v: %s", err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "ready.json")); err != nil {
		t.Error(err)
	}
}

// TestDevAfterLocks: it starts again whatever was done to the demo users, and admin can
// operate it.
func TestDevAfterLocks(t *testing.T) {
	embeddedtest.Lib(t)
	dir := t.TempDir()
	run := func(t *testing.T, dev *runningDev, args ...string) (string, error) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), dev.bin, args...)
		cmd.Env = append(os.Environ(), "POSTERN_IDENTITY="+dev.Identities["admin"], "POSTERN_HOME="+t.TempDir())
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	t.Run("before", func(t *testing.T) {
		dev := startDevIn(t, dir, plainBinary(t), nil, nil)
		for _, args := range [][]string{{"lock", "--user", "alice"}, {"rm", "user/bob"}, {"lock", "--role", "admin"}} {
			if out, err := run(t, dev, args...); err != nil {
				t.Fatalf("%v: %v\n%s", args, err, out)
			}
		}
		if out, err := run(t, dev, "lock", "ls"); err == nil || !strings.Contains(out, "role admin is locked") {
			t.Errorf("admin, whose role is locked: %v\n%s", err, out)
		}
	})
	t.Run("after", func(t *testing.T) {
		dev := startDevIn(t, dir, plainBinary(t), nil, nil)
		if len(dev.Identities) != 1 || dev.Identities["admin"] == "" {
			t.Errorf("identities of %v, want admin's alone", dev.Identities)
		}
		if out, err := run(t, dev, "lock", "ls"); err != nil || !strings.Contains(out, "alice") || strings.Contains(out, "role ") {
			t.Errorf("locks: %v\n%s", err, out)
		}
		// The proxy of this process is known by its name, so no lock on it is doubted.
		for agent, doubted := range map[string]bool{"dev": false, "devv": true} {
			if out, err := run(t, dev, "lock", "--agent", agent, "--ttl", "1s"); err != nil || strings.Contains(out, "no proxy has announced itself as "+agent) != doubted || strings.Contains(out, "warning") != doubted {
				t.Errorf("lock on %s: %v\n%s", agent, err, out)
			}
		}
	})
}
