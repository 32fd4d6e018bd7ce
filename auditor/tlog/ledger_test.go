package tlog_test

import (
	"testing"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/auditor/tlog"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
)

// ClickHouse makes the same hashes of its rows as we of the stream.
func TestLedgerAgrees(t *testing.T) {
	s, err := store.New(store.Config{DSN: embeddedtest.ClickHouse(t), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	j := eventstest.Journal(t)
	for _, name := range []string{"alice", "bob.müller >*", "tab\tline\nquote'\\"} {
		if _, err := j.Append(t.Context(), events.Event{Data: &events.UserDeleted{Name: name, By: "admin"}}); err != nil {
			t.Fatal(err)
		}
	}
	sink, err := s.Sink(t.Context(), events.Access)
	if err != nil {
		t.Fatal(err)
	}
	var entries []journal.Entry
	for e, err := range j.Replay(t.Context(), events.Access) {
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	if _, err := sink.Write(t.Context(), entries, nil); err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		var hash string
		if err := s.Conn().QueryRow(t.Context(), `SELECT hash FROM events WHERE stream = ? AND seq = ?`, e.Stream, e.Seq).Scan(&hash); err != nil {
			t.Fatal(err)
		}
		if want := tlog.HashOf(e.Channel, e.StoredAt, e.Raw).String(); hash != want {
			t.Errorf("sequence %d: ClickHouse says %s, want %s", e.Seq, hash, want)
		}
	}
}
