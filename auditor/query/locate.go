package query

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/posternhq/postern/auditor/store"
)

const (
	// idLag is how long a request may have waited between its id and the time that
	// is recorded, or how far two clocks of one proxy's may be apart.
	idLag = 10 * time.Minute
	// sameCall is how far the two sides' times of one call may be apart: CloudTrail
	// has that of the end of a long upload.
	sameCall = 24 * time.Hour
)

// locate finds the keys of a call by any of its ids: of the request, of AWS's
// record (see event), or of both where the record names a request. Ids of postern's own tell
// their time; others are found by the tables' Bloom filters. Rows are not merged
// for it: some row has the id, and all rows of a key have the same key.
func (a *Asker) locate(ctx context.Context, id string) (request, record key, err error) {
	first := func(k *key, question string, args ...any) bool {
		if err != nil {
			return false
		}
		var found []key
		if err = a.conn.Select(ctx, &found, question, args...); err != nil {
			err = fmt.Errorf("look for %s: %w", id, err)
			return false
		}
		if len(found) == 0 {
			return false
		}
		*k = found[0]
		return true
	}
	requests := "SELECT received_at AS at, '' AS key_account, request_id AS id FROM " + a.table(ours) + " WHERE "
	near := bounds{}.near(id)
	if !near.since.IsZero() && first(&request, requests+"request_id = ? AND received_at BETWEEN "+store.Timestamp(near.since)+" AND "+store.Timestamp(near.until)+" LIMIT 1", id) {
		return request, record, err
	}
	if first(&request, requests+"aws_request_id = ? ORDER BY received_at DESC LIMIT 1", id) {
		return request, record, err
	}
	if err == nil {
		record, err = a.event(ctx, id)
	}
	const records = "SELECT event_time AS at, toString(recipient_account_id) AS key_account, event_id AS id FROM "
	if record.ID != "" || first(&record, records+a.table(theirs)+" WHERE request_id = ? ORDER BY event_time LIMIT 1", id) {
		first(&request, "SELECT postern_received_at AS at, '' AS key_account, postern_request_id AS id FROM cloudtrail WHERE event_time = "+store.Timestamp(record.At)+
			" AND recipient_account_id = ? AND event_id = ? AND postern_request_id != ''", record.Account, record.ID)
		return request, record, err
	}
	first(&request, requests+"request_id = ? ORDER BY received_at DESC LIMIT 1", id)
	return request, record, err
}

// event finds the record of an event id, alone or as ACCOUNT/EVENTID; alone it has to be
// of one account.
func (a *Asker) event(ctx context.Context, id string) (key, error) {
	w := &where{}
	account, event, of := strings.Cut(id, "/")
	if of {
		w.add("recipient_account_id = ?", account)
		w.add("event_id = ?", event)
	} else {
		w.add("event_id = ?", id)
	}
	found, err := a.keysWhere(ctx, theirs, a.table(theirs), w, "ORDER BY at LIMIT 20")
	if err != nil || len(found) == 0 {
		return key{}, err
	}
	var names []string
	for _, k := range found {
		names = append(names, k.Account+"/"+k.ID)
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) > 1 {
		return key{}, &BadInput{"id", "several accounts have an event of this id: ask for " + strings.Join(names, " or ")}
	}
	return found[0], nil
}

// near narrows bounds to when a request's id was made, where the id tells.
func (b bounds) near(requestID string) bounds {
	id, err := ulid.ParseStrict(requestID)
	if err != nil {
		return b
	}
	since, until := id.Timestamp().Add(-idLag), id.Timestamp().Add(idLag)
	if since.After(b.since) {
		b.since = since.UTC()
	}
	if b.until.IsZero() || until.Before(b.until) {
		b.until = until.UTC()
	}
	return b
}
