package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/posternhq/postern/auditor/client"
	"github.com/posternhq/postern/auditor/evidence"
	"github.com/posternhq/postern/auditor/tlog"
	"github.com/posternhq/postern/events"
)

// deliveryVerified is what `postern events verify` reports.
type deliveryVerified struct {
	OK      bool          `json:"ok"`
	Stream  string        `json:"stream"`
	Filter  string        `json:"filter"`
	From    uint64        `json:"from_sequence"`
	To      uint64        `json:"to_sequence"`
	Events  int           `json:"events"`
	LogSize uint64        `json:"log_size"`
	Key     string        `json:"key"`
	KeyFrom string        `json:"key_from"`
	Proof   deliveryProof `json:"proof"`
	// Rederived counts the OCSF events that were made again of the logged ones.
	Rederived int `json:"rederived,omitempty"`
	// Missing are events that the filter fits and that did not come, by the auditor's word;
	// MissingIDs are of those that have an id.
	Missing    []uint64         `json:"missing_sequences,omitempty"`
	MissingIDs []string         `json:"missing_ids,omitempty"`
	Faults     []evidence.Fault `json:"faults,omitempty"`
}

// deliveryProof says on whose word nothing is missing.
type deliveryProof string

const (
	byLog     deliveryProof = "log"     // the signed log alone
	byAuditor deliveryProof = "auditor" // what came is in the signed log; what fits the filter, the auditor says
)

func (c *cli) eventsVerify() *cobra.Command {
	var filter, given string
	var from uint64
	cmd := &cobra.Command{
		Use: "verify FILE|-", Short: "Whether a consumer got everything, unchanged", Args: cobra.ExactArgs(1),
		Long: "Whether FILE, which postern consumers read --format=record wrote, or which holds the\n" +
			"bodies of what a webhook was sent, one a line, CloudEvents or OCSF, holds every event\n" +
			"from its first to its last, as the stream's transparency log has them. An OCSF event\n" +
			"has the logged event's hash, and is made again of that event, as the stream has it.\n" +
			"For all of a stream the log's signed checkpoint proves it; with --filter, what\n" +
			"came is proved so, and the auditor says what else the filter fits.\n" +
			"Exit codes: 0 nothing is missing, 3 something is missing or changed, 1 it could\n" +
			"not be found out.",
		RunE: c.withAuditor(func(cmd *cobra.Command, a *client.Client, args []string) error {
			of := ""
			if filter != "" {
				var err error
				if of, err = events.FilterStream(filter); err != nil {
					return usageError{err}
				}
			}
			got, err := orSignal(c.ctx, func() (*evidence.Delivery, error) { return c.delivery(args[0], filter) })
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if of != "" && of != got.Stream {
				return usageError{fmt.Errorf("--filter %s is of %s, and what is in %s came from %s", filter, of, args[0], got.Stream)}
			}
			out := &deliveryVerified{Stream: got.Stream, Filter: filter, From: got.First, To: got.Last, Events: got.Events(), Proof: byAuditor}
			if from != 0 {
				out.From = from
			}
			if all := events.StreamSubjects(got.Stream); filter == "" || filter == all {
				out.Filter, out.Proof = all, byLog
			}
			if err := c.verifyDelivery(cmd.Context(), a, given, got, out); err != nil {
				return err
			}
			out.OK = len(out.Faults) == 0 && len(out.Missing) == 0
			if err := c.print(out, func(w *tabwriter.Writer) { printDelivery(w, out) }); err != nil || out.OK {
				return err
			}
			return exitTampered
		}),
	}
	fl := cmd.Flags()
	fl.StringVar(&filter, "filter", "", "the consumer's filter (default: all of the stream)")
	fl.StringVar(&given, "key", "", "the key that signs the logs, or a file with it; as in postern audit verify")
	fl.Uint64Var(&from, "from", 0, "the sequence in the stream to begin with (default: the first in FILE)")
	return cmd
}

