// Package client speaks to a broker's HTTPS API with types instead of bytes.
// Errors of the broker come as *api.Error.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/posternhq/postern/broker/api"
)

const (
	timeout = 30 * time.Second
	// connectTimeout is for connecting, and again for TLS's handshake: a host that is
	// gone does not answer at all.
	connectTimeout = 5 * time.Second
	// maxAnswer bounds what is read of an answer, in bytes.
	maxAnswer = 64 << 20
)

// Client is one user's way to one broker. It is safe for concurrent use.
type Client struct {
	base string
	http *http.Client
}

// New returns a client of the broker at baseURL, "https://HOST:PORT". cfg holds
// whom to trust and, unless it is for signing in, the user's certificate.
func New(baseURL string, cfg *tls.Config) (*Client, error) {
	u, err := url.Parse(baseURL)
	if err != nil {
		return nil, fmt.Errorf("broker address: %w", err)
	}
	if u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("broker address %q: want https://HOST:PORT", baseURL)
	}
	if cfg == nil {
		return nil, errors.New("broker client: no TLS configuration")
	}
	cfg = cfg.Clone()
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS13)
	verify := cfg.VerifyConnection
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		if verify != nil {
			if err := verify(cs); err != nil {
				return err
			}
		}
		return notAgent(cs)
	}
	return &Client{
		base: strings.TrimSuffix(u.String(), "/"),
		http: &http.Client{
			Timeout: timeout,
			// No proxy: the broker is reached as it is, also from inside an
			// environment in which HTTPS_PROXY leads to AWS through postern.
			Transport: &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: true,
				DialContext: (&net.Dialer{Timeout: connectTimeout}).DialContext, TLSHandshakeTimeout: connectTimeout},
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return errors.New("the broker never redirects")
			},
		},
	}, nil
}

// Close lets idle connections go.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) json(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	mediaType := ""
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		mediaType = "application/json"
	}
	answer, err := c.send(ctx, method, path, mediaType, "application/json", body)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s %s: answer: %w", method, path, err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, method, path, mediaType, accept string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if mediaType != "" {
		req.Header.Set("Content-Type", mediaType)
	}
	req.Header.Set("Accept", accept)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if len(answer) > maxAnswer {
		return nil, fmt.Errorf("%s %s: the answer has more than %d bytes", method, path, maxAnswer)
	}
	if resp.StatusCode < 300 {
		return answer, nil
	}
	var e api.ErrorBody
	if json.Unmarshal(answer, &e) != nil || e.Error == nil {
		return nil, fmt.Errorf("%s %s: %s: is that a broker?", method, path, resp.Status)
	}
	e.Error.Status = resp.StatusCode
	e.Error.RetryAfter, _ = strconv.Atoi(resp.Header.Get("Retry-After"))
	return nil, e.Error
}
