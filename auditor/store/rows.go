package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/posternhq/postern/auditor/cloudtrail"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// insertRows writes what entries mean into the tables that people ask. Doing it
// twice changes nothing.
func (s *Store) insertRows(ctx context.Context, entries []journal.Entry) error {
	return s.insertTaken(ctx, entries, func(insert string, _ []any) (string, bool) { return insert, true })
}

// insertTaken is insertRows for the rows that take takes, by the statement that it says
// instead. One statement runs at a time: there are more than connections.
func (s *Store) insertTaken(ctx context.Context, entries []journal.Entry, take func(insert string, row []any) (string, bool)) error {
	requests := map[requestKey]*requestRow{}
	tables := map[string][][]any{}
	add := func(insert string, values ...any) error {
		if insert, ok := take(insert, values); ok {
			tables[insert] = append(tables[insert], values)
		}
		return nil
	}
	for i := range entries {
		if err := s.rowsOf(&entries[i], requests, add); err != nil {
			return fmt.Errorf("rows of %s %d: %w", entries[i].Stream, entries[i].Seq, err)
		}
	}
	for _, r := range requests {
		_ = add(insertRequest, r.values()...)
	}
	for _, insert := range slices.Sorted(maps.Keys(tables)) { // what fails is the same again
		if err := s.insertTable(ctx, insert, tables[insert]); err != nil {
			return fmt.Errorf("%s: %w", tableOf(insert), err)
		}
	}
	return nil
}

func (s *Store) insertTable(ctx context.Context, insert string, rows [][]any) error {
	if insert == insertRequest || insert == insertRecord {
		insert, rows = withoutDefaults(insert, rows)
	}
	b, err := s.rowsTo.PrepareBatch(s.insertingTo(ctx, s.rowsQuorum.Load(), ""), insert)
	if err != nil {
		return err
	}
	defer b.Abort()
	for _, r := range rows {
		if err := b.Append(r...); err != nil {
			return err
		}
		if err := flushed(b); err != nil {
			return err
		}
	}
	return b.Send()
}

// sendRows is how many rows are sent at once: a connection keeps two buffers of the
// largest block that it sent.
const sendRows = 1000

// flushed sends what a batch has, if that is enough.
func flushed(b driver.Batch) error {
	if b.Rows() < sendRows {
		return nil
	}
	return b.Flush()
}

// withoutDefaults leaves out the columns that have their type's default in every
// row: of a wide table most are empty most of the time.
func withoutDefaults(insert string, rows [][]any) (string, [][]any) {
	table, list, _ := strings.Cut(strings.TrimSuffix(insert, ")"), " (")
	columns := strings.Split(list, ", ")
	var kept []int
	for c := range columns {
		if slices.ContainsFunc(rows, func(r []any) bool { return !isDefault(r[c]) }) {
			kept = append(kept, c)
		}
	}
	if len(kept) == len(columns) {
		return insert, rows
	}
	for i, c := range kept {
		columns[i] = columns[c]
	}
	for _, r := range rows {
		for i, c := range kept {
			r[i] = r[c]
		}
	}
	for i := range rows {
		rows[i] = rows[i][:len(kept)]
	}
	return table + " (" + strings.Join(columns[:len(kept)], ", ") + ")", rows
}

func isDefault(v any) bool {
	switch v := v.(type) {
	case string:
		return v == ""
	case []string:
		return len(v) == 0
	case bool:
		return !v
	case int64:
		return v == 0
	case uint16:
		return v == 0
	}
	return false
}

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
