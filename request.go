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
)

// withBroker gives a command a client that acts as the user.
func (c *cli) withBroker(do func(cmd *cobra.Command, b *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		p, err := c.profile()
		if err != nil {
			return err
		}
		b, err := p.broker()
		if err != nil {
			return err
		}
		return do(cmd, b, args)
	}
}

func (c *cli) request() *cobra.Command {
	cmd := &cobra.Command{Use: "request", Short: "Access requests: ask, look, review"}

	var in api.CreateRequest
	create := &cobra.Command{
		Use: "create --roles R[,R] | --resource ARN… --reason T", Short: "Ask for roles, or for AWS roles one by one", Args: cobra.NoArgs,
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, _ []string) error {
			if len(in.Roles) == 0 && len(in.Resources) == 0 {
				return usageError{errors.New("what to ask for? give --roles or --resource")}
			}
			r, err := b.CreateRequest(cmd.Context(), in)
			if err != nil {
				return err
			}
			return c.printRequest(&r)
		}),
	}
	f := create.Flags()
	f.StringSliceVar(&in.Roles, "roles", nil, "roles to ask for")
	f.StringArrayVar(&in.Resources, "resource", nil, "AWS role ARN to ask for")
	f.StringVar(&in.Reason, "reason", "", "why, for those who decide")
	f.StringVar(&in.TTL, "ttl", "", "how long the access lasts once approved, such as 2h")

	ls := &cobra.Command{
		Use: "ls", Short: "Requests that are yours or that you may review", Args: cobra.NoArgs,
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, _ []string) error {
			rs, err := b.Requests(cmd.Context(), "")
			if err != nil {
				return err
			}
			return c.print(rs, func(w *tabwriter.Writer) {
				fmt.Fprintln(w, "ID\tUSER\tASKS FOR\tSTATE\tCREATED\tREASON")
				for _, r := range rs {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.ID, r.User, asks(&r), r.State, r.CreatedAt.Local().Format(time.DateTime), oneLine(r.Reason))
				}
			})
		}),
	}
	show := &cobra.Command{
		Use: "show ID", Short: "One request", Args: cobra.ExactArgs(1),
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
			r, err := b.Request(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.printRequest(&r)
		}),
	}
	var approve, deny bool
	var reason, list, ttl string
	review := &cobra.Command{
		Use: "review --approve|--deny|--promote LIST [--reason T] ID", Short: "Approve or deny a request, or make its asker a member of an access list", Args: cobra.ExactArgs(1),
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
			if list != "" {
				r, err := b.Promote(cmd.Context(), args[0], api.PromoteRequest{AccessList: list, TTL: ttl, Reason: reason})
				if err != nil {
					return err
				}
				return c.printRequest(&r)
			}
			verdict := "approve"
			if deny {
				verdict = "deny"
			}
			r, err := b.Review(cmd.Context(), args[0], api.CreateReview{Verdict: verdict, Reason: reason})
			if err != nil {
				return err
			}
			return c.printRequest(&r)
		}),
	}
	review.Flags().BoolVar(&approve, "approve", false, "approve it")
	review.Flags().BoolVar(&deny, "deny", false, "deny it")
	review.Flags().StringVar(&reason, "reason", "", "why")
	review.Flags().StringVar(&list, "promote", "", "access list of yours that grants what is asked for: makes the asker a member")
	review.Flags().StringVar(&ttl, "ttl", "", "end of the membership by itself, such as 90d")
	review.MarkFlagsOneRequired("approve", "deny", "promote")
	review.MarkFlagsMutuallyExclusive("approve", "deny", "promote")
	drop := &cobra.Command{
		Use: "drop ID", Short: "Give a request, or the access it gave, up", Args: cobra.ExactArgs(1),
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
			if err := b.DropRequest(cmd.Context(), args[0]); err != nil {
				return err
			}
			c.say("Dropped %s.", args[0])
			return nil
		}),
	}
	cmd.AddCommand(create, ls, show, review, drop)
	return cmd
}

func asks(r *api.Request) string {
	return oneLine(strings.Join(append(append([]string{}, r.Roles...), r.Resources...), ", "))
}

func (c *cli) printRequest(r *api.Request) error {
	return c.print(r, func(w *tabwriter.Writer) {
		fmt.Fprintf(w, "Request:\t%s\n", r.ID)
		fmt.Fprintf(w, "User:\t%s\n", r.User)
		fmt.Fprintf(w, "Asks for:\t%s\n", asks(r))
		fmt.Fprintf(w, "Reason:\t%s\n", orDash(oneLine(r.Reason)))
		fmt.Fprintf(w, "State:\t%s\n", r.State)
		for _, v := range r.Reviews {
			fmt.Fprintf(w, "Review:\t%s by %s %s\n", v.Verdict, v.Reviewer, oneLine(v.Reason))
		}
		switch r.State {
		case "pending":
			fmt.Fprintf(w, "Decide by:\t%s\n", until(r.ExpiresAt))
			if len(r.SuggestedReviewers) > 0 {
				fmt.Fprintf(w, "Ask:\t%s\n", strings.Join(r.SuggestedReviewers, ", "))
			}
			fmt.Fprintf(w, "Next:\tpostern request review --approve %s (a reviewer)\n", r.ID)
		case "approved":
			if r.AccessExpiresAt != nil {
				fmt.Fprintf(w, "Access until:\t%s\n", until(*r.AccessExpiresAt))
			}
		}
	})
}

// oneLine keeps text that somebody else wrote from forging lines or moving the
// cursor of a terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return ' '
		}
		return r
	}, s)
}
