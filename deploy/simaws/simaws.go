// Package simaws is a simulated AWS for `postern dev` and for tests: STS, S3,
// DynamoDB, EC2, IAM, SQS, CloudWatch Logs, Kinesis, the conversations of Transcribe and
// Bedrock, sign-in federation and CloudTrail behind one TLS listener on loopback, told
// apart by original host name as AWS's own endpoints are.
//
// A client connects to [Sim.Addr] while TLS SNI and Host carry the AWS host
// (`--aws-dial`, `--aws-ca`). Every signature is verified from first principles
// in this package and shares no code with the proxy, so that a mistake in the
// one cannot hide in the other. Some services have one thing each to look at, for
// clients of every protocol (reads.go). What is not simulated is still authenticated,
// refused in the shape of its protocol, and recorded.
//
// It is no place for data that matters: nothing here is fsynced.
package simaws

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// DefaultTrailDelay is how long CloudTrail records wait for delivery when
// Config.TrailDelay is zero. AWS takes five minutes on average.
const DefaultTrailDelay = 2 * time.Second

// Config says where a Sim keeps its state and how it behaves.
type Config struct {
	// Dir holds everything: CA, keys, roles, objects, tables, trail files.
	// It is created with mode 0700. A Sim opened on the same Dir again goes on
	// where the last one stopped, credentials included.
	Dir string
	// Listen is a loopback address; 127.0.0.1:0 when empty.
	Listen string
	// TrailDelay is the time between a call and the delivery of its CloudTrail
	// record. Zero means DefaultTrailDelay, negative means Flush only.
	TrailDelay time.Duration
	// KeepPending keeps on disk the records that wait for their delivery, so that
	// they outlive a kill.
	KeepPending bool
	// DataEvents selects data events as CloudTrail's event selectors do, by ARN
	// prefix: "arn:aws:s3" for all buckets, "arn:aws:s3:::bucket/" for one,
	// "arn:aws:dynamodb" for all tables. Buckets can also ask for themselves.
	DataEvents []string
	// Clock tells AWS's time; time.Now when nil.
	Clock func() time.Time
	// TrailClock tells the time of CloudTrail's deliveries and digests; Clock when
	// nil. Clients' signatures are not measured by it.
	TrailClock func() time.Time
	// OperationOf names what REST calls ask for that are not simulated, for
	// CloudTrail; where it is nil or says "", they are UnknownOperation.
	OperationOf func(*http.Request) string
	Log         zerolog.Logger
}

// Sim is one simulated AWS: all accounts, all regions.
type Sim struct {
	cfg      Config
	log      zerolog.Logger
	ca       *authority
	iam      *directory
	s3       *objectStore
	ddb      *tableStore
	ec2      *fleet
	sqs      *queues
	logs     *logGroups
	points   *regionPoints
	kinesis  *shards
	trail    *trail
	clusters sync.Map // by name
	channels sync.Map // tokens of Session Manager's data channels, by session
	ready    chan struct{}
	addr     string // written before ready is closed
}

