package cloudtrail

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// Intake takes in what CloudTrail delivers to S3: log files go onto the stream,
// digest files are checked. It is safe for concurrent use.
type Intake struct {
	aws      *AWS
	ingester *Ingester
	history  History
	digests  *Validator
	journal  *journal.Journal
	log      zerolog.Logger
	now      func() time.Time
}

// NewIntake returns an intake that reads as a does and writes to j.
func NewIntake(a *AWS, g *Ingester, h History, j *journal.Journal, log zerolog.Logger) *Intake {
	in := &Intake{aws: a, ingester: g, history: h, journal: j, log: log, now: time.Now}
	in.digests = &Validator{intake: in, keys: &publicKeys{aws: a, known: map[string][]publicKey{}}, chains: map[Chain]*chainState{}}
	return in
}

// Validator checks digest files.
func (in *Intake) Validator() *Validator { return in.digests }

// poison is an error that no retry mends.
type poison struct{ error }

func (p poison) Unwrap() error { return p.error }

// Object takes in one object. One that is no file of CloudTrail's is passed over:
// buckets hold more than that.
func (in *Intake) Object(ctx context.Context, bucket, key string) (Result, error) {
	base := path.Base(key)
	if strings.Contains(base, "_CloudTrail-Digest_") {
		return Result{File: s3Name(bucket, key)}, in.digests.Arrived(ctx, bucket, key)
	}
	if !accountOf.MatchString(base) || !IsLogFile(base) {
		return Result{File: s3Name(bucket, key)}, nil
	}
	return in.logFile(ctx, bucket, key)
}

func (in *Intake) logFile(ctx context.Context, bucket, key string) (Result, error) {
	o, err := in.aws.open(ctx, bucket, key)
	if gone(err) {
		return Result{}, poison{err}
	}
	if err != nil {
		return Result{}, err
	}
	defer o.Close()
	return in.ingester.file(ctx, s3Name(bucket, key), o.etag, o, nil)
}

// message takes in what a queue's message speaks of.
func (in *Intake) message(ctx context.Context, queue string, body []byte) (Result, error) {
	n, err := parseNotification(body)
	if err != nil {
		return Result{}, poison{err}
	}
	var all Result
	if n.record != nil {
		name := "eventbridge:" + queue + "#" + n.id
		r, err := Parse(n.record)
		if err != nil {
			return all, poison{err}
		}
		all.LastSeq, err = in.journal.Append(ctx, received(name, 0, n.record, r))
		if err != nil {
			return all, err
		}
		all.Records = 1
	}
	var failed, dead []error
	for _, o := range n.objects { // one that can't be taken in keeps out no other
		res, err := in.Object(ctx, o.bucket, o.key)
		all.Records += res.Records
		all.LastSeq = max(all.LastSeq, res.LastSeq)
		if _, is := errors.AsType[poison](err); is {
			dead = append(dead, err)
		} else if err != nil {
			failed = append(failed, err)
		}
	}
	switch {
	case len(failed) > 0:
		return all, failed[0]
	case len(dead) > 1:
		return all, poison{fmt.Errorf("%w, and %d more objects", dead[0], len(dead)-1)}
	case len(dead) > 0:
		return all, dead[0]
	}
	return all, nil
}

// Letter is what was set aside.
type Letter struct {
	ID string `json:"id"`
	// Kind is "file", whose Source is its name, or "message", whose Source is its queue.
	Kind       string    `json:"kind"`
	Source     string    `json:"source"`
	MessageID  string    `json:"message_id,omitempty"`
	Body       string    `json:"body,omitempty"`
	Reason     string    `json:"reason"`
	RejectedAt time.Time `json:"rejected_at"`
}

// ErrNotHere is wrapped by Replay's error for a file that was uploaded: it has to be
// sent again.
var ErrNotHere = errors.New("the file was read from elsewhere: send it again with postern audit ingest")

// Replay tries again what was set aside, and says on the stream when it is taken in.
func (in *Intake) Replay(ctx context.Context, l Letter, by string) (Result, error) {
	var res Result
	var err error
	bucket, key, isS3 := splitS3(l.Source)
	switch {
	case l.Kind == "message":
		res, err = in.message(ctx, l.Source, []byte(l.Body))
	case isS3:
		res, err = in.logFile(ctx, bucket, key)
	default:
		return res, fmt.Errorf("replay %s: %w", l.Source, ErrNotHere)
	}
	if err == nil && res.Rejected != "" {
		err = errors.New(res.Rejected)
	}
	if err != nil {
		return res, fmt.Errorf("replay %s: %w", l.ID, err)
	}
	seq, err := in.journal.Append(ctx, events.Event{
		Meta: events.Meta{ID: "replayed/" + l.ID, CausationID: l.ID},
		Data: &events.CloudTrailLetterReplayed{LetterID: l.ID, By: by, Records: res.Records},
	})
	res.LastSeq = max(res.LastSeq, seq)
	return res, err
}
