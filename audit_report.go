package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/posternhq/postern/auditor/client"
	"github.com/posternhq/postern/auditor/evidence"
	"github.com/posternhq/postern/auditor/tlog"
	"github.com/posternhq/postern/events"
)

func (c *cli) auditReport() *cobra.Command {
	var request, user, since, file, key string
	var bare bool
	cmd := &cobra.Command{
		Use: "report --request ID | --user U", Short: "All that is recorded about a request or a user, with proof", Args: cobra.NoArgs,
		Long: "All that is recorded about an access request, a single call or a user: requests,\n" +
			"approvals, sessions, calls, CloudTrail's records, findings. The answer is verified\n" +
			"before it is shown. --bundle keeps it as a file that proves what it says to\n" +
			"anybody who has the key of the logs: postern audit verify --offline FILE.",
		PreRunE: sinceIn(&since),
		RunE: c.withAuditor(func(cmd *cobra.Command, a *client.Client, _ []string) error {
			if (request == "") == (user == "") {
				return usageError{errors.New("give --request ID or --user U")}
			}
			if info, err := os.Stat(file); cmd.Flags().Changed("bundle") && (file == "" || err == nil && info.IsDir()) {
				return usageError{errors.New("--bundle: name a file that the evidence is written to, such as evidence.zip")}
			}
			p, err := c.profile()
			if err != nil {
				return err
			}
			status, err := a.LogStatus(cmd.Context(), "")
			if err != nil {
				return err
			}
			trusted, _, err := logKey(key, filepath.Join(p.dir, "log"), status.Key)
			if err != nil {
				return err
			}
			packed, err := a.Bundle(cmd.Context(), request, user, since, file != "", file != "" && !bare)
			if err != nil {
				return err
			}
			b, err := evidence.Open(packed, trusted)
			if err != nil {
				return fmt.Errorf("the auditor's answer does not hold: %w", err)
			}
			if file != "" {
				if err := writePrivateBytes(file, packed); err != nil {
					return err
				}
				c.say("%s: %d events with their proofs", file, len(b.Items))
			}
			s, err := b.Summary()
			if err != nil {
				return err
			}
			return c.print(s, func(w *tabwriter.Writer) { printSummary(w, s) })
		}),
	}
	f := cmd.Flags()
	f.StringVar(&request, "request", "", "access request, or a call by postern's or AWS's request id")
	f.StringVar(&user, "user", "", "user")
	f.StringVar(&since, "since", "", "with --user: from this time on")
	f.StringVar(&file, "bundle", "", "write the evidence to this file")
	f.StringVar(&key, "key", "", "as in audit verify")
	f.BoolVar(&bare, "no-log-files", false, "with --bundle: leave out CloudTrail's log files, in which others' calls are, too; then AWS's signatures prove the files' hashes, and not the records")
	return cmd
}

// offline is what `postern audit verify --offline` reports.
type offline struct {
	Key     tlog.PublicKey   `json:"key"`
	OK      bool             `json:"ok"`
	Problem string           `json:"problem,omitempty"`
	Subject evidence.Subject `json:"subject"`
	Made    time.Time        `json:"made,omitzero"`
	Events  int              `json:"events"`
	Proved  []string         `json:"proved"`
	// Unproved is what a bundle can't show.
	Unproved []string          `json:"not_proved"`
	Summary  *evidence.Summary `json:"report,omitempty"`
}

// verifyOffline checks a bundle with nothing but the key and what witnesses kept.
func (c *cli) verifyOffline(in verifyInput) error {
	packed, err := os.ReadFile(in.offline)
	if err != nil {
		return err
	}
	if in.key == "" {
		return usageError{errors.New("--offline needs --key: the key of the logs from somewhere else than the bundle")}
	}
	key, _, err := logKey(in.key, "", "")
	if err != nil {
		return err
	}
	out := &offline{Key: key, Proved: []string{}, Unproved: []string{}}
	b, err := evidence.Open(packed, key)
	if err == nil {
		err = out.prove(b, in)
	}
	if err != nil {
		out.Problem = err.Error()
	}
	out.OK = err == nil
	if err := c.print(out, func(w *tabwriter.Writer) { printOffline(w, out) }); err != nil {
		return err
	}
	if !out.OK {
		return exitTampered
	}
	return nil
}

