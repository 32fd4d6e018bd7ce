package client

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/posternhq/postern/auditor/evidence"
	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/auditor/tlog"
	"github.com/posternhq/postern/events"
)

// LogStatus says how far streams, ledger and logs are; since as in Coverage.
func (c *Client) LogStatus(ctx context.Context, since string) (*evidence.Statuses, error) {
	var s evidence.Statuses
	return &s, c.get(ctx, "log", sinceParameter(since), &s)
}

// Checks runs the checks of the ledger that need nothing but SQL.
func (c *Client) Checks(ctx context.Context, since string) ([]evidence.Fault, error) {
	var out struct {
		Faults []evidence.Fault `json:"faults"`
	}
	err := c.get(ctx, "checks", sinceParameter(since), &out)
	return out.Faults, err
}

// Rederived makes one part of the tables that people ask again from the ledger and
// says where they differ. since as in Coverage.
func (c *Client) Rederived(ctx context.Context, since string, of, part uint32) (*store.Rederivation, error) {
	q := sinceParameter(since)
	q.Set("of", strconv.FormatUint(uint64(of), 10))
	q.Set("part", strconv.FormatUint(uint64(part), 10))
	var r store.Rederivation
	return &r, c.get(ctx, "tables", q, &r)
}

func sinceParameter(since string) url.Values {
	q := url.Values{}
	if since != "" {
		q.Set("since", since)
	}
	return q
}

// VerifyInput says what to verify and with what.
type VerifyInput struct {
	// Key that signs the logs; see LogStatus.
	Key tlog.PublicKey
	// Since as in Coverage; "" means everything.
	Since string
	// Known are checkpoints from elsewhere than the auditor.
	Known []tlog.Checkpoint
	// WitnessKeys are verifier keys of those who must have signed the checkpoints.
	WitnessKeys []string
	// Settle is how long rows and logs may take to catch up with the streams
	// before what they lack is called missing.
	Settle time.Duration
	// Tick, which may be nil, hears how far the comparison of a stream is.
	Tick func(s evidence.Status, seq uint64)
}

// Verify compares everything that the auditor has with each other and with what
// is known from elsewhere. A fault is no error.
func (c *Client) Verify(ctx context.Context, in VerifyInput) (*evidence.Report, error) {
	for _, k := range in.WitnessKeys {
		if err := tlog.CheckWitnessKey(k); err != nil {
			return nil, err
		}
	}
	status, err := c.settled(ctx, in)
	if err != nil {
		return nil, err
	}
	published, forged, others, err := c.published(ctx, in)
	if err != nil {
		return nil, err
	}
	known := slices.Concat(in.Known, published)
	report := &evidence.Report{Key: in.Key, OtherKeys: others, Streams: []*evidence.Result{}, Horizons: status.Horizons}
	for _, s := range status.Streams {
		accounts, err := c.Accounts(s.Stream)
		if err != nil {
			return nil, err
		}
		var tick func(uint64)
		if in.Tick != nil {
			tick = func(seq uint64) { in.Tick(s, seq) }
		}
		r, err := evidence.Verify(ctx, in.Key, s, accounts, known, tick)
		if err != nil {
			return nil, err
		}
		for _, k := range in.WitnessKeys {
			if r.Size == 0 {
				continue
			}
			if err := r.Checkpoint.Cosigned(k); err != nil {
				r.Faults = append(r.Faults, evidence.Fault{Stream: s.Stream, First: r.Size, Last: r.Size, Place: evidence.InLog, Kind: "witness", Detail: err.Error()})
			}
		}
		if s.Stream == events.Findings {
			r.Faults = append(r.Faults, forged...)
		}
		report.Streams = append(report.Streams, r)
	}
	if report.Ledger, err = c.Checks(ctx, in.Since); err != nil {
		return nil, err
	}
	report.OK = len(report.Faults()) == 0
	return report, nil
}

// settled asks how far everything is, and waits a while for what is behind.
func (c *Client) settled(ctx context.Context, in VerifyInput) (*evidence.Statuses, error) {
	first, err := c.LogStatus(ctx, in.Since)
	if err != nil {
		return nil, err
	}
	behind := func(now *evidence.Statuses) bool {
		for i, s := range now.Streams {
			goal := first.Streams[i].Last
			if s.Problem == "" && (s.Stored < goal || s.Logged < goal) {
				return true
			}
		}
		return false
	}
	waiting, cancel := context.WithTimeout(ctx, in.Settle)
	defer cancel()
	for now := first; behind(now); {
		select {
		case <-waiting.Done():
			return first, ctx.Err() // what is still behind will show as missing
		case <-time.After(100 * time.Millisecond):
		}
		if now, err = c.LogStatus(ctx, in.Since); err != nil {
			return nil, err
		}
	}
	return first, nil
}

