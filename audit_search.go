package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/posternhq/postern/auditor/client"
	"github.com/posternhq/postern/auditor/query"
)

func (c *cli) auditSearch() *cobra.Command {
	var f query.Filter
	var all bool
	cmd := &cobra.Command{
		Use: "search", Short: "Requests and CloudTrail's records side by side, newest first", Args: cobra.NoArgs, Annotations: knows(rowFormats),
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
	fl := cmd.Flags()
	fl.StringVar(&f.User, "user", "", "postern user")
	fl.StringVar(&f.AWSRole, "aws-role", "", "IAM role, by name or ARN")
	fl.StringVar(&f.Account, "account", "", "AWS account id")
	fl.StringVar(&f.Service, "service", "", "AWS service, such as s3")
	fl.StringVar(&f.Action, "action", "", "IAM action (one that a call took besides, too), operation or CloudTrail event name")
	fl.StringVar(&f.Resource, "resource", "", "ARN")
	fl.StringVar(&f.Outcome, "outcome", "", "admitted, completed, denied, failed, dry_run (passed, and would be denied), or a verdict such as bypass or unrelated")
	fl.StringVar(&f.Since, "since", "", "from this time on")
	fl.StringVar(&f.Until, "until", "", "up to this time")
	fl.StringVar(&f.RequestID, "request-id", "", "postern's request id, or an access request's")
	fl.StringVar(&f.AWSRequestID, "aws-request-id", "", "AWS's request id")
	fl.StringVar(&f.FederatedUser, "federated-user", "", "who CloudTrail's identity stands for")
	fl.StringVar(&f.SessionID, "session", "", "session id")
	fl.IntVar(&f.Limit, "limit", 100, "entries at most, up to 10000")
	fl.StringVar(&f.Cursor, "cursor", "", "go on where a page ended")
	fl.BoolVar(&all, "all", false, "page after page, to the end; --limit is a page's")
	return cmd
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

func (c *cli) auditShow() *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "One call, both sides next to each other", Args: cobra.ExactArgs(1), Annotations: knows(rowFormats),
		Long: "One call, both sides next to each other. ID is postern's request id, AWS's\nrequest id or a CloudTrail event id, as ACCOUNT/EVENTID where several accounts have it.",
		RunE: c.withAuditor(func(cmd *cobra.Command, a *client.Client, args []string) error {
			d, err := a.Show(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.printRows(d, func() *query.Table { return query.Rows(d) }, "", func(w *tabwriter.Writer) { printDetail(w, d) })
		}),
	}
}

func (c *cli) auditWhy() *cobra.Command {
	return &cobra.Command{
		Use: "why ID", Short: "Why one call was possible: effect before cause", Args: cobra.ExactArgs(1), Annotations: knows(rowFormats),
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
}

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
