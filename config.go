package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/posternhq/postern/auditor/store"
)

// Config is postern.yaml: what `postern serve` runs and with what. A section
// that is absent is a service that does not run here.
type Config struct {
	// DataDir holds the broker's keys, what the auditor remembers, and the
	// embedded servers' data.
	DataDir    string           `yaml:"data_dir"`
	Log        LogConfig        `yaml:"log"`
	NATS       NATSConfig       `yaml:"nats"`
	ClickHouse ClickHouseConfig `yaml:"clickhouse"`
	Broker     *BrokerConfig    `yaml:"broker"`
	Proxy      *ProxyConfig     `yaml:"proxy"`
	Auditor    *AuditorConfig   `yaml:"auditor"`
	Metrics    *MetricsConfig   `yaml:"metrics"`
}

// LogConfig is what operators read on stderr.
type LogConfig struct {
	Level  string `yaml:"level"`  // debug, info (default), warn, error
	Format string `yaml:"format"` // json (default) or text
}

// NATSConfig is where the streams are.
type NATSConfig struct {
	// Embedded runs a NATS server in this process, in DataDir/nats.
	Embedded bool   `yaml:"embedded"`
	Listen   string `yaml:"listen"` // of the embedded server; default 127.0.0.1:4222
	// URL and CredsFile reach a NATS server run elsewhere. One credential serves
	// all services of this process; docs/nats.md lists what each needs.
	URL       string `yaml:"url"`
	CredsFile string `yaml:"creds_file"`
	CAFile    string `yaml:"ca_file"`
	// SealedCredsFile reaches the account that holds the brokers' sealed values;
	// default: CredsFile.
	SealedCredsFile string `yaml:"sealed_creds_file"`
	// ConsumersCredsFile makes and ends outside consumers; default: CredsFile.
	ConsumersCredsFile string `yaml:"consumers_creds_file"`
	// PushCredsFile reads what brokers send to endpoints; default: CredsFile.
	PushCredsFile string `yaml:"push_creds_file"`
	// PublicURL is where those who join find the server; default: URL, or where
	// the embedded one listens.
	PublicURL string `yaml:"public_url"`
	// AccountSeedFile lets the broker make credentials for those who join a server
	// run elsewhere: the seed of the account, or of a signing key of Account.
	AccountSeedFile string `yaml:"account_seed_file"`
	Account         string `yaml:"account"`
	// Replicas of each stream: 1 (default), 3 or 5.
	Replicas int `yaml:"replicas"`
}

// ClickHouseConfig is where the auditor keeps its tables.
type ClickHouseConfig struct {
	// Embedded runs a ClickHouse server beside this process, in DataDir/clickhouse.
	Embedded bool   `yaml:"embedded"`
	Lib      string `yaml:"lib"` // libchdb.so; found by itself after `task setup`
	// MaxMemory of the embedded server in bytes; default 4 GiB.
	MaxMemory int64 `yaml:"max_memory"`
	// DSN of a user that owns the database; ReaderDSN of one that can only read.
	DSN       string `yaml:"dsn"`
	ReaderDSN string `yaml:"reader_dsn"`
	// ScopedDSN is of a user who reads the database beside it that is for readers
	// of some AWS accounts; `postern config clickhouse` prints what the server needs.
	// Without it they are refused.
	ScopedDSN string `yaml:"scoped_dsn"`
	// Cluster of DSN's server, by its name in remote_servers: tables are made on all
	// of its replicas. Sharded spreads calls and records over its shards; without it the
	// cluster has one. docs/tables.md.
	Cluster string `yaml:"cluster"`
	Sharded bool   `yaml:"sharded"`
	// Retention and Tiers are of all auditors that share a database; docs/tables.md.
	Retention RetentionConfig `yaml:"retention"`
	Tiers     *TiersConfig    `yaml:"tiers"`
}

