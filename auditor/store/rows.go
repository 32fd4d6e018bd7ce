package store

import (
	"context"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/posternhq/postern/auditor/cloudtrail"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// insertRows writes what entries mean into the tables that people ask. Doing it
// twice changes nothing.
func (s *Store) insertRows(ctx context.Context, entries []journal.Entry) error {
	requests := map[requestKey]*requestRow{}
	tables := map[string]*rows{}
	add := func(insert string, values ...any) error {
		r := tables[insert]
		if r == nil {
			b, err := s.conn.PrepareBatch(inserting(ctx, ""), insert)
			if err != nil {
				return err
			}
			r = &rows{b}
			tables[insert] = r
		}
		return r.Append(values...)
	}
	defer func() {
		for _, r := range tables {
			r.Abort()
		}
	}()
	for i := range entries {
		if err := s.rowsOf(&entries[i], requests, add); err != nil {
			return fmt.Errorf("rows of %s %d: %w", entries[i].Stream, entries[i].Seq, err)
		}
	}
	for _, r := range requests {
		if err := add(insertRequest, r.values()...); err != nil {
			return fmt.Errorf("rows of request %s: %w", r.RequestID, err)
		}
	}
	for insert, r := range tables {
		if err := r.Send(); err != nil {
			return fmt.Errorf("%s: %w", tableOf(insert), err)
		}
	}
	return nil
}

type rows struct{ driver.Batch }

func (s *Store) rowsOf(e *journal.Entry, requests map[requestKey]*requestRow, add func(string, ...any) error) error {
	switch d := e.Data.(type) {
	case *events.AWSRequestAdmitted:
		rowOf(requests, &d.AWSRequest).admitted(e, d)
	case *events.AWSRequestCompleted:
		rowOf(requests, &d.AWSRequest).completed(d)
	case *events.AWSRequestDenied:
		rowOf(requests, &d.AWSRequest).denied(d)
	case *events.AWSRequestFailed:
		rowOf(requests, &d.AWSRequest).failed(d)
	case *events.AWSCredentialsIssued:
		return add(insertCredentials, d.AccessKeyID, d.SessionID, d.User, d.App, d.AWSRoleARN, d.Account, d.RoleSessionName,
			d.SourceIdentity, d.AssumedRoleID, micros(d.IssuedAt), micros(d.ExpiresAt), d.Use, d.Proxy, d.HandedOut, ruleOf(d.DryRun))
	case *events.AWSConsoleOpened:
		return add(insertCredentials, d.AccessKeyID, d.SessionID, d.User, d.App, d.AWSRoleARN, d.Account, d.RoleSessionName,
			"", "", micros(e.Time), micros(d.ExpiresAt), "console_opened", d.Proxy, false, ruleOf(d.DryRun))
	case *events.AWSTokenIssued:
		return add(insertToken, d.AccessKeyID, micros(d.ReceivedAt), d.RequestID, d.Kind, d.User, d.SessionID, d.App, d.AWSRoleARN, d.Account,
			d.RoleSessionName, d.Region, d.Service, d.SigningName, d.Operation, list(d.Resources), micros(d.ExpiresAt), d.Proxy, ruleOf(d.DryRun))
	case *events.AWSTunnelOpened:
		return add(insertTunnel, tunnelOpened(d)...)
	case *events.AWSTunnelClosed:
		return add(insertTunnel, tunnelClosed(d)...)
	case *events.CloudTrailRecordReceived:
		whole := []byte(d.Raw)
		if len(whole) == 0 {
			whole = d.Record
		}
		r, err := cloudtrail.Parse(whole)
		if err != nil { // the producer checked it: then this is somebody else's, kept in the ledger
			s.log.Warn().Err(err).Uint64("seq", e.Seq).Msg("cloudtrail record can't be read")
			return nil
		}
		return add(insertRecord, recordValues(d, r, whole)...)
	case *events.VerdictReached:
		return addVerdict(d, add)
	case *events.FindingOpened:
		return add(insertFindingOpened, d.FindingID, d.Kind, d.Severity, d.User, d.Account, d.RequestID,
			d.RecipientAccountID, d.EventID, d.Summary, micros(d.OpenedAt))
	case *events.FindingResolved:
		return add(insertFindingResolved, d.FindingID, d.Kind, micros(d.ResolvedAt), d.Reason)
	}
	if e.Stream == events.Access {
		return accessRows(e, add)
	}
	return trailRows(e, add)
}
