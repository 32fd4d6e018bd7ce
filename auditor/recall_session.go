package auditor

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/posternhq/postern/auditor/correlate"
	"github.com/posternhq/postern/events"
)

// recallSessions finds the sessions of credentials.
func recallSessions(ctx context.Context, conn driver.Conn, of []correlate.Credential, f *correlate.Found) error {
	var ids []string
	for _, c := range of {
		ids = append(ids, c.SessionID)
	}
	if len(ids) == 0 {
		return nil
	}
	found, err := sessions(ctx, conn, `session_id IN (?)`, ids)
	f.Sessions = append(f.Sessions, found...)
	return err
}

// restoreSessions reads what package correlate is told of besides requests and
// records: sessions, locks, tokens and trails.
func (j *judge) restoreSessions(ctx context.Context, conn driver.Conn) error {
	recent, err := sessions(ctx, conn, `expires_at > now() - INTERVAL 1 DAY`)
	if err != nil {
		return fmt.Errorf("read sessions: %w", err)
	}
	for _, s := range recent {
		j.state.AddSession(s)
	}
	live, err := tokens(ctx, conn, `expires_at > now() - INTERVAL 2 HOUR`)
	if err != nil {
		return fmt.Errorf("read tokens: %w", err)
	}
	for _, t := range live {
		j.state.AddToken(t)
	}
	if err := j.restoreLocks(ctx, conn); err != nil {
		return fmt.Errorf("read locks: %w", err)
	}
	if err := j.restoreTrails(ctx, conn); err != nil {
		return fmt.Errorf("read trails: %w", err)
	}
	return nil
}

func sessions(ctx context.Context, conn driver.Conn, condition string, args ...any) ([]correlate.Session, error) {
	rows, err := conn.Query(ctx, `SELECT session_id, user, app, aws_role_arn, account, arrayMap(r -> splitByChar('@', r)[1], roles), other_roles, device, access_request_ids, least(expires_at, ifNull(ended_at, expires_at))
		FROM sessions WHERE `+condition, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []correlate.Session
	for rows.Next() {
		var s correlate.Session
		var others []string
		if err := rows.Scan(&s.ID, &s.User, &s.App, &s.RoleARN, &s.Account, &s.Roles, &others, &s.Device, &s.AccessRequests, &s.EndsAt); err != nil {
			return nil, err
		}
		s.Roles = append(s.Roles, others...)
		out = append(out, s)
	}
	return out, rows.Err()
}

func tokens(ctx context.Context, conn driver.Conn, condition string, args ...any) ([]correlate.Token, error) {
	rows, err := conn.Query(ctx, `SELECT access_key_id, request_id, kind, user, session_id, service, signing_name, operation, resources, issued_at, expires_at
		FROM aws_tokens WHERE `+condition, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []correlate.Token
	for rows.Next() {
		var t correlate.Token
		if err := rows.Scan(&t.AccessKeyID, &t.RequestID, &t.Kind, &t.User, &t.SessionID, &t.Service, &t.SigningName, &t.Operation, &t.Resources, &t.IssuedAt, &t.ExpiresAt); err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, rows.Err()
}

func (j *judge) restoreLocks(ctx context.Context, conn driver.Conn) error {
	rows, err := conn.Query(ctx, `SELECT lock_id, target_kind, target_name, placed_at,
		ifNull(least(ifNull(expires_at, lifted_at), ifNull(lifted_at, expires_at)), toDateTime64(0, 6, 'UTC')) FROM locks`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var l correlate.Lock
		if err := rows.Scan(&l.ID, &l.Kind, &l.Name, &l.PlacedAt, &l.Until); err != nil {
			return err
		}
		if l.Until.Unix() == 0 {
			l.Until = time.Time{}
		}
		j.state.AddLock(l)
	}
	return rows.Err()
}

func (j *judge) restoreTrails(ctx context.Context, conn driver.Conn) error {
	rows, err := conn.Query(ctx, `SELECT trail_arn, account, home_region, multi_region, organization, event_selectors, advanced_event_selectors FROM trails`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var d events.CloudTrailTrailObserved
		if err := rows.Scan(&d.TrailARN, &d.Account, &d.HomeRegion, &d.MultiRegion, &d.Organization, &d.EventSelectors, &d.AdvancedEventSelectors); err != nil {
			return err
		}
		j.addTrail(&d)
	}
	return rows.Err()
}
