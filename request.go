package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
)

func (c *cli) request() *cobra.Command {
	cmd := &cobra.Command{Use: "request", Short: "Access requests: ask, look, review"}
	cmd.AddCommand(c.requestCreate(), c.requestList(), c.requestShow(), c.requestReview(), c.requestDrop(), c.requestRevoke())
	return cmd
}

func (c *cli) requestList() *cobra.Command {
	var state string
	cmd := &cobra.Command{
		Use: "ls", Short: "Requests that are yours or that you may review", Args: cobra.NoArgs,
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, _ []string) error {
			rs, err := b.Requests(cmd.Context(), state)
			if err != nil {
				return err
			}
			return c.print(rs, func(w *tabwriter.Writer) {
				fmt.Fprintln(w, "ID\tUSER\tASKS FOR\tSTATE\tCREATED\tREASON")
				for _, r := range rs {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.ID, r.User, asks(&r), stateOf(&r), r.CreatedAt.Local().Format(time.DateTime), oneLine(r.Reason))
				}
			})
		}),
	}
	cmd.Flags().StringVar(&state, "state", "", "pending, approved, denied, expired, dropped, promoted or revoked")
	return cmd
}

func (c *cli) requestShow() *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "One request", Args: cobra.ExactArgs(1),
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
			r, err := b.Request(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.printRequest(&r)
		}),
	}
}

func (c *cli) requestReview() *cobra.Command {
	var approve, deny bool
	var reason, list, ttl string
	cmd := &cobra.Command{
		Use: "review --approve|--deny|--promote LIST [--reason T] ID", Short: "Approve or deny a request, or make its asker a member of an access list", Args: cobra.ExactArgs(1),
		Long: "Approve or deny a request, or make its asker a member of an access list. Until a request is decided, a reviewer may change their mind.",
		PreRunE: func(*cobra.Command, []string) error {
			if list == "" && approve == deny { // --deny=false is no verdict, and not the other one
				return usageError{errors.New("what is it? give --approve, --deny or --promote LIST")}
			}
			return nil
		},
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
	cmd.Flags().BoolVar(&approve, "approve", false, "approve it")
	cmd.Flags().BoolVar(&deny, "deny", false, "deny it")
	cmd.Flags().StringVar(&reason, "reason", "", "why")
	cmd.Flags().StringVar(&list, "promote", "", "access list of yours that grants what is asked for: makes the asker a member")
	cmd.Flags().StringVar(&ttl, "ttl", "", "end of the membership by itself, such as 90d")
	cmd.MarkFlagsOneRequired("approve", "deny", "promote")
	cmd.MarkFlagsMutuallyExclusive("approve", "deny", "promote")
	return cmd
}

func (c *cli) requestDrop() *cobra.Command {
	return &cobra.Command{
		Use: "drop ID", Short: "Give a request, or the access it gave, up", Args: cobra.ExactArgs(1),
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
			if err := b.DropRequest(cmd.Context(), args[0]); err != nil {
				return err
			}
			c.say("Dropped %s.", args[0])
			return nil
		}),
	}
}

func (c *cli) requestRevoke() *cobra.Command {
	var in api.RevokeRequest
	cmd := &cobra.Command{
		Use: "revoke [--reason T] ID", Short: "Take granted access back, which ends its sessions (a reviewer)", Args: cobra.ExactArgs(1),
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
			r, err := b.RevokeRequest(cmd.Context(), args[0], in)
			if err != nil {
				return err
			}
			return c.printRequest(&r)
		}),
	}
	cmd.Flags().StringVar(&in.Reason, "reason", "", "why")
	return cmd
}

// stateOf is a request's state for people.
func stateOf(r *api.Request) string {
	switch {
	case r.ReviewOwed:
		return r.State + " (review owed)"
	case r.State == "approved" && r.AccessExpiresAt != nil && !r.AccessExpiresAt.After(time.Now()):
		return "approved (over)"
	}
	return r.State
}

func asks(r *api.Request) string {
	if r.Call != nil {
		return oneLine(fmt.Sprintf("call %s on %s", orDash(r.Call.Action), orDash(strings.Join(r.Call.Resources, ", "))))
	}
	return oneLine(strings.Join(append(append([]string{}, r.Roles...), r.Resources...), ", "))
}

