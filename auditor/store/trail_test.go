package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// What CLOUDTRAIL says besides records: the last word on each file and trail,
// dead letters until they are replayed.
func TestTrailRows(t *testing.T) {
	s := migrated(t)
	k, err := s.Sink(t.Context(), events.CloudTrail)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().UTC().Truncate(time.Microsecond)
	for i, d := range []events.Payload{
		&events.CloudTrailFileReceived{File: "s3://b/k", Account: "1", Region: "r", Records: 3, SHA256: "a", ETag: "e"},
		&events.CloudTrailFileReceived{File: "s3://b/k", Account: "1", Region: "r", Records: 3, SHA256: "a", ETag: "f"},
		&events.CloudTrailDigestChecked{Account: "1", Region: "r", Trail: "t", HomeRegion: "r", Bucket: "b", Key: "d", Verdict: events.DigestValid, Logs: 2},
		&events.CloudTrailDigestChecked{Account: "1", Region: "r", Trail: "t", HomeRegion: "r", Bucket: "b", Key: "d", Verdict: events.DigestInvalid, Reason: "x", Logs: 2,
			LogsInvalid: []events.InvalidLog{{File: "s3://b/k", Reason: "y"}}},
		&events.CloudTrailTrailObserved{TrailARN: "arn", Account: "1", Name: "t", HomeRegion: "r", Bucket: "b", Logging: true, EventSelectors: "[]", ObservedAt: at},
		&events.CloudTrailFileRejected{File: "s3://b/bad", Reason: "no JSON"},
		&events.CloudTrailMessageRejected{Queue: "q", MessageID: "m", Body: "?", Reason: "no JSON", Receives: 1},
		&events.CloudTrailLetterReplayed{LetterID: "id5", By: "alice", Records: 2},
	} {
		e := journal.Entry{Event: events.Event{Meta: events.Meta{ID: fmt.Sprint("id", i), Source: "/s", Time: at.Add(time.Duration(i) * time.Second)}, Data: d},
			Stream: events.CloudTrail, Channel: d.Channel(), Seq: uint64(i + 1), StoredAt: at, Raw: []byte("{}")}
		if _, err := k.Write(t.Context(), []journal.Entry{e}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, q := range []string{
		`SELECT count() FROM trail_files WHERE file = 's3://b/k' AND etag = 'f'`,
		`SELECT count() FROM trail_digests WHERE verdict = 'invalid' AND logs_invalid[1].reason = 'y' AND reason = 'x'`,
		`SELECT count() FROM trails WHERE name = 't' AND logging AND event_selectors = '[]'`,
		`SELECT count() FROM dead_letters WHERE kind = 'file' AND source = 's3://b/bad' AND replayed_by = 'alice' AND replayed_at IS NOT NULL`,
		`SELECT count() FROM dead_letters WHERE kind = 'message' AND body = '?' AND replayed_at IS NULL`,
	} {
		if n := count(t, s, q); n != 1 {
			t.Errorf("%d: %s", n, q)
		}
	}
}
