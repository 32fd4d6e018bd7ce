package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/deploy/simaws"
)

// cluster is postern as operators run it: NATS with the broker, the proxy, and
// the auditor with ClickHouse, each a process of `postern serve`, and a
// simulated AWS in the test.
type cluster struct {
	t      testing.TB
	bin    string
	dir    string
	sim    *simaws.Sim
	admin  string // identity file
	ports  map[string]string
	procs  map[string]*exec.Cmd
	output map[string]*bytes.Buffer
	env    []string
	nats   string // credentials that may do everything

	reading sync.WaitGroup // of what the parts log
}

// startCluster starts it. settings are more keys of the broker's section.
func startCluster(t testing.TB, bin string, settings ...string) *cluster {
	t.Helper()
	lib := embeddedtest.Lib(t)
	c := newCluster(t, bin)
	c.startCore(fmt.Sprintf("listen: %q", c.ports["nats"]), settings...)
	c.startProxy()
	c.write("auditor.yaml", fmt.Appendf(nil, `data_dir: %s/auditor
clickhouse: {embedded: true, lib: %s, max_memory: 2000000000}
auditor:
  listen: %q
  join: {broker: %q, ca_pin: %q, token_file: %[1]s/auditor.token}
  cloudtrail: [%[6]s]
`, c.dir, lib, c.ports["auditor"], c.ports["broker"], c.token("auditor"), c.sim.TrailDir()))
	c.start("auditor")
	return c
}