// delivery reads a file, or stdin for "-", with what came for a filter.
func (c *cli) delivery(path, filter string) (*evidence.Delivery, error) {
	if path == "-" {
		return evidence.ReadDelivery(c.stdin, filter)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return evidence.ReadDelivery(f, filter)
}

func (c *cli) verifyDelivery(ctx context.Context, a *client.Client, given string, got *evidence.Delivery, out *deliveryVerified) error {
	switch {
	case out.From > got.First:
		return usageError{fmt.Errorf("--from %d: FILE begins with %d", out.From, got.First)}
	case out.From < got.First && out.Proof == byAuditor:
		return usageError{errors.New("--from is for all of a stream: with --filter, the first event in FILE is the first")}
	}
	p, err := c.profile()
	if err != nil {
		return err
	}
	status, err := a.LogStatus(ctx, "")
	if err != nil {
		return err
	}
	key, from, err := logKey(given, filepath.Join(p.dir, "log"), status.Key)
	if err != nil {
		return err
	}
	accounts, err := a.Accounts(got.Stream)
	if err != nil {
		return err
	}
	at, err := c.covers(ctx, key, got, accounts.Tiles)
	if err != nil {
		return err
	}
	out.Key, out.KeyFrom, out.LogSize = string(key), from, at.Size
	out.Faults, err = got.Compare(tlog.Walk(ctx, accounts.Tiles, out.From-1, at, nil), out.Proof == byLog)
	out.Faults = append(out.Faults, got.Unfit()...)
	told := got.Told()
	if err != nil || out.Proof == byLog && told == 0 {
		return err
	}
	err = a.Records(ctx, out.Filter, got.FirstAt.Format(time.RFC3339Nano), false, func(d evidence.Delivered) error {
		if d.Seq > got.Last {
			return errPast
		}
		if f := got.Rederive(d); f != nil {
			out.Faults = append(out.Faults, *f)
		}
		if out.Proof == byLog || d.Seq < got.First || got.Has(d.Seq) {
			return nil
		}
		out.Missing = append(out.Missing, d.Seq)
		var e struct{ ID string }
		if json.Unmarshal(d.Event, &e) == nil && e.ID != "" {
			out.MissingIDs = append(out.MissingIDs, e.ID)
		}
		return nil
	})
	if err != nil && !errors.Is(err, errPast) {
		return err
	}
	out.Rederived = told - got.Told()
	for _, f := range got.Unproved() {
		if !slices.ContainsFunc(out.Faults, func(x evidence.Fault) bool { return x.First <= f.First && f.First <= x.Last }) {
			out.Faults = append(out.Faults, f)
		}
	}
	return nil
}

// errPast ends the reading of a stream behind the last event that counts.
var errPast = errors.New("past the last event")

// covers waits for a checkpoint that reaches to the last event.
func (c *cli) covers(ctx context.Context, key tlog.PublicKey, got *evidence.Delivery, tiles tlog.Tiles) (tlog.Checkpoint, error) {
	for deadline := time.Now().Add(settleTime); ; {
		at, err := key.Latest(ctx, got.Stream, tiles)
		if err != nil || at.Size >= got.Last {
			return at, err
		}
		if time.Now().After(deadline) {
			return at, fmt.Errorf("the log of %s has %d events and its last one here is %d: it is behind, or these events are not of this stream", got.Stream, at.Size, got.Last)
		}
		select {
		case <-ctx.Done():
			return at, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func printDelivery(w *tabwriter.Writer, v *deliveryVerified) {
	for _, f := range v.Faults {
		fmt.Fprintln(w, f)
	}
	for _, seq := range v.Missing {
		fmt.Fprintf(w, "%s %d: missing in the delivery: it fits %s\n", v.Stream, seq, v.Filter)
	}
	if !v.OK {
		fmt.Fprintln(w, "NOT WHOLE")
		return
	}
	on := "the signed log alone"
	if v.Proof == byAuditor {
		on = "the signed log for what came, the auditor's word for what else fits the filter"
	}
	fmt.Fprintf(w, "whole: %d events of %s, sequences %d to %d, nothing missing or changed\n", v.Events, v.Filter, v.From, v.To)
	fmt.Fprintf(w, "on %s; checkpoint at %d\nkey %s (%s)\n", on, v.LogSize, v.Key, v.KeyFrom)
	if v.Rederived > 0 {
		fmt.Fprintf(w, "%d OCSF events are what is made of the logged ones\n", v.Rederived)
	}
}
