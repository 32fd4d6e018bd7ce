package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
)

func (c *cli) access() *cobra.Command {
	cmd := &cobra.Command{Use: "access", Short: "Who could do what, when"}
	var q client.AccessQuestion
	const times = "A time is RFC 3339, a date (UTC), an age such as 2h or 7d, or now."
	at := &cobra.Command{
		Use: "at TIME [--user U] [--app A] [--aws-role R]", Short: "Who could use which AWS roles at a time, and by which events", Args: cobra.ExactArgs(1),
		Long: "Who could use which AWS roles at a time, and by which events: the history is\nplayed again up to then. " + times,
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
			a, err := b.AccessAt(cmd.Context(), args[0], q)
			if err != nil {
				return err
			}
			c.warn(a.Warnings)
			return c.print(a, func(w *tabwriter.Writer) { printAccess(w, &a) })
		}),
	}
	diff := &cobra.Command{
		Use: "diff T1 [T2] [--user U] [--app A] [--aws-role R]", Short: "What was gained and lost between two times, and by which events", Args: cobra.RangeArgs(1, 2),
		Long: "What was gained and lost between two times (the second is now where it is left\nout), and by which events. " + times,
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
			d, err := b.AccessDiff(cmd.Context(), args[0], strings.Join(args[1:], ""), q)
			if err != nil {
				return err
			}
			c.warn(d.Warnings)
			return c.print(d, func(w *tabwriter.Writer) { printAccessDiff(w, &d) })
		}),
	}
	for _, sub := range []*cobra.Command{at, diff} {
		sub.Flags().StringVar(&q.User, "user", "", "this user only; others than you need the rule read audit")
		sub.Flags().StringVar(&q.App, "app", "", "this app only")
		sub.Flags().StringVar(&q.AWSRole, "aws-role", "", "this IAM role only, by name or ARN")
		cmd.AddCommand(sub)
	}
	cmd.AddCommand(c.whatIf())
	return cmd
}

func (c *cli) warn(warnings []string) {
	for _, w := range warnings {
		c.say("warning: %s", oneLine(w))
	}
}

func printAccess(w *tabwriter.Writer, a *api.Access) {
	fmt.Fprintf(w, "At %s (event %d of the history)\n", a.At.Local().Format(time.RFC3339), a.Sequence)
	for _, u := range a.Users {
		fmt.Fprintf(w, "\n%s: %s\n", oneLine(u.User), u.State)
		if u.State != "active" {
			printCauses(w, "  ", u.Because)
		}
		if len(u.AWSRoles) == 0 {
			fmt.Fprintln(w, "  could use no AWS role")
		}
		for _, r := range u.AWSRoles {
			printCould(w, &r)
		}
		for _, app := range slices.Sorted(maps.Keys(u.Wildcards)) {
			fmt.Fprintf(w, "  %s: and whatever matches %s; ask with --aws-role ARN\n", app, oneLine(strings.Join(u.Wildcards[app], ", ")))
		}
	}
	if len(a.Sessions) == 0 {
		return
	}
	fmt.Fprintln(w, "\nSessions that ran:")
	for _, r := range a.Sessions {
		s := r.Session
		fmt.Fprintf(w, "  %s of %s on %s as %s, %s to %s%s\n", s.ID, oneLine(s.User), s.App, s.AWSRoleARN,
			s.StartedAt.Local().Format(time.DateTime), s.ExpiresAt.Local().Format(time.DateTime), stoppedBy(r.Locks))
		printCauses(w, "    ", r.Because)
	}
}

func printCould(w *tabwriter.Writer, r *api.CouldUse) {
	can := "could use"
	if !r.Usable {
		can = "could not use"
	}
	fmt.Fprintf(w, "  %s %s on %s\n", can, r.ARN, r.App)
	if r.Refused != "" {
		fmt.Fprintf(w, "    %s\n", oneLine(r.Refused))
		printCauses(w, "      ", r.Because)
	}
	for _, way := range r.Ways {
		how := "by " + strings.Join(way.Roles, ", ")
		if len(way.RequestIDs) > 0 {
			how += " (request " + strings.Join(way.RequestIDs, ", ") + ")"
		}
		if len(way.AccessLists) > 0 {
			how += " (access list " + strings.Join(way.AccessLists, ", ") + ")"
		}
		if way.ExpiresAt != nil {
			how += " until " + way.ExpiresAt.Local().Format(time.DateTime)
		}
		fmt.Fprintf(w, "    %s%s\n", how, stoppedBy(way.Locks))
		for _, p := range way.Permissions {
			fmt.Fprintf(w, "      %s %s (role %s)\n", strings.ToLower(p.Effect), calls(&p), p.Role)
		}
		printCauses(w, "      ", way.Because)
	}
}

// calls says which AWS calls a permission speaks of.
func calls(p *api.Permission) string {
	s := "all actions"
	if len(p.Actions) > 0 {
		s = strings.Join(p.Actions, ", ")
	}
	if len(p.Resources) > 0 {
		s += " on " + strings.Join(p.Resources, ", ")
	}
	if len(p.Regions) > 0 {
		s += " in " + strings.Join(p.Regions, ", ")
	}
	return oneLine(s)
}

func stoppedBy(locks []api.Lock) string {
	s := ""
	for _, l := range locks {
		s += fmt.Sprintf("; stopped by lock %s on %s %s", l.ID, l.Target.Kind, l.Target.Name)
		if l.Message != "" {
			s += ": " + l.Message
		}
	}
	return oneLine(s)
}

func printCauses(w *tabwriter.Writer, indent string, causes []api.Cause) {
	for _, x := range causes {
		fmt.Fprintf(w, "%s%s, %s\n", indent, causeLine(&x), x.At.Local().Format(time.DateTime))
	}
}

func causeLine(x *api.Cause) string {
	verb := strings.TrimSuffix(x.Type[strings.LastIndexByte(strings.TrimSuffix(x.Type, ".v1"), '.')+1:], ".v1")
	s := x.Subject + " " + verb
	if x.Revision > 0 {
		s += fmt.Sprintf(" (revision %d)", x.Revision)
	}
	return oneLine(fmt.Sprintf("%s by %s, event %s", s, orDash(x.By), x.EventID))
}

func printAccessDiff(w *tabwriter.Writer, d *api.AccessDiff) {
	fmt.Fprintf(w, "From %s to %s\n", d.From.Local().Format(time.RFC3339), d.To.Local().Format(time.RFC3339))
	if len(d.Changes) == 0 {
		fmt.Fprintln(w, "Nothing was gained or lost.")
	}
	for _, x := range d.Changes {
		fmt.Fprintf(w, "\n%s %s: %s on %s\n", oneLine(x.User), x.Effect, x.ARN, x.App)
		for _, s := range x.Steps {
			how := ""
			if s.Expired {
				how = "by time, as set by "
			}
			fmt.Fprintf(w, "  %s %s %s%s\n", s.At.Local().Format(time.DateTime), s.Effect, how, causeLine(&s.Cause))
		}
		if x.After != nil && x.After.Usable {
			for _, way := range x.After.Ways {
				for _, p := range way.Permissions {
					fmt.Fprintf(w, "  now: %s %s (role %s)\n", strings.ToLower(p.Effect), calls(&p), p.Role)
				}
			}
		}
	}
}
