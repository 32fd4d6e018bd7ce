package store

import (
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

const (
	insertTrailFile      = `INSERT INTO trail_file_rows (file, account, region, records, sha256, etag, received_at)`
	insertTrailDigest    = `INSERT INTO trail_digest_rows (account, region, trail, home_region, bucket, key, backfill, start_time, end_time, verdict, reason, previous_key, signature, sha256, logs, logs_invalid, checked_at)`
	insertTrail          = `INSERT INTO trail_rows (trail_arn, account, name, home_region, bucket, prefix, multi_region, organization, validation, logging, event_selectors, advanced_event_selectors, observed_at)`
	insertDeadLetter     = `INSERT INTO dead_letter_rows (letter_id, kind, source, message_id, body, reason, rejected_at)`
	insertLetterReplayed = `INSERT INTO dead_letter_rows (letter_id, replayed_at, replayed_by)`
)

// trailRows writes what CLOUDTRAIL says besides records.
func trailRows(e *journal.Entry, add func(string, ...any) error) error {
	switch d := e.Data.(type) {
	case *events.CloudTrailFileReceived:
		return add(insertTrailFile, d.File, d.Account, d.Region, uint32(d.Records), d.SHA256, d.ETag, micros(e.Time))
	case *events.CloudTrailDigestChecked:
		invalid := make([][]any, len(d.LogsInvalid))
		for i, l := range d.LogsInvalid {
			invalid[i] = []any{l.File, l.Reason}
		}
		return add(insertTrailDigest, d.Account, d.Region, d.Trail, d.HomeRegion, d.Bucket, d.Key, d.Backfill, micros(d.StartTime), micros(d.EndTime),
			d.Verdict, d.Reason, d.PreviousKey, d.Signature, d.SHA256, uint32(d.Logs), invalid, micros(e.Time))
	case *events.CloudTrailTrailObserved:
		return add(insertTrail, d.TrailARN, d.Account, d.Name, d.HomeRegion, d.Bucket, d.Prefix, d.MultiRegion, d.Organization, d.Validation,
			d.Logging, d.EventSelectors, d.AdvancedEventSelectors, micros(d.ObservedAt))
	case *events.CloudTrailFileRejected:
		return add(insertDeadLetter, e.ID, "file", d.File, "", "", d.Reason, micros(e.Time))
	case *events.CloudTrailMessageRejected:
		return add(insertDeadLetter, e.ID, "message", d.Queue, d.MessageID, d.Body, d.Reason, micros(e.Time))
	case *events.CloudTrailLetterReplayed:
		return add(insertLetterReplayed, d.LetterID, micros(e.Time), d.By)
	}
	return nil
}
