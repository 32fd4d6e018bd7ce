package main

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
	"github.com/posternhq/postern/broker/policy"
	"github.com/posternhq/postern/broker/resource"
)

func (c *cli) requestCreate() *cobra.Command {
	var in api.CreateRequest
	var begin string
	var dry bool
	cmd := &cobra.Command{
		Use: "create --roles R[,R] | --resource ARN… --reason T", Short: "Ask for roles, or for AWS roles and accounts one by one",
		Args: func(_ *cobra.Command, args []string) error { return moreResources(&in, args) },
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, _ []string) error {
			in.Roles, in.SuggestedReviewers = trimmed(in.Roles), trimmed(in.SuggestedReviewers)
			if len(in.Roles) == 0 && len(in.Resources) == 0 {
				return usageError{errors.New("what to ask for? give --roles or --resource")}
			}
			var err error
			if in.StartsAt, err = startTime(begin, time.Now()); err != nil {
				return err
			}
			if dry {
				p, err := b.PreviewRequest(cmd.Context(), in)
				if err != nil {
					return err
				}
				return c.printPreview(&p)
			}
			r, err := b.CreateRequest(cmd.Context(), in)
			if err != nil {
				return err
			}
			return c.printRequest(&r)
		}),
	}
	f := cmd.Flags()
	f.StringSliceVar(&in.Roles, "roles", nil, "roles to ask for")
	f.StringArrayVar(&in.Resources, "resource", nil, "AWS role ARN, or account id, to ask for")
	f.StringVar(&in.Reason, "reason", "", "why, for those who decide")
	f.StringVar(&in.TTL, "ttl", "", "how long the access lasts once approved, such as 2h or 7d")
	f.StringVar(&in.PendingTTL, "pending-ttl", "", "how long the request waits for a decision (default 24h)")
	f.StringVar(&begin, "assume-start", "", "when the access begins at the earliest: a time (RFC 3339) or from now, such as 3h or 2d")
	f.StringSliceVar(&in.SuggestedReviewers, "reviewers", nil, "whom to ask, in place of those whom roles suggest")
	f.BoolVar(&in.BreakGlass, "break-glass", false, "get in at once, where a role allows it; needs a reason, and a review is owed afterwards")
	f.BoolVar(&dry, "dry-run", false, "show what would be granted and who can approve; ask for nothing")
	return cmd
}

// moreResources takes what follows --resource X as more of the same.
func moreResources(in *api.CreateRequest, args []string) error {
	for _, a := range args {
		if len(in.Resources) == 0 || !strings.HasPrefix(a, "arn:") && policy.CheckAccount(a) != nil {
			return usageError{fmt.Errorf("%q belongs to no flag: give several roles as --roles a,b without spaces, several AWS roles and accounts as --resource X --resource Y", a)}
		}
		in.Resources = append(in.Resources, a)
	}
	return nil
}

// trimmed are names without the spaces around them.
func trimmed(names []string) []string {
	var out []string
	for _, n := range names {
		if n = strings.TrimSpace(n); n != "" {
			out = append(out, n)
		}
	}
	return out
}

// startTime reads a time or how far ahead it is; empty is none.
func startTime(s string, now time.Time) (*time.Time, error) {
	if s == "" {
		return nil, nil
	}
	if d, err := resource.ParseDuration(s); err == nil {
		at := now.Add(d)
		return &at, nil
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return nil, usageError{fmt.Errorf("--assume-start: %q is neither a time such as 2026-07-01T18:00:00Z nor a duration such as 3h or 2d", s)}
	}
	return &at, nil
}

func (c *cli) printPreview(p *api.RequestPreview) error {
	return c.print(p, func(w *tabwriter.Writer) {
		writeRequest(w, &p.Request)
		for _, r := range p.AWSRoles {
			fmt.Fprintf(w, "Would add:\t%s of app %s, by %s\n", r.ARN, r.App, strings.Join(r.Roles, ", "))
		}
		switch {
		case p.Request.State == "approved":
		case len(p.Reviewers) == 0:
			fmt.Fprintf(w, "Can approve:\tnobody at the moment\n")
		default:
			fmt.Fprintf(w, "Can approve:\t%s\n", strings.Join(p.Reviewers, ", "))
		}
		fmt.Fprintf(w, "Note:\ta dry run: nothing was asked for\n")
	})
}
