package local

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"sync/atomic"
)

// Session is an app session that the broker has started.
type Session struct {
	// ID goes to the proxy in the header Postern-Session.
	ID string
	// App is the app's name, for messages.
	App string
	// Region is the app's default region; "" for none.
	Region string
}

// Var is one environment variable for AWS clients.
type Var struct {
	Name, Value string
	// Default marks one to set only where the user's environment sets neither
	// of AWS_REGION and AWS_DEFAULT_REGION.
	Default bool
	// Secret values are not to be logged.
	Secret bool
}

// credential is what a client signs with to mean one session, and whichever takes
// its place.
type credential struct {
	Session             // the one that it was made for
	accessKeyID, secret string
	now                 atomic.Pointer[turn]
}

// turn is the session that a credential stands for by now.
type turn struct {
	Session
	over bool // says the proxy
}

// session is the id of the session that a request by c goes by: the one that took
// the place of one that is over.
func (h *Helper) session(c *credential) (string, error) {
	now := c.now.Load()
	if !now.over || h.cfg.Successor == nil {
		return now.ID, nil
	}
	next, err := h.cfg.Successor(now.Session)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errOver, err)
	}
	if next.ID == now.ID {
		return now.ID, nil
	}
	if c.now.CompareAndSwap(now, &turn{Session: next}) {
		h.log.Warn().Str("session", next.ID).Str("instead_of", now.ID).Str("app", next.App).Msg("another session takes over")
		// Connections may have been made by a sign-in that is over, too.
		h.letGo()
	}
	return c.now.Load().ID, nil
}

// letGo ends the connections to the proxy that nobody uses.
func (h *Helper) letGo() {
	h.upstream.CloseIdleConnections()
	h.duplex.CloseIdleConnections()
}

// ended notes that the proxy takes a session for over.
func (c *credential) ended(id string) {
	if now := c.now.Load(); now.ID == id {
		c.now.CompareAndSwap(now, &turn{Session: now.Session, over: true})
	}
}

// keyring finds the sessions that a helper was made with, in that order, which has none
// twice.
type keyring struct {
	byKey map[string]*credential
	order []*credential
}

// newKeyring makes credentials for each session. The error says that one has no id, or
// that of another.
func (h *Helper) newKeyring(sessions []Session) (keyring, error) {
	k := keyring{byKey: map[string]*credential{}}
	for _, s := range sessions {
		if s.ID == "" {
			return k, errors.New("local proxy: session without an id")
		}
		if k.session(s.ID) != nil {
			return k, fmt.Errorf("local proxy: session %s is served already", s.ID)
		}
		c := h.newCredential(s)
		k.byKey[c.accessKeyID] = c
		k.order = append(k.order, c)
	}
	return k, nil
}

func (k *keyring) find(accessKeyID string) *credential { return k.byKey[accessKeyID] }

// first is the first session, nil if there is none.
func (k *keyring) first() *credential {
	if len(k.order) == 0 {
		return nil
	}
	return k.order[0]
}

func (k *keyring) session(id string) *credential {
	for _, c := range k.order {
		if c.ID == id || c.now.Load().ID == id {
			return c
		}
	}
	return nil
}

// Env is the environment for clients of the first session; nil when there is
// none. It is complete from Ready on. AWS_SESSION_TOKEN and AWS_PROFILE are to be
// unset by whoever starts a client.
func (h *Helper) Env() []Var {
	if first := h.keys.first(); first != nil {
		return h.env(first)
	}
	return nil
}

// SessionEnv is Env for the session with that id; nil when it is not served.
func (h *Helper) SessionEnv(id string) []Var {
	if c := h.keys.session(id); c != nil {
		return h.env(c)
	}
	return nil
}

func (h *Helper) env(c *credential) []Var {
	h.mu.Lock()
	defer h.mu.Unlock()
	vars := []Var{
		{Name: "AWS_ACCESS_KEY_ID", Value: c.accessKeyID},
		{Name: "AWS_SECRET_ACCESS_KEY", Value: c.secret, Secret: true},
		{Name: "AWS_CA_BUNDLE", Value: h.bundle},
		{Name: "HTTPS_PROXY", Value: "http://" + h.addr},
		{Name: "https_proxy", Value: "http://" + h.addr}, // wget and others read this one alone
		// Node heeds HTTPS_PROXY, from 22.21 and 24.5 on, and other CAs if it is told to.
		// https://nodejs.org/api/cli.html#node_use_env_proxy1
		{Name: "NODE_USE_ENV_PROXY", Value: "1"},
		{Name: "NODE_EXTRA_CA_CERTS", Value: h.bundle},
	}
	if c.Region != "" {
		vars = append(vars,
			Var{Name: "AWS_REGION", Value: c.Region, Default: true},
			Var{Name: "AWS_DEFAULT_REGION", Value: c.Region, Default: true})
	}
	return vars
}

// newCredential makes a session's keys: an access key id of the form of an IAM
// user's, which clients check (AKIA and 16 base32 characters), and a secret of 40
// characters of base64.
func (h *Helper) newCredential(s Session) *credential {
	key := h.cfg.KeySeed
	if len(key) == 0 {
		key = make([]byte, sha256.Size)
		rand.Read(key) // never fails (crypto/rand, Go 1.24)
	}
	derive := func(what string) []byte {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte("postern loopback " + what + "\x00" + s.ID))
		return mac.Sum(nil)
	}
	c := &credential{Session: s,
		accessKeyID: "AKIA" + base32.StdEncoding.EncodeToString(derive("access key id"))[:16],
		secret:      base64.StdEncoding.EncodeToString(derive("secret")[:30])}
	c.now.Store(&turn{Session: s})
	return c
}
