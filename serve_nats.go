package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/posternhq/postern/broker/sealed"
	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/events/journal"
)

func (s *services) startNATS(ctx context.Context) error {
	n := s.cfg.NATS
	s.natsURL = n.URL
	if n.Embedded {
		host, port, err := hostPort(n.Listen)
		if err != nil {
			return fmt.Errorf("nats.listen: %w", err)
		}
		s.authority, err = embedded.NewNATS(embedded.NATSConfig{
			Dir: filepath.Join(s.cfg.DataDir, "nats"), Host: host, Port: port, TLS: s.natsTLS(host),
			Log: s.log.With().Str("service", "nats").Logger(),
		})
		if err != nil {
			return err
		}
		if err := s.stack.start(ctx, "nats", s.authority); err != nil {
			return err
		}
		s.natsURL = s.authority.URL()
	}
	if s.cfg.Broker == nil { // the broker's process sets the streams up
		return nil
	}
	nc, err := s.connect("setup", embedded.Admin())
	if err != nil {
		return err
	}
	if err := journal.Setup(ctx, nc, journal.StreamsConfig{Replicas: n.Replicas}); err != nil {
		return err
	}
	if s.authority != nil {
		if err := s.authority.StageInMemory(); err != nil {
			s.log.Warn().Err(err).Msg("batches of events are staged on disk, which is slower")
		}
	}
	return nil
}

// natsTLS is for an embedded server that others reach. Its certificate is of the
// broker's CA, which lies in a bucket of that server: so this process connects
// without TLS, in memory, and others once the broker is there.
func (s *services) natsTLS(host string) *tls.Config {
	if ip := net.ParseIP(host); s.cfg.Broker == nil || host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	s.natsInMemory = true
	return &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		show := s.natsShows.Load()
		if show == nil {
			return nil, errors.New("the broker, whose CA this server's certificate is of, has not started yet")
		}
		cert, _, err := (*show)()
		return cert, err
	}}
}

// secrets opens what all brokers share.
func (s *services) secrets(ctx context.Context) (*sealed.Store, error) {
	file := s.cfg.NATS.SealedCredsFile
	if file == "" {
		file = s.cfg.NATS.CredsFile
	}
	nc, err := s.connectAs("sealed", embedded.Sealed(), file)
	if err != nil {
		return nil, err
	}
	bucket, err := journal.OpenBucket(ctx, nc, sealed.Bucket, s.cfg.NATS.Replicas)
	if err != nil {
		return nil, err
	}
	key, err := s.sealKey(ctx, bucket)
	if err != nil {
		return nil, err
	}
	return sealed.Open(ctx, bucket, key)
}

func (s *services) sealKey(ctx context.Context, bucket *journal.Bucket) (sealed.Key, error) {
	const variable = "POSTERN_SEAL_KEY"
	if text := os.Getenv(variable); text != "" {
		key, err := sealed.ParseKey(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", variable, err)
		}
		return key, nil
	}
	if file := s.cfg.Broker.SealKeyFile; file != "" {
		return sealed.ReadKey(file)
	}
	return sealed.KeepKeyFor(ctx, bucket, filepath.Join(s.cfg.DataDir, "broker", "seal.key"))
}

// connect gives a component a connection with credentials of its own where the
// server is ours, else with those of the configuration.
func (s *services) connect(name string, perms embedded.Permissions) (*nats.Conn, error) {
	return s.connectAs(name, perms, s.cfg.NATS.CredsFile)
}

func (s *services) connectAs(name string, perms embedded.Permissions, credsFile string) (*nats.Conn, error) {
	if s.authority != nil {
		creds, err := s.authority.Mint(name, perms, 0)
		if err != nil {
			return nil, err
		}
		credsFile = filepath.Join(s.cfg.DataDir, "creds", name+".creds")
		if err := writePrivateBytes(credsFile, creds); err != nil {
			return nil, err
		}
	}
	url, opts := s.natsURL, []nats.Option{s.watchNATS()}
	if s.natsInMemory {
		// By the scheme tls:// the client would ask for TLS in memory, too.
		url, opts = "nats://in-process", append(opts, nats.InProcessServer(s.authority))
	}
	nc, err := connectNATS(url, credsFile, s.cfg.NATS.CAFile, opts...)
	if err != nil {
		return nil, err
	}
	s.conns = append(s.conns, nc)
	return nc, nil
}

func (s *services) journal(name string, perms embedded.Permissions) (*journal.Journal, error) {
	nc, err := s.connect(name, perms)
	if err != nil {
		return nil, err
	}
	instance := "local"
	if s.cfg.Proxy != nil && name == "proxy" {
		instance = s.cfg.Proxy.Name
	} else if host, err := os.Hostname(); err == nil {
		instance = host
	}
	return journal.New(nc, "/postern/"+name+"/"+instance)
}

// publicNATS is where others reach NATS, "" where that is not known.
func (s *services) publicNATS() string {
	url := s.cfg.NATS.PublicURL
	if url != "" || s.authority == nil {
		return withoutUser(cmp.Or(url, s.cfg.NATS.URL))
	}
	host, _, _ := net.SplitHostPort(s.cfg.NATS.Listen)
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		url = s.natsURL
	}
	return url
}

// withoutUser is the addresses of NATS servers without user names and passwords: those
// are the broker's own.
func withoutUser(urls string) string {
	all := strings.Split(urls, ",")
	for i, one := range all {
		one = strings.TrimSpace(one)
		scheme, host := 0, strings.LastIndex(one, "@")+1
		if at := strings.Index(one, "://"); at >= 0 {
			scheme = at + len("://")
		}
		all[i] = one[:scheme] + one[max(scheme, host):]
	}
	return strings.Join(all, ",")
}