// prove says what an opened bundle proves, and holds it against the witnesses.
func (o *offline) prove(b *evidence.Bundle, in verifyInput) error {
	o.Subject, o.Made, o.Events = b.Subject, b.Made, len(b.Items)
	var err error
	if o.Summary, err = b.Summary(); err != nil {
		return err
	}
	cs, err := b.Checkpoints(o.Key)
	if err != nil {
		return err
	}
	say := func(to *[]string, format string, args ...any) { *to = append(*to, fmt.Sprintf(format, args...)) }
	say(&o.Proved, "the bundle is byte for byte what the holder of the key packed")
	say(&o.Proved, "each of the %d events is in the transparency log of its stream, at the place of its sequence", len(b.Items))
	if v := b.OtherReport; v != 0 {
		say(&o.Unproved, "that the bundle's own report.json, which another release wrote (version %d), says what the events say: what is told here does", v)
	} else {
		say(&o.Proved, "the report says what the events say")
	}
	witnessed := map[string]bool{}
	for _, path := range in.witnesses {
		kept, err := o.Key.Kept(path, events.Streams())
		if err == nil {
			err = saw(cs, kept, path, witnessed)
		}
		if err != nil {
			return err
		}
	}
	for _, k := range in.witnessKeys {
		for _, c := range cs {
			if err := c.Cosigned(k); err != nil {
				return err
			}
		}
	}
	if n := len(in.witnessKeys); n > 0 {
		say(&o.Proved, "%d witnesses signed every checkpoint that the proofs lead to", n)
	}
	switch {
	case len(in.witnesses)+len(in.witnessKeys) == 0:
		say(&o.Unproved, "that others saw the same logs: give --witness or --witness-key")
	case len(in.witnesses) == 0:
	case len(witnessed) < len(cs):
		say(&o.Unproved, "that others saw the same logs: the witnesses have %d of the %d checkpoints", len(witnessed), len(cs))
	default:
		say(&o.Proved, "the witnesses saw these very logs")
	}
	say(&o.Unproved, "that nothing else happened: postern audit verify shows that the logs are complete, and a report that a bundle is")
	signed := 0
	for _, r := range o.Summary.Records {
		if r.SignedByAWS {
			signed++
		}
	}
	if signed > 0 {
		say(&o.Proved, "%d of %d CloudTrail records are as AWS wrote them: in log files that digest files with AWS's signature vouch for, given AWS's public key %s (compare with aws cloudtrail list-public-keys)",
			signed, len(o.Summary.Records), strings.Join(fingerprints(o.Summary), ", "))
	}
	if rest := len(o.Summary.Records) - signed; rest > 0 {
		say(&o.Unproved, "that %d CloudTrail records are as AWS wrote them, beyond the auditor's verdicts: no digest file was there yet, or their log files are not in the bundle", rest)
	}
	return nil
}

// saw notes which of a bundle's checkpoints a witness kept, by their notes: each once, of
// however many witnesses.
func saw(cs, kept []tlog.Checkpoint, witness string, seen map[string]bool) error {
	for _, c := range cs {
		for _, k := range kept {
			switch {
			case k.Stream != c.Stream || k.Size != c.Size:
			case k.Root != c.Root:
				return fmt.Errorf("the log of %s at size %d is another one than the witness %s has", c.Stream, c.Size, witness)
			default:
				seen[string(c.Note)] = true
			}
		}
	}
	return nil
}

// fingerprints are of AWS's keys by which digest files were verified.
func fingerprints(s *evidence.Summary) []string {
	var out []string
	for _, d := range s.Digests {
		if d.SignedBy != "" && !slices.Contains(out, d.SignedBy) {
			out = append(out, d.SignedBy)
		}
	}
	return out
}

