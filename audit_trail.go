package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/posternhq/postern/auditor"
	"github.com/posternhq/postern/auditor/client"
	"github.com/posternhq/postern/auditor/cloudtrail"
	"github.com/posternhq/postern/auditor/query"
)

func (c *cli) auditIngest() *cobra.Command {
	var b client.Bucket
	cmd := &cobra.Command{
		Use: "ingest PATH…|s3://BUCKET[/PREFIX]…", Short: "CloudTrail files, folders or buckets of them, now", Args: cobra.MinimumNArgs(1),
		Long: "CloudTrail files, folders of them, or buckets. Files are sent to the auditor;\n" +
			"buckets it reads itself, as auditor.aws says, many files at once. What it has\n" +
			"taken in before it passes over: a run that was stopped goes on where it was.",
		RunE: c.withAuditor(func(cmd *cobra.Command, a *client.Client, args []string) error {
			var buckets, paths []string
			for _, arg := range args {
				if strings.HasPrefix(arg, "s3://") {
					buckets = append(buckets, arg)
				} else {
					paths = append(paths, arg)
				}
			}
			if len(paths) > 0 && b != (client.Bucket{}) {
				return usageError{fmt.Errorf("--since, --until, --account and --region are for buckets; %s is none", paths[0])}
			}
			return c.ingest(cmd.Context(), a, paths, buckets, b)
		}),
	}
	bucketFlags(cmd, &b)
	return cmd
}

func bucketFlags(cmd *cobra.Command, b *client.Bucket) {
	f := cmd.Flags()
	f.StringVar(&b.Since, "since", "", "of a bucket: files delivered from this time on")
	f.StringVar(&b.Until, "until", "", "of a bucket: files delivered up to this time")
	f.StringVar(&b.Account, "account", "", "of a bucket: AWS account id")
	f.StringVar(&b.Region, "region", "", "of a bucket: AWS region")
}

func (c *cli) auditValidate() *cobra.Command {
	var b client.Bucket
	cmd := &cobra.Command{
		Use: "validate s3://BUCKET[/PREFIX]", Short: "CloudTrail's digest files: is what it delivered still there, unchanged?", Args: cobra.ExactArgs(1),
		Long: "Follows the chains of CloudTrail's digest files in a bucket and reads every log\n" +
			"file again that they vouch for. The auditor does this by itself for what\n" +
			"arrives; this looks at the past. Counts as `aws cloudtrail validate-logs` does,\n" +
			"and finds more: docs/cloudtrail.md. Ends with an error if anything is wrong.",
		RunE: c.withAuditor(func(cmd *cobra.Command, a *client.Client, args []string) error {
			b.Address = args[0]
			tty := isTerminal(c.stderr)
			v, err := a.Validate(cmd.Context(), b, func(v client.Validation) {
				if tty {
					fmt.Fprintf(c.stderr, "\r\033[K%d digest files, %d log files", v.DigestsValid+v.DigestsInvalid+v.BackfillValid+v.BackfillBad, v.LogsValid+v.LogsInvalid)
				}
			})
			if tty {
				fmt.Fprint(c.stderr, "\r\033[K")
			}
			if err != nil {
				return err
			}
			if err := c.print(v, func(w *tabwriter.Writer) {
				for _, p := range v.Problems {
					fmt.Fprintln(w, oneLine(p))
				}
				fmt.Fprintf(w, "digest files\t%d valid\t%d invalid\n", v.DigestsValid, v.DigestsInvalid)
				if v.BackfillValid+v.BackfillBad > 0 {
					fmt.Fprintf(w, "backfill digest files\t%d valid\t%d invalid\n", v.BackfillValid, v.BackfillBad)
				}
				fmt.Fprintf(w, "log files\t%d valid\t%d invalid\n", v.LogsValid, v.LogsInvalid)
			}); err != nil {
				return err
			}
			if !v.Checked() {
				return fmt.Errorf("there are no digest files under %s, of that time: is the address right, and log file validation on?", b.Address)
			}
			if n := len(v.Problems); n > 0 {
				return fmt.Errorf("%d things are wrong with the trail", n)
			}
			return nil
		}),
	}
	bucketFlags(cmd, &b)
	return cmd
}

func (c *cli) auditDeadLetters() *cobra.Command {
	var replay string
	cmd := &cobra.Command{
		Use: "dead-letters [--replay ID|all]", Short: "Files and queues' messages that were set aside, with the reason", Args: cobra.NoArgs, Annotations: knows(rowFormats),
		PreRun: func(cmd *cobra.Command, _ []string) {
			if replay != "" {
				cmd.Annotations = nil // what comes of it are no rows
			}
		},
		RunE: c.withAuditor(func(cmd *cobra.Command, a *client.Client, _ []string) error {
			if replay == "" {
				list, err := a.DeadLetters(cmd.Context())
				if err != nil {
					return err
				}
				return c.printRows(list, func() *query.Table { return query.Flat(list) }, "", func(w *tabwriter.Writer) {
					fmt.Fprintln(w, "SET ASIDE\tKIND\tSOURCE\tREASON\tID")
					for _, l := range list {
						fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", utc(l.RejectedAt), l.Kind, oneLine(l.Source), oneLine(l.Reason), l.ID)
					}
				})
			}
			if replay == "all" {
				replay = ""
			}
			list, err := a.Replay(cmd.Context(), replay)
			if err != nil {
				return err
			}
			failed := 0
			for _, l := range list {
				if l.Error != "" {
					failed++
				}
			}
			if err := c.print(list, func(w *tabwriter.Writer) {
				fmt.Fprintln(w, "ID\tRECORDS\tERROR")
				last := ""
				for _, l := range list {
					says := orDash(oneLine(l.Error))
					what, advice, _ := strings.Cut(says, ": ")
					if advice != "" && advice == last { // it is long enough once
						says = what + ": as above"
					}
					last = advice
					fmt.Fprintf(w, "%s\t%d\t%s\n", l.ID, l.Records, says)
				}
			}); err != nil {
				return err
			}
			if failed > 0 {
				return fmt.Errorf("%d of %d stay set aside", failed, len(list))
			}
			return nil
		}),
	}
	cmd.Flags().StringVar(&replay, "replay", "", "try the one with this ID again, or all of them")
	return cmd
}

// trail is what the auditor is told of it.
func (a *AuditorAWSConfig) trail() *auditor.TrailConfig {
	if a == nil {
		return nil
	}
	return &auditor.TrailConfig{
		AWS:    cloudtrail.AWSConfig{Region: a.Region, Dial: a.Dial, CAFile: a.CAFile, RoleARN: a.RoleARN, ExternalID: a.ExternalID},
		Queues: a.Queues, LookupRegions: a.LookupRegions,
	}
}