// published are the checkpoints of the key that were events. Whoever may publish can write
// what is called so: that the key did not sign it is a fault, and no reason to look no
// further. Auditors may share a name; what another key signed is of another log, and others
// are these keys.
func (c *Client) published(ctx context.Context, in VerifyInput) (out []tlog.Checkpoint, forged []evidence.Fault, others []tlog.PublicKey, err error) {
	since := in.Since
	if since == "" {
		since = "1970-01-01"
	}
	err = c.Records(ctx, new(events.LogCheckpointed).Channel(), since, false, func(at evidence.Delivered) error {
		e, err := events.Decode(at.Body())
		if err != nil {
			return nil // what is no event of ours is compared like any message
		}
		if o, ok := e.Data.(*events.LogOpened); ok {
			if key := tlog.PublicKey(o.Key); key != in.Key && key.Name() == in.Key.Name() && key.Check() == nil && len(others) < mostOthers && !slices.Contains(others, key) {
				others = append(others, key)
			}
			return nil
		}
		d, ok := e.Data.(*events.LogCheckpointed)
		if !ok || d.Log != in.Key.Name() {
			return nil
		}
		for _, said := range d.Checkpoints {
			if !in.Key.Claims(said.Stream, []byte(said.Note)) {
				continue
			}
			switch cp, err := in.Key.OpenCheckpoint(said.Stream, []byte(said.Note)); {
			case err == nil:
				out = append(out, cp)
			case len(forged) < mostForged:
				forged = append(forged, evidence.Fault{Stream: events.Findings, First: at.Seq, Last: at.Seq, Place: evidence.InStream, Kind: "forged", Detail: err.Error()})
			}
		}
		return nil
	})
	return out, forged, others, err
}

// mostOthers of other keys and mostForged of forged checkpoints are named: whoever may
// publish can make any number.
const (
	mostOthers = 20
	mostForged = 1000
)

// Accounts are the auditor's three accounts of a stream.
func (c *Client) Accounts(stream string) (evidence.Accounts, error) {
	tiles, err := tlog.HTTP(c.base+"/v1/log/"+stream+"/", c.http)
	return evidence.Accounts{Tiles: tiles, Messages: c.leaves(stream, evidence.InStream), Rows: c.leaves(stream, evidence.InLedger)}, err
}

func (c *Client) leaves(stream, of string) func(context.Context, uint64, uint64) iter.Seq2[tlog.Leaf, error] {
	return func(ctx context.Context, after, until uint64) iter.Seq2[tlog.Leaf, error] {
		return func(yield func(tlog.Leaf, error) bool) {
			fail := func(err error) { yield(tlog.Leaf{}, fmt.Errorf("%s of the %s: %w", stream, of, err)) }
			q := url.Values{"stream": {stream}, "of": {of}, "after": {strconv.FormatUint(after, 10)}, "until": {strconv.FormatUint(until, 10)}}
			resp, err := c.do(ctx, http.MethodGet, "leaves", q, "", nil)
			if err != nil {
				fail(err)
				return
			}
			defer resp.Body.Close()
			lines := bufio.NewScanner(resp.Body)
			for lines.Scan() {
				if len(lines.Bytes()) == 0 {
					return // the end, said to be one
				}
				l, err := tlog.ParseLeaf(lines.Bytes())
				if err == nil && (l.Stream != stream || l.Seq <= after) {
					err = fmt.Errorf("leaf %q was not asked for", lines.Bytes())
				}
				if err != nil {
					fail(err)
					return
				}
				if !yield(l, nil) {
					return
				}
			}
			if err = lines.Err(); err == nil {
				err = fmt.Errorf("the answer broke off")
			}
			fail(err)
		}
	}
}

// Bundle fetches the evidence on a subject, packed and signed; see
// evidence.Open. since as in Coverage. published asks for proofs that lead to
// published checkpoints, which takes up to the time between two; logs asks for
// CloudTrail's log files, in which there are others' records, too.
func (c *Client) Bundle(ctx context.Context, request, user, since string, published, logs bool) ([]byte, error) {
	q := sinceParameter(since)
	for k, v := range map[string]string{"request": request, "user": user} {
		if v != "" {
			q.Set(k, v)
		}
	}
	if !logs {
		q.Set("log_files", "false")
	}
	if published {
		q.Set("published", "true")
	}
	resp, err := c.do(ctx, http.MethodGet, "bundle", q, "", nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("audit bundle: read the answer: %w", err)
	}
	return b, nil
}
