package query

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Filter narrows a search; every field that is set has to match. Text may hold
// * for any characters. Its JSON names are those of the HTTP API's parameters
// and of the flags of `postern audit search`, with _ for -.
type Filter struct {
	User         string `json:"user,omitempty"`
	AWSRole      string `json:"aws_role,omitempty"` // an ARN, or a role's name
	Account      string `json:"account,omitempty"`
	Service      string `json:"service,omitempty"`
	Action       string `json:"action,omitempty"` // an IAM action, an operation or CloudTrail's event name
	Resource     string `json:"resource,omitempty"`
	Outcome      string `json:"outcome,omitempty"` // admitted, completed, denied, failed, dry_run, or a verdict
	Since        string `json:"since,omitempty"`
	Until        string `json:"until,omitempty"`
	RequestID    string `json:"request_id,omitempty"` // of a call, else of the access request that calls rest on
	AWSRequestID string `json:"aws_request_id,omitempty"`
	// FederatedUser is the name behind CloudTrail's identity, whether the call
	// came through postern or not.
	FederatedUser string `json:"federated_user,omitempty"`
	SessionID     string `json:"session_id,omitempty"`
	// Limit of entries; 0 means 100, at most 10,000.
	Limit int `json:"limit,omitempty"`
	// Cursor is Page.Next of the page before.
	Cursor string `json:"cursor,omitempty"`

	// byAccessRequest: no call has RequestID, so it is an access request's.
	byAccessRequest bool
}

// Page is a part of an answer, newest first.
type Page struct {
	Entries []Entry `json:"entries"`
	// Next is the cursor of the next page; empty at the end.
	Next string `json:"next,omitempty"`
}

// outcomes are what a request can come to; other outcomes are verdicts. dryRun
// is what passed and would have been denied, were no role in dry run.
var outcomes = []string{"admitted", "completed", "denied", "failed", dryRun}

const dryRun = "dry_run"

// Search finds requests, each beside its CloudTrail record, and CloudTrail
// records that no request of postern's made, newest first.
func (a *Asker) Search(ctx context.Context, f Filter) (*Page, error) {
	if f.Limit == 0 {
		f.Limit = 100
	}
	if f.Limit < 0 || f.Limit > 10_000 {
		return nil, &BadInput{"limit", "must be from 1 to 10000"}
	}
	now := a.now()
	since, err := Time("since", f.Since, now)
	if err != nil {
		return nil, err
	}
	until, err := Time("until", f.Until, now)
	if err != nil {
		return nil, err
	}
	at, id, err := parseCursor(f.Cursor)
	if err != nil {
		return nil, err
	}
	var entries []Entry
	if rw := f.requestWhere(); rw != nil {
		bound(rw, "received_at", "request_id", since, until, at, id)
		rows, err := a.requests(ctx, rw, fmt.Sprintf("ORDER BY received_at DESC, request_id DESC LIMIT %d", f.Limit+1))
		if err != nil {
			return nil, err
		}
		if len(rows) == 0 && f.RequestID != "" && !f.byAccessRequest {
			f.byAccessRequest = true
			return a.Search(ctx, f)
		}
		for i := range rows {
			entries = append(entries, Entry{Time: rows[i].ReceivedAt, Verdict: rows[i].Verdict, Request: &rows[i]})
		}
	}
	if cw := f.recordWhere(); cw != nil {
		bound(cw, "event_time", "event_id", since, until, at, id)
		rows, err := a.records(ctx, cw, fmt.Sprintf("ORDER BY event_time DESC, event_id DESC LIMIT %d", f.Limit+1))
		if err != nil {
			return nil, err
		}
		for i := range rows {
			entries = append(entries, Entry{Time: rows[i].EventTime, Verdict: rows[i].Verdict, CloudTrail: &rows[i]})
		}
	}
	slices.SortFunc(entries, func(x, y Entry) int {
		if c := y.Time.Compare(x.Time); c != 0 {
			return c
		}
		return strings.Compare(y.id(), x.id())
	})
	page := &Page{Entries: entries}
	if len(entries) > f.Limit {
		page.Entries = entries[:f.Limit]
		last := page.Entries[f.Limit-1]
		page.Next = cursor(last.Time, last.id())
	}
	if page.Entries == nil {
		page.Entries = []Entry{}
	}
	return page, a.pair(ctx, page.Entries)
}

func (e *Entry) id() string {
	if e.Request != nil {
		return e.Request.RequestID
	}
	return e.CloudTrail.EventID
}

