package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/posternhq/postern/auditor/client"
	"github.com/posternhq/postern/auditor/evidence"
	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/auditor/tlog"
	"github.com/posternhq/postern/events"
)

// exitTampered is the exit code of `audit verify` when something is wrong with
// the record itself.
const exitTampered exitCode = 3

// verified is what `postern audit verify` reports.
type verified struct {
	*evidence.Report
	// KeyFrom is "given", "remembered" (of an earlier run) or "auditor": taken on
	// trust.
	KeyFrom string `json:"key_from"`
	// Tables is nil where they were left out.
	Tables *verifiedTables `json:"tables,omitempty"`
}

// verifiedTables is what making the tables that people ask again came to.
type verifiedTables struct {
	store.Rederivation
	// Parts of Of were made again.
	Parts int `json:"parts"`
	Of    int `json:"of"`
}

func (c *cli) auditVerify() *cobra.Command {
	var in verifyInput
	var printSQL bool
	cmd := &cobra.Command{
		Use: "verify", Short: "Whether anybody tampered with the record", Args: cobra.NoArgs,
		Long: "Whether anybody tampered with the record: streams, ClickHouse and the\n" +
			"transparency logs are compared, event by event, and the logs with every\n" +
			"checkpoint that was published, that --witness names, or that an earlier run\n" +
			"saw; the tables that people ask (requests, cloudtrail, sessions …) are made\n" +
			"again from the ledger and compared row by row. Exit codes: 0 all is whole, 3 something is changed, missing, doubled or\n" +
			"forged (the first bad sequence is named), 1 it could not be found out.",
	}
	online := c.withAuditor(func(cmd *cobra.Command, a *client.Client, _ []string) error {
		return c.verify(cmd.Context(), a, in)
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := in.check(cmd.Flags()); err != nil {
			return err
		}
		switch {
		case printSQL:
			return c.printChecks()
		case in.offline != "":
			return c.verifyOffline(in)
		}
		return online(cmd, args)
	}
	f := cmd.Flags()
	f.StringVar(&in.since, "since", "", "only what was stored since a time, or an age such as 7d")
	f.StringVar(&in.key, "key", "", "the key that signs the logs, or a file with it; else that of an earlier run, else the auditor's own word")
	f.StringArrayVar(&in.witnesses, "witness", nil, "file or directory with checkpoints that were kept elsewhere; may be repeated")
	f.StringArrayVar(&in.witnessKeys, "witness-key", nil, "key of a witness that must have signed the checkpoints; may be repeated")
	f.StringVar(&in.offline, "offline", "", "check this bundle of audit report, with nothing but --key and --witness")
	f.IntVar(&in.sample, "sample", 0, "make one part in N of the tables that people ask again, picked by chance, instead of all")
	f.BoolVar(&in.noTables, "no-tables", false, "leave the tables that people ask out: streams, ledger and logs alone")
	f.BoolVar(&printSQL, "sql", false, "print the checks that need nothing but SQL")
	return cmd
}

type verifyInput struct {
	since, key, offline string
	sample              int
	noTables            bool
	// witnesses are paths, witnessKeys keys.
	witnesses, witnessKeys []string
}

// check refuses what would be left out of account, or be found wrong only after
// everything was compared.
func (in *verifyInput) check(flags *pflag.FlagSet) error {
	if flags.Changed("offline") {
		if in.offline == "" {
			return usageError{errors.New("--offline: name the bundle's file")}
		}
		for _, name := range []string{"since", "sample", "no-tables", "sql"} {
			if flags.Changed(name) {
				return usageError{fmt.Errorf("--%s is about an auditor's record: a bundle, as --offline checks it, is checked whole", name)}
			}
		}
	}
	if flags.Changed("sample") && (in.sample < 1 || in.sample > 1_000_000) {
		return usageError{errors.New("--sample: want a number of parts from 1, which is all, to 1000000")}
	}
	for _, key := range in.witnessKeys {
		if err := tlog.CheckWitnessKey(key); err != nil {
			return usageError{fmt.Errorf("--witness-key: %w", err)}
		}
	}
	return nil
}

// settleTime is long for what stores within a second.
const settleTime = 30 * time.Second

func (c *cli) verify(ctx context.Context, a *client.Client, in verifyInput) error {
	p, err := c.profile()
	if err != nil {
		return err
	}
	status, err := a.LogStatus(ctx, "")
	if err != nil {
		return err
	}
	memory := filepath.Join(p.dir, "log")
	key, from, err := logKey(in.key, memory, status.Key)
	if err != nil {
		return err
	}
	v := client.VerifyInput{Key: key, Since: in.since, WitnessKeys: in.witnessKeys, Settle: settleTime}
	for _, path := range in.witnesses {
		kept, err := key.Kept(path, events.Streams())
		if err != nil {
			return err
		}
		v.Known = append(v.Known, kept...)
	}
	if kept, err := key.Kept(filepath.Join(memory, "checkpoints"), events.Streams()); err == nil {
		v.Known = append(v.Known, kept...)
	}
	if isTerminal(c.stderr) {
		v.Tick = c.progress
	}
	report, err := a.Verify(ctx, v)
	if v.Tick != nil {
		fmt.Fprint(c.stderr, "\r\033[K")
	}
	if err != nil {
		return err
	}
	out := &verified{Report: report, KeyFrom: from}
	if out.OK && !in.noTables { // out of a ledger that is whole
		if out.Tables, err = c.verifyTables(ctx, a, status, in); err != nil {
			return err
		}
		out.OK = len(out.Tables.Differences) == 0
	}
	if err := c.print(out, func(w *tabwriter.Writer) { printVerified(w, out) }); err != nil {
		return err
	}
	if !out.OK {
		return exitTampered
	}
	return remember(memory, out)
}

// partEvents is how many events there are to a part of the tables, about.
const partEvents = 1_000_000

// verifyTables makes the tables that people ask again, part by part.
func (c *cli) verifyTables(ctx context.Context, a *client.Client, s *evidence.Statuses, in verifyInput) (*verifiedTables, error) {
	var stored uint64
	for _, stream := range s.Streams {
		stored += stream.Stored
	}
	out := &verifiedTables{Of: int(min(stored/partEvents, 100_000)) + 1, Rederivation: store.Rederivation{Rows: map[string]uint64{}, Differences: []store.Difference{}}}
	parts, told := out.Of, map[string]bool{}
	first := 0
	if in.sample > 0 {
		out.Of, parts = in.sample, 1
		first = rand.IntN(in.sample)
	}
	for ; out.Parts < parts; out.Parts++ {
		if isTerminal(c.stderr) {
			fmt.Fprintf(c.stderr, "\r\033[Ktables: part %d of %d", out.Parts+1, parts)
		}
		r, err := a.Rederived(ctx, in.since, uint32(out.Of), uint32(first+out.Parts))
		if err != nil {
			return nil, fmt.Errorf("make the tables again: %w", err)
		}
		for table, n := range r.Rows {
			out.Rows[table] += n
		}
		for _, d := range r.Differences {
			if d.IsView() { // each part looks at all of them
				if told[d.Table] {
					continue
				}
				told[d.Table] = true
			}
			out.Differences = append(out.Differences, d)
		}
		out.More = out.More || r.More
	}
	if isTerminal(c.stderr) {
		fmt.Fprint(c.stderr, "\r\033[K")
	}
	return out, nil
}

// logKey finds the key to verify with.
func logKey(given, memory string, said tlog.PublicKey) (key tlog.PublicKey, from string, err error) {
	switch b, err := os.ReadFile(filepath.Join(memory, "key")); {
	case given != "":
		from, key = "given", tlog.PublicKey(given)
		if b, err := os.ReadFile(given); err == nil {
			key = tlog.PublicKey(strings.TrimSpace(string(b)))
		}
	case err == nil:
		from, key = "remembered", tlog.PublicKey(strings.TrimSpace(string(b)))
	case errors.Is(err, fs.ErrNotExist):
		from, key = "auditor", said
	default:
		return "", "", err
	}
	if err = key.Check(); err != nil && from == "given" {
		err = usageError{fmt.Errorf("--key: %w", err)}
	}
	return key, from, err
}

// remember keeps the key and the checkpoints of a run that found nothing wrong.
func remember(memory string, v *verified) error {
	for _, r := range v.Streams {
		if err := writePrivateBytes(filepath.Join(memory, "checkpoints", r.Stream), r.Checkpoint.Note); err != nil {
			return err
		}
	}
	return writePrivateBytes(filepath.Join(memory, "key"), []byte(v.Key+"\n"))
}

// progress tells how far the comparison of a stream is.
func (c *cli) progress(s evidence.Status, seq uint64) {
	const every = 10_000
	if seq%every == 0 {
		fmt.Fprintf(c.stderr, "\r\033[K%s: %d of %d", s.Stream, seq-s.Before, s.Last-s.Before)
	}
}

func printVerified(w *tabwriter.Writer, v *verified) {
	from := map[string]string{"given": "as given", "remembered": "as an earlier run had it", "auditor": "on the auditor's own word: compare it with what its operators published"}[v.KeyFrom]
	fmt.Fprintf(w, "key\t%s\n\t(%s)\n", v.Key, from)
	for _, stream := range events.Streams() {
		if key, err := v.Key.Under(stream); err == nil {
			fmt.Fprintf(w, "  of %s\t%s\n", stream, key)
		}
	}
	for _, key := range v.OtherKeys {
		fmt.Fprintf(w, "another key\t%s\n\t(of this name, too: of another auditor, or of this one before its logs were made anew)\n", key)
	}
	fmt.Fprintln(w)
	fmt.Fprintln(w, "STREAM\tEVENTS\tLOG SIZE\tLOG ROOT\tOLDER CHECKPOINTS\tFAULTS")
	for _, r := range v.Streams {
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%d\t%d\n", r.Stream, r.To+1-r.From, r.Size, orDash(r.Root), r.Earlier, len(r.Faults))
	}
	faults := v.Faults()
	if len(faults) == 0 {
		fmt.Fprintln(w, "\nwhole: stream, ClickHouse and log agree on every event")
		printExpired(w, v.Report)
		printTables(w, v.Tables)
		return
	}
	fmt.Fprintf(w, "\nNOT WHOLE; the first bad sequence is %d of %s\n", faults[0].First, faults[0].Stream)
	const most = 100
	for i, f := range faults {
		if i == most {
			fmt.Fprintf(w, "… and %d more\n", len(faults)-most)
			break
		}
		fmt.Fprintln(w, f)
	}
}

// printExpired says what can't be looked at any more.
func printExpired(w *tabwriter.Writer, r *evidence.Report) {
	var gone uint64
	for _, s := range r.Streams {
		gone += s.Expired
	}
	if gone > 0 {
		fmt.Fprintf(w, "events: %d rows from before %s expired by retention: of these stream and log alone were compared\n", gone, r.Horizons.Events.UTC().Format(time.RFC3339))
	}
	for _, of := range []struct {
		what string
		at   time.Time
	}{{"requests", r.Horizons.Requests}, {"cloudtrail", r.Horizons.CloudTrail}} {
		if !of.at.IsZero() {
			fmt.Fprintf(w, "%s: rows from before %s expire by retention and are not checked\n", of.what, of.at.UTC().Format(time.RFC3339))
		}
	}
}

func printTables(w *tabwriter.Writer, t *verifiedTables) {
	if t == nil {
		return
	}
	var rows uint64
	for _, n := range t.Rows {
		rows += n
	}
	if len(t.Differences) == 0 {
		fmt.Fprintf(w, "tables: %d rows in %d of %d parts are what the ledger says\n", rows, t.Parts, t.Of)
		return
	}
	fmt.Fprintf(w, "\nTABLES DIFFER from the ledger, in %d of %d rows of %d of %d parts\n", len(t.Differences), rows, t.Parts, t.Of)
	for _, d := range t.Differences {
		fmt.Fprintln(w, oneLine(strings.TrimSpace(fmt.Sprintf("%s %s: %s %s", d.Table, d.Thing, d.Kind, strings.Join(d.Columns, ", ")))))
	}
	if t.More {
		fmt.Fprintln(w, "… and more")
	}
}

// printChecks prints the checks of the ledger as they can be pasted into
// `audit sql`.
func (c *cli) printChecks() error {
	checks, err := evidence.Checks()
	if err != nil {
		return err
	}
	for _, check := range checks {
		sql := regexp.MustCompile(`\{(since|expired):DateTime64\(9, 'UTC'\)\}`).ReplaceAllString(check.SQL, "toDateTime64('1970-01-01 00:00:00', 9, 'UTC')")
		if _, err := fmt.Fprintf(c.stdout, "%s;\n\n", strings.TrimSpace(sql)); err != nil {
			return err
		}
	}
	return nil
}
