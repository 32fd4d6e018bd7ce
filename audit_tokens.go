package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
)

func (c *cli) auditTokens() *cobra.Command {
	cmd := &cobra.Command{
		Use: "tokens", Short: "Tokens that may put questions to the auditor's API, and nothing else", Args: cobra.NoArgs,
		Long: "Tokens that may put questions to the auditor's HTTPS API, and nothing else, for\n" +
			"dashboards and scripts. They are shown as Authorization: Bearer TOKEN.",
	}
	cmd.AddCommand(c.auditTokensAdd(), &cobra.Command{
		Use: "ls", Short: "The tokens, and until when each is good", Args: cobra.NoArgs,
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, _ []string) error {
			ts, err := b.AuditTokens(cmd.Context())
			if err != nil {
				return err
			}
			return c.print(ts, func(w *tabwriter.Writer) {
				fmt.Fprintln(w, "NAME\tACCOUNTS\tUNTIL\tMADE BY")
				for _, t := range ts {
					end := until(t.ExpiresAt)
					if t.Expired {
						end = "expired"
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", t.Name, accounts(t.AWSAccounts), end, t.By)
				}
			})
		}),
	}, &cobra.Command{
		Use: "rm NAME", Short: "End a token; within seconds the auditor refuses it", Args: cobra.ExactArgs(1),
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
			if err := b.DeleteAuditToken(cmd.Context(), args[0]); err != nil {
				return err
			}
			c.say("Deleted token %s.", args[0])
			return nil
		}),
	})
	return cmd
}

func (c *cli) auditTokensAdd() *cobra.Command {
	var in api.NewAuditToken
	var out string
	add := &cobra.Command{
		Use: "add NAME --ttl D [--account A]… [--out FILE]", Short: "Make a token", Args: cobra.ExactArgs(1),
		Long: "Make a token. It is printed now, or written to a file of mode 0600, and never\n" +
			"again: postern keeps its SHA-256 alone. With --account it is told what happened in\n" +
			"those AWS accounts, and nothing else.",
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
			in.Name = args[0]
			// A variable that is not set must not make it a token for all accounts.
			if cmd.Flags().Changed("account") && (len(in.AWSAccounts) == 0 || slices.Contains(in.AWSAccounts, "")) {
				return usageError{errors.New("--account: an account is empty: give its 12 digits, or no --account for a token that is told of all")}
			}
			file, err := newOutFile(out)
			if err != nil {
				return err
			}
			defer file.close()
			t, err := b.NewAuditToken(cmd.Context(), in)
			if err != nil {
				return err
			}
			if file != nil {
				if err := file.write(t.Token + "\n"); err != nil {
					return fmt.Errorf("%w; the token is made: postern audit tokens rm %s, and add another", err, t.Name)
				}
				t.Token = ""
				c.say("The token is in %s.", out)
			}
			return c.print(t, func(w *tabwriter.Writer) {
				if t.Token != "" {
					fmt.Fprintf(w, "Token:\t%s\n", t.Token)
				}
				fmt.Fprintf(w, "Accounts:\t%s\n", accounts(t.AWSAccounts))
				fmt.Fprintf(w, "Until:\t%s\n", until(t.ExpiresAt))
				fmt.Fprintf(w, "At:\t%s\n", orDash(t.AuditorAddr))
			})
		}),
	}
	f := add.Flags()
	f.StringVar(&in.TTL, "ttl", "", "how long it is good for, such as 720h")
	f.StringSliceVar(&in.AWSAccounts, "account", nil, "AWS account of which it is told; may be repeated; none means all")
	f.StringVar(&out, "out", "", "write the token to this file")
	_ = add.MarkFlagRequired("ttl")
	return add
}

func accounts(ids []string) string {
	if len(ids) == 0 {
		return "all"
	}
	return strings.Join(ids, ",")
}
