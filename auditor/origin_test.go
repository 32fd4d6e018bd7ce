package auditor_test

import (
	"errors"
	"testing"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/auditor"
	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
)

// An auditor does not start on tables that were filled from other streams, or from more
// than there is: it would take what is new for what it has.
func TestTablesOfOtherStreams(t *testing.T) {
	dsn := embeddedtest.ClickHouse(t)
	w := &world{t: t, dsn: dsn, nc: eventstest.Connect(t)}
	w.j = eventstest.Open(t, w.nc)
	w.start(nil)
	publish(t, w.j, 50)
	w.settle(events.Audit)
	w.stop()

	refused := func(when string, other *world) {
		t.Helper()
		a, err := auditor.New(auditor.Config{Journal: other.j, ClickHouseDSN: dsn, Log: zerolog.Nop()})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Run(t.Context()); !errors.Is(err, store.ErrOrigin) {
			t.Errorf("%s: %v", when, err)
		}
	}
	// Those that an earlier version filled are left as they are, and so are its auditors.
	conn, ctx := embeddedtest.Open(t, dsn), t.Context()
	if err := conn.Exec(ctx, `ALTER TABLE migrations DELETE WHERE version > 22 SETTINGS mutations_sync = 2`); err != nil {
		t.Fatal(err)
	}
	other := &world{t: t, nc: eventstest.Connect(t)}
	other.j = eventstest.Open(t, other.nc)
	refused("streams that are empty", other)
	publish(t, other.j, 200)
	refused("longer streams", other)

	var schema, announced uint64
	if err := conn.QueryRow(ctx, `SELECT toUInt64(max(version)), (SELECT max(floor) FROM ledger_floors WHERE stream = 'schema') FROM migrations`).Scan(&schema, &announced); err != nil || schema != 22 || announced != 0 {
		t.Errorf("schema %d, announced %d: %v", schema, announced, err)
	}

	// A row that was changed is for evidence to find.
	if err := conn.Exec(ctx, `ALTER TABLE events UPDATE event_id = 'changed' WHERE stream = 'AUDIT' AND seq = 1 SETTINGS mutations_sync = 2`); err != nil {
		t.Fatal(err)
	}
	w.start(nil)
	publish(t, w.j, 60)
	w.settle(events.Audit)
}

// People's questions run as a user who can't write: one who can is refused.
func TestReaderWhoWrites(t *testing.T) {
	dsn := embeddedtest.ClickHouse(t)
	w := &world{t: t, dsn: dsn, nc: eventstest.Connect(t)}
	w.j = eventstest.Open(t, w.nc)
	a, err := auditor.New(auditor.Config{Journal: w.j, ClickHouseDSN: dsn, ReaderDSN: dsn, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Run(t.Context()); !errors.Is(err, store.ErrReaderWrites) {
		t.Errorf("the owner as reader: %v", err)
	}
	w.start(func(c *auditor.Config) { c.ReaderDSN = embeddedtest.ReaderDSN(t, dsn) })
	publish(t, w.j, 10)
	w.settle(events.Audit)
}
