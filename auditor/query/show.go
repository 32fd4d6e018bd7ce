package query

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/posternhq/postern/auditor/store"
)

// Detail is one call with everything about it.
type Detail struct {
	Entry
	// Others are further CloudTrail records of the same AWS request.
	Others         []Record        `json:"other_records,omitempty"`
	Session        *Session        `json:"session,omitempty"`
	AccessRequests []AccessRequest `json:"access_requests,omitempty"`
	Findings       []Finding       `json:"findings,omitempty"`
}

// Show finds a call by postern's request id, AWS's request id or a CloudTrail
// event id, alone or as ACCOUNT/EVENTID, and puts both sides next to each other. The
// error wraps ErrNotFound.
func (a *Asker) Show(ctx context.Context, id string) (*Detail, error) {
	d, err := a.find(ctx, id)
	if err != nil {
		return nil, err
	}
	if d.CloudTrail != nil {
		if err := a.whole(ctx, d.CloudTrail); err != nil {
			return nil, err
		}
	}
	if r := d.Request; r != nil {
		if d.Others, err = a.others(ctx, d); err != nil {
			return nil, err
		}
		if d.Session, err = a.session(ctx, r.SessionID); err != nil {
			return nil, err
		}
		ids := r.AccessRequestIDs
		if len(ids) == 0 && d.Session != nil {
			ids = d.Session.AccessRequestIDs
		}
		if d.AccessRequests, err = a.accessRequests(ctx, ids); err != nil {
			return nil, err
		}
	}
	w := &where{}
	if d.Request != nil {
		w.add("request_id = ?", d.Request.RequestID)
	} else {
		w.add("recipient_account_id = ? AND event_id = ?", d.CloudTrail.RecipientAccountID, d.CloudTrail.EventID)
	}
	d.Findings, err = a.findings(ctx, w, "ORDER BY opened_at LIMIT 100")
	return d, err
}

func (a *Asker) find(ctx context.Context, id string) (*Detail, error) {
	if id == "" {
		return nil, &BadInput{"id", "is empty: give a request id, an AWS request id or a CloudTrail event id"}
	}
	request, record, err := a.locate(ctx, id)
	if err != nil {
		return nil, err
	}
	var d Detail
	if request.ID != "" {
		rows, err := a.requests(ctx, ours.of([]key{request}), "LIMIT 1")
		if err != nil {
			return nil, err
		}
		if len(rows) > 0 {
			d.Request = &rows[0]
		}
	}
	// The record that was asked for may be another than the request's own.
	if r := d.Request; r != nil && (record.ID == "" || r.CloudTrailEventID == record.ID && r.CloudTrailAccount == record.Account) {
		entries := []Entry{{Time: r.ReceivedAt, Verdict: r.Verdict, Request: r}}
		err := a.pair(ctx, entries)
		return &Detail{Entry: entries[0]}, err
	}
	if record.ID != "" {
		rows, err := a.records(ctx, theirs.of([]key{record}), "LIMIT 1")
		if err != nil {
			return nil, err
		}
		if len(rows) > 0 {
			d.Time, d.Verdict, d.CloudTrail = rows[0].EventTime, rows[0].Verdict, &rows[0]
			return &d, nil
		}
	}
	return nil, a.noCall(ctx, id)
}

// noCall says what an id is of that no call has.
func (a *Asker) noCall(ctx context.Context, id string) error {
	if session, err := a.sessionOf(ctx, a.conn, id); err != nil {
		return err
	} else if session != nil {
		return fmt.Errorf("%w: %s is a session, and no call: ask for its calls by search --session %[2]s", ErrNotFound, id)
	}
	if !a.narrow { // access requests are of no account
		if is, err := a.isAccessRequest(ctx, id); err != nil {
			return err
		} else if is {
			return fmt.Errorf("%w: %s is an access request, and no call: ask for report --request %[2]s", ErrNotFound, id)
		}
	}
	return fmt.Errorf("%w: nothing has the id %q, neither a request of postern's, nor an AWS request, nor a CloudTrail event", ErrNotFound, id)
}

// others are further records of a request; mostly there are none, so keys come first.
func (a *Asker) others(ctx context.Context, d *Detail) ([]Record, error) {
	r := d.Request
	if r.AWSRequestID == "" {
		return nil, nil
	}
	w := &where{}
	w.add("event_time BETWEEN " + store.Timestamp(r.ReceivedAt.Add(-sameCall)) + " AND " + store.Timestamp(r.ReceivedAt.Add(sameCall)))
	w.add("request_id = ?", r.AWSRequestID)
	keys, err := a.keysWhere(ctx, theirs, a.table(theirs), w, "ORDER BY at, id LIMIT 100")
	if err != nil {
		return nil, err
	}
	keys = slices.DeleteFunc(keys, func(k key) bool {
		return d.CloudTrail != nil && k.ID == d.CloudTrail.EventID && k.Account == d.CloudTrail.RecipientAccountID
	})
	if len(keys) == 0 {
		return nil, nil
	}
	return a.records(ctx, theirs.of(keys), "ORDER BY event_time, event_id")
}

