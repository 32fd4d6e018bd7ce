package main

import (
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
)

// lockKinds are the flags of `postern lock` and the target kinds they mean.
var lockKinds = []struct{ flag, kind, help string }{
	{"user", "user", "a user"},
	{"role", "role", "everyone who acts by a role"},
	{"session", "session", "one session, by id"},
	{"app", "app", "an app"},
	{"aws-role", "aws_role", "an IAM role, by ARN"},
	{"account", "account", "an AWS account, by id"},
	{"request", "request", "what an access request allowed, by id"},
	{"agent", "agent", "a proxy, by name"},
	{"device", "device", "a machine, by its id in postern sessions ls --all"},
}

// counted is the value of a flag that knows how often it was given.
type counted struct {
	pflag.Value
	times int
}

func (v *counted) Set(s string) error {
	v.times++
	return v.Value.Set(s)
}

func (c *cli) lock() *cobra.Command {
	var in api.CreateLock
	cmd := &cobra.Command{
		Use: "lock --user|--role|--session|--app|--aws-role|--account|--request|--agent|--device X", Short: "Identity locks: stop at once, running requests included", Args: cobra.NoArgs,
		PreRunE: func(cmd *cobra.Command, _ []string) error {
			for _, k := range lockKinds {
				f := cmd.Flags().Lookup(k.flag)
				if f.Changed {
					in.Target = api.LockTarget{Kind: k.kind, Name: f.Value.String()}
				}
				if f.Value.(*counted).times > 1 { // or the last alone would be locked
					return usageError{fmt.Errorf("--%s is given twice: a lock is of one, so place another for the other", k.flag)}
				}
			}
			if in.Target.Name == "" {
				return usageError{errors.New("what to lock? give --user, --role, --session, --app, --aws-role, --account, --request, --agent or --device")}
			}
			return nil
		},
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, _ []string) error {
			l, err := b.PlaceLock(cmd.Context(), in)
			var unknown *api.Error
			if in.Target.Kind == "user" && errors.As(err, &unknown) && unknown.Code == api.CodeNotFound {
				user := cmd.Flags().Lookup("user") // who is recorded by a pseudonym is known by name to people
				if several := c.asRecorded(cmd.Context(), b, user); several != nil {
					return several
				}
				if pseudonym := user.Value.String(); pseudonym != in.Target.Name {
					in.Target.Name = pseudonym
					l, err = b.PlaceLock(cmd.Context(), in)
				}
			}
			if err != nil {
				return err
			}
			if l.Warning != "" {
				c.say("warning: %s", oneLine(l.Warning))
			}
			return c.print(l, func(w *tabwriter.Writer) {
				fmt.Fprintf(w, "Locked %s %s. To lift: postern lock rm %s\n", l.Target.Kind, oneLine(l.Target.Name), l.ID)
			})
		}),
	}
	flags := make([]string, len(lockKinds))
	for i, k := range lockKinds {
		cmd.Flags().String(k.flag, "", k.help)
		f := cmd.Flags().Lookup(k.flag)
		f.Value = &counted{Value: f.Value}
		flags[i] = k.flag
	}
	cmd.MarkFlagsMutuallyExclusive(flags...)
	cmd.Flags().StringVar(&in.Message, "message", "", "what those who are stopped get to read")
	cmd.Flags().StringVar(&in.TTL, "ttl", "", "end of the lock by itself, such as 2h or 7d")
	cmd.AddCommand(
		&cobra.Command{
			Use: "ls", Short: "Locks in force", Args: cobra.NoArgs,
			RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, _ []string) error {
				ls, err := b.Locks(cmd.Context())
				if err != nil {
					return err
				}
				return c.print(ls, func(w *tabwriter.Writer) {
					fmt.Fprintln(w, "ID\tKIND\tTARGET\tBY\tUNTIL\tMESSAGE")
					for _, l := range ls {
						end := "lifted"
						if l.ExpiresAt != nil {
							end = until(*l.ExpiresAt)
						}
						fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", l.ID, l.Target.Kind, oneLine(l.Target.Name), l.By, end, oneLine(l.Message))
					}
				})
			}),
		},
		&cobra.Command{
			Use: "rm ID", Short: "Lift a lock", Args: cobra.ExactArgs(1),
			RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
				if err := b.LiftLock(cmd.Context(), args[0]); err != nil {
					return err
				}
				c.say("Lifted %s.", args[0])
				return nil
			}),
		},
	)
	return cmd
}