// BrokerConfig is the service that decides who may do what.
type BrokerConfig struct {
	Listen string `yaml:"listen"` // default 127.0.0.1:3080
	// PublicNames are the host names and addresses that its certificate is for,
	// besides those of Listen.
	PublicNames []string `yaml:"public_names"`
	// PublicAddr, ProxyAddr and AuditorAddr (HOST:PORT) are what users are told;
	// default: where the services of this process listen.
	PublicAddr string `yaml:"public_addr"`
	ProxyAddr  string `yaml:"proxy_addr"`
	// Proxies are those that users may choose from; they try those that serve an app in
	// this order. Default: those that announce themselves (proxy.public_addr); where
	// none does, ProxyAddr serves all.
	Proxies []ProxyPlace `yaml:"proxies"`
	// Apps are made, or made so again, when the broker starts; those of an earlier
	// start that are here no more are removed. Absent leaves all as they are.
	Apps        []AppConfig `yaml:"apps"`
	AuditorAddr string      `yaml:"auditor_addr"`
	// SealKeyFile holds the key of what all brokers share, 32 random bytes in
	// base64; the variable POSTERN_SEAL_KEY goes before it. Default:
	// DataDir/broker/seal.key, which a first broker makes.
	SealKeyFile string `yaml:"seal_key_file"`
	// AgentTTL is how long certificates of proxies and auditors that joined live;
	// default 6h. They are renewed after a third of it.
	AgentTTL time.Duration `yaml:"agent_ttl"`
	// AWS is how STS is reached that vouches for those who join by IAM.
	AWS STSConfig `yaml:"aws"`
	// EC2Certificates are PEM files of those by which AWS signs identity documents, in
	// place of those that AWS publishes, and EC2MaxAge how old an instance may be when
	// it joins; default 5m.
	EC2Certificates []string      `yaml:"ec2_certificates"`
	EC2MaxAge       time.Duration `yaml:"ec2_max_age"`
}

// STSConfig is how the broker reaches AWS's STS. It has no AWS credentials.
type STSConfig struct {
	Dial   string `yaml:"dial"` // as in AWSConfig
	CAFile string `yaml:"ca_file"`
}

// TLSFiles is a server's certificate where the broker runs elsewhere.
type TLSFiles struct {
	CertFile     string `yaml:"cert_file"`
	KeyFile      string `yaml:"key_file"`
	ClientCAFile string `yaml:"client_ca_file"` // the broker's CA, which signs users' certificates
}

// ProxyConfig is the service that forwards to AWS.
type ProxyConfig struct {
	Listen      string   `yaml:"listen"` // default 127.0.0.1:3081
	PublicNames []string `yaml:"public_names"`
	// PublicAddr is where users reach it, HOST:PORT. The proxy announces that to the
	// broker while it serves; absent announces nothing.
	PublicAddr string    `yaml:"public_addr"`
	Name       string    `yaml:"name"` // in every event; default: the host's name
	TLS        *TLSFiles `yaml:"tls"`
	// Join is in place of TLS and NATS credentials where the broker runs elsewhere.
	Join *JoinConfig `yaml:"join"`
	AWS  AWSConfig   `yaml:"aws"`
	// Apps are those that this proxy serves; default: all.
	Apps ProxyApps `yaml:"apps"`
	// RecordParameters are actions, with IAM's wildcards or as levels (iam:*,
	// @Write), whose parameters are recorded, without their secrets; default none.
	RecordParameters []string `yaml:"record_parameters"`
	// Strict refuses requests when the proxy has not heard from the ACCESS stream
	// for MaxSilence, because a lock may have been placed; default true, 10s. It is
	// for sessions whose roles do not say themselves, by options.lock.
	Strict     *bool         `yaml:"strict"`
	MaxSilence time.Duration `yaml:"max_silence"`
	// HoldFor is how long a call waits for its approval before its client gets an
	// error to come back with; default 50s, less than AWS's clients wait.
	HoldFor time.Duration `yaml:"hold_for"`
	// TicketKeyFile has the keys that proxies share, to know what their users hold and to
	// keep rate limits together, where no broker gives them any, which it does to those
	// that run beside it or join: 32 random bytes in base64, a
	// line each. The first seals, all open: to change it, add the new one below at
	// every proxy, then put it first, and take the old one away 13 hours later.
	TicketKeyFile string `yaml:"ticket_key_file"`
}