// newCluster is one of which nothing runs but the simulated AWS.
func newCluster(t testing.TB, bin string) *cluster {
	t.Helper()
	c := &cluster{t: t, bin: bin, dir: t.TempDir(), ports: map[string]string{}, procs: map[string]*exec.Cmd{}, output: map[string]*bytes.Buffer{}}
	c.admin = filepath.Join(c.dir, "admin.pem")
	var err error
	c.sim, err = simaws.New(simaws.Config{Dir: filepath.Join(c.dir, "aws"), TrailDelay: time.Second, DataEvents: []string{"arn:aws:s3"}, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	embeddedtest.Run(t, c.sim)
	creds, err := seedSim(c.sim)
	if err != nil {
		t.Fatal(err)
	}
	c.write("aws-credentials", creds)
	c.env = append(os.Environ(), "AWS_SHARED_CREDENTIALS_FILE="+filepath.Join(c.dir, "aws-credentials"), "AWS_CONFIG_FILE="+os.DevNull,
		"AWS_EC2_METADATA_DISABLED=true", "POSTERN_HOME="+filepath.Join(c.dir, "home"))

	for _, name := range []string{"nats", "broker", "proxy", "auditor"} {
		c.ports[name] = freePort(t)
	}
	t.Cleanup(func() {
		for _, name := range []string{"proxy", "auditor", "core"} {
			c.stop(name)
		}
		c.reading.Wait()
	})
	return c
}

// startCore starts NATS, with keys of its section, and the broker, with more of its.
func (c *cluster) startCore(nats string, settings ...string) {
	c.t.Helper()
	settings = append(settings, fmt.Sprintf("listen: %q, proxy_addr: %q, auditor_addr: %q", c.ports["broker"], c.ports["proxy"], c.ports["auditor"]))
	c.write("core.yaml", fmt.Appendf(nil, "data_dir: %s/core\nnats: {embedded: true, %s}\nbroker: {%s}\n", c.dir, nats, strings.Join(settings, ", ")))
	c.start("core")
	keys, err := embedded.NewNATS(embedded.NATSConfig{Dir: filepath.Join(c.dir, "core", "nats"), Log: zerolog.Nop()})
	if err != nil {
		c.t.Fatal(err)
	}
	creds, err := keys.Mint("test", embedded.Admin(), 0)
	if err != nil {
		c.t.Fatal(err)
	}
	c.write("test.creds", creds)
	c.nats = filepath.Join(c.dir, "test.creds")
}

// startProxy has a proxy join by a token, and starts it.
func (c *cluster) startProxy() {
	c.t.Helper()
	c.write("proxy.yaml", fmt.Appendf(nil, `data_dir: %s/proxy
proxy:
  listen: %q
  name: p1
  join: {broker: %q, ca_pin: %q, token_file: %[1]s/proxy.token}
  aws: {dial: %[5]q, ca_file: %q}
`, c.dir, c.ports["proxy"], c.ports["broker"], c.token("proxy"), c.sim.Addr(), c.sim.CAFile()))
	c.start("proxy")
}

func (c *cluster) write(name string, b []byte) {
	c.t.Helper()
	if err := writePrivateBytes(filepath.Join(c.dir, name), b); err != nil {
		c.t.Fatal(err)
	}
}

// token makes a token that a service can join with once, in a file, and returns
// the pin of the CA.
func (c *cluster) token(kind string) string {
	c.t.Helper()
	out, err := c.postern(c.t.Context(), "tokens", "add", "--type="+kind, "--format=json")
	if err != nil {
		c.t.Fatal(err)
	}
	var made api.TokenMade
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		c.t.Fatal(err)
	}
	c.write(kind+".token", []byte(made.Token))
	return made.CAPins[0]
}

// freePort finds an address that a process can have and, killed, have again.
func freePort(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start runs a part and waits until it says that it is ready.
func (c *cluster) start(name string) {
	c.t.Helper()
	out := &bytes.Buffer{}
	args := []string{"serve", "--config", filepath.Join(c.dir, name+".yaml")}
	if name == "core" {
		args = append(args, "--admin-identity", c.admin)
	}
	cmd := exec.Command(c.bin, args...)
	cmd.Env = c.env
	r, w, err := os.Pipe()
	if err != nil {
		c.t.Fatal(err)
	}
	cmd.Stderr = w
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	w.Close()
	c.procs[name], c.output[name] = cmd, out
	ready := make(chan bool, 2)
	c.reading.Go(func() {
		defer r.Close()
		for lines := bufio.NewReader(r); ; {
			text, err := lines.ReadBytes('\n')
			if err != nil {
				ready <- false
				return
			}
			var line map[string]any
			if err := json.Unmarshal(text, &line); err != nil {
				c.t.Errorf("%s logs what is no JSON: %s", name, text)
				continue
			}
			if line["level"] != "info" {
				fmt.Fprintln(out, line)
			}
			if line["message"] == "ready" {
				ready <- true
			}
		}
	})
	if !<-ready {
		c.t.Fatalf("%s did not start: %v\n%s", name, cmd.Wait(), out)
	}
}

// kill ends a part without a warning, as a crash would.
func (c *cluster) kill(name string) {
	c.t.Helper()
	if err := c.procs[name].Process.Kill(); err != nil {
		c.t.Fatal(err)
	}
	_ = c.procs[name].Wait()
	delete(c.procs, name)
}

func (c *cluster) stop(name string) {
	p := c.procs[name]
	if p == nil {
		return
	}
	delete(c.procs, name)
	_ = p.Process.Signal(syscall.SIGTERM)
	if err := p.Wait(); err != nil {
		c.t.Errorf("%s ended: %v\n%s", name, err, c.output[name])
	}
}

// engine is the process id of the ClickHouse engine.
func (c *cluster) engine() int {
	c.t.Helper()
	pid := c.procs["auditor"].Process.Pid
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	var child int
	if err == nil {
		_, err = fmt.Sscan(string(children), &child)
	}
	if err != nil { // forked by another thread
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
		for _, f := range tasks {
			if b, _ := os.ReadFile(f); len(b) > 0 {
				if _, err = fmt.Sscan(string(b), &child); err == nil {
					break
				}
			}
		}
	}
	if child == 0 {
		c.t.Fatalf("no ClickHouse engine under process %d: %v", pid, err)
	}
	return child
}

// peakRSS is the most memory that a process has held, in MiB.
func peakRSS(pid int) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			var kib int
			_, _ = fmt.Sscan(rest, &kib)
			return kib >> 10
		}
	}
	return 0
}

// postern runs the program as the admin and returns what it printed.
func (c *cluster) postern(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.bin, args...)
	cmd.Env = append(c.env, "POSTERN_IDENTITY="+c.admin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("postern %s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return out.String(), nil
}
