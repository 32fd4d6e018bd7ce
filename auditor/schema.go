package auditor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/trouble"
)

// migrate tries until ClickHouse is there, unless trying again can't help.
func (a *Auditor) migrate(ctx context.Context) error {
	var said trouble.Said
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		err := a.migrateOnce(ctx)
		if err == nil {
			err = a.store.CheckReader(ctx, a.reader)
		}
		if err == nil && a.c.ReaderDSN != "" {
			err = store.CheckReadOnly(ctx, a.reader)
		}
		if err == nil {
			err = a.retain(ctx)
		}
		if err == nil && said.Over() {
			a.c.Log.Info().Msg("clickhouse is ready")
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		if nextStep, lasting := store.Lasting(err); lasting {
			return fmt.Errorf("auditor: clickhouse: %w; %s", err, nextStep)
		}
		if said.News(err) {
			a.c.Log.Warn().Err(err).Msg("clickhouse is not ready; trying again")
		}
		if !sleep(ctx, pause) {
			return nil
		}
	}
}

// migrateOnce changes tables that others may write to while nobody does: one of an
// earlier version that writes stops as soon as it hears of the new schema, or when
// its operator stops it. Those of another postern are neither changed nor are its
// auditors stopped.
func (a *Auditor) migrateOnce(ctx context.Context) error {
	filled, err := a.store.Filled(ctx)
	if err != nil {
		return err
	}
	if filled {
		for _, stream := range events.Streams() {
			if err := a.store.CheckOrigin(ctx, a.c.Journal, stream); err != nil {
				return err
			}
		}
	}
	behind, err := a.store.Behind(ctx)
	if err != nil {
		return err
	}
	if !behind {
		return a.store.Migrate(ctx)
	}
	a.c.Log.Info().Msg("the tables are of an earlier version: they are changed once the auditor that writes has stopped")
	return a.alone(ctx, a.tasks(), func(ctx context.Context) error {
		for _, stream := range events.Streams() {
			if err := a.store.CancelInserts(ctx, stream); err != nil {
				return err
			}
		}
		return a.store.Migrate(ctx)
	})
}

// alone runs f while this auditor holds the leases of all tasks.
func (a *Auditor) alone(ctx context.Context, tasks []task, f func(context.Context) error) error {
	if len(tasks) == 0 {
		return f(ctx)
	}
	done := false
	err := a.c.Journal.Lease(ctx, events.Findings, tasks[0].lease, func(ctx context.Context, _ func() bool) error {
		if err := a.alone(ctx, tasks[1:], f); err != nil || ctx.Err() != nil {
			return err // once more, if the lease alone was lost
		}
		done = true
		return errLetGo
	})
	if done {
		return nil
	}
	return err
}

// schemaEvery is how soon an auditor that writes hears of a newer schema.
const schemaEvery = 2 * time.Second

// watchSchema ends with an error when a newer version is about to change the tables.
func (a *Auditor) watchSchema(ctx context.Context) error {
	for sleep(ctx, schemaEvery) {
		if err := a.store.CheckSchema(ctx); errors.Is(err, store.ErrNewer) || errors.Is(err, store.ErrGrown) {
			next, _ := store.Lasting(err)
			return fmt.Errorf("%w; %s", err, next)
		}
	}
	return nil
}
