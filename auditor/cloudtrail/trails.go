package cloudtrail

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"

	"github.com/posternhq/postern/events"
)

// trailsEvery is how often trails are asked for.
const trailsEvery = time.Hour

// WatchTrails says on the stream which trails there are and what they select,
// at the start and whenever that has changed, until ctx ends.
func (in *Intake) WatchTrails(ctx context.Context) error {
	said := map[string]events.CloudTrailTrailObserved{}
	for ctx.Err() == nil {
		if err := in.ObserveTrails(ctx, said); err != nil && ctx.Err() == nil {
			in.log.Warn().Err(err).Msg("trails can't be asked for; trying again in an hour")
		}
		select {
		case <-ctx.Done():
		case <-time.After(trailsEvery):
		}
	}
	return nil
}

// ObserveTrails asks for the trails that the auditor's account sees in its region,
// and says those that are not in said, by ARN, as they are now.
func (in *Intake) ObserveTrails(ctx context.Context, said map[string]events.CloudTrailTrailObserved) error {
	client, err := in.aws.trail(ctx, "")
	if err != nil {
		return err
	}
	out, err := client.DescribeTrails(ctx, &cloudtrail.DescribeTrailsInput{})
	if err != nil {
		return fmt.Errorf("DescribeTrails: %w", err)
	}
	var failed []error
	for _, t := range out.TrailList {
		d, err := in.describe(ctx, &t)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		if said[d.TrailARN] == *d {
			continue
		}
		now := *d
		now.ObservedAt = in.now().UTC()
		if _, err := in.journal.Append(ctx, events.Event{Data: &now}); err != nil {
			return err
		}
		said[d.TrailARN] = *d
	}
	return errors.Join(failed...)
}

func (in *Intake) describe(ctx context.Context, t *types.Trail) (*events.CloudTrailTrailObserved, error) {
	arn := aws.ToString(t.TrailARN)
	d := &events.CloudTrailTrailObserved{
		TrailARN: arn, Name: aws.ToString(t.Name), HomeRegion: aws.ToString(t.HomeRegion), Bucket: aws.ToString(t.S3BucketName),
		Prefix: aws.ToString(t.S3KeyPrefix), MultiRegion: aws.ToBool(t.IsMultiRegionTrail), Organization: aws.ToBool(t.IsOrganizationTrail),
		Validation: aws.ToBool(t.LogFileValidationEnabled),
	}
	if p := strings.Split(arn, ":"); len(p) > 4 {
		d.Account = p[4]
	}
	// Selectors and status are answered where the trail is at home.
	client, err := in.aws.trail(ctx, d.HomeRegion)
	if err != nil {
		return nil, err
	}
	status, err := client.GetTrailStatus(ctx, &cloudtrail.GetTrailStatusInput{Name: &arn})
	if err != nil {
		return nil, fmt.Errorf("GetTrailStatus of %s: %w", arn, err)
	}
	d.Logging = aws.ToBool(status.IsLogging)
	selectors, err := client.GetEventSelectors(ctx, &cloudtrail.GetEventSelectorsInput{TrailName: &arn})
	if err != nil {
		return nil, fmt.Errorf("GetEventSelectors of %s: %w", arn, err)
	}
	if d.EventSelectors, err = selectorJSON(selectors.EventSelectors); err != nil {
		return nil, err
	}
	d.AdvancedEventSelectors, err = selectorJSON(selectors.AdvancedEventSelectors)
	return d, err
}

// selectorJSON writes selectors as CloudTrail's API has them, without what is
// absent.
func selectorJSON[T any](list []T) (string, error) {
	if len(list) == 0 {
		return "", nil
	}
	raw, err := json.Marshal(list)
	if err != nil {
		return "", err
	}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return "", err
	}
	raw, err = json.Marshal(withoutNulls(v))
	return string(raw), err
}

func withoutNulls(v any) any {
	switch x := v.(type) {
	case []any:
		for i := range x {
			x[i] = withoutNulls(x[i])
		}
	case map[string]any:
		for k, y := range x {
			if y == nil {
				delete(x, k)
			} else {
				x[k] = withoutNulls(y)
			}
		}
	}
	return v
}
