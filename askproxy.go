package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/local"
)

// reachable are the proxies that serve all of some sessions, by what lapsed has learned
// of these. Where the broker is away, they are those that it named last.
func (p *profile) reachable(ctx context.Context, b *client.Client, sessions []*appSession) ([]string, error) {
	named := ""
	if !slices.ContainsFunc(sessions, func(s *appSession) bool { return len(s.Proxies) > 0 }) {
		err := p.absent.still()
		if err == nil {
			var status api.Status
			if status, err = b.Status(ctx); err == nil {
				named = status.ProxyAddr
			}
		}
		for _, s := range sessions {
			switch {
			case err == nil && s.Proxy != named:
				s.Proxy = named
				p.note(s)
			case err != nil && s.Proxy != "" && p.absent.excuses(ctx, err, s):
				named = s.Proxy
			}
		}
		if err != nil && named == "" {
			return nil, err
		}
	}
	return proxiesOf(named, sessions...)
}

// proxiesOf are the proxies that serve all of some sessions: the one that the
// broker names, where it does not know of several.
func proxiesOf(named string, sessions ...*appSession) ([]string, error) {
	var out []string
	some := false
	for _, s := range sessions {
		switch {
		case len(s.Proxies) == 0:
		case !some:
			out, some = s.Proxies, true
		default:
			out = slices.DeleteFunc(slices.Clone(out), func(addr string) bool { return !slices.Contains(s.Proxies, addr) })
		}
	}
	switch {
	case some && len(out) == 0:
		return nil, errors.New("no proxy serves all of these apps: use them one by one")
	case some:
		return out, nil
	case named == "":
		return nil, errNoProxy
	}
	return []string{named}, nil
}

// askProxy calls an endpoint of the proxy's own, as the user, about a session.
func (p *profile) askProxy(ctx context.Context, session, path string, in, out any) error {
	b, err := p.broker()
	if err != nil {
		return err
	}
	sessions, err := p.sessions()
	if err != nil {
		return err
	}
	sessions = slices.DeleteFunc(sessions, func(s *appSession) bool { return s.SessionID != session })
	for _, s := range sessions {
		if _, err := p.lapsed(ctx, b, s); err != nil { // if it did, the proxy says so
			return err
		}
	}
	proxies, err := p.reachable(ctx, b, sessions)
	if err != nil {
		return err
	}
	tlsConfig, err := p.TLSConfig()
	if err != nil {
		return err
	}
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+proxies[0]+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Host = proxy.InternalHost
	req.Header.Set("Content-Type", "application/json")
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, _, err := local.DialProxy(ctx, &net.Dialer{}, proxies, tlsConfig)
		return c, err
	}
	hc := &http.Client{Transport: &http.Transport{DialTLSContext: dial, DisableKeepAlives: true}, Timeout: time.Minute}
	resp, err := hc.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("proxy's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		var e struct{ Error string }
		if json.Unmarshal(answer, &e) == nil && e.Error != "" {
			return errors.New(e.Error)
		}
		return fmt.Errorf("proxy answered %s", resp.Status)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("proxy's answer: %w", err)
	}
	return nil
}

var errNoProxy = errors.New("the broker knows of no proxy that serves this app: set proxy.public_addr of one that joined, or broker.proxy_addr")
