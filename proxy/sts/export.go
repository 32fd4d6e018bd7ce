package sts

import (
	"context"
	"time"

	"github.com/posternhq/postern/events"
)

// Export obtains credentials for use without postern, for what is left of the
// session and not a second more, and records their issue. Cause is the id of the
// session.started event, client the address that they go to, dry what roles in dry
// run would have said against it.
func (h *Holder) Export(ctx context.Context, s *events.SessionStarted, cause, client string, dry *events.DryRun) (Credentials, error) {
	creds, err := h.assume(ctx, s, s.ExpiresAt.Sub(h.cfg.Now()).Truncate(time.Second))
	if err != nil {
		return Credentials{}, err
	}
	e := h.issued(s, creds, "export")
	e.HandedOut, e.ClientAddr, e.DryRun = true, client, dry
	if err := h.record(ctx, e, cause); err != nil {
		return Credentials{}, err
	}
	return creds, nil
}
