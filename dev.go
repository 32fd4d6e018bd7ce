package main

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/posternhq/postern/deploy/embedded"
)

//go:embed deploy/postern.yaml
var configTemplate string

//go:embed deploy/dev-seed.yaml
var devSeed string

// devAccount is the account that the simulated AWS begins with.
const devAccount = "123456789012"

// devTrailBucket is where its trail delivers, besides the directory.
const devTrailBucket = "postern-dev-trail"

func (c *cli) dev() *cobra.Command {
	var in devInput
	cmd := &cobra.Command{
		Use: "dev", Short: "All of postern in one go, with demo users and a simulated AWS", Args: cobra.NoArgs,
		Long: "All of postern in one go: NATS JetStream, ClickHouse, broker, proxy, auditor,\n" +
			"and a simulated AWS (--aws=sim) or the account behind your AWS credentials\n" +
			"(--aws=live). Writes DATA-DIR/ready.json when ready.",
		RunE: func(cmd *cobra.Command, _ []string) error { return c.runDev(cmd.Context(), in) },
	}
	f := cmd.Flags()
	f.StringVar(&in.dir, "data-dir", "", "where everything is kept (default ~/.postern/dev)")
	f.StringVar(&in.listen, "listen", "127.0.0.1:3080", "address of the broker; the other services choose free ports, the proxy the one of its last start")
	f.StringVar(&in.aws, "aws", "sim", "sim or live")
	f.StringVar(&in.dial, "aws-dial", "", "with --aws=live: HOST:PORT that every connection to AWS goes to")
	f.StringVar(&in.ca, "aws-ca", "", "with --aws-dial: PEM file of the CA to trust there")
	f.StringVar(&in.lib, "clickhouse-lib", "", "the ClickHouse library, libchdb.so")
	f.StringArrayVar(&in.trails, "cloudtrail", nil, "with --aws=live: directory where CloudTrail's files arrive")
	f.DurationVar(&in.trailDelay, "trail-delay", 0, "later than this, a request is missing in CloudTrail (default 20m)")
	f.BoolVar(&in.ephemeral, "ephemeral", false, "keep nothing: all state goes into a new directory, in DATA-DIR where given, removed at the end")
	f.StringVar(&in.logLevel, "log-level", "warn", "debug, info, warn or error")
	return cmd
}

type devInput struct {
	dir, listen, aws, dial, ca, lib, logLevel string
	trails                                    []string
	trailDelay                                time.Duration
	ephemeral                                 bool
}

// ready is DATA-DIR/ready.json: all that a program needs to drive `dev`.
type ready struct {
	BrokerURL     string            `json:"broker_url"`
	ProxyAddr     string            `json:"proxy_addr"`
	AuditorAddr   string            `json:"auditor_addr"`
	NATSURL       string            `json:"nats_url"`
	NATSCreds     string            `json:"nats_creds"`
	ClickHouseDSN string            `json:"clickhouse_dsn"`
	AWSSimURL     string            `json:"aws_sim_url,omitempty"`
	AWSSimCA      string            `json:"aws_sim_ca_file,omitempty"`
	CloudTrailDir string            `json:"cloudtrail_dir,omitempty"`
	CAFile        string            `json:"ca_file"`
	Identities    map[string]string `json:"identities"`
	// PasswordsFile holds the demo users' passwords, a JSON object by user.
	PasswordsFile string `json:"passwords_file"`
}

