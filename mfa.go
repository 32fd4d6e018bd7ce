package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
)

func (c *cli) mfa() *cobra.Command {
	cmd := &cobra.Command{Use: "mfa", Short: "Your second factors: list, add, remove"}
	list := &cobra.Command{
		Use: "ls", Short: "List your second factors", Args: cobra.NoArgs,
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, _ []string) error {
			factors, err := b.Factors(cmd.Context())
			if err != nil {
				return err
			}
			return c.print(factors, func(w *tabwriter.Writer) {
				fmt.Fprintln(w, "ID\tKIND\tADDED")
				for _, f := range factors {
					fmt.Fprintf(w, "%s\t%s\t%s\n", f.ID, f.Kind, f.AddedAt.Local().Format("2006-01-02 15:04"))
				}
			})
		}),
	}
	add := &cobra.Command{
		Use: "add", Short: "Add an authenticator app or a security key, in the browser", Args: cobra.NoArgs,
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, _ []string) error {
			if _, _, err := c.factorInBrowser(cmd.Context(), b, api.BrowserProof{Purpose: "factor"}); err != nil {
				return err
			}
			c.say("Added. See postern mfa ls")
			return nil
		}),
	}
	rm := &cobra.Command{
		Use: "rm ID", Short: "Remove a second factor, in the browser", Args: cobra.ExactArgs(1),
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
			if _, _, err := c.factorInBrowser(cmd.Context(), b, api.BrowserProof{Purpose: "factor", Remove: args[0]}); err != nil {
				return err
			}
			c.say("Removed %s.", args[0])
			return nil
		}),
	}
	cmd.AddCommand(list, add, rm)
	return cmd
}
