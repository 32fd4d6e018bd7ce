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
	Action       string `json:"action,omitempty"` // an IAM action, taken by itself or besides, an operation or CloudTrail's event name
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
	// lent: some records of calls by User may name somebody else.
	lent bool
}

// lent says whether records of calls by a user may name somebody else: few users have
// such, and their records are found by more. By the counts by hour it costs little.
func (a *Asker) lent(ctx context.Context, user string) (bool, error) {
	if user == "" || a.narrow { // which asks of whole records anyway
		return user != "", nil
	}
	w := &where{}
	w.match("lent_to", user)
	var n uint64
	if err := a.conn.QueryRow(ctx, "SELECT count() FROM "+theirs.rows+" WHERE "+w.String(), w.args...).Scan(&n); err != nil {
		return false, fmt.Errorf("look for records of %s by other names: %w", user, err)
	}
	return n > 0, nil
}

// Page is a part of an answer, newest first.
type Page struct {
	Entries []Entry `json:"entries"`
	// Next is the cursor of the next page; empty at the end.
	Next string `json:"next,omitempty"`
}

// Check says what can't be asked, in a [*BadInput], without asking.
func (f *Filter) Check(now time.Time) error {
	_, err := f.bounds(now)
	return err
}

// Fix makes times that are relative to now absolute: what is asked page after page is then
// about the same time, however long that takes.
func (f *Filter) Fix(now time.Time) error {
	b, err := f.bounds(now)
	if err != nil {
		return err
	}
	for text, at := range map[*string]time.Time{&f.Since: b.since, &f.Until: b.until} {
		if *text != "" {
			*text = at.Format(time.RFC3339Nano)
		}
	}
	return nil
}

// bounds checks f, and reads the times in it.
func (f *Filter) bounds(now time.Time) (b bounds, err error) {
	if f.Limit < 0 || f.Limit > 10_000 {
		return b, &BadInput{"limit", "must be from 1 to 10000"}
	}
	if b.since, err = Time("since", f.Since, now); err != nil {
		return b, err
	}
	if b.until, err = Time("until", f.Until, now); err != nil {
		return b, err
	}
	if !b.since.IsZero() && !b.until.IsZero() && b.until.Before(b.since) {
		return b, &BadInput{"until", "is before since: nothing can be between them"}
	}
	if b.before, err = parseCursor(f.Cursor); err != nil {
		return b, err
	}
	return b, f.checkOutcome()
}

// Search finds requests, each beside its CloudTrail record, and CloudTrail
// records that no request of postern's made, newest first.
func (a *Asker) Search(ctx context.Context, f Filter) (*Page, error) {
	b, err := f.bounds(a.now())
	if err != nil {
		return nil, err
	}
	if f.Limit == 0 {
		f.Limit = 100
	}
	if f.wantsRecords() {
		if f.lent, err = a.lent(ctx, f.User); err != nil {
			return nil, err
		}
	}
	rq, cq := f.asked(a.known)
	var entries []Entry
	if rq != nil {
		within := b
		if !f.byAccessRequest { // calls that rest on one may come long after it
			within = b.near(f.RequestID)
		}
		rows, err := search(ctx, a, ours, rq, within, f.Limit+1, func(w *where) ([]Request, error) { return a.requests(ctx, w, "") })
		if err != nil {
			return nil, err
		}
		if len(rows) == 0 && f.RequestID != "" && !f.byAccessRequest {
			// No index has it, so the calls are looked through only if there is one.
			if f.byAccessRequest, err = a.isAccessRequest(ctx, f.RequestID); err != nil {
				return nil, err
			}
			if f.byAccessRequest {
				return a.Search(ctx, f)
			}
		}
		for i := range rows {
			entries = append(entries, Entry{Time: rows[i].ReceivedAt, Verdict: rows[i].Verdict, Request: &rows[i]})
		}
		if newestFirst(entries); len(entries) > f.Limit { // older records have no place on the page
			b.since = entries[f.Limit].Time
		}
	}
	if cq != nil {
		rows, err := search(ctx, a, theirs, cq, b, f.Limit+1, func(w *where) ([]Record, error) { return a.records(ctx, w, "") })
		if err != nil {
			return nil, err
		}
		for i := range rows {
			entries = append(entries, Entry{Time: rows[i].EventTime, Verdict: rows[i].Verdict, CloudTrail: &rows[i]})
		}
	}
	newestFirst(entries)
	page := &Page{Entries: entries}
	if len(entries) > f.Limit {
		page.Entries = entries[:f.Limit]
		last := page.Entries[f.Limit-1]
		page.Next = cursor(last.key())
	}
	if page.Entries == nil {
		page.Entries = []Entry{}
	}
	return page, a.pair(ctx, page.Entries)
}

// isAccessRequest says whether an id is one of an access request.
func (a *Asker) isAccessRequest(ctx context.Context, id string) (bool, error) {
	var n uint64
	if err := a.basis.QueryRow(ctx, "SELECT count() FROM access_requests WHERE request_id = ?", id).Scan(&n); err != nil {
		return false, fmt.Errorf("look for access request %s: %w", id, err)
	}
	return n > 0, nil
}

func newestFirst(entries []Entry) {
	slices.SortFunc(entries, func(x, y Entry) int { return later(x.key(), y.key()) })
}

func (e *Entry) key() key {
	if e.Request != nil {
		return key{At: e.Time, ID: e.Request.RequestID}
	}
	return key{At: e.Time, Account: e.CloudTrail.RecipientAccountID, ID: e.CloudTrail.EventID}
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

// hintPlace lets the tables' index leave out rows of which no resource lies in the
// place that a pattern names: arn:aws:s3:::bucket/*.
func hintPlace(w *where, pattern string) {
	literal, _, glob := strings.Cut(pattern, "*")
	if place, _, whole := strings.Cut(literal, "/"); glob && whole {
		w.add("indexHint(has(arrayMap(r -> substringIndex(r, '/', 1), resources), ?))", place)
	}
}

// matchRole compares with a whole ARN, or with a role's name.
func matchRole(w *where, column, role string) {
	switch {
	case role == "":
	case strings.HasPrefix(role, "arn:"):
		w.match(column, role)
	default:
		w.add(column+" LIKE ?", "%/"+like(role)) // of each different ARN once
		if strings.ContainsAny(role, "*/") {     // a path may fit, too
			w.add("arrayElement(splitByChar('/', toString("+column+")), -1) LIKE ?", like(role))
		}
	}
}

// cursor names the last of a page: of an event id, several accounts may have a record.
func cursor(k key) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d/%s %s", k.At.UnixMicro(), k.Account, k.ID))
}

// parseCursor also reads those of earlier versions, which name no account.
func parseCursor(s string) (key, error) {
	if s == "" {
		return key{}, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	number, id, ok := strings.Cut(string(b), " ") // an id may be anything
	number, account, _ := strings.Cut(number, "/")
	micros, numberErr := strconv.ParseInt(number, 10, 64)
	if err != nil || !ok || numberErr != nil {
		return key{}, &BadInput{"cursor", "is not one that a page gave"}
	}
	return key{At: time.UnixMicro(micros).UTC(), Account: account, ID: id}, nil
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
