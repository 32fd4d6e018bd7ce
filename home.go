package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
)

// identity is who the user is to postern, and where postern is.
type identity struct {
	api.Identity
	BrokerURL string
	// Auth is how they signed in, as login --auth takes it; "" for a password, or none.
	Auth string
}

// brokerLine stands above the PEM blocks of an identity file, where PEM readers
// look past it (RFC 7468 section 2).
const (
	brokerLine = "Postern-Broker-URL: "
	authLine   = "Postern-Auth: "
)

// file returns the identity as a file: the broker's address, then key,
// certificate and CA in PEM, as curl and openssl take them too.
func (id *identity) file() []byte {
	above := brokerLine + id.BrokerURL + "\n"
	if id.Auth != "" {
		above += authLine + id.Auth + "\n"
	}
	return append([]byte(above), id.PEM()...)
}

// readIdentity reads an identity file and refuses one that others may read.
func readIdentity(path string) (*identity, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("identity file: %w", err)
	}
	if info.IsDir() {
		return nil, fmt.Errorf("identity file %s is a directory: name the file in it", path)
	}
	if othersRead(runtime.GOOS, info.Mode()) {
		return nil, fmt.Errorf("identity file %s can be read by others (mode %04o): run chmod 600 %s", path, info.Mode().Perm(), path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("identity file: %w", err)
	}
	first, rest, _ := strings.Cut(string(b), "\n")
	second, _, _ := strings.Cut(rest, "\n")
	auth, ok := strings.CutPrefix(second, authLine)
	if !ok {
		auth = ""
	}
	broker, ok := strings.CutPrefix(first, brokerLine)
	if !ok {
		return nil, fmt.Errorf("identity file %s: line 1: want %q and the broker's address", path, brokerLine)
	}
	id, err := api.ParseIdentity(b)
	if err != nil {
		return nil, fmt.Errorf("identity file %s: %w", path, err)
	}
	return &identity{Identity: id, BrokerURL: strings.TrimSpace(broker), Auth: strings.TrimSpace(auth)}, nil
}

// othersRead says whether others may read a file, by its mode. Windows has none: Go says
// 0666 of every file that may be written there.
func othersRead(goos string, mode fs.FileMode) bool {
	return goos != "windows" && mode.Perm()&0o077 != 0
}

// home is the directory of a user's state:
//
//	current                          name of the profile that login made last
//	device.pem                       by which this machine is told from others
//	profiles/HOST_PORT,USER/
//	    identity.pem                from login
//	    apps/APP.json                running sessions
//	    lock                         held while directories of helpers are made and removed
//	    apps/lock                    held while a session is looked for or started
//	    proxy-PID/, creds-PID/       what a running helper's clients need
//	        lock                     held as long as it runs
//
// All of it is the user's alone: directories 0700, files 0600.
type home struct{ dir string }

func (c *cli) home() (home, error) {
	if c.homeDir != "" {
		dir, err := filepath.Abs(c.homeDir) // clients elsewhere are told of files in it
		return home{dir}, err
	}
	dir, err := os.UserHomeDir()
	if err != nil {
		return home{}, fmt.Errorf("no home directory: give --home or POSTERN_HOME: %w", err)
	}
	return home{filepath.Join(dir, ".postern")}, nil
}

// elsewhere is what to do about an error that is of a home which can't be written, such as
// that of a container's user; "" for any other.
func (c *cli) elsewhere(err error) string {
	at, ok := errors.AsType[*fs.PathError](err)
	h, homeErr := c.home()
	if !ok || homeErr != nil || !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EROFS) {
		return ""
	}
	within := func(dir, path string) bool {
		below, err := filepath.Rel(dir, path)
		return err == nil && filepath.IsLocal(below)
	}
	if !within(h.dir, at.Path) && !within(at.Path, h.dir) { // where a directory above it could not be made
		return ""
	}
	return ": give a directory that you may write to with --home or POSTERN_HOME"
}

// profile is one user's state on one postern.
type profile struct {
	*identity
	dir  string
	file string // of the identity; "" where it can't be read again
	// prove adds a second factor to the wish for a session.
	prove func(context.Context, *client.Client, *api.StartSession, *api.Error) error
	// absent is what this process knows of the broker's absence.
	absent *absence
}

func (h home) profileName(brokerURL, user string) string {
	host := brokerURL
	if u, err := url.Parse(brokerURL); err == nil && u.Host != "" {
		host = u.Host
	}
	return url.PathEscape(strings.ReplaceAll(host, ":", "_") + "," + user)
}

// knownCA is the CA as the last sign-in at a postern got it, whoever's that was: what
// somebody is called there may be for an identity provider to say. nil for none.
func (h home) knownCA(brokerURL string) (pem []byte) {
	names, err := os.ReadDir(filepath.Join(h.dir, "profiles"))
	if err != nil {
		return nil
	}
	var last time.Time
	for _, name := range names {
		file := filepath.Join(h.dir, "profiles", name.Name(), "identity.pem")
		info, err := os.Stat(file)
		if err != nil || !info.ModTime().After(last) {
			continue
		}
		if id, err := readIdentity(file); err == nil && id.BrokerURL == brokerURL {
			last, pem = info.ModTime(), id.CAPEM
		}
	}
	return pem
}

func (h home) profileDir(id *identity) string {
	return filepath.Join(h.dir, "profiles", h.profileName(id.BrokerURL, id.User))
}

