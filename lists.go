package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
)

func (c *cli) lists() *cobra.Command {
	cmd := &cobra.Command{Use: "lists", Short: "Access lists: look, change the members, review"}
	ls := &cobra.Command{
		Use: "ls", Short: "Access lists that you own, are in or may read, and when their reviews are due", Args: cobra.NoArgs,
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, _ []string) error {
			all, err := b.AccessLists(cmd.Context())
			if err != nil {
				return err
			}
			return c.print(all, func(w *tabwriter.Writer) {
				fmt.Fprintln(w, "LIST\tGRANTS\tYOU ARE\tREVIEW DUE\tSTATE")
				for _, l := range all {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", l.Name, listGrants(&l), partIn(&l), l.NextAuditDate.Local().Format(time.DateOnly), listState(&l))
				}
			})
		}),
	}
	show := &cobra.Command{
		Use: "show LIST", Short: "One access list and, for its owners, its members", Args: cobra.ExactArgs(1),
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
			l, err := b.AccessList(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.printList(&l)
		}),
	}
	cmd.AddCommand(ls, show, c.listsAdd(), c.listsRm(), c.listsReview())
	return cmd
}

func (c *cli) listsAdd() *cobra.Command {
	var in api.AddMember
	cmd := &cobra.Command{
		Use: "add [--list] [--ttl D] [--reason T] LIST MEMBER", Short: "Make a user, or the members of another list, members (owners)", Args: cobra.ExactArgs(2),
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
			m := member(cmd, args[1])
			in.Name, in.Kind = m.Name, m.Kind
			l, err := b.AddMember(cmd.Context(), args[0], in)
			if err != nil {
				return err
			}
			return c.printList(&l)
		}),
	}
	memberFlag(cmd)
	cmd.Flags().StringVar(&in.TTL, "ttl", "", "end of the membership by itself, such as 90d")
	cmd.Flags().StringVar(&in.Reason, "reason", "", "why")
	return cmd
}

func (c *cli) listsRm() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "rm [--list] [--reason T] LIST MEMBER", Short: "End a membership, and the sessions that it alone allowed (owners)", Args: cobra.ExactArgs(2),
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
			if err := b.RemoveMember(cmd.Context(), args[0], member(cmd, args[1]), reason); err != nil {
				return err
			}
			c.say("%s is not a member of %s any more.", args[1], args[0])
			return nil
		}),
	}
	memberFlag(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why")
	return cmd
}

func (c *cli) listsReview() *cobra.Command {
	var in api.ReviewList
	var users, lists []string
	cmd := &cobra.Command{
		Use: "review [--remove U]… [--remove-list L]… [--notes T] LIST", Short: "Say that you looked the members through: some go, all others stay (owners)", Args: cobra.ExactArgs(1),
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
			for _, u := range users {
				in.Remove = append(in.Remove, api.ListMember{Name: u, Kind: "user"})
			}
			for _, l := range lists {
				in.Remove = append(in.Remove, api.ListMember{Name: l, Kind: "list"})
			}
			l, err := b.ReviewList(cmd.Context(), args[0], in)
			if err != nil {
				return err
			}
			return c.printList(&l)
		}),
	}
	cmd.Flags().StringArrayVar(&users, "remove", nil, "user to take out")
	cmd.Flags().StringArrayVar(&lists, "remove-list", nil, "list to take out")
	cmd.Flags().StringVar(&in.Notes, "notes", "", "what there is to say")
	return cmd
}

func memberFlag(cmd *cobra.Command) {
	cmd.Flags().Bool("list", false, "MEMBER is an access list, not a user")
}

func member(cmd *cobra.Command, name string) api.ListMember {
	if is, _ := cmd.Flags().GetBool("list"); is {
		return api.ListMember{Name: name, Kind: "list"}
	}
	return api.ListMember{Name: name, Kind: "user"}
}

func listGrants(l *api.AccessList) string {
	out := append([]string{}, l.Roles...)
	for t := range l.Traits {
		out = append(out, "trait "+t)
	}
	return oneLine(strings.Join(out, ", "))
}

func partIn(l *api.AccessList) string {
	var out []string
	if l.Owner {
		out = append(out, "owner")
	}
	if l.Member {
		out = append(out, "member")
	}
	return orDash(strings.Join(out, ", "))
}

// listState says what the review of a list comes to.
func listState(l *api.AccessList) string {
	switch l.State {
	case "review_due":
		return "review due"
	case "overdue":
		return "overdue: suspended from " + l.SuspendsAt.Local().Format(time.DateTime) + " on unless reviewed"
	case "suspended":
		return "SUSPENDED: gives nothing until reviewed"
	}
	return l.State
}

func (c *cli) printList(l *api.AccessList) error {
	return c.print(l, func(w *tabwriter.Writer) {
		fmt.Fprintf(w, "List:\t%s\n", l.Name)
		fmt.Fprintf(w, "Title:\t%s\n", orDash(oneLine(l.Title)))
		for _, o := range l.Owners {
			fmt.Fprintf(w, "Owner:\t%s\n", listMember(o))
		}
		fmt.Fprintf(w, "Grants:\t%s\n", listGrants(l))
		fmt.Fprintf(w, "State:\t%s\n", listState(l))
		if l.ReviewedAt != nil {
			fmt.Fprintf(w, "Reviewed:\t%s by %s\n", l.ReviewedAt.Local().Format(time.DateTime), oneLine(l.ReviewedBy))
		}
		fmt.Fprintf(w, "Review due:\t%s, by an owner: postern lists review %s\n", until(l.NextAuditDate), l.Name)
		for _, m := range l.Members {
			line := listMember(api.ListMember{Name: m.Name, Kind: m.Kind})
			if m.ExpiresAt != nil {
				line += " until " + until(*m.ExpiresAt)
			}
			line += ", added by " + m.AddedBy
			if m.Reason != "" {
				line += ": " + m.Reason
			}
			if m.Without != "" {
				line += " (gives nothing: " + m.Without + ")"
			}
			fmt.Fprintf(w, "Member:\t%s\n", oneLine(line))
		}
	})
}

func listMember(m api.ListMember) string {
	if m.Kind == "list" {
		return "members of " + oneLine(m.Name)
	}
	return oneLine(m.Name)
}
