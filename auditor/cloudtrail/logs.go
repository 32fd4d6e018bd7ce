package cloudtrail

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/posternhq/postern/events"
)

// logsAtOnce is how many log files of a digest are looked at side by side.
const logsAtOnce = 16

// logs compares log files with what their digest says of them.
func (v *Validator) logs(ctx context.Context, list []digestLog, again bool) (bad []events.InvalidLog, trailing []string, err error) {
	names := make([]string, len(list))
	for i, l := range list {
		names[i] = s3Name(l.Bucket, l.Key)
	}
	known, err := v.intake.history.Files(ctx, names)
	if err != nil {
		return nil, nil, err
	}
	reasons := make([]string, len(list))
	tails := make([]bool, len(list))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(logsAtOnce)
	for i, l := range list {
		g.Go(func() (err error) {
			state, have := known[names[i]]
			if !have { // its notification was lost, or is still on its way
				if _, err := v.intake.Object(ctx, l.Bucket, l.Key); err != nil && !gone(err) {
					if _, dead := errors.AsType[poison](err); !dead {
						return err
					}
				}
			}
			reasons[i], tails[i], err = v.log(ctx, l, state, again)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	for i, r := range reasons {
		if r != "" {
			bad = append(bad, events.InvalidLog{File: names[i], Reason: r})
		}
		if tails[i] {
			trailing = append(trailing, names[i])
		}
	}
	return bad, trailing, nil
}

func (v *Validator) log(ctx context.Context, l digestLog, state FileState, again bool) (reason string, trailing bool, err error) {
	if !again && state.ETag != "" && state.SHA256 == l.Hash {
		etag, err := v.intake.aws.etag(ctx, l.Bucket, l.Key)
		if gone(err) {
			return "not found", false, nil
		}
		if err != nil {
			return "", false, err
		}
		if etag == state.ETag { // the object is the one that was read
			return "", false, nil
		}
	}
	o, err := v.intake.aws.open(ctx, l.Bucket, l.Key)
	if gone(err) {
		return "not found", false, nil
	}
	if err != nil {
		return "", false, err
	}
	defer o.Close()
	from := &source{Reader: o}
	sum, trailing, err := hashLog(from)
	switch {
	case from.err != nil:
		return "", false, fmt.Errorf("read %s: %w", s3Name(l.Bucket, l.Key), from.err)
	case err != nil:
		return "invalid format: " + err.Error(), false, nil
	case sum != l.Hash:
		return "hash value doesn't match", trailing, nil
	case state.SHA256 != "" && state.SHA256 != l.Hash:
		return "was taken in with another content, of SHA-256 " + state.SHA256, trailing, nil
	}
	return "", trailing, nil
}
