package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/posternhq/postern/auditor/client"
	"github.com/posternhq/postern/auditor/query"
)

// withAuditor gives a command a client that asks as the user.
func (c *cli) withAuditor(do func(cmd *cobra.Command, a *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		p, err := c.profile()
		if err != nil {
			return err
		}
		b, err := p.broker()
		if err != nil {
			return err
		}
		status, err := b.Status(cmd.Context())
		if err != nil {
			return err
		}
		if status.AuditorAddr == "" {
			return errors.New("the broker knows of no auditor: set broker.auditor_addr")
		}
		tlsConfig, err := p.TLSConfig()
		if err != nil {
			return err
		}
		// No proxy: HTTPS_PROXY may lead to AWS through postern.
		hc := &http.Client{Transport: &http.Transport{TLSClientConfig: tlsConfig, ForceAttemptHTTP2: true}}
		if user := cmd.Flags().Lookup("user"); user != nil && user.Changed {
			if err := c.asRecorded(cmd.Context(), b, user); err != nil {
				return err
			}
		}
		return do(cmd, client.New("https://"+status.AuditorAddr, hc), args)
	}
}

// beforeAsking checks what a command asks before anything else is done.
func beforeAsking(check func(now time.Time) error) func(*cobra.Command, []string) error {
	return func(*cobra.Command, []string) error { return badFlag(check(time.Now())) }
}

// sinceIn checks a flag --since.
func sinceIn(since *string) func(*cobra.Command, []string) error {
	return beforeAsking(func(now time.Time) error {
		_, err := query.Time("since", *since, now)
		return err
	})
}

// pages asks page after page, to the end.
func pages(ask func(context.Context, query.Filter) (*query.Page, error), now time.Time) func(context.Context, query.Filter) (*query.Page, error) {
	return func(ctx context.Context, f query.Filter) (*query.Page, error) {
		if err := f.Fix(now); err != nil {
			return nil, err
		}
		page, err := ask(ctx, f)
		for err == nil && page.Next != "" {
			f.Cursor = page.Next
			var next *query.Page
			if next, err = ask(ctx, f); err == nil {
				page.Entries, page.Next = append(page.Entries, next.Entries...), next.Next
			}
		}
		return page, err
	}
}

// badFlag names the flag that an error in what was asked is about.
func badFlag(err error) error {
	if bad, ok := errors.AsType[*query.BadInput](err); ok {
		return usageError{fmt.Errorf("--%s: %s", strings.ReplaceAll(bad.Field, "_", "-"), bad.Reason)}
	}
	return err
}

