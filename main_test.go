package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/posternhq/postern/deploy/embedded"
)

// TestMain makes the test binary a proxy to compare with when it is run as "bare-hop",
// and a stand-in for the AWS CLI's plugin when it is run as "session-manager-plugin".
func TestMain(m *testing.M) {
	testscript.Main(cleaned{m}, map[string]func(){bareHopCommand: bareHop, "session-manager-plugin": plugin})
}

// cleaned removes what was built for all tests once they ran.
type cleaned struct{ *testing.M }

func (m cleaned) Run() int {
	defer func() { _ = os.RemoveAll(buildDir()) }()
	return m.M.Run()
}

var buildDir = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "postern-built-")
	if err != nil {
		panic(err)
	}
	return dir
})

// TestStories runs the scripts in testdata against the real program. Those
// that need a running postern share one `postern dev`; each has people of its
// own, made by seeding what it needs.
func TestStories(t *testing.T) {
	dev, bin := startDev(t), plainBinary(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", filepath.Dir(bin)+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("POSTERN_HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("AWS_CONFIG_FILE", os.DevNull)
			env.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
			env.Setenv("AWS_PAGER", "")
			// An AWS CLI that is a launcher of its own (pyenv's) needs its user's home.
			env.Setenv("HOME", os.Getenv("HOME"))
			if dev == nil {
				return nil
			}
			passwords, err := readPasswords(dev.PasswordsFile)
			if err != nil {
				return err
			}
			env.Setenv("BROKER", strings.TrimPrefix(dev.BrokerURL, "https://"))
			env.Setenv("CA", dev.CAFile)
			env.Setenv("NATS_URL", dev.NATSURL)
			env.Setenv("NATS_CREDS", dev.NATSCreds)
			env.Setenv("AWS_SIM", strings.TrimPrefix(dev.AWSSimURL, "https://"))
			env.Setenv("AWS_SIM_CA", dev.AWSSimCA)
			for user, file := range dev.Identities {
				env.Setenv(strings.ToUpper(user), file)
				if err := os.WriteFile(filepath.Join(env.WorkDir, user+".password"), []byte(passwords[user]+"\n"), 0o600); err != nil {
					return err
				}
			}
			return nil
		},
		Condition: func(cond string) (bool, error) {
			switch {
			case cond == "dev":
				return dev != nil, nil
			case cond == "boto3":
				return exec.Command("python3", "-c", "import boto3").Run() == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"until":   untilOutput,
			"field":   field,
			"receive": receive,
		},
	})
}

// untilOutput runs a command again and again until it succeeds and, where given, its
// stdout holds a text: until 'TEXT' CMD ARGS…
func untilOutput(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until TEXT CMD ARGS…")
	}
	deadline := time.Now().Add(2 * time.Minute)
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := ts.Exec(args[1], args[2:]...)
		if err == nil && strings.Contains(ts.ReadFile("stdout"), args[0]) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("waited for %q of %v; last error %v", args[0], args[1:], err)
		}
		time.Sleep(pause)
	}
}

// field puts a field of the first JSON object on stdout into a variable:
// field VAR NAME[.NAME…]; a number picks from a list.
func field(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: field VAR NAME")
	}
	var v any
	ts.Check(json.NewDecoder(strings.NewReader(ts.ReadFile("stdout"))).Decode(&v))
	for _, name := range strings.Split(args[1], ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[name]
		case []any:
			var i int
			if _, err := fmt.Sscan(name, &i); err != nil || i >= len(x) {
				ts.Fatalf("no element %s", name)
			}
			v = x[i]
		}
	}
	if v == nil {
		ts.Fatalf("no field %s", args[1])
	}
	ts.Setenv(args[0], fmt.Sprint(v))
}

// receive starts a webhook on loopback that answers with a status and appends
// what it is sent to a file, one body a line: receive URL_VARIABLE FILE STATUS.
func receive(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: receive URL_VARIABLE FILE STATUS")
	}
	status, err := strconv.Atoi(args[2])
	ts.Check(err)
	f, err := os.OpenFile(ts.MkAbs(args[1]), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	ts.Check(err)
	var one sync.Mutex
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WebHook-Allowed-Origin", "*")
		if r.Method == http.MethodOptions {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		one.Lock()
		defer one.Unlock()
		if _, err := f.Write(append(body, '\n')); err == nil {
			w.WriteHeader(status)
		}
	}))
	ts.Defer(func() { srv.Close(); _ = f.Close() })
	ts.Setenv(args[0], srv.URL)
}

// startDev runs the real `postern dev` for the stories, or returns nil where
// the ClickHouse library is absent.
func startDev(t *testing.T) *runningDev {
	t.Helper()
	if _, err := embedded.FindLib(""); err != nil {
		t.Logf("stories that need a running postern are skipped: %v", err)
		return nil
	}
	return startDevWith(t, plainBinary(t), nil, nil)
}

// runningDev is a `postern dev` that ends with the test.
type runningDev struct {
	ready
	bin string
	pid int
}

func startDevWith(t *testing.T, bin string, flags, env []string) *runningDev {
	t.Helper()
	return startDevIn(t, t.TempDir(), bin, flags, env)
}

func startDevIn(t *testing.T, dir, bin string, flags, env []string) *runningDev {
	t.Helper()
	var log bytes.Buffer
	cmd := exec.Command(bin, append([]string{"dev", "--data-dir", dir, "--listen", "127.0.0.1:0"}, flags...)...)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("postern dev ended: %v\n%s", err, log.String())
			}
		case <-time.After(time.Minute):
			_ = cmd.Process.Kill()
			t.Error("postern dev did not end within a minute")
		}
	})
	for {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("postern dev ended: %v\n%s", err, log.String())
		case <-time.After(50 * time.Millisecond):
		}
		b, err := os.ReadFile(filepath.Join(dir, "ready.json"))
		if err != nil {
			continue
		}
		dev := runningDev{bin: bin, pid: cmd.Process.Pid}
		if err := json.Unmarshal(b, &dev.ready); err != nil {
			t.Fatal(err)
		}
		return &dev
	}
}

// plainBinary builds postern as users have it, once: the ClickHouse engine does not
// live under the race detector.
func plainBinary(t testing.TB) string {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

var build = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(buildDir(), "postern")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return bin, nil
})
