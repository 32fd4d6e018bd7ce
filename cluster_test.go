package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	brokerid "github.com/posternhq/postern/broker/identity"
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
}

func startCluster(t testing.TB, bin string) *cluster {
	t.Helper()
	lib := embeddedtest.Lib(t)
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
		"AWS_EC2_METADATA_DISABLED=true", "POSTERN_IDENTITY="+c.admin, "POSTERN_HOME="+filepath.Join(c.dir, "home"))

	// What `tokens add` will do later: credentials for the stream and certificates.
	nats, err := embedded.NewNATS(embedded.NATSConfig{Dir: filepath.Join(c.dir, "core", "nats"), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	for name, perms := range map[string]embedded.Permissions{"proxy": embedded.Proxy(), "auditor": embedded.Auditor(), "test": embedded.Admin()} {
		creds, err := nats.Mint(name, perms, 0)
		if err != nil {
			t.Fatal(err)
		}
		c.write(name+".creds", creds)
	}
	c.nats = filepath.Join(c.dir, "test.creds")
	ca, err := brokerid.NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c.write("core/broker/ca.pem", ca.PEM())
	c.write("ca.pem", ca.Certificate())
	for _, name := range []string{"nats", "broker", "proxy", "auditor"} {
		c.ports[name] = freePort(t)
	}
	for _, name := range []string{"proxy", "auditor"} {
		cert, err := ca.IssueServer([]string{"127.0.0.1"}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		c.writeCertificate(name, cert)
	}
	files := strings.NewReplacer("DIR", c.dir, "NATS", c.ports["nats"], "BROKER", c.ports["broker"], "PROXY", c.ports["proxy"], "AUDITOR", c.ports["auditor"],
		"SIMCA", c.sim.CAFile(), "SIM", c.sim.Addr(), "TRAIL", c.sim.TrailDir(), "LIB", lib)
	c.write("core.yaml", []byte(files.Replace(`data_dir: DIR/core
nats: {embedded: true, listen: "NATS"}
broker: {listen: "BROKER", proxy_addr: "PROXY", auditor_addr: "AUDITOR"}
`)))
	c.write("proxy.yaml", []byte(files.Replace(`data_dir: DIR/proxy
nats: {url: "nats://NATS", creds_file: DIR/proxy.creds}
proxy:
  listen: "PROXY"
  name: p1
  tls: {cert_file: DIR/proxy.crt, key_file: DIR/proxy.key, client_ca_file: DIR/ca.pem}
  aws: {dial: "SIM", ca_file: SIMCA}
`)))
	c.write("auditor.yaml", []byte(files.Replace(`data_dir: DIR/auditor
nats: {url: "nats://NATS", creds_file: DIR/auditor.creds}
clickhouse: {embedded: true, lib: LIB, max_memory: 2000000000}
auditor:
  listen: "AUDITOR"
  tls: {cert_file: DIR/auditor.crt, key_file: DIR/auditor.key, client_ca_file: DIR/ca.pem}
  cloudtrail: [TRAIL]
`)))
	for _, name := range []string{"core", "proxy", "auditor"} {
		c.start(name)
	}
	t.Cleanup(func() {
		for _, name := range []string{"proxy", "auditor", "core"} {
			c.stop(name)
		}
	})
	return c
}

func (c *cluster) write(name string, b []byte) {
	c.t.Helper()
	if err := writePrivateBytes(filepath.Join(c.dir, name), b); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) writeCertificate(name string, cert tls.Certificate) {
	c.t.Helper()
	var chain []byte
	for _, der := range cert.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		c.t.Fatal(err)
	}
	c.write(name+".crt", chain)
	c.write(name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
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
	ready := make(chan bool, 1)
	go func() {
		defer r.Close()
		for d := json.NewDecoder(r); ; {
			var line map[string]any
			if err := d.Decode(&line); err != nil {
				ready <- false
				return
			}
			if line["level"] != "info" {
				fmt.Fprintln(out, line)
			}
			if line["message"] == "ready" {
				ready <- true
			}
		}
	}()
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
	cmd.Env = c.env
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("postern %s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return out.String(), nil
}