// profile returns who the user is: --identity, or the last login.
func (c *cli) profile() (*profile, error) {
	h, err := c.home()
	if err != nil {
		return nil, err
	}
	path := c.identity
	if path == "" {
		name, err := os.ReadFile(filepath.Join(h.dir, "current"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, errors.New("not signed in: run postern login --proxy HOST[:PORT]")
		}
		if err != nil {
			return nil, err
		}
		path = filepath.Join(h.dir, "profiles", filepath.Base(string(name)), "identity.pem")
	}
	id := c.piped
	if id == nil {
		if id, err = orSignal(c.ctx, func() (*identity, error) { return readIdentity(path) }); err != nil {
			return nil, err
		}
	}
	if time.Now().After(id.ExpiresAt) {
		if c.identity != "" {
			return nil, fmt.Errorf("the identity of %s in %s expired at %s: get a new one", id.User, path, id.ExpiresAt.Format(time.RFC3339))
		}
		return nil, fmt.Errorf("your sign-in expired at %s: run %s", id.ExpiresAt.Format(time.RFC3339), loginCommand(id))
	}
	file := path
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		file, c.piped = "", id // a pipe: there is nothing more in it
	}
	return &profile{identity: id, dir: h.profileDir(id), file: file, prove: c.provesFactor(false), absent: c.absent}, nil
}

// serial is the serial of the user's certificate, in hex: which sign-in this is.
func (id *identity) serial() (string, error) {
	block, _ := pem.Decode(id.CertPEM)
	if block == nil {
		return "", errors.New("the identity has no certificate: sign in again")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", fmt.Errorf("the identity's certificate: %w", err)
	}
	return cert.SerialNumber.Text(16), nil
}

func loginCommand(id *identity) string {
	host := strings.TrimPrefix(id.BrokerURL, "https://")
	if id.Auth != "" {
		return fmt.Sprintf("postern login --proxy %s --auth %s", host, id.Auth)
	}
	return fmt.Sprintf("postern login --proxy %s --user %s", host, id.User)
}

// appSession is a running session as the user's machine remembers it.
type appSession struct {
	SessionID  string    `json:"session_id"`
	App        string    `json:"app"`
	AWSRoleARN string    `json:"aws_role_arn"`
	Account    string    `json:"account"`
	Region     string    `json:"region,omitempty"`
	ExpiresAt  time.Time `json:"expires_at"`
	// RealCredentials are the kinds that the session's roles let postern hand out.
	RealCredentials []string `json:"real_credentials,omitempty"`
	// Proxies serve the app, the first to try first; none where there is one only.
	Proxies []string `json:"proxies,omitempty"`
	// Proxy is the one that the broker named last, where that is so.
	Proxy string `json:"proxy,omitempty"`
}

func (p *profile) appFile(app string) string {
	return filepath.Join(p.dir, "apps", url.PathEscape(app)+".json")
}

func (p *profile) saveApp(s *appSession) error { return writePrivate(p.appFile(s.App), s) }

func (p *profile) removeApp(app string) error {
	err := os.Remove(p.appFile(app))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// sessions returns the sessions that have not expired, by app name.
func (p *profile) sessions() ([]*appSession, error) {
	files, err := glob(filepath.Join(p.dir, "apps"), "*.json")
	if err != nil {
		return nil, err
	}
	var out []*appSession
	for _, f := range files {
		b, err := os.ReadFile(f)
		if errors.Is(err, fs.ErrNotExist) {
			continue // ended by now
		}
		if err != nil {
			return nil, err
		}
		var s appSession
		if json.Unmarshal(b, &s) != nil {
			continue // cut off by a crash; the broker knows what runs
		}
		if time.Now().Before(s.ExpiresAt) {
			out = append(out, &s)
		}
	}
	return out, nil
}

// glob are the paths in a directory that fit a pattern, which the directory's own is no
// part of: it may have brackets in it.
func glob(dir, pattern string) ([]string, error) {
	names, err := fs.Glob(os.DirFS(dir), pattern)
	for i, name := range names {
		names[i] = filepath.Join(dir, filepath.FromSlash(name))
	}
	return names, err
}

// writePrivate writes v as JSON for the user's eyes only, whole or not at all.
func writePrivate(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return writePrivateBytes(path, append(b, '\n'))
}

func writePrivateBytes(path string, b []byte) error {
	path, err := writable(path)
	if err != nil {
		return err
	}
	fresh, err := writePrivateTemp(filepath.Dir(path), b)
	if err != nil {
		return err
	}
	defer os.Remove(fresh)
	return os.Rename(fresh, path)
}

// writable returns what writing path would replace: where a link leads, and never
// anything but a file. A device would be replaced like one.
func writable(path string) (string, error) {
	info, err := os.Lstat(path)
	if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			info, err = os.Lstat(path)
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist) && info == nil:
		return path, nil
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is no file that could be replaced (%s): give the name of a new one", path, info.Mode().Type())
	}
	return path, nil
}

// writePrivateTemp writes a new file for the user's eyes only in a directory.
func writePrivateTemp(dir string, b []byte) (path string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, ".new-*") // made with mode 0600
	if err != nil {
		return "", err
	}
	if _, err = f.Write(b); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// withPort adds the default port where there is none.
func withPort(addr, port string) string {
	if _, _, err := net.SplitHostPort(addr); err == nil {
		return addr
	}
	return net.JoinHostPort(strings.Trim(addr, "[]"), port)
}
