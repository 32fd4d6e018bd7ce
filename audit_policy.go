package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/posternhq/postern/auditor/client"
	"github.com/posternhq/postern/auditor/query"
)

// leastPolicy is what `postern audit policy` says.
type leastPolicy struct {
	*query.LeastPolicy
	// Granted is what --policy allows, with what was used of it.
	Granted []query.Granted `json:"granted,omitempty"`
}

func (c *cli) auditPolicy() *cobra.Command {
	var f query.PolicyFilter
	var granted []string
	cmd := &cobra.Command{
		Use: "policy --aws-role R", Short: "The least IAM policy that allows what was used of a role", Args: cobra.NoArgs, Annotations: knows(rowFormats),
		Long: "The least IAM policy that allows what was used of an IAM role through postern:\n" +
			"actions, resources and regions as they were recorded. Resources that lie in one\n" +
			"place are named by it where they are more than five. Several policies, one JSON\n" +
			"document each, where IAM's limit on one asks for it. With --policy, a file with a\n" +
			"policy of the role's, stderr says what it allows that nobody used. What was denied\n" +
			"by AWS or went around postern is left out; --format=json has all that is known.",
		PreRunE: sinceIn(&f.Since),
		RunE: c.withAuditor(func(cmd *cobra.Command, a *client.Client, _ []string) error {
			files := make([][]byte, len(granted))
			for i, name := range granted {
				var err error
				if files[i], err = os.ReadFile(name); err != nil {
					return err
				}
			}
			p, err := a.Policy(cmd.Context(), f)
			if err != nil {
				return err
			}
			out := leastPolicy{LeastPolicy: p}
			for i, b := range files {
				g, err := p.Unneeded(b)
				if err != nil {
					return fmt.Errorf("%s: %w", granted[i], err)
				}
				out.Granted = append(out.Granted, g...)
			}
			if err := c.printRows(out, func() *query.Table { return query.Rows(p) }, "", func(w *tabwriter.Writer) { printPolicies(w, p) }); err != nil {
				return err
			}
			c.sayPolicy(out)
			return nil
		}),
	}
	cmd.Flags().StringVar(&f.AWSRole, "aws-role", "", "IAM role, by name or ARN")
	cmd.Flags().StringVar(&f.Since, "since", "", "used from this time on")
	cmd.Flags().StringArrayVar(&granted, "policy", nil, "file with a policy that the role has: say what of it was never used; may be repeated")
	_ = cmd.MarkFlagRequired("aws-role")
	return cmd
}

func printPolicies(w *tabwriter.Writer, p *query.LeastPolicy) {
	for _, d := range p.Policies {
		b, err := json.MarshalIndent(d, "", "  ")
		if err != nil {
			fmt.Fprintln(w, err)
		}
		fmt.Fprintf(w, "%s\n", b)
	}
}

// sayPolicy says what a reader of the policies should know.
func (c *cli) sayPolicy(p leastPolicy) {
	if len(p.Policies) == 0 {
		c.say("no call under this role is recorded: there is nothing to allow")
	}
	if len(p.AWSRoles) > 1 {
		c.say("this is the use of several roles: %s", strings.Join(p.AWSRoles, ", "))
	}
	for _, g := range p.Granted {
		if len(g.Used) == 0 {
			c.say("granted, never used: %s", oneLine(g.Action))
		} else if strings.Contains(g.Action, "*") || len(g.Used) > 1 {
			c.say("granted: %s; used: %s", oneLine(g.Action), strings.Join(g.Used, ", "))
		}
	}
	for _, x := range p.Unrecognised {
		c.say("left out: %s %s, of which the IAM action is not known (%d calls)", x.Service, orDash(oneLine(x.Operation)), x.Calls)
	}
	for _, x := range p.Elsewhere {
		c.say("left out: %s %s, not through postern's proxy (%s, %d calls)", x.Service, oneLine(x.Operation), orDash(x.Verdict), x.Calls)
	}
	for _, arn := range p.Inexact {
		c.say("not exact: %s has characters that IAM takes in no policy; in their places are ? and *", oneLine(arn))
	}
	if !p.Since.IsZero() {
		c.say("from what was used since %s", utc(p.Since))
	}
}
