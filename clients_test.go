package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/proxy/sts"
)

// TestClients puts real AWS clients through one running postern, against a
// simulated AWS that checks every signature. What each client says of its calls
// has to be what the record says: one attempt, AWS's own request id.
func TestClients(t *testing.T) {
	c := startClients(t)
	for _, client := range []struct {
		name string
		run  func(*clients, *testing.T)
	}{
		{"go", (*clients).goSDK},
		{"javascript", (*clients).javaScript},
		{"boto3", (*clients).boto3},
		{"cli", (*clients).awsCLI},
		{"protocols", (*clients).protocols},
		{"streams", (*clients).streams},
		{"conversations", (*clients).conversations},
		{"multi-region access point", (*clients).multiRegion},
		{"directory bucket", (*clients).directoryBucket},
		{"big", (*clients).bigFiles},
		{"terraform", (*clients).terraform},
		{"errors", (*clients).errors}, // last: alice gets roles that deny her what the others do
	} {
		t.Run(client.name, func(t *testing.T) { client.run(c, t) })
	}
	t.Logf("peak RSS of postern dev (broker, NATS, proxy, auditor, simulated AWS): %d MiB", peakRSS(c.dev.pid))
}

// clients is a running postern with alice's `postern proxy aws` before it.
type clients struct {
	dev    *runningDev
	home   string            // alice's
	vars   map[string]string // what `postern proxy aws --format=json` says
	helper int               // its process id

	mu        sync.Mutex
	completed map[string]*events.AWSRequestCompleted // by AWS's request id
	admitted  map[string]*events.AWSRequestAdmitted  // by postern's
	denied    map[string]*events.AWSRequestDenied
}

const clientResources = `kind: role
version: v7
metadata: {name: clients-engineer}
spec:
  allow:
    app_labels: {clients: engineer}
    aws_role_arns: ["arn:aws:iam::` + devAccount + `:role/PosternEngineer"]
---
kind: app
version: v3
metadata: {name: clients, labels: {clients: engineer}}
spec: {cloud: AWS, aws: {account_id: "` + devAccount + `", region: us-east-1}}
`

func startClients(t *testing.T) *clients {
	t.Helper()
	embeddedtest.Lib(t)
	c := &clients{
		home: t.TempDir(), dev: startDevWith(t, plainBinary(t), nil, nil),
		completed: map[string]*events.AWSRequestCompleted{}, admitted: map[string]*events.AWSRequestAdmitted{}, denied: map[string]*events.AWSRequestDenied{},
	}
	c.follow(t)
	c.grant(t, clientResources, "clients-engineer")
	c.vars, c.helper = c.proxyAWS(t, c.home, "clients")
	return c
}

// grant makes resources and has bob approve alice's request for a role of them.
func (c *clients) grant(t *testing.T, resources, role string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "resources.yaml")
	if err := os.WriteFile(file, []byte(resources), 0o600); err != nil {
		t.Fatal(err)
	}
	c.must(t, "admin", "create", "-f", file)
	c.allow(t, role)
}

// allow has bob approve alice's request for a role.
func (c *clients) allow(t *testing.T, role string) {
	t.Helper()
	var request struct{ ID string }
	out := c.must(t, "alice", "request", "create", "--roles", role, "--reason", "to prove it", "--ttl", "1h", "--format=json")
	if err := json.Unmarshal([]byte(out), &request); err != nil {
		t.Fatal(err)
	}
	c.must(t, "bob", "request", "review", "--approve", request.ID)
}

// postern is the program as a user runs it, in a directory of the test's own.
func (c *clients) postern(t *testing.T, user, home string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), c.dev.bin, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "POSTERN_IDENTITY="+c.dev.Identities[user], "POSTERN_HOME="+home, "AWS_CONFIG_FILE="+os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE="+os.DevNull, "AWS_PAGER=")
	return cmd
}

func (c *clients) must(t *testing.T, user string, args ...string) string {
	t.Helper()
	return output(t, c.postern(t, user, c.home, args...))
}

// output runs a command that has to succeed and returns its stdout.
func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v\n%s%s", cmd.Args, err, out.String(), errs.String())
	}
	return out.String()
}

// proxyAWS runs alice's `postern proxy aws` on an app until the test ends.
func (c *clients) proxyAWS(t *testing.T, home, app string) (map[string]string, int) {
	t.Helper()
	cmd := c.postern(t, "alice", home, "proxy", "aws", "--app", app, "--format=json")
	var errs strings.Builder
	cmd.Stderr = &errs
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
		t.Fatalf("postern proxy aws: %v\n%s", err, errs.String())
	}
	return vars, cmd.Process.Pid
}