// AWSConfig is how the proxy reaches AWS.
type AWSConfig struct {
	// Dial sends every connection to AWS to this HOST:PORT, with the original
	// host name in TLS and in Host.
	Dial string `yaml:"dial"`
	// CAFile is trusted for it, besides the system's roots.
	CAFile string `yaml:"ca_file"`
	// Region where STS is called for apps that name none.
	Region string `yaml:"region"`
	// LockPolicy has locks reach AWS: consoles and exported credentials.
	LockPolicy *LockPolicyConfig `yaml:"lock_policy"`
}

// LockPolicyConfig is how the proxy changes IAM roles for locks.
type LockPolicyConfig struct {
	// Role is the name of an IAM role in every account that the proxy assumes for
	// it; default: the proxy's own credentials.
	Role string `yaml:"role"`
}

// AuditorConfig is the service that keeps and compares the records.
type AuditorConfig struct {
	Listen      string    `yaml:"listen"` // default 127.0.0.1:3082
	PublicNames []string  `yaml:"public_names"`
	TLS         *TLSFiles `yaml:"tls"`
	Name        string    `yaml:"name"` // default: the host's name
	// Join is in place of TLS and NATS credentials where the broker runs elsewhere.
	Join *JoinConfig `yaml:"join"`
	// CloudTrail are directories where AWS's log files arrive.
	CloudTrail []string `yaml:"cloudtrail"`
	// AWS is where CloudTrail is read from; absent means directories alone.
	AWS *AuditorAWSConfig `yaml:"aws"`
	// TrailDelay is how long AWS may take to deliver a record before the request
	// counts as missing in CloudTrail; default 20m.
	TrailDelay time.Duration `yaml:"trail_delay"`
	// ReaderRoles may ask questions; default admin and auditor.
	ReaderRoles []string `yaml:"reader_roles"`
	// Log is how the transparency logs are kept (docs/evidence.md).
	Log AuditLogConfig `yaml:"log"`
}

// AuditorAWSConfig is how the auditor reads CloudTrail from AWS (docs/cloudtrail.md).
// Credentials come from the default chain of the AWS SDK.
type AuditorAWSConfig struct {
	// Region of queues, and where trails are asked for; default us-east-1.
	Region string `yaml:"region"`
	Dial   string `yaml:"dial"`    // as proxy.aws.dial
	CAFile string `yaml:"ca_file"` // as proxy.aws.ca_file
	// RoleARN is assumed with the default chain's credentials.
	RoleARN    string `yaml:"role_arn"`
	ExternalID string `yaml:"external_id"`
	// Queues are URLs of SQS queues that S3, SNS or EventBridge tell of files.
	Queues []string `yaml:"queues"`
	// LookupRegions are read by LookupEvents, where there is no trail.
	LookupRegions []string `yaml:"lookup_regions"`
}

// AuditLogConfig is how the transparency logs in DataDir are kept.
type AuditLogConfig struct {
	// Name of the logs; default: from their key. It can't change.
	Name string `yaml:"name"`
	// PublishEvery is how often signed checkpoints become an event and go to the
	// directories and repositories; default 10s.
	PublishEvery time.Duration `yaml:"publish_every"`
	// Witnesses sign checkpoints by c2sp.org/tlog-witness.
	Witnesses []WitnessConfig `yaml:"witnesses"`
	// WitnessDirs are directories, and WitnessRepos Git repositories, that get a
	// copy of every published checkpoint.
	WitnessDirs  []string `yaml:"witness_dirs"`
	WitnessRepos []string `yaml:"witness_repos"`
	// Bucket, s3://BUCKET/PREFIX, gets the logs before their checkpoints are
	// published. AWS is reached as auditor.aws says.
	Bucket string `yaml:"bucket"`
}

// WitnessConfig is one witness.
type WitnessConfig struct {
	URL string `yaml:"url"`
	Key string `yaml:"key"` // its verifier key, NAME+HASH+KEY
}

// readConfig reads a file; unknown keys and wrong values are errors that name
// the line and the key.
func readConfig(path string) (*Config, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("%s: %s", path, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	var c Config
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&c); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s: empty; postern config init writes a commented one", path)
		}
		return nil, configError(path, &doc, err)
	}
	if err := d.Decode(new(Config)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: more than one document", path)
	}
	key, problem := emptySection(&doc)
	c.fill()
	if problem == "" {
		key, problem = c.check()
	}
	if problem != "" {
		return nil, fmt.Errorf("%s: line %d: %s: %s", path, lineOf(&doc, key), key, problem)
	}
	return &c, nil
}

