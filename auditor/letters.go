package auditor

import (
	"context"
	"fmt"
	"net/http"

	"github.com/posternhq/postern/auditor/cloudtrail"
	"github.com/posternhq/postern/auditor/query"
)

// letters lists what was set aside and not replayed, oldest first.
func (a *Auditor) letters(ctx context.Context, id string) ([]cloudtrail.Letter, error) {
	rows, err := a.store.Conn().Query(ctx, `SELECT letter_id, kind, source, message_id, body, reason, rejected_at FROM dead_letters
		WHERE replayed_at IS NULL AND kind != '' AND (? = '' OR letter_id = ?) ORDER BY rejected_at, letter_id LIMIT 10000`, id, id)
	if err != nil {
		return nil, fmt.Errorf("dead letters: %w", err)
	}
	defer rows.Close()
	list := []cloudtrail.Letter{}
	for rows.Next() {
		var l cloudtrail.Letter
		if err := rows.Scan(&l.ID, &l.Kind, &l.Source, &l.MessageID, &l.Body, &l.Reason, &l.RejectedAt); err != nil {
			return nil, fmt.Errorf("dead letters: %w", err)
		}
		list = append(list, l)
	}
	return list, rows.Err()
}

func (a *Auditor) deadLetters(r *http.Request) (any, error) {
	if err := fill(r.URL.Query(), &struct{}{}); err != nil {
		return nil, err
	}
	list, err := a.letters(r.Context(), "")
	return map[string]any{"dead_letters": list}, err
}

// Replayed is what became of one dead letter.
type Replayed struct {
	ID      string `json:"id"`
	Records int    `json:"records"`
	Error   string `json:"error,omitempty"`
}

// replay tries dead letters again: the one with an id, or all.
func (a *Auditor) replay(r *http.Request) (any, error) {
	if a.intake == nil {
		return nil, errNoAWS
	}
	var q struct {
		ID string `json:"id"`
	}
	if err := fill(r.URL.Query(), &q); err != nil {
		return nil, err
	}
	id := q.ID
	list, err := a.letters(r.Context(), id)
	if err != nil {
		return nil, err
	}
	if id != "" && len(list) == 0 {
		return nil, fmt.Errorf("dead letter %s: %w", id, query.ErrNotFound)
	}
	out := []Replayed{}
	for _, l := range list {
		res, err := a.intake.Replay(r.Context(), l, readerOf(r).name)
		one := Replayed{ID: l.ID, Records: res.Records}
		if err == nil {
			err = a.stored(r.Context(), res.LastSeq)
		}
		if err != nil {
			one.Error = err.Error()
		}
		out = append(out, one)
	}
	return map[string]any{"replayed": out}, nil
}