// New opens or creates the state in cfg.Dir. It starts nothing.
func New(cfg Config) (*Sim, error) {
	if cfg.Dir == "" {
		return nil, errors.New("simaws: Config.Dir is empty: name a directory for its state")
	}
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	host, _, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("simaws: listen address %q: %w", cfg.Listen, err)
	}
	// Its credentials and its CA are worth nothing outside this machine, and
	// must not become worth something by being reachable.
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("simaws: listen address %q is not a loopback address", cfg.Listen)
	}
	if cfg.TrailDelay == 0 {
		cfg.TrailDelay = DefaultTrailDelay
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.TrailClock == nil {
		cfg.TrailClock = cfg.Clock
	}
	s := &Sim{cfg: cfg, log: cfg.Log, sqs: newQueues(), logs: newLogGroups(), kinesis: newShards(), ready: make(chan struct{})}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("simaws: create state directory: %w", err)
	}
	if s.ca, err = openAuthority(filepath.Join(cfg.Dir, "ca")); err != nil {
		return nil, fmt.Errorf("simaws: certificate authority: %w", err)
	}
	if s.iam, err = openDirectory(filepath.Join(cfg.Dir, "iam.json"), cfg.Clock); err != nil {
		return nil, fmt.Errorf("simaws: users and roles: %w", err)
	}
	if s.s3, err = openObjectStore(filepath.Join(cfg.Dir, "s3"), cfg.Clock); err != nil {
		return nil, fmt.Errorf("simaws: object store: %w", err)
	}
	if s.points, err = openRegionPoints(filepath.Join(cfg.Dir, "mrap.json")); err != nil {
		return nil, fmt.Errorf("simaws: Multi-Region Access Points: %w", err)
	}
	if s.ddb, err = openTableStore(filepath.Join(cfg.Dir, "dynamodb"), cfg.Clock); err != nil {
		return nil, fmt.Errorf("simaws: tables: %w", err)
	}
	if s.ec2, err = openFleet(filepath.Join(cfg.Dir, "ec2.json")); err != nil {
		return nil, fmt.Errorf("simaws: instances: %w", err)
	}
	if s.trail, err = openTrail(s.TrailDir(), filepath.Join(cfg.Dir, "tmp"), cfg.TrailDelay, cfg.TrailClock); err != nil {
		return nil, fmt.Errorf("simaws: trail: %w", err)
	}
	if cfg.KeepPending {
		if err := s.trail.keep(filepath.Join(cfg.Dir, "pending.jsonl")); err != nil {
			return nil, fmt.Errorf("simaws: records that an earlier run has not delivered: %w", err)
		}
	}
	s.trail.put = func(bucket, key string, body []byte, meta map[string]string) error {
		return s.store(bucket, key, bytes.NewReader(body), meta)
	}
	return s, nil
}

// Run listens and serves until ctx is done, then delivers what CloudTrail
// still holds. It may be called once.
func (s *Sim) Run(ctx context.Context) error {
	ln, err := net.Listen("tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("simaws: %w", err)
	}
	srv := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: time.Minute,
		TLSConfig: &tls.Config{
			GetCertificate: s.ca.certificate,
			MinVersion:     tls.VersionTLS12,
		},
		ErrorLog: nil,
	}
	srv.ErrorLog = quietLog(s.log)
	s.addr = ln.Addr().String()
	close(s.ready)

	served := make(chan error, 1)
	go func() { served <- srv.ServeTLS(ln, "", "") }()
	delivered := make(chan struct{})
	deliverCtx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		defer close(delivered)
		s.trail.run(deliverCtx, s.log)
	}()

	select {
	case err = <-served:
	case <-ctx.Done():
		// A lock or a test that ends wants streams cut, but a call that is
		// about to answer should be allowed to, and its record be kept.
		shut, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if srv.Shutdown(shut) != nil {
			err = srv.Close()
		}
		<-served
	}
	stop()
	<-delivered
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, s.Flush())
}

// Ready is closed once Addr can be dialled.
func (s *Sim) Ready() <-chan struct{} { return s.ready }

// Addr is the address to give to --aws-dial; it blocks until Ready.
func (s *Sim) Addr() string {
	<-s.ready
	return s.addr
}

// CAPEM is the certificate to trust for every host of this AWS.
func (s *Sim) CAPEM() []byte { return s.ca.pem }

// CAFile is the file that holds CAPEM, for --aws-ca and AWS_CA_BUNDLE.
func (s *Sim) CAFile() string { return s.ca.file }

// TrailDir is the directory under which AWSLogs/… appears, as in the bucket
// that a CloudTrail trail delivers to.
func (s *Sim) TrailDir() string { return filepath.Join(s.cfg.Dir, "cloudtrail") }

// Flush delivers every pending CloudTrail record now.
func (s *Sim) Flush() error { return s.trail.deliver(time.Time{}) }

func (s *Sim) now() time.Time { return s.cfg.Clock().UTC() }
