package main

import (
	"context"
	"testing"
	"time"

	"github.com/posternhq/postern/auditor/query"
)

// Page after page is about the same time: what was within it at first is not left out of the
// last page because the pages before took long.
func TestPagesAreOfOneTime(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 1000, time.UTC)
	var asked []query.Filter
	page, err := pages(func(_ context.Context, f query.Filter) (*query.Page, error) {
		asked = append(asked, f)
		return &query.Page{Entries: make([]query.Entry, 1), Next: []string{"b", "c", ""}[len(asked)-1]}, nil
	}, now)(t.Context(), query.Filter{User: "alice", Since: "2h", Until: "2026-03-02"})
	if err != nil || len(page.Entries) != 3 || page.Next != "" {
		t.Fatalf("%+v, %v", page, err)
	}
	for i, f := range asked {
		if want := (query.Filter{User: "alice", Since: "2026-03-01T10:00:00.000001Z", Until: "2026-03-02T00:00:00Z", Cursor: []string{"", "b", "c"}[i]}); f != want {
			t.Errorf("page %d is asked for by %+v, want %+v", i, f, want)
		}
	}
}