// placed is what the configuration says of a service that needs a place in a postern:
// a proxy or an auditor.
type placed struct {
	kind         string // and its key
	name, listen string
	names        []string // besides those of listen
	tls          *TLSFiles
	join         *JoinConfig
}

func (p *ProxyConfig) placed() placed {
	return placed{"proxy", p.Name, p.Listen, p.PublicNames, p.TLS, p.Join}
}

func (a *AuditorConfig) placed() placed {
	return placed{"auditor", a.Name, a.Listen, a.PublicNames, a.TLS, a.Join}
}

func (c *Config) placed() (out []placed) {
	if c.Proxy != nil {
		out = append(out, c.Proxy.placed())
	}
	if c.Auditor != nil {
		out = append(out, c.Auditor.placed())
	}
	return out
}

// joins says whether all services here join a broker elsewhere.
func (c *Config) joins() bool {
	for _, one := range c.placed() {
		if one.join == nil {
			return false
		}
	}
	return c.Broker == nil
}

// fill puts defaults where the file says nothing.
func (c *Config) fill() {
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	def(&c.DataDir, "/var/lib/postern")
	def(&c.NATS.Listen, "127.0.0.1:4222")
	if c.Metrics != nil {
		def(&c.Metrics.Listen, "127.0.0.1:3090")
	}
	if c.Broker != nil {
		def(&c.Broker.Listen, "127.0.0.1:3080")
	}
	if c.Proxy != nil {
		def(&c.Proxy.Listen, "127.0.0.1:3081")
		host, _ := os.Hostname()
		def(&c.Proxy.Name, host)
	}
	if c.Auditor != nil {
		def(&c.Auditor.Listen, "127.0.0.1:3082")
		host, _ := os.Hostname()
		def(&c.Auditor.Name, host)
	}
}

func (c *cli) config() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Write or check a configuration file"}
	initCmd := &cobra.Command{
		Use: "init [FILE]", Short: "Write a commented configuration to FILE, or to stdout", Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || args[0] == "-" {
				_, err := io.WriteString(c.stdout, configTemplate)
				return err
			}
			f, err := os.OpenFile(filepath.Clean(args[0]), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return err
			}
			_, err = f.WriteString(configTemplate)
			return errors.Join(err, f.Close())
		},
	}
	check := &cobra.Command{
		Use: "check FILE", Short: "Say what is wrong with a configuration, by line and key", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if _, err := orSignal(c.ctx, func() (*Config, error) { return readConfig(args[0]) }); err != nil {
				return err
			}
			c.say("%s: good", args[0])
			return nil
		},
	}
	var database, owner, cluster string
	var sharded bool
	clickhouse := &cobra.Command{
		Use: "clickhouse", Short: "Print what a ClickHouse server needs for readers of some AWS accounts", Args: cobra.NoArgs,
		Long: "Print the statements by which an administrator of a ClickHouse server makes the\n" +
			"users and row policies for readers of some AWS accounts (docs/audit.md). Change the\n" +
			"password, and give clickhouse.scoped_dsn that user. Embedded needs none of it.",
		RunE: func(*cobra.Command, []string) error {
			for _, q := range store.ScopeStatements(database, owner, cluster, sharded) {
				if _, err := fmt.Fprintf(c.stdout, "%s;\n", q); err != nil {
					return err
				}
			}
			return nil
		},
	}
	clickhouse.Flags().StringVar(&database, "database", "postern", "database of clickhouse.dsn")
	clickhouse.Flags().StringVar(&owner, "owner", "postern", "user of clickhouse.dsn")
	clickhouse.Flags().StringVar(&cluster, "cluster", "", "clickhouse.cluster, where there is one")
	clickhouse.Flags().BoolVar(&sharded, "sharded", false, "clickhouse.sharded: rows are spread over the cluster's shards")
	cmd.AddCommand(initCmd, check, clickhouse)
	return cmd
}
