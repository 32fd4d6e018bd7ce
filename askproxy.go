package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// proxyHost is the Host by which the proxy's own endpoints are told from AWS's.
const proxyHost = "postern.internal"

// askProxy calls an endpoint of the proxy's own, as the user.
func (p *profile) askProxy(ctx context.Context, path string, in, out any) error {
	b, err := p.broker()
	if err != nil {
		return err
	}
	status, err := b.Status(ctx)
	if err != nil {
		return err
	}
	if status.ProxyAddr == "" {
		return errNoProxy
	}
	tlsConfig, err := p.TLSConfig()
	if err != nil {
		return err
	}
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+status.ProxyAddr+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Host = proxyHost
	req.Header.Set("Content-Type", "application/json")
	hc := &http.Client{Transport: &http.Transport{TLSClientConfig: tlsConfig, DisableKeepAlives: true}, Timeout: time.Minute}
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

var errNoProxy = errors.New("the broker knows of no proxy: set broker.proxy_addr")
