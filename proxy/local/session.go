package local

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
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

// keyring finds sessions by access key id. The zero value is empty.
type keyring struct {
	mu    sync.RWMutex
	byKey map[string]*credential
	order []*credential // as added
}

// AddSession serves one more session, with credentials of its own. The error
// says that the session is there already or has no id.
func (h *Helper) AddSession(s Session) error {
	if s.ID == "" {
		return errors.New("local proxy: session without an id")
	}
	c := h.newCredential(s)
	k := &h.keys
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, other := range k.order {
		if other.ID == s.ID {
			return fmt.Errorf("local proxy: session %s is served already", s.ID)
		}
	}
	if k.byKey == nil {
		k.byKey = make(map[string]*credential)
	}
	k.byKey[c.accessKeyID] = c
	k.order = append(k.order, c)
	return nil
}

// RemoveSession makes the session's credentials unknown. Requests that run go on.
func (h *Helper) RemoveSession(id string) {
	k := &h.keys
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, c := range k.order {
		if c.ID == id {
			delete(k.byKey, c.accessKeyID)
			k.order = append(k.order[:i:i], k.order[i+1:]...)
			return
		}
	}
}

func (k *keyring) find(accessKeyID string) *credential {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.byKey[accessKeyID]
}

// first is the session that was added first, nil if there is none.
func (k *keyring) first() *credential {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if len(k.order) == 0 {
		return nil
	}
	return k.order[0]
}

func (k *keyring) session(id string) *credential {
	k.mu.RLock()
	defer k.mu.RUnlock()
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
