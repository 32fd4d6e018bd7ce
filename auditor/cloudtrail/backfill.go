package cloudtrail

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"
)

// Filter narrows what is read of a bucket. Zero values mean everything.
type Filter struct {
	// Since and Until bound the time of delivery.
	Since, Until time.Time
	Account      string
	Region       string
}

// Backfilled is how far a backfill is.
type Backfilled struct {
	// Found files, of which Known had been taken in before.
	Found    int   `json:"found"`
	Known    int   `json:"known"`
	Files    int   `json:"files"`
	Rejected int   `json:"rejected"`
	Records  int64 `json:"records"`
	// Listed: Found does not grow any more.
	Listed  bool   `json:"listed"`
	LastSeq uint64 `json:"-"`
	// File is the one that this is about, Reason why it was set aside.
	File   string `json:"file,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// Backfill takes in the log files under an s3:// address, many at once, and then
// checks the digest files there. Files that are known with the same ETag are
// passed over: a backfill that was killed goes on where it was. progress hears
// of every file, one call at a time.
func (in *Intake) Backfill(ctx context.Context, address string, f Filter, progress func(Backfilled)) (Backfilled, error) {
	bucket, prefix, ok := splitS3(address)
	if !ok {
		return Backfilled{}, fmt.Errorf("ingest %s: want s3://BUCKET or s3://BUCKET/PREFIX", address)
	}
	var mu sync.Mutex
	var total Backfilled
	tell := func(change func(*Backfilled)) {
		mu.Lock()
		defer mu.Unlock()
		total.File, total.Reason = "", ""
		change(&total)
		if progress != nil {
			progress(total)
		}
	}
	whole := ctx
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(filesAtOnce)
	var digests []string
	var page []s3Listed
	flush := func() error {
		names := make([]string, len(page))
		for i, o := range page {
			names[i] = s3Name(bucket, o.key)
		}
		known, err := in.history.Files(ctx, names)
		if err != nil {
			return err
		}
		for i, o := range page {
			if known[names[i]].ETag == o.etag && o.etag != "" {
				tell(func(t *Backfilled) { t.Found, t.Known = t.Found+1, t.Known+1 })
				continue
			}
			tell(func(t *Backfilled) { t.Found++ })
			group.Go(func() error {
				res, err := in.logFile(ctx, bucket, o.key)
				if _, dead := errors.AsType[poison](err); dead {
					res.Rejected = err.Error()
				} else if err != nil {
					return err
				}
				tell(func(t *Backfilled) {
					t.Files++
					t.Records += int64(res.Records)
					t.LastSeq = max(t.LastSeq, res.LastSeq)
					if res.Rejected != "" {
						t.Rejected++
						t.File, t.Reason = names[i], res.Rejected
					}
				})
				return nil
			})
		}
		page = page[:0]
		return nil
	}
	w := walker{aws: in.aws, bucket: bucket, f: f, logs: true, digests: true, found: func(o s3Listed) error {
		if _, _, ok := chainOf(bucket, o.key); ok {
			digests = append(digests, o.key)
			return nil
		}
		if page = append(page, o); len(page) < 1000 {
			return nil
		}
		return flush()
	}}
	err := w.walk(ctx, prefix)
	if err == nil {
		err = flush()
	}
	if err == nil {
		tell(func(t *Backfilled) { t.Listed = true })
	}
	if err = firstOf(group.Wait(), err); err != nil {
		return total, fmt.Errorf("ingest %s: %w", address, err)
	}
	return total, in.backfillDigests(whole, bucket, digests)
}

// backfillDigests checks digest files by chain and time.
func (in *Intake) backfillDigests(ctx context.Context, bucket string, keys []string) error {
	slices.Sort(keys)
	for _, key := range keys {
		if err := in.digests.Arrived(ctx, bucket, key); err != nil {
			return err
		}
	}
	return nil
}

// s3Listed is an object of a listing.
type s3Listed struct{ key, etag string }

// walker lists CloudTrail's files of a bucket. Where keys are laid out as
// CloudTrail lays them out, accounts, regions and days that the filter leaves
// out are not listed at all.
type walker struct {
	aws           *AWS
	bucket        string
	f             Filter
	logs, digests bool
	found         func(s3Listed) error
}

var (
	accountDir = regexp.MustCompile(`(?:^|/)(\d{12})/$`)
	// regionDir is [PREFIX/]AWSLogs/[ORGANIZATION/]ACCOUNT/KIND/REGION/:
	// https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-find-log-files.html
	regionDir = regexp.MustCompile(`(?:^|/)\d{12}/(CloudTrail|CloudTrail-[A-Za-z]+)/([a-z0-9-]+)/$`)
	kindDir   = regexp.MustCompile(`(?:^|/)\d{12}/([A-Za-z-]+)/$`)
	// fileTime is in the names of log files and of digest files.
	fileTime = regexp.MustCompile(`_(\d{8}T\d{4})(\d{2})?Z`)
)

func (w *walker) walk(ctx context.Context, prefix string) error {
	if m := accountDir.FindStringSubmatch(prefix); m != nil && w.f.Account != "" && m[1] != w.f.Account {
		return nil
	}
	if m := kindDir.FindStringSubmatch(prefix); m != nil {
		if m[1] == "CloudTrail-Digest" && !w.digests || m[1] != "CloudTrail-Digest" && !w.logs || !strings.HasPrefix(m[1], "CloudTrail") {
			return nil
		}
	}
	input := &s3.ListObjectsV2Input{Bucket: &w.bucket, Prefix: &prefix, Delimiter: aws.String("/")}
	if m := regionDir.FindStringSubmatch(prefix); m != nil {
		if w.f.Region != "" && m[2] != w.f.Region {
			return nil
		}
		input.Delimiter = nil // days follow: one listing, by time
		if !w.f.Since.IsZero() {
			input.StartAfter = aws.String(prefix + w.f.Since.UTC().Format("2006/01/02"))
		}
	}
	client, err := w.aws.bucket(ctx, w.bucket)
	if err != nil {
		return err
	}
	for pages := s3.NewListObjectsV2Paginator(client, input); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("list %s: %w", s3Name(w.bucket, prefix), err)
		}
		for _, o := range page.Contents {
			if !w.takes(*o.Key) {
				continue
			}
			if err := w.found(s3Listed{*o.Key, strings.Trim(aws.ToString(o.ETag), `"`)}); err != nil {
				return err
			}
		}
		for _, p := range page.CommonPrefixes {
			if err := w.walk(ctx, *p.Prefix); err != nil {
				return err
			}
		}
	}
	return nil
}

// takes says whether a key is a file that is wanted.
func (w *walker) takes(key string) bool {
	base := path.Base(key)
	if _, end, ok := chainOf(w.bucket, key); ok {
		return w.digests && w.within(end) && w.of(base)
	}
	if !w.logs || !IsLogFile(base) {
		return false
	}
	m := fileTime.FindStringSubmatch(base)
	if m == nil {
		return w.f == Filter{}
	}
	at, err := time.Parse("20060102T1504", m[1])
	return err == nil && w.within(at.Add(time.Minute-1)) && w.of(base)
}

func (w *walker) within(at time.Time) bool {
	return (w.f.Since.IsZero() || !at.Before(w.f.Since)) && (w.f.Until.IsZero() || !at.After(w.f.Until))
}

// of compares the account and region in a file's name.
func (w *walker) of(base string) bool {
	m := accountOf.FindStringSubmatch(base)
	return m == nil || (w.f.Account == "" || m[1] == w.f.Account) && (w.f.Region == "" || m[2] == w.f.Region)
}