func (c *cli) audit() *cobra.Command {
	cmd := &cobra.Command{Use: "audit", Short: "What happened, and whether AWS agrees"}

	var f query.Filter
	var all bool
	search := &cobra.Command{
		Use: "search", Short: "Requests and CloudTrail's records side by side, newest first", Args: cobra.NoArgs,
		Long: "Requests and CloudTrail's records side by side, newest first. Filters combine;\n" +
			"text may hold * for any characters. Times are RFC 3339 or an age such as 2h or 7d.\n" +
			"--format is table (as text), json, yaml, csv or parquet.",
		PreRunE: beforeAsking(func(now time.Time) error { return f.Check(now) }),
		RunE: c.withAuditor(func(cmd *cobra.Command, a *client.Client, _ []string) error {
			ask := a.Search
			if all {
				ask = pages(a.Search, time.Now())
			}
			page, err := ask(cmd.Context(), f)
			if err != nil {
				return err
			}
			return c.printRows(page, func() *query.Table { return query.Flat(page.Entries) }, page.Next, func(w *tabwriter.Writer) { printPage(w, page) })
		}),
	}
	s := search.Flags()
	s.StringVar(&f.User, "user", "", "postern user")
	s.StringVar(&f.AWSRole, "aws-role", "", "IAM role, by name or ARN")
	s.StringVar(&f.Account, "account", "", "AWS account id")
	s.StringVar(&f.Service, "service", "", "AWS service, such as s3")
	s.StringVar(&f.Action, "action", "", "IAM action (one that a call took besides, too), operation or CloudTrail event name")
	s.StringVar(&f.Resource, "resource", "", "ARN")
	s.StringVar(&f.Outcome, "outcome", "", "admitted, completed, denied, failed, dry_run (passed, and would be denied), or a verdict such as bypass or unrelated")
	s.StringVar(&f.Since, "since", "", "from this time on")
	s.StringVar(&f.Until, "until", "", "up to this time")
	s.StringVar(&f.RequestID, "request-id", "", "postern's request id, or an access request's")
	s.StringVar(&f.AWSRequestID, "aws-request-id", "", "AWS's request id")
	s.StringVar(&f.FederatedUser, "federated-user", "", "who CloudTrail's identity stands for")
	s.StringVar(&f.SessionID, "session", "", "session id")
	s.IntVar(&f.Limit, "limit", 100, "entries at most, up to 10000")
	s.StringVar(&f.Cursor, "cursor", "", "go on where a page ended")
	s.BoolVar(&all, "all", false, "page after page, to the end; --limit is a page's")

	show := &cobra.Command{
		Use: "show ID", Short: "One call, both sides next to each other", Args: cobra.ExactArgs(1),
		Long: "One call, both sides next to each other. ID is postern's request id, AWS's\nrequest id or a CloudTrail event id, as ACCOUNT/EVENTID where several accounts have it.",
		RunE: c.withAuditor(func(cmd *cobra.Command, a *client.Client, args []string) error {
			d, err := a.Show(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.printRows(d, func() *query.Table { return query.Rows(d) }, "", func(w *tabwriter.Writer) { printDetail(w, d) })
		}),
	}
	why := &cobra.Command{
		Use: "why ID", Short: "Why one call was possible: effect before cause", Args: cobra.ExactArgs(1),
		RunE: c.withAuditor(func(cmd *cobra.Command, a *client.Client, args []string) error {
			chain, err := a.Why(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.printRows(chain, func() *query.Table { return query.Rows(chain) }, "", func(w *tabwriter.Writer) {
				for _, s := range chain.Steps {
					fmt.Fprintf(w, "%s\t%s\t%s\n", utc(s.Time), s.Kind, oneLine(s.Summary))
				}
			})
		}),
	}

	var since string
	coverage := &cobra.Command{
		Use: "coverage", Short: "Matched, awaiting, missing in CloudTrail, bypass: counts and shares", Args: cobra.NoArgs,
		PreRunE: sinceIn(&since),
		RunE: c.withAuditor(func(cmd *cobra.Command, a *client.Client, _ []string) error {
			cov, err := a.Coverage(cmd.Context(), since)
			if err != nil {
				return err
			}
			return c.printRows(cov, func() *query.Table { return query.Rows(cov) }, "", func(w *tabwriter.Writer) { printCoverage(w, cov) })
		}),
	}
	coverage.Flags().StringVar(&since, "since", "", "from this time on")

	var ff query.FindingFilter
	findings := &cobra.Command{
		Use: "findings", Short: "What a person should look at", Args: cobra.NoArgs,
		PreRunE: beforeAsking(func(now time.Time) error { return ff.Check(now) }),
		RunE: c.withAuditor(func(cmd *cobra.Command, a *client.Client, _ []string) error {
			fs, err := a.Findings(cmd.Context(), ff)
			if err != nil {
				return err
			}
			return c.printRows(fs, func() *query.Table { return query.Flat(fs.Findings) }, fs.Next, func(w *tabwriter.Writer) {
				fmt.Fprintln(w, "OPENED\tKIND\tSEVERITY\tSTATE\tUSER\tSUMMARY")
				for _, x := range fs.Findings {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", utc(x.OpenedAt), x.Kind, x.Severity, x.State, orDash(oneLine(x.User)), oneLine(x.Summary))
				}
				if fs.Next != "" {
					fmt.Fprintf(w, "more: --cursor %s\n", fs.Next)
				}
			})
		}),
	}
	findings.Flags().StringVar(&ff.Kind, "kind", "", "bypass, missing, mismatch, …")
	findings.Flags().StringVar(&ff.State, "state", "", "open or resolved")
	findings.Flags().StringVar(&ff.User, "user", "", "user")
	findings.Flags().StringVar(&ff.Since, "since", "", "opened from this time on")
	findings.Flags().IntVar(&ff.Limit, "limit", 1000, "findings at most, up to 100000")
	findings.Flags().StringVar(&ff.Cursor, "cursor", "", "go on where a page ended")

	sql := &cobra.Command{
		Use: "sql 'SELECT …'", Short: "Read-only SQL; tables requests, tunnels, cloudtrail, sessions, findings, access_requests, locks, trails, trail_files, trail_digests, dead_letters", Args: cobra.ExactArgs(1),
		Long: "Read-only SQL. --format=json prints one object a row; csv and parquet are known, too.",
		RunE: c.withAuditor(func(cmd *cobra.Command, a *client.Client, args []string) error {
			t, err := a.SQL(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.printTable(t)
		}),
	}
	policy, letters := c.auditPolicy(), c.auditDeadLetters()
	for _, rows := range []*cobra.Command{search, show, why, coverage, findings, policy, sql, letters} {
		rows.Annotations = knows(rowFormats)
	}
	cmd.AddCommand(search, show, why, coverage, findings, policy, sql, c.auditIngest(), c.auditValidate(), letters, c.auditReport(), c.auditVerify(), c.auditTokens())
	return cmd
}

// utc is a time as tables show it and as --since and --until read it.
func utc(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

func printPage(w *tabwriter.Writer, page *query.Page) {
	fmt.Fprintln(w, "TIME\tUSER\tCALL\tRESOURCE\tOUTCOME\tCLOUDTRAIL\tID")
	for _, e := range page.Entries {
		at := utc(e.Time)
		if r := e.Request; r != nil {
			result := r.Outcome
			if r.Status != 0 {
				result = fmt.Sprint(r.Status)
			}
			if dryRun(r) != "" {
				result += " (would be denied)"
			}
			fmt.Fprintf(w, "%s\t%s\t%s:%s\t%s\t%s\t%s\t%s\n", at, oneLine(r.User), r.Service, oneLine(r.Operation), orDash(first(r.Resources)), result, orDash(r.Verdict), r.RequestID)
			continue
		}
		r := e.CloudTrail
		fmt.Fprintf(w, "%s\t%s\t%s:%s\t%s\t-\t%s\t%s\n", at, orDash(oneLine(r.Who())), oneLine(strings.TrimSuffix(r.EventSource, ".amazonaws.com")), oneLine(r.EventName), orDash(first(r.Resources)), orDash(r.Verdict), oneLine(r.EventID))
	}
	if page.Next != "" {
		fmt.Fprintf(w, "more: --cursor %s\n", page.Next)
	}
}

// dryRun is the rule that would have denied a request that passed.
func dryRun(r *query.Request) string {
	if r.Outcome == "denied" {
		return ""
	}
	return r.Rule
}

func first(ss []string) string {
	if len(ss) == 0 {
		return ""
	}
	return oneLine(ss[0])
}

func printDetail(w *tabwriter.Writer, d *query.Detail) {
	r, t := d.Request, d.CloudTrail
	fmt.Fprintf(w, "\tPOSTERN\tCLOUDTRAIL\n")
	row := func(name string, ours func(*query.Request) string, theirs func(*query.Record) string) {
		var a, b string
		if r != nil {
			a = ours(r)
		}
		if t != nil {
			b = theirs(t)
		}
		if a != "" || b != "" {
			fmt.Fprintf(w, "%s\t%s\t%s\n", name, orDash(oneLine(a)), orDash(oneLine(b)))
		}
	}
	row("id", func(r *query.Request) string { return r.RequestID }, func(t *query.Record) string { return t.EventID })
	row("time", func(r *query.Request) string { return r.ReceivedAt.UTC().Format(time.RFC3339Nano) }, func(t *query.Record) string { return t.EventTime.UTC().Format(time.RFC3339) })
	row("user", func(r *query.Request) string { return r.User }, func(t *query.Record) string { return t.Who() })
	row("identity", func(r *query.Request) string { return r.AWSRoleARN + " as " + r.RoleSessionName }, func(t *query.Record) string { return t.IdentityARN })
	row("access key", func(r *query.Request) string { return r.AccessKeyID }, func(t *query.Record) string { return t.AccessKeyID })
	row("account", func(r *query.Request) string { return r.Account }, func(t *query.Record) string { return t.RecipientAccountID })
	row("region", func(r *query.Request) string { return r.Region }, func(t *query.Record) string { return t.AWSRegion })
	row("call", func(r *query.Request) string { return r.Service + " " + r.Operation }, func(t *query.Record) string { return t.EventSource + " " + t.EventName })
	row("action", func(r *query.Request) string { return strings.TrimSpace(r.Action + " " + strings.Join(r.Also, " ")) }, func(*query.Record) string { return "" })
	row("resources", func(r *query.Request) string { return strings.Join(r.Resources, " ") }, func(t *query.Record) string { return strings.Join(t.Resources, " ") })
	row("AWS request", func(r *query.Request) string { return r.AWSRequestID }, func(t *query.Record) string { return t.RequestID })
	row("result", func(r *query.Request) string {
		s := r.Outcome
		if r.Status != 0 {
			s += fmt.Sprintf(" %d", r.Status)
		}
		return strings.TrimSpace(s + " " + r.ErrorCode + " " + r.Reason + " " + r.Interrupted)
	}, func(t *query.Record) string {
		return strings.TrimSpace(orDash(t.ErrorCode) + " " + t.ErrorMessage)
	})
	row("dry run", dryRun, func(*query.Record) string { return "" })
	row("from", func(r *query.Request) string { return r.ClientAddr }, func(t *query.Record) string { return t.SourceIPAddress })
	row("bytes up, down", func(r *query.Request) string { return fmt.Sprintf("%d, %d", r.RequestBytes, r.ResponseBytes) }, func(*query.Record) string { return "" })
	fmt.Fprintf(w, "verdict\t%s\n", orDash(d.Verdict))
	if s := d.Session; s != nil {
		fmt.Fprintf(w, "session\t%s on %s by %s until %s\n", s.SessionID, s.App, strings.Join(s.Roles, ", "), utc(s.ExpiresAt))
	}
	for _, q := range d.AccessRequests {
		fmt.Fprintf(w, "access request\t%s of %s, %s, reviewed by %s: %s\n", q.RequestID, q.User, q.State, orDash(strings.Join(q.Reviewers, ", ")), oneLine(q.Reason))
	}
	for _, x := range d.Findings {
		fmt.Fprintf(w, "finding\t%s (%s, %s): %s\n", x.Kind, x.Severity, x.State, oneLine(x.Summary))
	}
}

func printCoverage(w *tabwriter.Writer, c *query.Coverage) {
	fmt.Fprintln(w, "VERDICT\tCALLS\tSHARE")
	for _, v := range []struct {
		name  string
		count query.Count
	}{{"matched", c.Matched}, {"awaiting CloudTrail", c.Awaiting}, {"missing in CloudTrail", c.Missing}, {"mismatched", c.Mismatched}, {"bypass", c.Bypass}, {"logged by no trail", c.NotLogged}} {
		fmt.Fprintf(w, "%s\t%d\t%.1f %%\n", v.name, v.count.Count, 100*v.count.Share)
	}
	fmt.Fprintf(w, "\ndenied by postern\t%d\t\nfailed before AWS\t%d\t\n", c.Denied, c.Failed)
	if len(c.Offenders) > 0 {
		fmt.Fprintln(w, "\nUSER\tACCOUNT\tBYPASS\tMISMATCHED\tMISSING")
		for _, o := range c.Offenders {
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\n", orDash(oneLine(o.User)), oneLine(o.Account), o.Bypass, o.Mismatched, o.Missing)
		}
	}
}

// printTable writes the answer to SQL; as JSON, one object a row.
func (c *cli) printTable(t *query.Table) error {
	if t.Truncated {
		c.say("warning: there are more rows than the limit")
	}
	if c.format == "json" {
		for _, row := range t.Rows {
			m := make(map[string]any, len(row))
			for i, v := range row {
				m[t.Columns[i].Name] = v
			}
			if err := writeJSON(c.stdout, m); err != nil {
				return err
			}
		}
		return nil
	}
	return c.printRows(t, func() *query.Table { return t }, "", func(w *tabwriter.Writer) {
		names := make([]string, len(t.Columns))
		for i, col := range t.Columns {
			names[i] = col.Name
		}
		fmt.Fprintln(w, strings.Join(names, "\t"))
		for _, row := range t.Rows {
			cells := make([]string, len(row))
			for i, v := range row {
				cells[i] = oneLine(cell(v))
			}
			fmt.Fprintln(w, strings.Join(cells, "\t"))
		}
	})
}

// printRows is print, with the formats for rows besides; more is the cursor of
// what comes next, which files have no place for.
func (c *cli) printRows(v any, table func() *query.Table, more string, text func(w *tabwriter.Writer)) error {
	write := (*query.Table).WriteCSV
	switch c.format {
	default:
		return c.print(v, text)
	case "csv":
	case "parquet":
		if isTerminal(c.stdout) {
			return usageError{errors.New("--format=parquet: a terminal can't show it: > FILE")}
		}
		write = (*query.Table).WriteParquet
	}
	if more != "" {
		c.say("more: --cursor %s", more)
	}
	return write(table(), c.stdout)
}

func cell(v any) string {
	switch v := v.(type) {
	case nil:
		return "-"
	case string:
		return v
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