func (c *cli) printRequest(r *api.Request) error {
	return c.print(r, func(w *tabwriter.Writer) { writeRequest(w, r) })
}

func writeRequest(w *tabwriter.Writer, r *api.Request) {
	fmt.Fprintf(w, "Request:\t%s\n", orDash(r.ID))
	fmt.Fprintf(w, "User:\t%s\n", r.User)
	fmt.Fprintf(w, "Asks for:\t%s\n", asks(r))
	if r.Call != nil {
		writeCall(w, r.Call)
	} else {
		fmt.Fprintf(w, "Reason:\t%s\n", orDash(oneLine(r.Reason)))
	}
	fmt.Fprintf(w, "State:\t%s\n", stateOf(r))
	switch {
	case r.BreakGlass:
		fmt.Fprintf(w, "Approved:\tby nobody: the glass was broken\n")
	case r.ApprovedByRule != "":
		fmt.Fprintf(w, "Approved:\tby the rule %s\n", oneLine(r.ApprovedByRule))
	}
	if r.DroppedBy != "" && r.DroppedBy != r.User {
		fmt.Fprintf(w, "Ended by:\t%s %s\n", r.DroppedBy, oneLine(r.DropReason))
	}
	for _, v := range r.Reviews {
		fmt.Fprintf(w, "Review:\t%s by %s %s\n", v.Verdict, v.Reviewer, oneLine(v.Reason))
	}
	if r.StartsAt != nil {
		fmt.Fprintf(w, "Begins:\t%s\n", r.StartsAt.Local().Format(time.DateTime))
	}
	if r.State == "approved" && r.AccessExpiresAt != nil {
		fmt.Fprintf(w, "Access until:\t%s\n", until(*r.AccessExpiresAt))
	}
	if r.State != "pending" && !r.ReviewOwed {
		return
	}
	for i, t := range r.Thresholds {
		fmt.Fprintf(w, "Decided by:\t%s\n", threshold(r, i, t))
	}
	if len(r.SuggestedReviewers) > 0 {
		fmt.Fprintf(w, "Ask:\t%s\n", oneLine(strings.Join(r.SuggestedReviewers, ", ")))
	}
	if r.State == "pending" {
		fmt.Fprintf(w, "Decide by:\t%s\n", until(r.ExpiresAt))
	}
	if r.ID != "" {
		fmt.Fprintf(w, "Next:\tpostern request review --approve %s (a reviewer)\n", r.ID)
	}
}

// threshold says how many reviews decide.
func threshold(r *api.Request, i int, t api.Threshold) string {
	s := howMany(t.Approve, "approve") + ", " + howMany(t.Deny, "deny")
	if t.Name != "" {
		s = oneLine(t.Name) + ": " + s
	}
	if t.Filter != "" {
		s += ", of those with " + oneLine(t.Filter)
	}
	for n, set := range r.ThresholdSets {
		if slices.Contains(set, i) {
			s += fmt.Sprintf(" (set %d of %d)", n+1, len(r.ThresholdSets))
		}
	}
	return s
}

// howMany says how many reviews bring a verdict about; 0 never do.
func howMany(n int, verdict string) string {
	if n == 0 {
		return "none to " + verdict
	}
	return fmt.Sprintf("%d to %s", n, verdict)
}

func writeCall(w *tabwriter.Writer, call *api.HeldCall) {
	for _, line := range [][2]string{
		{"Operation", strings.Trim(call.Service+" "+call.Operation, " ")}, {"Action", strings.Join(append([]string{call.Action}, call.Also...), ", ")},
		{"Resources", strings.Join(call.Resources, ", ")}, {"Account", call.Account}, {"Region", call.Region},
		{"AWS role", call.AWSRoleARN}, {"Request line", call.Method + " https://" + call.Host + call.Path},
		{"Parameters", call.Parameters}, {"Wanted by", "role " + strings.Join(call.Roles, ", ")}, {"Digest", call.Digest},
	} {
		if line[1] != "" {
			fmt.Fprintf(w, "%s:\t%s\n", line[0], oneLine(line[1]))
		}
	}
}