// requestWhere is the filter over requests; nil means that none can match.
func (f *Filter) requestWhere() *where {
	w := &where{}
	w.match("user", f.User)
	matchRole(w, "aws_role_arn", f.AWSRole)
	w.match("account", f.Account)
	if f.Service != "" {
		w.add("service = ? OR signing_name = ?", f.Service, f.Service)
	}
	if f.Action != "" {
		w.add("action LIKE ? OR operation LIKE ?", like(f.Action), like(operationOf(f.Action)))
	}
	if f.Resource != "" {
		w.add("arrayExists(r -> r LIKE ?, resources)", like(f.Resource))
	}
	switch {
	case f.Outcome == "":
	case f.Outcome == dryRun:
		w.add("rule != '' AND outcome != 'denied'")
	case slices.Contains(outcomes, f.Outcome):
		w.add("outcome = ?", f.Outcome)
	default:
		w.add("verdict = ?", f.Outcome)
	}
	if f.byAccessRequest {
		w.add("arrayExists(a -> a LIKE ?, access_request_ids)", like(f.RequestID))
	} else {
		w.match("request_id", f.RequestID)
	}
	w.match("aws_request_id", f.AWSRequestID)
	w.match("session_id", f.SessionID)
	if f.FederatedUser != "" {
		w.add("if(source_identity != '', source_identity, role_session_name) LIKE ?", like(f.FederatedUser))
	}
	return w
}

// recordWhere is the filter over records without a request; nil means that
// none can match.
func (f *Filter) recordWhere() *where {
	if f.RequestID != "" || f.SessionID != "" || slices.Contains(outcomes, f.Outcome) {
		return nil
	}
	w := &where{}
	w.add("verdict NOT IN ('matched', 'mismatched')")
	w.match("federated_user", f.User)
	w.match("federated_user", f.FederatedUser)
	matchRole(w, "issuer_arn", f.AWSRole)
	if f.Account != "" {
		w.add("recipient_account_id = ? OR identity_account_id = ?", f.Account, f.Account)
	}
	if f.Service != "" {
		w.add("splitByChar('.', toString(event_source))[1] = ?", f.Service)
	}
	if f.Action != "" {
		w.add("event_name LIKE ? OR concat(splitByChar('.', toString(event_source))[1], ':', event_name) LIKE ?", like(operationOf(f.Action)), like(f.Action))
		if service, _, ok := strings.Cut(f.Action, ":"); ok && !strings.Contains(service, "*") {
			w.add("splitByChar('.', toString(event_source))[1] = ?", service)
		}
	}
	if f.Resource != "" {
		w.add("arrayExists(r -> r LIKE ?, resources)", like(f.Resource))
	}
	w.match("verdict", f.Outcome)
	w.match("request_id", f.AWSRequestID)
	return w
}

// operationOf is what follows the service in an action.
func operationOf(action string) string {
	if _, op, ok := strings.Cut(action, ":"); ok {
		return op
	}
	return action
}

// matchRole compares with a whole ARN, or with a role's name.
func matchRole(w *where, column, role string) {
	switch {
	case role == "":
	case strings.HasPrefix(role, "arn:"):
		w.match(column, role)
	default:
		w.add("arrayElement(splitByChar('/', toString("+column+")), -1) LIKE ?", like(role))
	}
}

func bound(w *where, column, id string, since, until, at time.Time, last string) {
	if !since.IsZero() {
		w.add(column + " >= " + timestamp(since))
	}
	if !until.IsZero() {
		w.add(column + " < " + timestamp(until))
	}
	if !at.IsZero() {
		w.add("("+column+", "+id+") < ("+timestamp(at)+", ?)", last)
	}
}

// timestamp writes a time as SQL, exact to the microsecond: the driver's own
// binding cuts times to seconds.
func timestamp(t time.Time) string {
	return fmt.Sprintf("fromUnixTimestamp64Micro(%d, 'UTC')", t.UnixMicro())
}

func cursor(t time.Time, id string) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d %s", t.UnixMicro(), id))
}

func parseCursor(s string) (time.Time, string, error) {
	if s == "" {
		return time.Time{}, "", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	number, id, ok := strings.Cut(string(b), " ") // an id may be anything
	micros, numberErr := strconv.ParseInt(number, 10, 64)
	if err != nil || !ok || numberErr != nil {
		return time.Time{}, "", &BadInput{"cursor", "is not one that a page gave"}
	}
	return time.UnixMicro(micros).UTC(), id, nil
}

// pair puts the CloudTrail record beside each request that has one.
func (a *Asker) pair(ctx context.Context, entries []Entry) error {
	byID := map[string][]*Entry{}
	var ids []string
	var from, to time.Time
	for i := range entries {
		r := entries[i].Request
		if r == nil || r.CloudTrailEventID == "" {
			continue
		}
		if from.IsZero() || r.CloudTrailTime.Before(from) {
			from = r.CloudTrailTime
		}
		if r.CloudTrailTime.After(to) {
			to = r.CloudTrailTime
		}
		byID[r.CloudTrailEventID] = append(byID[r.CloudTrailEventID], &entries[i])
		ids = append(ids, r.CloudTrailEventID)
	}
	for chunk := range slices.Chunk(ids, 1000) {
		w := &where{}
		w.add("event_time BETWEEN " + timestamp(from) + " AND " + timestamp(to))
		w.add("event_id IN (?)", chunk)
		rows, err := a.records(ctx, w, "")
		if err != nil {
			return err
		}
		for i := range rows {
			for _, e := range byID[rows[i].EventID] {
				if e.Request.CloudTrailAccount == rows[i].RecipientAccountID {
					e.CloudTrail = &rows[i]
				}
			}
		}
	}
	return nil
}
