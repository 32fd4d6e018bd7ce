package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Bucket says what is read of a bucket of CloudTrail's: an s3:// address, times
// absolute or relative, an account and a region; all but the address may be empty.
type Bucket struct {
	Address string `json:"address"`
	Since   string `json:"since,omitempty"`
	Until   string `json:"until,omitempty"`
	Account string `json:"account,omitempty"`
	Region  string `json:"region,omitempty"`
}

// BucketProgress is how far the ingest of a bucket is. Known files were there
// before; File and Reason tell of one that was set aside.
type BucketProgress struct {
	Found    int    `json:"found"`
	Known    int    `json:"known"`
	Files    int    `json:"files"`
	Rejected int    `json:"rejected"`
	Records  int64  `json:"records"`
	Listed   bool   `json:"listed"`
	File     string `json:"file,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

// IngestBucket has the auditor take in the log files of a bucket. One that was cut
// off goes on where it was when it is asked for again.
func (c *Client) IngestBucket(ctx context.Context, b Bucket, progress func(BucketProgress)) (*BucketProgress, error) {
	var last BucketProgress
	err := c.follow(ctx, "ingest/s3", b, func(line json.RawMessage) error {
		last = BucketProgress{}
		if err := json.Unmarshal(line, &last); err != nil {
			return err
		}
		if progress != nil {
			progress(last)
		}
		return nil
	})
	return &last, err
}

// Validation is what was found of a trail's digest files and of the log files
// that they vouch for.
type Validation struct {
	DigestsValid   int      `json:"digests_valid"`
	DigestsInvalid int      `json:"digests_invalid"`
	BackfillValid  int      `json:"backfill_digests_valid"`
	BackfillBad    int      `json:"backfill_digests_invalid"`
	LogsValid      int      `json:"logs_valid"`
	LogsInvalid    int      `json:"logs_invalid"`
	Problems       []string `json:"problems,omitempty"`
}

// Checked says whether there were digest files to check.
func (v *Validation) Checked() bool {
	return v.DigestsValid+v.DigestsInvalid+v.BackfillValid+v.BackfillBad > 0
}

// Validate has the auditor check the digest files of a bucket.
func (c *Client) Validate(ctx context.Context, b Bucket, progress func(Validation)) (*Validation, error) {
	var last Validation
	err := c.follow(ctx, "validate", b, func(line json.RawMessage) error {
		last = Validation{}
		if err := json.Unmarshal(line, &last); err != nil {
			return err
		}
		if progress != nil {
			progress(last)
		}
		return nil
	})
	return &last, err
}

// follow reads lines up to the one that says that all is done.
func (c *Client) follow(ctx context.Context, what string, b Bucket, each func(json.RawMessage) error) error {
	resp, err := c.do(ctx, http.MethodPost, what, parameters(b), "", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for d := json.NewDecoder(resp.Body); ; {
		var line json.RawMessage
		if err := d.Decode(&line); err != nil {
			return fmt.Errorf("%s: the answer broke off: %w", b.Address, err)
		}
		if err := each(line); err != nil {
			return err
		}
		var end struct {
			Done  bool   `json:"done"`
			Error string `json:"error"`
		}
		if err := json.Unmarshal(line, &end); err != nil {
			return err
		}
		if end.Error != "" {
			return errors.New(end.Error)
		}
		if end.Done {
			return nil
		}
	}
}

// DeadLetter is a file or a queue's message that was set aside.
type DeadLetter struct {
	ID         string    `json:"id"`
	Kind       string    `json:"kind"`
	Source     string    `json:"source"`
	MessageID  string    `json:"message_id,omitempty"`
	Body       string    `json:"body,omitempty"`
	Reason     string    `json:"reason"`
	RejectedAt time.Time `json:"rejected_at"`
}

// DeadLetters lists what was set aside and not taken in since.
func (c *Client) DeadLetters(ctx context.Context) ([]DeadLetter, error) {
	var out struct {
		DeadLetters []DeadLetter `json:"dead_letters"`
	}
	err := c.get(ctx, "dead-letters", nil, &out)
	return out.DeadLetters, err
}

// Replayed is what became of a dead letter that was tried again.
type Replayed struct {
	ID      string `json:"id"`
	Records int    `json:"records"`
	Error   string `json:"error,omitempty"`
}

// Replay tries one dead letter again, or all where id is empty.
func (c *Client) Replay(ctx context.Context, id string) ([]Replayed, error) {
	q := url.Values{}
	if id != "" {
		q.Set("id", id)
	}
	resp, err := c.do(ctx, http.MethodPost, "dead-letters/replay", q, "", nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var out struct {
		Replayed []Replayed `json:"replayed"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return nil, fmt.Errorf("audit dead-letters: read the answer: %w", err)
	}
	return out.Replayed, nil
}
