package cloudtrail

import (
	"context"
	"fmt"
	"strings"

	"github.com/posternhq/postern/events"
)

// problem is what a finding is about: a file, or the time before one.
type problem struct{ kind, name, reason string }

func (p problem) id() string { return p.kind + "/" + shortHash(p.name) }

func beforeIt(bucket, key string) string { return "before " + s3Name(bucket, key) }

// findings opens what is new, and resolves what is no longer so of what was looked
// at: the kinds and names that looked has. cause is the event that reports on it, empty
// where there is none.
func (v *Validator) findings(ctx context.Context, chain Chain, cause string, looked, about []problem) error {
	var ids []string
	for _, p := range looked {
		ids = append(ids, p.id())
	}
	now := map[string]bool{}
	for _, p := range about {
		ids = append(ids, p.id())
		now[p.id()] = true
	}
	open, err := v.intake.history.Findings(ctx, ids)
	if err != nil {
		return err
	}
	at := v.intake.now().UTC()
	meta := events.Meta{CausationID: cause}
	for _, p := range about {
		id := p.id()
		full, known := open[id]
		if full != "" {
			continue
		}
		open[id] = id
		if known { // it was resolved, and is there again
			id += "@" + clock(at)
		}
		meta.ID = "finding/" + id + "/opened"
		severity := "critical"
		if p.kind == kindGap {
			severity = "high"
		}
		if _, err := v.intake.journal.Append(ctx, events.Event{Meta: meta, Data: &events.FindingOpened{
			FindingID: id, Kind: p.kind, Severity: severity, Account: chain.Account, OpenedAt: at,
			Summary: fmt.Sprintf("trail %s of %s in %s: %s: %s", chain.Trail, chain.Account, chain.Region, p.name, p.reason),
		}}); err != nil {
			return fmt.Errorf("finding about %s: %w", p.name, err)
		}
	}
	for id, full := range open {
		if now[id] || full == "" {
			continue
		}
		kind, _, _ := strings.Cut(id, "/")
		reason := "checked again: it is what CloudTrail signed"
		if kind == kindGap {
			reason = "CloudTrail delivers digest files again"
		}
		meta.ID = "finding/" + full + "/resolved"
		if _, err := v.intake.journal.Append(ctx, events.Event{Meta: meta, Data: &events.FindingResolved{
			FindingID: full, Kind: kind, Reason: reason, ResolvedAt: at,
		}}); err != nil {
			return fmt.Errorf("finding %s: %w", full, err)
		}
	}
	return nil
}