func printOffline(w *tabwriter.Writer, o *offline) {
	if !o.OK {
		fmt.Fprintf(w, "NOT WHOLE: %s\n", oneLine(o.Problem))
		return
	}
	fmt.Fprintf(w, "whole: %s\n\nproved, given the key %s:\n", subjectText(o.Subject), o.Key)
	for _, s := range o.Proved {
		fmt.Fprintln(w, " ", s)
	}
	fmt.Fprintln(w, "not proved:")
	for _, s := range o.Unproved {
		fmt.Fprintln(w, " ", s)
	}
	fmt.Fprintln(w)
	printSummary(w, o.Summary)
}

func subjectText(s evidence.Subject) string {
	if s.Request != "" {
		return "request " + s.Request
	}
	text := "user " + s.User
	if !s.Since.IsZero() {
		text += " since " + s.Since.Format(time.RFC3339)
	}
	return text
}

func printSummary(w *tabwriter.Writer, s *evidence.Summary) {
	at := utc
	fmt.Fprintln(w, subjectText(s.Subject))
	for _, r := range s.AccessRequests {
		fmt.Fprintf(w, "\naccess request\t%s\n  of\t%s for %s\n  because\t%s\n  asked\t%s\n", r.RequestID, oneLine(r.User), oneLine(strings.Join(append(append([]string{}, r.Roles...), r.Resources...), ", ")), orDash(oneLine(r.Reason)), at(r.CreatedAt))
		for _, v := range r.Reviews {
			fmt.Fprintf(w, "  review\t%s %s by %s %s\n", at(v.At), v.Verdict, oneLine(v.Reviewer), oneLine(v.Reason))
		}
		if r.DecidedAt.IsZero() {
			fmt.Fprintf(w, "  %s\n", r.State)
		} else {
			fmt.Fprintf(w, "  %s\t%s\n", r.State, at(r.DecidedAt))
		}
	}
	for _, x := range s.Sessions {
		end := "until " + at(x.ExpiresAt)
		if !x.EndedAt.IsZero() {
			end = "ended " + at(x.EndedAt)
		}
		fmt.Fprintf(w, "\nsession\t%s\n  of\t%s on %s as %s\n  started\t%s, %s\n", x.SessionID, oneLine(x.User), oneLine(x.App), x.AWSRoleARN, at(x.StartedAt), end)
	}
	if len(s.Calls) > 0 {
		fmt.Fprintln(w, "\nTIME\tUSER\tCALL\tRESOURCE\tOUTCOME\tCLOUDTRAIL\tID")
	}
	for _, x := range s.Calls {
		result := x.Outcome
		if x.Status != 0 {
			result = fmt.Sprint(x.Status)
		}
		fmt.Fprintf(w, "%s\t%s\t%s:%s\t%s\t%s\t%s\t%s\n", at(x.ReceivedAt), oneLine(x.User), x.Service, oneLine(x.Operation), orDash(first(x.Resources)), result, orDash(x.Verdict), x.RequestID)
	}
	for _, x := range s.Findings {
		state := ""
		if !x.ResolvedAt.IsZero() {
			state = ", resolved " + at(x.ResolvedAt)
		}
		fmt.Fprintf(w, "\nfinding\t%s %s%s: %s\n", x.Kind, x.Severity, state, oneLine(x.Summary))
	}
	for _, x := range s.Digests {
		fmt.Fprintf(w, "\ndigest\t%s: %s %s\n", oneLine(x.Key), x.Verdict, oneLine(x.Reason))
	}
	fmt.Fprintf(w, "\n%d CloudTrail records of %d files; events:", len(s.Records), len(s.Files))
	for _, stream := range events.Streams() {
		fmt.Fprintf(w, " %s %d", stream, s.Events[stream])
	}
	fmt.Fprintln(w)
}