// environ is the environment of a client started apart from postern, as
// somebody has it who evaluated what `postern proxy aws` printed.
func environ(vars map[string]string, more ...string) []string {
	env := append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "AWS_CONFIG_FILE=" + os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull, "AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER="}, more...)
	for _, name := range []string{"PYENV_ROOT", "PYENV_VERSION", "TMPDIR"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	for k, v := range vars {
		env = append(env, k+"="+v)
	}
	return env
}

// transport goes to AWS through the helper and trusts its CA.
func (c *clients) transport(t *testing.T) *http.Transport {
	t.Helper()
	roots, err := sts.RootsWith(c.vars["AWS_CA_BUNDLE"])
	if err != nil {
		t.Fatal(err)
	}
	through, err := url.Parse(c.vars["HTTPS_PROXY"])
	if err != nil {
		t.Fatal(err)
	}
	tr := http.DefaultTransport.(*http.Transport).Clone()
	tr.TLSClientConfig.RootCAs = roots
	tr.Proxy = http.ProxyURL(through)
	tr.MaxIdleConnsPerHost = 64
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// follow keeps what the stream says of AWS requests.
func (c *clients) follow(t *testing.T) {
	t.Helper()
	nc, err := connectNATS(c.dev.NATSURL, c.dev.NATSCreds, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	j, err := journal.New(nc, "/postern/test")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() { stop(); wg.Wait() })
	wg.Go(func() {
		for e, err := range j.Follow(ctx, events.Audit, 0) {
			if err != nil {
				t.Errorf("follow: %v", err)
				return
			}
			c.mu.Lock()
			switch d := e.Data.(type) {
			case *events.AWSRequestCompleted:
				c.completed[d.AWSRequestID] = d
			case *events.AWSRequestAdmitted:
				c.admitted[d.RequestID] = d
			case *events.AWSRequestDenied:
				c.denied[d.RequestID] = d
			}
			c.mu.Unlock()
		}
	})
}

// clientCall is what a client tells of one call.
type clientCall struct {
	Operation string `json:"operation"`
	RequestID string `json:"request_id"`
	Attempts  int    `json:"attempts"`
}

// recorded checks that each call took one attempt and that the record has it, as
// alice's, by the id that AWS gave to the client.
func (c *clients) recorded(t *testing.T, calls []clientCall) {
	t.Helper()
	if len(calls) == 0 {
		t.Error("the client told of no call")
	}
	seen := map[string]bool{}
	for _, call := range calls {
		if call.Attempts != 1 {
			t.Errorf("%s took %d attempts", call.Operation, call.Attempts)
		}
		if call.RequestID == "" || seen[call.RequestID] {
			t.Errorf("%s has the request id %q, which is no id of its own", call.Operation, call.RequestID)
			continue
		}
		seen[call.RequestID] = true
		e := c.completion(call.RequestID)
		switch {
		case e == nil:
			t.Errorf("the record does not have %s of id %s", call.Operation, call.RequestID)
		case e.Operation != call.Operation || e.User != "alice" || e.Interrupted != "":
			t.Errorf("%s of id %s is recorded as %s of %s, cut by %q", call.Operation, call.RequestID, e.Operation, e.User, e.Interrupted)
		}
	}
}

// completion waits for the record of the call to which AWS gave an id.
func (c *clients) completion(id string) *events.AWSRequestCompleted { return told(c, c.completed, id) }

// denial waits for the record of the refusal to which postern gave an id.
func (c *clients) denial(id string) *events.AWSRequestDenied { return told(c, c.denied, id) }

func told[T any](c *clients, by map[string]*T, id string) *T {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		c.mu.Lock()
		e := by[id]
		c.mu.Unlock()
		if e != nil || id == "" || time.Now().After(deadline) {
			return e
		}
	}
}

// needs skips where a program is absent.
func needs(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Skipf("needs %s: %v %s", name, err, out)
	}
}

// oddKeys are object names that a careless proxy spoils.
var oddKeys = []string{
	"plain.txt", "with space", "plus+plus", "100%", "%2F", "%25", "a%20b", "ü/日本語", "a//b", "//lead", "/slash", "tail/", "..", "../up", "a/../b", "a/./b", "./here", "~tilde",
	"q?x=1&y=2", "hash#frag", "semi;colon", "co:lon@at", "quote'\"", "star*!()[]{}", "back\\slash", "eq=uals,comma", "e\u0301 decomposed", "emoji🙂",
}

// randomFile writes n bytes that are the same for the same n, and returns their
// SHA-256.
func randomFile(t testing.TB, path string, n int64) string {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(f, h), randomBytes(n), n); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func randomBytes(seed int64) io.Reader {
	return rand.NewChaCha8(sha256.Sum256(fmt.Append(nil, seed)))
}

func hashFile(t testing.TB, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}
