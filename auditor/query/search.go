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
	b := bounds{since: since, until: until, before: at, beforeID: id}
	var entries []Entry
	if rw := f.requestWhere(); rw != nil {
		keys, err := a.newest(ctx, ours, rw, b.near(f.RequestID), f.Limit+1)
		if err != nil {
			return nil, err
		}
		rows, err := rowsOf(keys, ours, func(w *where) ([]Request, error) { return a.requests(ctx, w, "") })
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
		keys, err := a.newest(ctx, theirs, cw, b, f.Limit+1)
		if err != nil {
			return nil, err
		}
		rows, err := rowsOf(keys, theirs, func(w *where) ([]Record, error) { return a.records(ctx, w, "") })
		if err != nil {
			return nil, err
		}
		for i := range rows {
			entries = append(entries, Entry{Time: rows[i].EventTime, Verdict: rows[i].Verdict, CloudTrail: &rows[i]})
		}
	}
	slices.SortFunc(entries, func(x, y Entry) int { return later(x.Time, x.id(), y.Time, y.id()) })
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

// Verdicts that only one side has.
var (
	ofRequests = []string{"awaiting", "missing", "not_logged"}
	ofRecords  = []string{"proxied", "console", "credentials", "forwarded", "exported", "token", "bypass"}
)

// requestWhere is the filter over requests; nil means that none can match.
func (f *Filter) requestWhere() *where {
	if slices.Contains(ofRecords, f.Outcome) {
		return nil
	}
	w := &where{}
	w.match("user", f.User)
	matchRole(w, "aws_role_arn", f.AWSRole)
	w.match("account", f.Account)
	if f.Service != "" {
		w.add("service = ? OR signing_name = ?", f.Service, f.Service)
	}
	if f.Action != "" {
		if operation := operationOf(f.Action); strings.Contains(f.Action, "*") {
			w.add("action LIKE ? OR operation LIKE ?", like(f.Action), like(operation))
		} else {
			w.add("action = ? OR operation = ?", f.Action, operation)
		}
	}
	matchAny(w, "resources", f.Resource)
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
	if f.RequestID != "" || f.SessionID != "" || slices.Contains(outcomes, f.Outcome) || slices.Contains(ofRequests, f.Outcome) {
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
	matchAny(w, "resources", f.Resource)
	w.match("verdict", f.Outcome)
	w.match("request_id", f.AWSRequestID)
	return w
}

// matchAny compares with every element of a list.
func matchAny(w *where, column, value string) {
	switch {
	case value == "":
	case strings.Contains(value, "*"):
		w.add("arrayExists(r -> r LIKE ?, "+column+")", like(value))
	default:
		w.add("has("+column+", ?)", value)
	}
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
	by := map[string][]*Entry{}
	var keys []key
	for i := range entries {
		r := entries[i].Request
		if r == nil || r.CloudTrailEventID == "" {
			continue
		}
		k := key{At: r.CloudTrailTime, Account: r.CloudTrailAccount, ID: r.CloudTrailEventID}
		by[k.Account+"/"+k.ID] = append(by[k.Account+"/"+k.ID], &entries[i])
		keys = append(keys, k)
	}
	rows, err := rowsOf(keys, theirs, func(w *where) ([]Record, error) { return a.records(ctx, w, "") })
	for i := range rows {
		for _, e := range by[rows[i].RecipientAccountID+"/"+rows[i].EventID] {
			e.CloudTrail = &rows[i]
		}
	}
	return err
}

// rowsOf asks for the whole rows of keys, some at a time.
func rowsOf[T any](keys []key, s side, ask func(*where) ([]T, error)) ([]T, error) {
	var out []T
	for some := range slices.Chunk(keys, keysAtOnce) {
		rows, err := ask(s.of(some))
		if err != nil {
			return nil, err
		}
		out = append(out, rows...)
	}
	return out, nil
}
