package local

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// Exported are AWS credentials that work without postern.
type Exported struct {
	AccessKeyID, SecretAccessKey, SessionToken string
	Expires                                    time.Time
}

// CredentialServerConfig is what a CredentialServer needs.
type CredentialServerConfig struct {
	// Listen is a loopback address; "" means "127.0.0.1:0".
	Listen string
	// Fetch obtains new credentials, which is an event each time.
	Fetch func(context.Context) (Exported, error)
	// Have, if set, are served first.
	Have Exported
	// Metadata serves them as an instance's metadata service does, in place of a
	// container's. That protocol has no secret: all of this machine may ask.
	Metadata bool
	// Role is the name under which the metadata service has them.
	Role string
	// Dir takes the file of the container's token, mode 0600, while Run runs.
	Dir string
	Log zerolog.Logger
}

// CredentialServer hands exported credentials to the AWS SDKs of this machine, by
// the protocol of ECS's agent or by that of EC2's metadata service (IMDSv2 only).
// It fetches new ones when a client asks and little is left of the old ones.
//
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
type CredentialServer struct {
	cfg   CredentialServerConfig
	token string
	ready chan struct{}
	addr  string // once ready
	file  string

	mu   sync.Mutex
	have Exported
}

// renewal is how long before their end credentials are fetched anew: SDKs ask
// again 5 minutes (Go) to 15 minutes (botocore, if it can) before the end.
const renewal = 10 * time.Minute

// NewCredentialServer makes a CredentialServer; nothing listens before Run.
func NewCredentialServer(c CredentialServerConfig) (*CredentialServer, error) {
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	if err := checkListen(c.Listen); err != nil {
		return nil, err
	}
	if c.Fetch == nil || c.Dir == "" {
		return nil, errors.New("credential server: no way to fetch credentials, or no directory for the token")
	}
	return &CredentialServer{cfg: c, token: rand.Text() + rand.Text(), ready: make(chan struct{}), have: c.Have}, nil
}

// Ready is closed when it listens.
func (s *CredentialServer) Ready() <-chan struct{} { return s.ready }

// Env is the environment for clients, from Ready on.
func (s *CredentialServer) Env() []Var {
	if s.cfg.Metadata {
		return []Var{{Name: "AWS_EC2_METADATA_SERVICE_ENDPOINT", Value: "http://" + s.addr}}
	}
	return []Var{
		{Name: "AWS_CONTAINER_CREDENTIALS_FULL_URI", Value: "http://" + s.addr + "/v1/credentials"},
		{Name: "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", Value: s.file},
	}
}

// Run serves until ctx ends, which is no error. The token's file is gone when it
// returns.
func (s *CredentialServer) Run(ctx context.Context) error {
	if !s.cfg.Metadata {
		if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
			return fmt.Errorf("credential server: %w", err)
		}
		if err := checkPrivate(s.cfg.Dir); err != nil {
			return err
		}
		s.file = filepath.Join(s.cfg.Dir, "token")
		if err := os.WriteFile(s.file, []byte(s.token), 0o600); err != nil {
			return fmt.Errorf("credential server: %w", err)
		}
		defer os.Remove(s.file)
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("credential server: %w", err)
	}
	s.addr = ln.Addr().String()
	mux := http.NewServeMux()
	if s.cfg.Metadata {
		mux.HandleFunc("PUT /latest/api/token", s.metadataToken)
		mux.HandleFunc("GET /latest/meta-data/iam/security-credentials/{$}", s.withToken(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, s.cfg.Role) }))
		mux.HandleFunc("GET /latest/meta-data/iam/security-credentials/"+s.cfg.Role, s.withToken(s.metadata))
	} else {
		mux.HandleFunc("GET /v1/credentials", s.container)
	}
	srv := &http.Server{Handler: onlyHere(mux), ReadHeaderTimeout: 10 * time.Second, ErrorLog: serverLog(s.cfg.Log)}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() }) // answers are short
	defer stop()
	close(s.ready)
	return served(srv.Serve(ln))
}

// onlyHere refuses what was sent on by something else: a browser that was led
// here by a name of its own (DNS rebinding), or a proxy, as the metadata service
// refuses it.
func onlyHere(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ip := net.ParseIP(bareHost(r.Host))
		if ip == nil || !ip.IsLoopback() || r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Origin") != "" {
			http.Error(w, "postern: credentials are for programs of this machine", http.StatusForbidden)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// credentials are those at hand, or new ones.
func (s *CredentialServer) credentials(ctx context.Context) (Exported, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Until(s.have.Expires) > renewal {
		return s.have, nil
	}
	fresh, err := s.cfg.Fetch(ctx)
	switch {
	case err == nil:
		s.have = fresh
	case time.Now().Before(s.have.Expires): // no longer ones to be had; these still serve
	default:
		return Exported{}, err
	}
	return s.have, nil
}

// container answers as the agent of ECS does.
func (s *CredentialServer) container(w http.ResponseWriter, r *http.Request) {
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte(s.token)) != 1 {
		writeJSON(w, http.StatusForbidden, map[string]string{"code": "AccessDenied", "message": "postern: the authorization token is missing or not this server's"})
		return
	}
	c, err := s.credentials(r.Context())
	if err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"code": "AccessDenied", "message": "postern: " + err.Error()})
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"AccessKeyId": c.AccessKeyID, "SecretAccessKey": c.SecretAccessKey,
		"Token": c.SessionToken, "Expiration": c.Expires.UTC().Format(time.RFC3339)})
}

// metadata answers as the metadata service of an instance does.
func (s *CredentialServer) metadata(w http.ResponseWriter, r *http.Request) {
	c, err := s.credentials(r.Context())
	if err != nil {
		writeJSON(w, http.StatusNotFound, map[string]string{"Code": "AssumeRoleUnauthorizedAccess", "Message": "postern: " + err.Error()})
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"Code": "Success", "Type": "AWS-HMAC", "LastUpdated": time.Now().UTC().Format(time.RFC3339),
		"AccessKeyId": c.AccessKeyID, "SecretAccessKey": c.SecretAccessKey, "Token": c.SessionToken, "Expiration": c.Expires.UTC().Format(time.RFC3339)})
}

// Headers of IMDSv2.
const (
	metadataTTL    = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
	metadataHeader = "X-Aws-Ec2-Metadata-Token"
)

func (s *CredentialServer) metadataToken(w http.ResponseWriter, r *http.Request) {
	ttl, err := strconv.Atoi(r.Header.Get(metadataTTL))
	if err != nil || ttl < 1 || ttl > 21600 {
		http.Error(w, metadataTTL+" must be from 1 to 21600", http.StatusBadRequest)
		return
	}
	w.Header().Set(metadataTTL, strconv.Itoa(ttl))
	fmt.Fprint(w, s.metadataUntil(time.Now().Unix()+int64(ttl)))
}

// metadataUntil is the metadata token that ends at a time. None is kept: whoever is on this
// machine may ask for as many as they like.
func (s *CredentialServer) metadataUntil(end int64) string {
	mac := hmac.New(sha256.New, []byte(s.token))
	fmt.Fprint(mac, end)
	return fmt.Sprintf("%d.%x", end, mac.Sum(nil))
}

func (s *CredentialServer) withToken(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		token := strings.TrimSpace(r.Header.Get(metadataHeader))
		until, _, _ := strings.Cut(token, ".")
		end, _ := strconv.ParseInt(until, 10, 64) // 0 is over
		if time.Now().Unix() >= end || subtle.ConstantTimeCompare([]byte(token), []byte(s.metadataUntil(end))) != 1 {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		next(w, r)
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client that is gone needs no answer
}
