package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// aws is alice's `postern aws`.
func (c *clients) aws(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	return c.postern(t, "alice", c.home, append([]string{"aws", "--app", "clients"}, args...)...)
}

// awsCLI: protocols, exit codes, presigned URLs and `s3 sync`.
func (c *clients) awsCLI(t *testing.T) {
	needs(t, "aws", "--version")
	if got := strings.TrimSpace(output(t, c.aws(t, "sts", "get-caller-identity", "--query", "Arn", "--output", "text"))); got != "arn:aws:sts::"+devAccount+":assumed-role/PosternEngineer/alice" {
		t.Errorf("caller identity %q", got)
	}
	output(t, c.aws(t, "ec2", "describe-instances"))
	output(t, c.aws(t, "dynamodb", "create-table", "--table-name", "cli", "--billing-mode", "PAY_PER_REQUEST",
		"--attribute-definitions", "AttributeName=id,AttributeType=S", "--key-schema", "AttributeName=id,KeyType=HASH"))
	output(t, c.aws(t, "dynamodb", "put-item", "--table-name", "cli", "--item", `{"id":{"S":"ü"},"n":{"N":"1"}}`))
	if got := output(t, c.aws(t, "dynamodb", "get-item", "--table-name", "cli", "--key", `{"id":{"S":"ü"}}`, "--query", "Item.n.N", "--output", "text")); got != "1\n" {
		t.Errorf("item %q", got)
	}
	output(t, c.aws(t, "s3", "mb", "s3://cli-sync"))

	// Names as a file system can have them; object stores know more, see oddKeys.
	up, down := t.TempDir(), t.TempDir()
	names := []string{"with space", "plus+plus", "100%", "%2F", "a%20b", "ü/日本語", "..hidden", "...", "~tilde", "q?x=1&y=2", "hash#frag", "semi;colon", "quote'\"", "star*!()[]{}", "deep/er/file"}
	for _, name := range names {
		file := filepath.Join(up, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		// S3 tells whole seconds: a file written in the second of its upload is
		// newer than its object, and sync would have it again.
		if err := os.Chtimes(file, time.Time{}, time.Now().Add(-time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	output(t, c.aws(t, "s3", "sync", "--no-progress", up, "s3://cli-sync/pre fix+ü/"))
	if again := output(t, c.aws(t, "s3", "sync", "--no-progress", up, "s3://cli-sync/pre fix+ü/")); again != "" {
		t.Errorf("the second sync had something to do: %s", again)
	}
	output(t, c.aws(t, "s3", "sync", "--no-progress", "s3://cli-sync/pre fix+ü/", down))
	for _, name := range names {
		if got, err := os.ReadFile(filepath.Join(down, name)); err != nil || string(got) != name {
			t.Errorf("%q came back as %q, %v", name, got, err)
		}
	}
	for _, key := range []string{"a//b", "../up", "dots/.."} { // no file's name
		file := filepath.Join(t.TempDir(), "back")
		output(t, c.aws(t, "s3", "cp", "--no-progress", filepath.Join(up, "100%"), "s3://cli-sync/"+key))
		output(t, c.aws(t, "s3api", "get-object", "--bucket", "cli-sync", "--key", key, file))
		if got, err := os.ReadFile(file); err != nil || string(got) != "100%" {
			t.Errorf("%q came back as %q, %v", key, got, err)
		}
	}
	output(t, c.aws(t, "s3", "rm", "--recursive", "s3://cli-sync"))
	if left := output(t, c.aws(t, "s3", "ls", "--recursive", "s3://cli-sync")); left != "" {
		t.Errorf("left after rm: %s", left)
	}

	// A presigned URL is made by keys that the helper has to know again, so by
	// the environment of the one that serves it.
	presign := exec.CommandContext(t.Context(), "aws", "s3", "presign", "s3://cli-sync/pre signed+ü.txt", "--expires-in", "60")
	put := exec.CommandContext(t.Context(), "aws", "s3", "cp", "--no-progress", filepath.Join(up, "100%"), "s3://cli-sync/pre signed+ü.txt")
	presign.Env, put.Env = environ(c.vars), environ(c.vars)
	output(t, put)
	link := strings.TrimSpace(output(t, presign))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, link, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.fetch(t, &http.Client{Transport: c.transport(t)}, req, "GetObject", "100%")

	// Exit codes are the AWS CLI's own.
	for _, args := range [][]string{
		{"s3", "cp", "/no/such/file", "s3://cli-sync/"},
		{"dynamodb", "describe-table", "--table-name", "no-such-table"},
	} {
		direct := exec.CommandContext(t.Context(), "aws", args...)
		direct.Env = environ(c.vars)
		_, want := exitOf(direct)
		if text, got := exitOf(c.aws(t, args...)); got != want || got == 0 {
			t.Errorf("postern aws %v ended with %d, aws with %d: %s", args, got, want, text)
		}
	}
}

// exitOf runs a command for its stderr and exit code.
func exitOf(cmd *exec.Cmd) (string, int) {
	var errs strings.Builder
	cmd.Stderr = &errs
	err := cmd.Run()
	var exited *exec.ExitError
	switch {
	case errors.As(err, &exited):
		return errs.String(), exited.ExitCode()
	case err != nil:
		return err.Error(), -1
	}
	return errs.String(), 0
}

const refusedResources = `kind: role
version: v7
metadata: {name: clients-reader}
spec:
  allow:
    app_labels: {clients: reader}
    aws_role_arns: ["arn:aws:iam::` + devAccount + `:role/PosternReadOnly"]
    aws_actions: ["sts:GetCallerIdentity", "@List"]
---
kind: app
version: v3
metadata: {name: clients-reader, labels: {clients: reader}}
spec: {cloud: AWS, aws: {account_id: "` + devAccount + `", region: us-east-1}}
---
kind: role
version: v7
metadata: {name: clients-guarded}
spec:
  allow:
    app_labels: {clients: guarded}
    aws_role_arns: ["arn:aws:iam::` + devAccount + `:role/PosternReadOnly"]
  deny:
    aws_actions: ["*"]
---
kind: app
version: v3
metadata: {name: clients-guarded, labels: {clients: guarded}}
spec: {cloud: AWS, aws: {account_id: "` + devAccount + `", region: us-east-1}}
---
kind: role
version: v7
metadata: {name: clients-brief}
spec:
  options: {max_session_ttl: 3s}
  allow:
    app_labels: {clients: brief}
    aws_role_arns: ["arn:aws:iam::` + devAccount + `:role/PosternReadOnly"]
---
kind: app
version: v3
metadata: {name: clients-brief, labels: {clients: brief}}
spec: {cloud: AWS, aws: {account_id: "` + devAccount + `", region: us-east-1}}
`

// refusals are calls whose errors travel in each shape that the AWS CLI reads.
var refusals = []struct {
	shape, operation, code string
	args                   []string
}{
	// The first three stand for the shapes in every state.
	{"S3 XML with a body", "PutObject", "AccessDenied", []string{"s3api", "put-object", "--bucket", "refused-bucket", "--key", "x", "--body", "clients_test.go"}},
	{"JSON", "PutItem", "AccessDeniedException", []string{"dynamodb", "put-item", "--table-name", "t", "--item", `{"id":{"S":"x"}}`}},
	{"EC2 XML", "TerminateInstances", "UnauthorizedOperation", []string{"ec2", "terminate-instances", "--instance-ids", "i-0123456789abcdef0"}},
	{"S3 XML", "CreateBucket", "AccessDenied", []string{"s3api", "create-bucket", "--bucket", "refused-bucket"}},
	{"query XML", "AssumeRole", "AccessDenied", []string{"sts", "assume-role", "--role-arn", "arn:aws:iam::" + devAccount + ":role/x", "--role-session-name", "xy"}},
	{"JSON 1.1", "GetParameter", "AccessDeniedException", []string{"ssm", "get-parameter", "--name", "x"}},
	{"CBOR", "DeleteAlarms", "AccessDeniedException", []string{"cloudwatch", "delete-alarms", "--alarm-names", "x"}},
	{"REST-JSON", "DeleteFunction", "AccessDeniedException", []string{"lambda", "delete-function", "--function-name", "x"}},
	{"REST-XML", "DeleteHostedZone", "AccessDenied", []string{"route53", "delete-hosted-zone", "--id", "Z123"}},
}

// refused checks that the AWS CLI reads each refusal as AWS's, without trying again, and
// that it is on record, by the rule if there is one.
func (c *clients) refused(t *testing.T, env []string, state, reason, rule string, shapes int) {
	t.Helper()
	t.Run(state, func(t *testing.T) {
		for _, r := range refusals[:shapes] {
			t.Run(r.shape, func(t *testing.T) {
				t.Parallel()
				cmd := exec.CommandContext(t.Context(), "aws", append(slices.Clone(r.args), "--debug")...)
				cmd.Env = env
				if r.shape == "CBOR" {
					cmd.Env = append(slices.Clone(env), "AWS_DATA_PATH="+cborModels(t, r.args[0]))
				}
				log, code := exitOf(cmd)
				want := fmt.Sprintf("An error occurred (%s) when calling the %s operation: postern: ", r.code, r.operation)
				if (code != 254 && code != 255) || !strings.Contains(log, want) || !regexp.MustCompile(reason).MatchString(log[max(0, strings.Index(log, want)):]) {
					t.Errorf("exit code %d, want %q and %q, got\n%s", code, want, reason, lastLines(log))
				}
				once(t, log)
				denied := c.denial(requestIDIn(log))
				switch {
				case denied == nil:
					t.Errorf("no denial of id %q is on record", requestIDIn(log))
				case denied.Operation != r.operation || denied.Code != r.code || denied.Rule != rule || denied.User != "alice":
					t.Errorf("recorded as %q of %s, %s by %q", denied.Operation, denied.User, denied.Code, denied.Rule)
				}
			})
		}
	})
}

func lastLines(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-4):], "\n")
}

// errors: denied, locked, ended and expired, in each protocol's own words.
func (c *clients) errors(t *testing.T) {
	needs(t, "aws", "--version")
	home := t.TempDir()
	c.grant(t, refusedResources, "clients-reader")
	vars, _ := c.proxyAWS(t, home, "clients-reader")
	c.refused(t, environ(vars), "denied", `postern request create --roles \S+ --reason`, "no role of the session allows it", len(refusals))

	var lock struct{ ID string }
	if err := json.Unmarshal([]byte(c.must(t, "admin", "lock", "--app", "clients-reader", "--message", "laptop reported stolen", "--format=json")), &lock); err != nil {
		t.Fatal(err)
	}
	c.refused(t, environ(vars), "locked", "laptop reported stolen", "", 3)
	c.must(t, "admin", "lock", "rm", lock.ID)

	output(t, c.postern(t, "alice", home, "apps", "logout", "clients-reader"))
	c.refused(t, environ(vars), "ended", "postern apps login clients-reader", "", 3)

	c.allow(t, "clients-guarded") // which ends all that alice has
	guarded, _ := c.proxyAWS(t, home, "clients-guarded")
	c.refused(t, environ(guarded), "denied by a rule", `role clients-guarded denies \S+ by "\*"`, "role clients-guarded denies *", len(refusals))

	c.allow(t, "clients-brief")
	var session appSession
	if err := json.Unmarshal([]byte(output(t, c.postern(t, "alice", home, "apps", "login", "--format=json", "clients-brief"))), &session); err != nil {
		t.Fatal(err)
	}
	vars, _ = c.proxyAWS(t, home, "clients-brief")
	time.Sleep(time.Until(session.ExpiresAt)) // what is tested is that moment
	c.refused(t, environ(vars), "expired", "expired.*postern apps login clients-brief", "", 3)
}

// bigFiles: a large file up and down by the AWS CLI, with no retry and little
// memory. POSTERN_TEST_COPY_GIB says how large, in GiB; 1 by default.
func (c *clients) bigFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: carries 2 GiB")
	}
	needs(t, "aws", "--version")
	gib := uint64(1)
	if v := os.Getenv("POSTERN_TEST_COPY_GIB"); v != "" {
		var err error
		if gib, err = strconv.ParseUint(v, 10, 8); err != nil || gib == 0 {
			t.Fatalf("POSTERN_TEST_COPY_GIB=%q: want a number of GiB from 1 to 255", v)
		}
	}
	size := gib << 30
	dir := t.TempDir()
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dir, &disk); err != nil || disk.Bavail*uint64(disk.Bsize) < 6*size {
		t.Skipf("needs %d GiB of disk: %v", 6*size>>30, err)
	}
	up, down := filepath.Join(dir, "up"), filepath.Join(dir, "down")
	want := randomFile(t, up, int64(size))
	const object = "s3://cli-big/a large file"
	output(t, c.aws(t, "s3", "mb", "s3://cli-big"))
	for _, step := range []struct{ what, from, to string }{{"up", up, object}, {"down", object, down}} {
		started := time.Now()
		cmd := c.aws(t, "s3", "cp", "--no-progress", "--debug", step.from, step.to)
		log, err := os.Create(filepath.Join(dir, step.what+".log"))
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		peak := 0
		for running := true; running; {
			select {
			case err = <-ended:
				running = false
			case <-time.After(50 * time.Millisecond):
				peak = max(peak, peakRSS(cmd.Process.Pid))
			}
		}
		text, readErr := os.ReadFile(log.Name())
		log.Close()
		if err != nil || readErr != nil {
			t.Fatalf("%s: %v, %v\n%s", step.what, err, readErr, lastLines(string(text)))
		}
		if n := strings.Count(string(text), "Retry needed"); n > 0 || !strings.Contains(string(text), "No retry needed.") {
			t.Errorf("%s: %d retries (or the log has no word of them)", step.what, n)
		}
		took := time.Since(started)
		t.Logf("%d GiB %s: %.1f s, %.0f MiB/s; peak RSS of postern aws %d MiB, of postern dev %d MiB", gib, step.what, took.Seconds(), float64(size>>20)/took.Seconds(), peak, peakRSS(c.dev.pid))
		if peak == 0 || peak > 96 {
			t.Errorf("peak RSS of the helper is %d MiB; it may hold 96", peak)
		}
	}
	if got := hashFile(t, down); got != want {
		t.Error("the file came back changed")
	}
	output(t, c.aws(t, "s3", "rm", object))
}
