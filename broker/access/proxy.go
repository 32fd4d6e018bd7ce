package access

import (
	"bytes"
	"crypto/sha256"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/posternhq/postern/broker/policy"
	"github.com/posternhq/postern/events"
)

// announcedFor is how long an announcement of a proxy holds. Proxies announce
// themselves anew after a third of it.
const announcedFor = 30 * time.Minute

// Proxy is a proxy that announced itself.
type Proxy struct {
	events.ProxyAnnounced
	serves []func(appLabels map[string]string) bool // none serves all
}

// Serves reports whether it serves an app with some labels.
func (p *Proxy) Serves(labels map[string]string) bool {
	return len(p.serves) == 0 || slices.ContainsFunc(p.serves, func(s func(map[string]string) bool) bool { return s(labels) })
}

// Announce decides an announcement of a proxy. One that says what still holds for
// long enough gives no event.
func Announce(s *State, env Env, d events.ProxyAnnounced) ([]events.Event, error) {
	if err := AdmitAgent(s, env.Now, d.Proxy); err != nil {
		return nil, err
	}
	if err := checkAddr(d.Addr); err != nil {
		return nil, refuse(Invalid, "addr: %v", err)
	}
	if _, err := selectors(d.Apps); err != nil {
		return nil, refuse(Invalid, "apps: %v", err)
	}
	d.ExpiresAt = env.Now.Add(announcedFor).UTC()
	if old := s.Proxies[d.Proxy]; old != nil {
		said := old.ProxyAnnounced
		said.ExpiresAt = d.ExpiresAt
		if alike(said, d) && old.ExpiresAt.Sub(env.Now) > announcedFor*2/3 {
			return nil, nil
		}
	}
	return env.one("", "", &d), nil
}

// Withdraw decides that a proxy stops. By addr, "" for any, it is told from another
// process of the same name, which goes on elsewhere.
func Withdraw(s *State, env Env, proxy, addr string) ([]events.Event, error) {
	if p := s.Proxies[proxy]; p == nil || addr != "" && p.Addr != addr {
		return nil, nil
	}
	return env.one("", "", &events.ProxyWithdrawn{Proxy: proxy}), nil
}

// ProxiesFor returns where the proxies listen that live and serve an app with some
// labels. Who is which first differs by key, so that many keys spread over all.
func (s *State) ProxiesFor(labels map[string]string, key string, now time.Time) []string {
	type place struct {
		addr string
		rank [sha256.Size]byte
	}
	var places []place
	for _, p := range s.Proxies {
		if now.Before(p.ExpiresAt) && p.Serves(labels) && AdmitAgent(s, now, p.Proxy) == nil {
			places = append(places, place{p.Addr, sha256.Sum256([]byte(key + "\n" + p.Addr))})
		}
	}
	slices.SortFunc(places, func(a, b place) int { return bytes.Compare(a.rank[:], b.rank[:]) })
	var out []string
	for _, p := range places {
		out = append(out, p.addr)
	}
	return slices.Compact(out)
}

// applyProxy folds a sign of life in. A copy of an older one changes nothing.
func (s *State) applyProxy(e events.Event, seq uint64) {
	channel := e.Data.Channel()
	if e.Sequence <= s.Head(channel).Revision {
		s.Skip(channel, seq)
		return
	}
	s.Pass(e, channel, seq)
	switch d := e.Data.(type) {
	case *events.ProxyAnnounced:
		p := &Proxy{ProxyAnnounced: *d}
		var err error
		if p.serves, err = selectors(d.Apps); err != nil { // as a newer broker decides
			p.serves = append(p.serves, func(map[string]string) bool { return false })
		}
		s.Proxies[d.Proxy] = p
	case *events.ProxyWithdrawn:
		delete(s.Proxies, d.Proxy)
	}
}

func selectors(apps []events.AppSelector) ([]func(map[string]string) bool, error) {
	var out []func(map[string]string) bool
	for _, a := range apps {
		f, err := policy.Selector(a.Labels)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

func checkAddr(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" {
		return &net.AddrError{Err: "want HOST:PORT", Addr: addr}
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		return &net.AddrError{Err: "nobody can reach that address", Addr: addr}
	}
	return nil
}
