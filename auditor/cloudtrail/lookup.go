package cloudtrail

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
)

// Limits of LookupEvents:
// https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
const (
	lookupPause   = 500 * time.Millisecond // two calls a second, by account and region
	lookupHistory = 90 * 24 * time.Hour
	// lookupLate is how late an event may turn up there.
	lookupLate = 15 * time.Minute
	// lookupWindow is how much is asked for at once: how far is remembered when a
	// window is done.
	lookupWindow = 6 * time.Hour
)

// Lookup takes in management events by LookupEvents, for accounts without a
// trail. Up to where it is, it remembers by region in a file; should that be
// lost, 90 days are read once more.
type Lookup struct {
	in      *Intake
	regions []string
	memory  string
	every   time.Duration

	mu   sync.Mutex
	upTo map[string]time.Time // by region
}

// NewLookup reads regions and keeps its memory in dataDir.
func NewLookup(in *Intake, regions []string, dataDir string) *Lookup {
	return &Lookup{in: in, regions: regions, memory: filepath.Join(dataDir, "cloudtrail-lookup.json"), every: time.Minute, upTo: map[string]time.Time{}}
}

// Run looks every minute until ctx ends.
func (l *Lookup) Run(ctx context.Context) error {
	if err := l.load(); err != nil {
		return fmt.Errorf("look up events: %w", err)
	}
	var wg sync.WaitGroup
	for _, region := range l.regions {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := l.Look(ctx, region); err != nil && ctx.Err() == nil {
					l.in.log.Warn().Err(err).Str("region", region).Msg("LookupEvents; trying again")
				}
				select {
				case <-ctx.Done():
				case <-time.After(l.every):
				}
			}
		})
	}
	wg.Wait()
	return nil
}

// Look takes in a region's events from where it is up to now, and returns how many
// there were, those included that were there already.
func (l *Lookup) Look(ctx context.Context, region string) (int, error) {
	client, err := l.in.aws.trail(ctx, region)
	if err != nil {
		return 0, err
	}
	now := l.in.now()
	l.mu.Lock()
	from := l.upTo[region]
	l.mu.Unlock()
	if oldest := now.Add(-lookupHistory); from.Before(oldest) {
		from = oldest
	}
	n := 0
	for from.Before(now) {
		to := from.Add(lookupWindow)
		if to.After(now) {
			to = now
		}
		found, err := l.window(ctx, client, region, from, to)
		n += found
		if err != nil {
			return n, err
		}
		from = to
		if err := l.save(region, min(from.Unix(), now.Add(-lookupLate).Unix())); err != nil {
			return n, err
		}
	}
	return n, nil
}

func (l *Lookup) window(ctx context.Context, client *cloudtrail.Client, region string, from, to time.Time) (int, error) {
	p := &publisher{g: l.in.ingester, ctx: ctx}
	name := "lookup:" + region
	n := 0
	input := &cloudtrail.LookupEventsInput{StartTime: &from, EndTime: &to, MaxResults: aws.Int32(50)}
	patient := func(o *cloudtrail.Options) {
		o.Retryer = retry.NewStandard(func(r *retry.StandardOptions) {
			r.MaxAttempts = 10
			r.RateLimiter = noLimit{} // what it limits is retries, and here waiting is all
		})
	}
	for pages := cloudtrail.NewLookupEventsPaginator(client, input); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx, patient)
		if err != nil {
			return n, fmt.Errorf("LookupEvents in %s: %w", region, err)
		}
		for _, e := range page.Events {
			raw := []byte(aws.ToString(e.CloudTrailEvent))
			r, err := Parse(raw)
			if err != nil {
				l.in.log.Warn().Err(err).Str("event", aws.ToString(e.EventId)).Msg("LookupEvents gave what is no record")
				continue
			}
			if err := p.publish(received(name, n, raw, r)); err != nil {
				return n, err
			}
			n++
		}
		select {
		case <-ctx.Done():
			return n, ctx.Err()
		case <-time.After(lookupPause):
		}
	}
	_, err := p.wait()
	return n, err
}

// noLimit lets every retry through.
type noLimit struct{}

func (noLimit) GetToken(context.Context, uint) (func() error, error) {
	return func() error { return nil }, nil
}
func (noLimit) AddTokens(uint) error { return nil }

func (l *Lookup) load() error {
	b, err := os.ReadFile(l.memory)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	upTo := map[string]time.Time{}
	if err := json.Unmarshal(b, &upTo); err != nil { // cut off by a crash
		l.in.log.Warn().Err(err).Str("file", l.memory).Msg("LookupEvents: how far it was can't be read; the last 90 days are read once more")
	} else if upTo != nil {
		l.upTo = upTo
	}
	return nil
}

func (l *Lookup) save(region string, unix int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.upTo[region] = time.Unix(unix, 0).UTC()
	b, err := json.Marshal(l.upTo)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(l.memory), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(l.memory+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), l.memory)
}
