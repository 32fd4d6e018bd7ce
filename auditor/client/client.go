// Package client asks an auditor's HTTPS API. Answers are the types of package
// query.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/posternhq/postern/auditor/evidence"
	"github.com/posternhq/postern/auditor/query"
)

// Client asks one auditor. It is safe for concurrent use.
type Client struct {
	base string
	http *http.Client
}

// New returns a client for the API at base, "https://host:port"; c presents the
// user's certificate and trusts the broker's CA.
func New(base string, c *http.Client) *Client {
	return &Client{base: strings.TrimSuffix(base, "/"), http: c}
}

// Error is a refusal.
type Error struct {
	Status  int    `json:"-"`
	Message string `json:"error"`
	Field   string `json:"field,omitempty"`
	// Code, Line and Column are ClickHouse's, for SQL; 0 where not given.
	Code   int `json:"code,omitempty"`
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
}

func (e *Error) Error() string { return e.Message }

// Search finds calls; see query.Filter.
func (c *Client) Search(ctx context.Context, f query.Filter) (*query.Page, error) {
	var p query.Page
	return &p, c.get(ctx, "search", parameters(f), &p)
}

// Show gives one call with both sides, by request id, AWS request id or
// CloudTrail event id.
func (c *Client) Show(ctx context.Context, id string) (*query.Detail, error) {
	var d query.Detail
	return &d, c.get(ctx, "show/"+url.PathEscape(id), nil, &d)
}

// Why gives the chain of causes of one call.
func (c *Client) Why(ctx context.Context, id string) (*query.Chain, error) {
	var ch query.Chain
	return &ch, c.get(ctx, "why/"+url.PathEscape(id), nil, &ch)
}

// Coverage counts since a time, absolute or relative; "" means ever.
func (c *Client) Coverage(ctx context.Context, since string) (*query.Coverage, error) {
	var cov query.Coverage
	q := url.Values{}
	if since != "" {
		q.Set("since", since)
	}
	return &cov, c.get(ctx, "coverage", q, &cov)
}

// Policy gives the least IAM policy that allows what was used of an IAM role.
func (c *Client) Policy(ctx context.Context, f query.PolicyFilter) (*query.LeastPolicy, error) {
	var p query.LeastPolicy
	return &p, c.get(ctx, "policy", parameters(f), &p)
}

// Findings lists findings, newest first.
func (c *Client) Findings(ctx context.Context, f query.FindingFilter) (*query.Found, error) {
	var out query.Found
	return &out, c.get(ctx, "findings", parameters(f), &out)
}

// SQL runs one read-only statement.
func (c *Client) SQL(ctx context.Context, statement string) (*query.Table, error) {
	body, err := json.Marshal(map[string]string{"query": statement})
	if err != nil {
		return nil, err
	}
	resp, err := c.do(ctx, http.MethodPost, "sql", nil, "application/json", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var t query.Table
	d := json.NewDecoder(resp.Body)
	d.UseNumber() // 64 bits don't fit a float
	if err := d.Decode(&t); err != nil {
		return nil, fmt.Errorf("audit sql: read the answer: %w", err)
	}
	return &t, nil
}

// Ingested is what became of an uploaded file.
type Ingested struct {
	File     string `json:"file"`
	Records  int    `json:"records"`
	Rejected string `json:"rejected,omitempty"`
	Done     bool   `json:"done"`
	Error    string `json:"error,omitempty"`
}

// Ingest uploads one CloudTrail log file, gzipped or plain, and returns when all
// of its records are in the store. progress, which may be nil, hears how far it
// is. A malformed file is no error: Rejected says what is wrong with it.
func (c *Client) Ingest(ctx context.Context, name string, file io.Reader, progress func(Ingested)) (*Ingested, error) {
	resp, err := c.do(ctx, http.MethodPost, "ingest", url.Values{"name": {name}}, "application/octet-stream", file)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	d := json.NewDecoder(resp.Body)
	for {
		var line Ingested
		if err := d.Decode(&line); err != nil {
			return nil, fmt.Errorf("ingest %s: the answer broke off: %w", name, err)
		}
		if line.Error != "" {
			return &line, fmt.Errorf("ingest %s: %s", name, line.Error)
		}
		if line.Done {
			return &line, nil
		}
		if progress != nil {
			progress(line)
		}
	}
}

// Events hands each event of a NATS subject, as it stands on the stream, to
// take: those since a time ("" means only new ones) and, with follow, those to
// come, until ctx ends or take fails.
func (c *Client) Events(ctx context.Context, subject, since string, follow bool, take func(json.RawMessage) error) error {
	return c.tail(ctx, subject, since, url.Values{"follow": {strconv.FormatBool(follow)}}, take)
}

// Records is Events of events with their places.
func (c *Client) Records(ctx context.Context, subject, since string, follow bool, take func(evidence.Delivered) error) error {
	return c.tail(ctx, subject, since, url.Values{"follow": {strconv.FormatBool(follow)}, "format": {"record"}}, func(line json.RawMessage) error {
		var d evidence.Delivered
		if err := json.Unmarshal(line, &d); err != nil {
			return err
		}
		if d.Seq == 0 {
			return errors.New("the auditor does not say where events stand: it is of an older release than this command")
		}
		return take(d)
	})
}

func (c *Client) tail(ctx context.Context, subject, since string, q url.Values, take func(json.RawMessage) error) error {
	follow := q.Get("follow") == "true"
	q.Set("subject", subject)
	if since != "" {
		q.Set("since", since)
	}
	resp, err := c.do(ctx, http.MethodGet, "events", q, "", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for d := json.NewDecoder(resp.Body); ; {
		var e json.RawMessage
		switch err := d.Decode(&e); {
		case err == io.EOF && !follow, err != nil && follow && ctx.Err() != nil:
			return nil
		case err != nil && ctx.Err() != nil: // not all that there is
			return context.Cause(ctx)
		case err != nil:
			return fmt.Errorf("events of %s broke off: %w", subject, err)
		}
		if err := take(e); err != nil {
			return err
		}
	}
}

func (c *Client) get(ctx context.Context, what string, q url.Values, into any) error {
	resp, err := c.do(ctx, http.MethodGet, what, q, "", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("audit %s: read the answer: %w", what, err)
	}
	return nil
}

func (c *Client) do(ctx context.Context, method, what string, q url.Values, contentType string, body io.Reader) (*http.Response, error) {
	u := c.base + "/v1/audit/" + what
	if len(q) > 0 {
		u += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, u, body)
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the auditor: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	e := &Error{Status: resp.StatusCode}
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if json.Unmarshal(b, e) != nil || e.Message == "" {
		e.Message = "the auditor answered " + resp.Status
	}
	return nil, e
}

// parameters makes URL parameters of a struct's JSON fields.
func parameters(v any) url.Values {
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	var m map[string]any
	if json.Unmarshal(b, &m) != nil {
		return nil
	}
	q := url.Values{}
	for k, x := range m {
		switch x := x.(type) {
		case string:
			q.Set(k, x)
		case float64:
			q.Set(k, strconv.FormatInt(int64(x), 10))
		}
	}
	return q
}
