package auditor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/events"
)

// retain has the tables keep their rows as configured. It is on the stream before
// the first row goes that would have been kept before, and as it is afterwards: so
// what the stream says is never less than what ClickHouse does.
func (a *Auditor) retain(ctx context.Context) error {
	set, err := a.retentions(ctx)
	if err != nil {
		return err
	}
	var now store.Retention
	if len(set) > 0 {
		now = set[len(set)-1].Retention
	}
	say := func(r store.Retention) error {
		if r == now {
			return nil
		}
		now = r
		seconds := func(d time.Duration) int64 { return int64(d / time.Second) }
		_, err := a.c.Journal.Append(ctx, events.Event{Data: &events.RetentionSet{Database: a.store.Database(),
			Events: seconds(r.Events), Requests: seconds(r.Requests), CloudTrail: seconds(r.CloudTrail)}})
		return err
	}
	if err := say(now.Shorter(a.c.Retention)); err != nil {
		return fmt.Errorf("say what is kept: %w", err)
	}
	if err := a.store.Retain(ctx, a.c.Retention, a.c.Tiers); err != nil {
		return err
	}
	if err := say(a.c.Retention); err != nil {
		return fmt.Errorf("say what is kept: %w", err)
	}
	set, err = a.retentions(ctx)
	a.kept.Store(&set)
	return err
}

// retentions are what was ever said of this database.
func (a *Auditor) retentions(ctx context.Context) (set []store.RetentionSet, err error) {
	channel := new(events.RetentionSet).Channel()
	for e, err := range a.c.Journal.Replay(ctx, events.Findings, channel) {
		if err != nil && e.Seq == 0 {
			return nil, fmt.Errorf("read what is kept: %w", err)
		}
		// What can't be read says nothing: then rows that are gone are missing.
		if d, ok := e.Data.(*events.RetentionSet); ok && d.Database == a.store.Database() {
			age := func(seconds int64) time.Duration { return time.Duration(seconds) * time.Second }
			set = append(set, store.RetentionSet{Since: e.StoredAt, Retention: store.Retention{Events: age(d.Events), Requests: age(d.Requests), CloudTrail: age(d.CloudTrail)}})
		}
	}
	return set, nil
}

// horizons are the times before which rows may be gone by now.
func (a *Auditor) horizons(ctx context.Context) (store.Horizons, error) {
	set, err := a.retentions(ctx)
	return store.HorizonsOf(set, time.Now()), err
}

// tooOld tells of a record's time that what would explain the record may be gone:
// it is kept and not judged. One without a time, of 1970, is of no age.
func (a *Auditor) tooOld(at time.Time) bool {
	set := a.kept.Load()
	if set == nil || len(*set) == 0 {
		return false
	}
	before := store.HorizonsOf(*set, time.Now()).Unexplained()
	return !before.IsZero() && at.Unix() > 0 && at.Before(before.Add(recallSpan))
}

// expired adds to an error that says that nothing was found what may be gone.
func (a *Auditor) expired(ctx context.Context, err error) error {
	if !errors.Is(err, query.ErrNotFound) {
		return err
	}
	h, failed := a.horizons(ctx)
	if failed != nil {
		return errors.Join(err, failed)
	}
	var gone []string
	for _, kind := range []struct {
		what   string
		before time.Time
	}{{"calls", h.Requests}, {"CloudTrail records", h.CloudTrail}, {"whole events", h.Events}} {
		if !kind.before.IsZero() {
			gone = append(gone, kind.what+" from before "+kind.before.UTC().Format(time.RFC3339))
		}
	}
	if len(gone) == 0 {
		return err
	}
	return fmt.Errorf("%w; expired by retention: %s", err, strings.Join(gone, ", "))
}
