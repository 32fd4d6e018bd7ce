package store

import (
	"fmt"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

const (
	insertSession      = `INSERT INTO session_rows (session_id, user, app, aws_role_arn, account, region, role_session_name, source_identity, roles, other_roles, device, access_request_ids, client_addr, started_at, expires_at, started_event_id)`
	insertSessionEnded = `INSERT INTO session_rows (session_id, ended_at, ended_by, end_reason)`

	insertAccessRequest = `INSERT INTO access_request_rows (request_id, user, roles, resources, reason, ttl_seconds, created_at, expires_at)`
	insertReview        = `INSERT INTO access_request_rows (request_id, reviews)`
	insertResolution    = `INSERT INTO access_request_rows (request_id, resolution, reviewers, access_expires_at)`

	insertLock       = `INSERT INTO lock_rows (lock_id, target_kind, target_name, message, placed_by, placed_at, expires_at)`
	insertLockLifted = `INSERT INTO lock_rows (lock_id, lifted_at, lifted_by)`
)

// accessRows writes what ACCESS says of sessions, access requests and locks.
func accessRows(e *journal.Entry, add func(string, ...any) error) error {
	resolved := func(id, state string, reviewers []string, until time.Time) error {
		return add(insertResolution, id, []any{e.Sequence, state}, list(reviewers), micros(until))
	}
	switch d := e.Data.(type) {
	case *events.SessionStarted:
		roles := make([]string, len(d.Roles))
		for i, r := range d.Roles {
			roles[i] = fmt.Sprintf("%s@%d", r.Name, r.Revision)
		}
		return add(insertSession, d.SessionID, d.User, d.App, d.AWSRoleARN, d.Account, d.Region, d.RoleSessionName, d.SourceIdentity,
			roles, list(d.OtherRoles), d.Device, list(d.RequestIDs), d.ClientAddr, micros(d.StartedAt), micros(d.ExpiresAt), e.ID)
	case *events.SessionEnded:
		return add(insertSessionEnded, d.SessionID, e.Time.UTC(), d.By, d.Reason)
	case *events.RequestCreated:
		return add(insertAccessRequest, d.RequestID, d.User, list(d.Roles), list(d.Resources), d.Reason, d.TTL, e.Time.UTC(), micros(d.ExpiresAt))
	case *events.RequestReviewed:
		return add(insertReview, d.RequestID, [][]any{{e.Time.UTC(), d.Reviewer, d.Verdict, d.Reason}})
	case *events.RequestApproved:
		return resolved(d.RequestID, "approved", d.Reviewers, d.AccessExpiresAt)
	case *events.RequestDenied:
		return resolved(d.RequestID, "denied", d.Reviewers, time.Time{})
	case *events.RequestExpired:
		return resolved(d.RequestID, "expired", nil, time.Time{})
	case *events.RequestDropped:
		return resolved(d.RequestID, "dropped", nil, time.Time{})
	case *events.LockPlaced:
		var expires *time.Time
		if d.ExpiresAt != nil {
			at := micros(*d.ExpiresAt)
			expires = &at
		}
		return add(insertLock, d.LockID, d.Target.Kind, d.Target.Name, d.Message, d.By, e.Time.UTC(), expires)
	case *events.LockLifted:
		return add(insertLockLifted, d.LockID, e.Time.UTC(), d.By)
	}
	return nil
}
