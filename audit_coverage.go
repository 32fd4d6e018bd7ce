package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/posternhq/postern/auditor/client"
	"github.com/posternhq/postern/auditor/query"
)

func (c *cli) auditCoverage() *cobra.Command {
	var since string
	cmd := &cobra.Command{
		Use: "coverage", Short: "Matched, awaiting, missing in CloudTrail, bypass: counts and shares", Args: cobra.NoArgs, Annotations: knows(rowFormats),
		PreRunE: sinceIn(&since),
		RunE: c.withAuditor(func(cmd *cobra.Command, a *client.Client, _ []string) error {
			cov, err := a.Coverage(cmd.Context(), since)
			if err != nil {
				return err
			}
			return c.printRows(cov, func() *query.Table { return query.Rows(cov) }, "", func(w *tabwriter.Writer) { printCoverage(w, cov) })
		}),
	}
	cmd.Flags().StringVar(&since, "since", "", "from this time on")
	return cmd
}

func (c *cli) auditFindings() *cobra.Command {
	var f query.FindingFilter
	cmd := &cobra.Command{
		Use: "findings", Short: "What a person should look at", Args: cobra.NoArgs, Annotations: knows(rowFormats),
		PreRunE: beforeAsking(func(now time.Time) error { return f.Check(now) }),
		RunE: c.withAuditor(func(cmd *cobra.Command, a *client.Client, _ []string) error {
			fs, err := a.Findings(cmd.Context(), f)
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
	cmd.Flags().StringVar(&f.Kind, "kind", "", "bypass, missing, mismatch, …")
	cmd.Flags().StringVar(&f.State, "state", "", "open or resolved")
	cmd.Flags().StringVar(&f.User, "user", "", "user")
	cmd.Flags().StringVar(&f.Since, "since", "", "opened from this time on")
	cmd.Flags().IntVar(&f.Limit, "limit", 1000, "findings at most, up to 100000")
	cmd.Flags().StringVar(&f.Cursor, "cursor", "", "go on where a page ended")
	return cmd
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
