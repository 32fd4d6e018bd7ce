package broker

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/view"
	"github.com/posternhq/postern/events/journal"
)

// getAccessDiff answers what was gained and lost between ?from= and ?to=. It
// reads the stream twice: once to find what differs, and once more to follow
// only that, event by event.
func (b *Broker) getAccessDiff(c *call) (any, error) {
	now := b.now()
	from, _, err := moment("from", c.FormValue("from"), now)
	if err != nil {
		return nil, err
	}
	to, cut, err := moment("to", c.FormValue("to"), now)
	if err != nil {
		return nil, err
	}
	if !from.Before(to) {
		return nil, invalid("from: %s is not before %s", from.Format(time.RFC3339), to.Format(time.RFC3339))
	}
	q, err := b.question(c)
	if err != nil {
		return nil, err
	}
	ctx, done, err := b.startReplay(c.Context())
	if err != nil {
		return nil, err
	}
	defer done()
	out := api.AccessDiff{From: from, To: to, Changes: []api.AccessChange{}}
	keys, err := b.differing(ctx, q, cut, &out)
	if err != nil {
		return nil, err
	}
	if len(keys) > maxReaches {
		keys = keys[:maxReaches]
		out.Warnings = append(out.Warnings, fmt.Sprintf("there are more than %d changes, the rest is left out: name a user, an app or an AWS role", maxReaches))
	}
	if len(keys) > 0 {
		err = b.walk(ctx, keys, &out)
	}
	return out, err
}

// reachKey names an AWS role of an app in a user's hands.
type reachKey struct{ user, app, arn string }

func (k reachKey) compare(o reachKey) int {
	return cmp.Or(cmp.Compare(k.user, o.user), cmp.Compare(k.app, o.app), cmp.Compare(k.arn, o.arn))
}

// differing lists what is not the same at both ends of a difference, and notes
// where in the stream these are.
func (b *Broker) differing(ctx context.Context, q access.Question, cut time.Time, d *api.AccessDiff) ([]reachKey, error) {
	h := access.NewHistory(d.To)
	look := func(now time.Time) map[reachKey]access.Could {
		found := map[reachKey]access.Could{}
		for _, q := range each(h, q) {
			if ctx.Err() != nil {
				break
			}
			for _, x := range h.State.Could(q, now) {
				found[reachKey{x.User, x.App, x.ARN}] = x
			}
		}
		return found
	}
	var before map[reachKey]access.Could
	passed := func() {
		if before == nil {
			d.FromSequence, before = h.Seq, look(d.From)
		}
	}
	var err error
	d.Warnings, err = b.replay(ctx, cut, func(e journal.Entry) bool {
		if e.StoredAt.After(d.From) {
			passed()
		}
		h.Apply(e.Event, e.Seq, e.StoredAt)
		return true
	})
	if err != nil {
		return nil, err
	}
	passed()
	after := look(d.To)
	d.ToSequence = h.Seq
	if ctx.Err() != nil {
		return nil, replayFailed(ctx, h.Seq, ctx.Err())
	}
	keys := map[reachKey]bool{}
	for k, x := range after {
		keys[k] = access.Effect(before[k], x) != ""
	}
	for k, x := range before {
		keys[k] = access.Effect(x, after[k]) != ""
	}
	maps.DeleteFunc(keys, func(_ reachKey, differs bool) bool { return !differs })
	return slices.SortedFunc(maps.Keys(keys), reachKey.compare), nil
}

// walk replays up to the end of a difference, follows what differs from its
// beginning on, and writes the changes. What only seemed to differ, because at
// one end no role spelled the ARN out, is left out.
func (b *Broker) walk(ctx context.Context, keys []reachKey, d *api.AccessDiff) error {
	h := access.NewHistory(d.To)
	var watches []*access.Watch
	changes := make([]api.AccessChange, len(keys))
	side := func(k reachKey, now time.Time) *api.CouldUse {
		for _, x := range h.State.Could(access.Question{User: k.user, App: k.app, AWSRole: k.arn}, now) {
			could := view.CouldUse(h, x, now)
			return &could
		}
		return nil
	}
	begin := func() {
		for i, k := range keys {
			watches = append(watches, h.NewWatch(k.user, k.app, k.arn, d.From))
			changes[i].Before = side(k, d.From)
		}
	}
	_, err := b.replay(ctx, time.Time{}, func(e journal.Entry) bool {
		switch {
		case e.Seq > d.ToSequence:
			return false
		case e.Seq <= d.FromSequence:
			h.Apply(e.Event, e.Seq, e.StoredAt)
			return true
		case watches == nil:
			begin()
		}
		h.Step(e.Event, e.Seq, e.StoredAt, d.To, watches)
		return true
	})
	if err != nil {
		return err
	}
	if watches == nil { // time alone made the difference
		begin()
	}
	for i, w := range watches {
		h.Settle(w, d.To)
		ch := &changes[i]
		if ch.Effect = w.Effect(); ch.Effect == "" {
			continue
		}
		ch.User, ch.App, ch.ARN, ch.Steps = w.User, w.App, w.ARN, []api.AccessStep{}
		ch.After = side(keys[i], d.To)
		for _, f := range w.Flips {
			ch.Steps = append(ch.Steps, view.AccessStep(f))
		}
		d.Changes = append(d.Changes, *ch)
	}
	return nil
}
