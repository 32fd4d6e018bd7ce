package auditor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/posternhq/postern/auditor/evidence"
	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/auditor/tlog"
)

// bundle answers with the evidence on a subject, as a signed zip file. Its
// proofs lead to published checkpoints, which witnesses have too, where
// published=true asks for them; that may take as long as a publication.
func (a *Auditor) bundle(w http.ResponseWriter, r *http.Request) {
	packed, err := a.packed(r)
	if err != nil {
		a.reply(w, nil, err)
		return
	}
	w.Header().Set("Content-Type", "application/zip")
	_, _ = w.Write(packed)
}

func (a *Auditor) packed(r *http.Request) ([]byte, error) {
	var q struct {
		sinceQuery
		Request   string `json:"request"`
		User      string `json:"user"`
		LogFiles  string `json:"log_files"`
		Published string `json:"published"`
	}
	err := fill(r.URL.Query(), &q)
	var logFiles, published bool
	if err == nil {
		logFiles, err = flag("log_files", q.LogFiles, true)
	}
	if err == nil {
		published, err = flag("published", q.Published, false)
	}
	if err != nil {
		return nil, err
	}
	if a.notary == nil {
		return nil, errNoLog
	}
	s := evidence.Subject{Request: q.Request, User: q.User}
	if (s.Request == "") == (s.User == "") {
		return nil, &query.BadInput{Field: "request", Reason: "give a request or a user"}
	}
	if s.Since, err = query.Time("since", q.Since, time.Now()); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), questionTime)
	defer cancel()
	items, err := evidence.Gather(ctx, a.store.Conn(), s)
	if errors.Is(err, evidence.ErrNothing) {
		return nil, a.expired(ctx, fmt.Errorf("%s%s: %w", s.Request, s.User, query.ErrNotFound))
	}
	if err != nil {
		return nil, err
	}
	var logs map[string][]byte
	var fetch func(context.Context, string, int64) ([]byte, error)
	if a.intake != nil {
		fetch = a.intake.Content
	}
	if logFiles {
		if logs, err = evidence.GatherLogs(ctx, a.store.Conn(), items, fetch); err != nil {
			return nil, err
		}
	}
	if err := a.notary.prove(ctx, items, published); err != nil {
		return nil, err
	}
	b := evidence.Bundle{Subject: s, Made: time.Now().UTC(), Items: items, Logs: logs}
	return b.Pack(a.notary.key)
}

// prove adds to each item the proof that its log has it.
func (n *notary) prove(ctx context.Context, items []evidence.Item, published bool) error {
	highest := map[string]uint64{}
	for i := range items {
		highest[items[i].Stream] = max(highest[items[i].Stream], items[i].Seq)
	}
	provers := map[string]*tlog.Prover{}
	for stream, seq := range highest {
		c, err := n.covering(ctx, stream, seq, published)
		if err != nil {
			return err
		}
		if provers[stream], err = tlog.NewProver(ctx, tlog.Files(n.tiles(stream)), c); err != nil {
			return err
		}
	}
	for i := range items {
		var err error
		if items[i].Proof, err = provers[items[i].Stream].Prove(ctx, items[i].Leaf()); err != nil {
			return &evidence.Disputed{Err: err}
		}
	}
	return nil
}

// covering waits for a checkpoint that covers a sequence.
func (n *notary) covering(ctx context.Context, stream string, seq uint64, published bool) (tlog.Checkpoint, error) {
	for {
		c, err := n.key.Public().Latest(ctx, stream, tlog.Files(n.tiles(stream)))
		if published {
			c, err = n.published(stream), nil
		}
		if err == nil && c.Size >= seq {
			return c, nil
		}
		if problem := n.logs[stream].problem(); problem != nil {
			return c, &evidence.Disputed{Err: problem}
		}
		if !sleep(ctx, 100*time.Millisecond) {
			return c, fmt.Errorf("no checkpoint of %s covers sequence %d yet: %w", stream, seq, ctx.Err())
		}
	}
}
