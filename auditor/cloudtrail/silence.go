package cloudtrail

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// CloudTrail delivers a digest file an hour, even for an hour in which nothing
// happened, and a last one when logging stops or the trail is deleted
// (https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-log-file-validation-digest-file-structure.html).
// That a chain goes on no more is therefore told by nothing but its silence.

const (
	// silentAfter is how long after the end of a chain's last digest file it is silent:
	// an hour for the next, and one for its delivery.
	silentAfter = 2 * time.Hour
	// silenceEvery is how often chains are looked at.
	silenceEvery = 10 * time.Minute
	// chainsFrom is how long ago a chain may have ended to be looked at.
	chainsFrom = 30 * 24 * time.Hour
)

// LiveWithin and LiveAtLeast tell the chains whose digest files arrive as CloudTrail
// writes them: so many were checked so soon after their end. Of a chain that was
// read once, from the past, no more than two were.
const (
	LiveWithin  = silentAfter
	LiveAtLeast = 3
)

// LiveChain is a chain whose digest files arrive, and the key and the end of its last one
// that is known, be it missing.
type LiveChain struct {
	Chain
	Key string
	End time.Time
}

// WatchChains says on the stream which chains have gone silent, until ctx ends.
func (in *Intake) WatchChains(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := in.digests.Silent(ctx); err != nil && ctx.Err() == nil {
			in.log.Warn().Err(err).Msg("can't tell whether CloudTrail still delivers digest files; trying again in ten minutes")
		}
		select {
		case <-ctx.Done():
		case <-time.After(silenceEvery):
		}
	}
	return nil
}

// Silent opens a trail_gap for each chain that no digest file has come to for two
// hours: neither to the auditor nor, where notifications may have been lost, to the
// bucket. The next one that comes resolves it.
func (v *Validator) Silent(ctx context.Context) error {
	now := v.intake.now()
	chains, err := v.intake.history.LiveChains(ctx, now.Add(-chainsFrom))
	if err != nil {
		return err
	}
	var failed []error
	for _, c := range chains {
		if err := v.silent(ctx, c, now); err != nil { // it is no silence that can't be heard
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// silent is Silent's part for a chain. What arrives meanwhile waits, and is then seen to
// end the silence.
func (v *Validator) silent(ctx context.Context, c LiveChain, now time.Time) error {
	i := strings.Index(c.Key, "/CloudTrail-Digest/")
	if i < 0 || now.Sub(c.End) < silentAfter {
		return nil
	}
	defer v.lock(c.Chain).mu.Unlock()
	newer, err := v.list(ctx, c.Chain, c.Key, c.Key[:i]+"/CloudTrail-Digest/"+c.Region+"/~")
	if err != nil {
		return err
	}
	last, end := c.Key, c.End
	for _, key := range newer {
		if _, at, _ := chainOf(c.Bucket, key); !at.Before(end) {
			last, end = key, at
		}
	}
	if now.Sub(end) < silentAfter {
		return nil
	}
	return v.findings(ctx, c.Chain, "", nil, []problem{{kindGap, afterIt(c.Bucket, last),
		fmt.Sprintf("no digest file since %s, and CloudTrail delivers one an hour: the trail was stopped, deleted or given a bucket that the auditor is not told of, or log file validation switched off", clock(end))}})
}

// silences are those that a digest file ends: after the one before it that is there,
// after the one that it names, and after those between, which were known and are gone.
func silences(chain Chain, before, l *link, known map[string]DigestState) []problem {
	var out []problem
	after := func(key string) { out = append(out, problem{kind: kindGap, name: afterIt(chain.Bucket, key)}) }
	switch {
	case l.from != "":
		out = append(out, problem{kind: kindGap, name: afterIt(l.from, l.previous)})
	case l.previous != "":
		after(l.previous)
	}
	if before == nil {
		return out
	}
	if before.key != l.previous {
		after(before.key)
	}
	for key := range known {
		if _, end, _ := chainOf(chain.Bucket, key); end.After(before.end) && end.Before(l.end) && key != l.previous {
			after(key)
		}
	}
	return out
}

func afterIt(bucket, key string) string { return "after " + s3Name(bucket, key) }