// whole adds the record as AWS wrote it.
func (a *Asker) whole(ctx context.Context, r *Record) error {
	var text string
	err := a.conn.QueryRow(ctx, "SELECT record FROM cloudtrail WHERE event_time = "+store.Timestamp(r.EventTime)+" AND recipient_account_id = ? AND event_id = ?",
		r.RecipientAccountID, r.EventID).Scan(&text)
	if err != nil {
		return fmt.Errorf("ask for record %s: %w", r.EventID, err)
	}
	if json.Valid([]byte(text)) {
		r.Record = json.RawMessage(text)
	}
	return nil
}

func (a *Asker) session(ctx context.Context, id string) (*Session, error) {
	return a.sessionOf(ctx, a.basis, id)
}

func (a *Asker) sessionOf(ctx context.Context, conn driver.Conn, id string) (*Session, error) {
	if id == "" {
		return nil, nil
	}
	var rows []Session
	if err := conn.Select(ctx, &rows, "SELECT "+sessionColumns+" FROM sessions WHERE session_id = ?", id); err != nil {
		return nil, fmt.Errorf("ask for session %s: %w", id, err)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	return &rows[0], nil
}

func (a *Asker) accessRequests(ctx context.Context, ids []string) ([]AccessRequest, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	var rows []AccessRequest
	if err := a.basis.Select(ctx, &rows, "SELECT "+accessRequestColumns+" FROM access_requests WHERE request_id IN (?) ORDER BY created_at", ids); err != nil {
		return nil, fmt.Errorf("ask for access requests: %w", err)
	}
	if a.narrow {
		for i := range rows {
			rows[i].Resources = nil
		}
	}
	return rows, nil
}

func (a *Asker) findings(ctx context.Context, w *where, tail string) ([]Finding, error) {
	rows := []Finding{}
	if err := a.conn.Select(ctx, &rows, "SELECT "+findingColumns+" FROM findings WHERE "+w.String()+" "+tail, w.args...); err != nil {
		return nil, fmt.Errorf("ask for findings: %w", err)
	}
	return rows, nil
}

// FindingFilter narrows Findings.
type FindingFilter struct {
	Kind  string `json:"kind,omitempty"`
	State string `json:"state,omitempty"` // open, resolved
	User  string `json:"user,omitempty"`
	Since string `json:"since,omitempty"`
	Limit int    `json:"limit,omitempty"` // 0 means 1000
	// Cursor is Found.Next of the page before.
	Cursor string `json:"cursor,omitempty"`
}

// Found is a page of findings, newest first.
type Found struct {
	Findings []Finding `json:"findings"`
	// Next is the cursor of the next page; empty at the end.
	Next string `json:"next,omitempty"`
}

// Check says what can't be asked, in a [*BadInput], without asking.
func (f *FindingFilter) Check(now time.Time) error {
	_, _, err := f.bounds(now)
	return err
}

// bounds checks f, and reads the times in it.
func (f *FindingFilter) bounds(now time.Time) (since time.Time, last key, err error) {
	if since, err = Time("since", f.Since, now); err != nil {
		return since, last, err
	}
	if f.Limit < 0 || f.Limit > 100_000 {
		return since, last, &BadInput{"limit", "must be from 1 to 100000"}
	}
	if f.State != "" && f.State != "open" && f.State != "resolved" {
		return since, last, &BadInput{"state", "is neither open nor resolved"}
	}
	last, err = parseCursor(f.Cursor)
	return since, last, err
}

// Findings lists findings, newest first.
func (a *Asker) Findings(ctx context.Context, f FindingFilter) (*Found, error) {
	since, last, err := f.bounds(a.now())
	if err != nil {
		return nil, err
	}
	if f.Limit == 0 {
		f.Limit = 1000
	}
	w := &where{}
	w.match("kind", f.Kind)
	w.match("state", f.State)
	w.match("user", f.User)
	if !since.IsZero() {
		w.add("opened_at >= " + store.Timestamp(since))
	}
	if !last.At.IsZero() {
		w.add("(opened_at, finding_id) < ("+store.Timestamp(last.At)+", ?)", last.ID)
	}
	rows, err := a.findings(ctx, w, fmt.Sprintf("ORDER BY opened_at DESC, finding_id DESC LIMIT %d", f.Limit+1))
	if err != nil {
		return nil, err
	}
	found := &Found{Findings: rows}
	if len(rows) > f.Limit {
		found.Findings = rows[:f.Limit]
		last := rows[f.Limit-1]
		found.Next = cursor(key{At: last.OpenedAt, ID: last.FindingID})
	}
	return found, nil
}