func (c *cli) runDev(ctx context.Context, in devInput) error {
	switch {
	case in.aws != "sim" && in.aws != "live":
		return usageError{fmt.Errorf("--aws=%s: want sim or live", in.aws)}
	case in.aws == "sim" && (in.dial != "" || in.ca != ""):
		return usageError{errors.New("--aws-dial and --aws-ca go with --aws=live")}
	case !hostPortAddr(in.dial):
		return usageError{fmt.Errorf("--aws-dial=%s: want HOST:PORT", in.dial)}
	case badAddr(in.listen) != "":
		return usageError{fmt.Errorf("--listen=%s: %s", in.listen, badAddr(in.listen))}
	case in.trailDelay < 0:
		return usageError{fmt.Errorf("--trail-delay=%s: must not be negative", in.trailDelay)}
	}
	if key, problem := (&Config{Log: LogConfig{Level: in.logLevel}, Broker: &BrokerConfig{}}).checkLog(); key != "" {
		return usageError{fmt.Errorf("--log-level=%s: %s", in.logLevel, problem)}
	}
	if _, err := embedded.FindLib(in.lib); err != nil {
		return err
	}
	if in.dir == "" && !in.ephemeral {
		h, err := c.home()
		if err != nil {
			return err
		}
		in.dir = filepath.Join(h.dir, "dev")
	}
	if in.dir == "" {
		removeKilled(os.TempDir())
		tmp, err := os.MkdirTemp("", tempPrefix+"*")
		if err != nil {
			return err
		}
		defer os.RemoveAll(tmp)
		in.dir = tmp
	}
	home, err := filepath.Abs(in.dir)
	if err != nil {
		return err
	}
	lock, err := embedded.LockDir(home)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := isFree(ctx, in.listen); err != nil { // said before anything is made
		return ifTaken(fmt.Errorf("broker: %w", err), "another address with --listen")
	}
	dir := home
	if err := removeEphemeral(home); err != nil {
		return err
	}
	if in.ephemeral { // in a directory that others may keep things in: only what is made here goes
		if dir, err = os.MkdirTemp(home, ephemeralPrefix+"*"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	readyFile := filepath.Join(home, "ready.json")
	if err := removeIfThere(readyFile); err != nil { // of one that was killed
		return err
	}
	s := &services{log: c.logger(LogConfig{Level: in.logLevel, Format: "text"})}
	err = c.upDev(ctx, s, in, dir, readyFile)
	if err == nil {
		err = s.stack.wait(ctx)
	}
	return errors.Join(err, s.stop(), removeIfThere(readyFile))
}

// tempPrefix begins the names of directories of --ephemeral without a data directory.
const tempPrefix = "postern-dev-"

// removeKilled removes in dir what was of a postern dev --ephemeral that was killed:
// nobody has its lock. What can't be removed is another user's.
func removeKilled(dir string) {
	left, _ := glob(dir, tempPrefix+"*")
	for _, d := range left {
		if info, err := os.Lstat(filepath.Join(d, "lock")); err != nil || !info.Mode().IsRegular() {
			continue // no postern's, or one that begins
		}
		lock, err := embedded.LockDir(d)
		if err != nil {
			continue
		}
		_ = os.RemoveAll(d)
		_ = lock.Close()
	}
}

// ephemeralPrefix begins the names of directories of --ephemeral.
const ephemeralPrefix = "ephemeral-"

// removeEphemeral removes what a killed postern dev left in home, of which this process
// has the lock.
func removeEphemeral(home string) error {
	left, err := glob(home, ephemeralPrefix+"*")
	if err != nil {
		return err
	}
	for _, dir := range left {
		// Nothing but what is made here, in case somebody else's has such a name.
		if made, err := strconv.ParseUint(strings.TrimPrefix(filepath.Base(dir), ephemeralPrefix), 10, 64); err != nil || made == 0 {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("what a postern that was killed left: %w", err)
		}
	}
	return nil
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// upDev starts everything, seeds it, and says so.
func (c *cli) upDev(ctx context.Context, s *services, in devInput, dir, readyFile string) error {
	out := &ready{CAFile: filepath.Join(dir, "ca.pem"), Identities: map[string]string{}, PasswordsFile: filepath.Join(dir, "passwords.json")}
	s.cfg = &Config{
		DataDir:    dir,
		NATS:       NATSConfig{Embedded: true, Listen: "127.0.0.1:0"},
		ClickHouse: ClickHouseConfig{Embedded: true, Lib: in.lib},
		Broker:     &BrokerConfig{Listen: in.listen},
		Proxy:      &ProxyConfig{Listen: lastAddr(filepath.Join(dir, "proxy.addr")), Name: "dev", AWS: AWSConfig{Dial: in.dial, CAFile: in.ca}},
		Auditor: &AuditorConfig{Listen: "127.0.0.1:0", CloudTrail: in.trails, TrailDelay: in.trailDelay,
			AWS: &AuditorAWSConfig{Dial: in.dial, CAFile: in.ca}},
	}
	account := devAccount
	if in.aws == "sim" {
		sim, err := s.startSim(ctx, dir)
		if err != nil {
			return err
		}
		s.cfg.Proxy.AWS.Dial, s.cfg.Proxy.AWS.CAFile = sim.Addr(), sim.CAFile()
		s.cfg.Auditor.AWS.Dial, s.cfg.Auditor.AWS.CAFile = sim.Addr(), sim.CAFile()
		s.cfg.Auditor.CloudTrail = append(s.cfg.Auditor.CloudTrail, sim.TrailDir())
		out.AWSSimURL, out.AWSSimCA, out.CloudTrailDir = "https://"+sim.Addr(), sim.CAFile(), sim.TrailDir()
	}
	if err := s.start(ctx); err != nil {
		return err
	}
	if in.aws == "live" {
		// Without an answer the demo roles name an account that isn't yours; what
		// the operator creates works all the same.
		if id, err := s.proxy.Account(ctx); err != nil {
			c.say("warning: %v", err)
		} else {
			account = id
		}
	}
	if err := s.seed(ctx, account, out); err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	if _, err := s.connect("operator", embedded.Admin()); err != nil {
		return err
	}
	out.BrokerURL = "https://" + reachedAt(s.broker.Addr())
	out.ProxyAddr, out.AuditorAddr = s.proxy.Addr(), s.auditor.Addr()
	out.NATSURL, out.NATSCreds = s.natsURL, filepath.Join(dir, "creds", "operator.creds")
	out.ClickHouseDSN = s.clickhouse.DSN(embedded.Owner)
	if err := writePrivateBytes(filepath.Join(dir, "proxy.addr"), []byte(out.ProxyAddr+"\n")); err != nil {
		return err
	}
	if err := writePrivate(readyFile, out); err != nil {
		return err
	}
	for _, user := range []string{"alice", "bob"} {
		if out.Identities[user] == "" {
			c.say("The demo user %s is locked, disabled or removed. As admin: postern --identity %s lock ls, or get user", user, shellQuote(out.Identities["admin"]))
		}
	}
	as := func(user string) string { return shellQuote(cmp.Or(out.Identities[user], out.Identities["admin"])) }
	c.say(`postern is ready.
  state       %s
  sign in     postern login --proxy %s --ca-file %s --user alice
              (passwords of admin, alice and bob: %s)
  or act as   export POSTERN_IDENTITY=%s

Try:
  postern apps ls
  postern request create --roles aws-engineer --reason "a first look"
  postern --identity %s request ls
  postern aws s3 ls
  postern --identity %s audit search
Stop with Ctrl-C.`,
		dir, reachedAt(s.broker.Addr()), shellQuote(out.CAFile), out.PasswordsFile, as("alice"), as("bob"), as("admin"))
	return nil
}

// lastAddr is where the proxy of an earlier start listened, so that helpers which
// run on find it again; any free port where there was none, or it is taken.
func lastAddr(file string) string {
	const free = "127.0.0.1:0"
	b, err := os.ReadFile(file)
	if err != nil {
		return free
	}
	addr, err := netip.ParseAddrPort(strings.TrimSpace(string(b)))
	if err != nil || !addr.Addr().IsLoopback() {
		return free
	}
	ln, err := net.Listen("tcp", addr.String())
	if err != nil {
		return free
	}
	_ = ln.Close()
	return addr.String()
}
