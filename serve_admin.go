package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// checkTarget refuses to write a file where no directory is, or no file could be.
func checkTarget(path string) error {
	dir := filepath.Dir(path)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return fmt.Errorf("%s is no directory: make it, or give another place", dir)
	}
	_, err := writable(path)
	return err
}

const adminResources = `kind: role
version: v7
metadata: {name: admin, description: Operates postern and reads the audit trail}
spec:
  options: {max_session_ttl: 30h}
  allow:
    rules: [{resources: ["*"], verbs: ["*"]}]
    review_requests: {roles: ["*"]}
---
kind: user
version: v2
metadata: {name: admin}
spec: {roles: [admin]}
`

// bootstrap gives the first operator a way in. Whoever can start the broker on
// its data directory has its CA's key anyway.
func (s *services) bootstrap(ctx context.Context, file string) error {
	if s.broker == nil {
		if file != "" {
			return errors.New("--admin-identity: the broker does not run here")
		}
		return nil
	}
	there, err := s.broker.HasUser(ctx, "admin")
	if err != nil {
		return err
	}
	if file == "" {
		if !there {
			s.log.Warn().Msg("there is no user admin: start with --admin-identity FILE to make one and get a way in")
		}
		return nil
	}
	if _, err := s.reinstate(ctx, "postern serve"); err != nil {
		return err
	}
	return s.writeIdentity(ctx, "admin", file)
}

// reinstate lets the user admin operate postern, whatever was locked, changed or removed.
func (s *services) reinstate(ctx context.Context, by string) (done bool, err error) {
	there, err := s.broker.HasUser(ctx, "admin")
	if err == nil {
		done, err = s.broker.Reinstate(ctx, by, "admin", []byte(adminResources))
	}
	if err != nil {
		return done, fmt.Errorf("give the user admin a way in: %w", err)
	}
	if done && there {
		s.log.Warn().Msg("the user admin, who could not lift locks or change users, can again: see who took it in `postern events tail`")
	}
	return done, nil
}

// writeIdentity makes an identity file of a user.
func (s *services) writeIdentity(ctx context.Context, user, file string) error {
	issued, err := s.broker.IssueIdentity(ctx, user, 30*time.Hour)
	if err != nil {
		return err
	}
	addr := reachedAt(s.broker.Addr())
	if public := s.cfg.Broker.PublicAddr; public != "" {
		addr = public
	}
	id := identity{Identity: issued, BrokerURL: "https://" + addr}
	return writePrivateBytes(file, id.file())
}
