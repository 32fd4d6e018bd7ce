package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// Sessions, access requests and locks are one row each, in whatever order and
// however often their events come; what no broker decided has none.
func TestAccessRows(t *testing.T) {
	s := migrated(t)
	at := time.Now().UTC().Truncate(time.Microsecond)
	soon := at.Add(time.Hour)
	say := []events.Payload{
		&events.SessionEnded{SessionID: "S1", User: "alice", By: "admin", Reason: "done"},
		&events.SessionStarted{SessionID: "S1", User: "alice", App: "awsconsole", AWSRoleARN: "arn", Roles: []events.RoleRef{{Name: "dev", Revision: 7}}, OtherRoles: []string{"ops"}, Device: "m1", RequestIDs: []string{"Q1"}, StartedAt: at, ExpiresAt: soon},
		&events.SessionStarted{SessionID: "S2", User: "bob", StartedAt: at, ExpiresAt: soon},
		&events.SessionStarted{SessionID: "S3", User: "bob", StartedAt: at.Add(-2 * time.Hour), ExpiresAt: at.Add(-time.Hour)},
		&events.SessionEnded{SessionID: "S4", By: "nobody"}, // started before this trail began
		&events.RequestApproved{RequestID: "Q1", User: "alice", Reviewers: []string{"bob"}, AccessExpiresAt: soon},
		&events.RequestReviewed{RequestID: "Q1", Reviewer: "bob", Verdict: "approve", Reason: "fine"},
		&events.RequestCreated{RequestID: "Q1", User: "alice", Roles: []string{"dev"}, Reason: "work", TTL: 60, ExpiresAt: soon},
		&events.RequestCreated{RequestID: "Q2", User: "alice", Resources: []string{"arn"}, ExpiresAt: soon},
		&events.LockLifted{LockID: "L1", By: "admin"},
		&events.LockPlaced{LockID: "L1", Target: events.LockTarget{Kind: "user", Name: "bob"}, Message: "x", By: "admin"},
		&events.LockPlaced{LockID: "L2", Target: events.LockTarget{Kind: "app", Name: "a"}, By: "admin", ExpiresAt: &soon},
	}
	k, err := s.Sink(t.Context(), events.Access)
	if err != nil {
		t.Fatal(err)
	}
	seq := uint64(0)
	write := func(d events.Payload, sig string) {
		t.Helper()
		seq++
		e := journal.Entry{Event: events.Event{Meta: events.Meta{ID: fmt.Sprint("id", seq), Source: "/s", Time: at.Add(time.Duration(seq)), Sequence: seq}, Data: d},
			Stream: events.Access, Channel: d.Channel(), Seq: seq, StoredAt: at, Raw: []byte("{}")}
		if _, err := k.Write(t.Context(), []journal.Entry{e}, store.Signatures{seq: {State: sig}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range append(say, say...) {
		write(d, store.SignatureValid)
	}
	write(&events.LockLifted{LockID: "L2", By: "mallory"}, store.SignatureInvalid)
	write(&events.SessionStarted{SessionID: "S9", User: "mallory", StartedAt: at, ExpiresAt: soon}, store.SignatureUnsigned)
	for q, want := range map[string]uint64{
		`SELECT count() FROM sessions`: 3,
		`SELECT count() FROM sessions WHERE session_id = 'S1' AND state = 'ended' AND ended_by = 'admin' AND end_reason = 'done' AND roles = ['dev@7'] AND other_roles = ['ops'] AND device = 'm1' AND access_request_ids = ['Q1'] AND app = 'awsconsole'`: 1,
		`SELECT count() FROM sessions WHERE session_id = 'S2' AND state = 'active' AND ended_at IS NULL`: 1,
		`SELECT count() FROM sessions WHERE session_id = 'S3' AND state = 'expired'`:                     1,
		`SELECT count() FROM access_requests`:                                                            2,
		`SELECT count() FROM access_requests WHERE request_id = 'Q1' AND state = 'approved' AND reviewers = ['bob'] AND arrayExists(r -> r.2 = 'bob' AND r.3 = 'approve' AND r.4 = 'fine', reviews) AND roles = ['dev'] AND ttl_seconds = 60`: 1,
		`SELECT count() FROM access_requests WHERE request_id = 'Q2' AND state = 'pending' AND resources = ['arn'] AND empty(reviews)`:                                                                                                        1,
		`SELECT count() FROM locks WHERE lock_id = 'L1' AND state = 'lifted' AND lifted_by = 'admin' AND target_kind = 'user' AND target_name = 'bob' AND expires_at IS NULL`:                                                                 1,
		`SELECT count() FROM locks WHERE lock_id = 'L2' AND state = 'active' AND lifted_at IS NULL AND expires_at IS NOT NULL`:                                                                                                                1,
		`SELECT count() FROM locks`: 2,
	} {
		if n := count(t, s, q); n != want {
			t.Errorf("%d, want %d: %s", n, want, q)
		}
	}
}
