package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
)

func (c *cli) tokens() *cobra.Command {
	cmd := &cobra.Command{
		Use: "tokens", Short: "Tokens by which proxies and auditors join", Args: cobra.NoArgs,
		Long: "Tokens by which proxies and auditors on other machines join. Those with a secret\n" +
			"are made here; those of methods iam, ec2 and kubernetes are resources (kind\n" +
			"token) for postern create -f.",
	}
	cmd.AddCommand(c.tokensAdd(), &cobra.Command{
		Use: "ls", Short: "Tokens and how often each was used", Args: cobra.NoArgs,
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, _ []string) error {
			ts, err := b.Tokens(cmd.Context())
			if err != nil {
				return err
			}
			return c.print(ts, func(w *tabwriter.Writer) {
				fmt.Fprintln(w, "NAME\tMETHOD\tFOR\tUSES\tUNTIL\tOVER")
				for _, t := range ts {
					end, uses := "deleted", fmt.Sprint(t.Uses)
					if t.ExpiresAt != nil {
						end = until(*t.ExpiresAt)
					}
					if t.MaxUses > 0 {
						uses += fmt.Sprintf(" of %d", t.MaxUses)
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", t.Name, t.Method, strings.Join(t.Kinds, ","), uses, end, orDash(t.Over))
				}
			})
		}),
	}, &cobra.Command{
		Use: "rm NAME", Short: "Delete a token; who joined by it stays", Args: cobra.ExactArgs(1),
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
			if err := b.DeleteResource(cmd.Context(), "token", args[0]); err != nil {
				return err
			}
			c.say("Deleted token %s.", args[0])
			return nil
		}),
	})
	return cmd
}

func (c *cli) tokensAdd() *cobra.Command {
	var in api.NewToken
	add := &cobra.Command{
		Use: "add --type=proxy|auditor", Short: "Make a token with a secret", Args: cobra.NoArgs,
		Long: "Make a token with a secret, which is printed now and never again. Put it into a\n" +
			"file of mode 0600 on the machine that joins, and the rest into its postern.yaml.",
		PreRunE: func(*cobra.Command, []string) error {
			in.Kinds = trimmed(in.Kinds)
			for _, kind := range in.Kinds {
				if known := access.AgentKinds(); !slices.Contains(known, strings.ToLower(kind)) {
					return usageError{fmt.Errorf("--type: %q cannot join: want %s", kind, strings.Join(known, " or "))}
				}
			}
			if in.MaxUses < 0 {
				return usageError{fmt.Errorf("--uses=%d: must be positive, or 0 for any number", in.MaxUses)}
			}
			return nil
		},
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, _ []string) error {
			t, err := b.NewToken(cmd.Context(), in)
			if err != nil {
				return err
			}
			return c.print(t, func(w *tabwriter.Writer) {
				fmt.Fprintf(w, "Token:\t%s\n", t.Token)
				fmt.Fprintf(w, "For:\t%s\n", strings.Join(t.Kinds, " and "))
				fmt.Fprintf(w, "Until:\t%s\n", until(t.ExpiresAt))
				fmt.Fprintf(w, "CA pin:\t%s\n", strings.Join(t.CAPins, " "))
			})
		}),
	}
	f := add.Flags()
	f.StringSliceVar(&in.Kinds, "type", nil, "proxy, auditor or both")
	f.StringVar(&in.TTL, "ttl", "1h", "how long it can be joined with")
	f.IntVar(&in.MaxUses, "uses", 1, "how often it can be joined with; 0 for any number")
	f.StringVar(&in.Name, "name", "", "its name (default: made)")
	_ = add.MarkFlagRequired("type")
	return add
}

func (c *cli) ca() *cobra.Command {
	cmd := &cobra.Command{Use: "ca", Short: "The certificate authority, and its rotation", Args: cobra.NoArgs}
	text := func(ca api.CA) func(*tabwriter.Writer) {
		return func(w *tabwriter.Writer) {
			fmt.Fprintf(w, "Phase:\t%s since %s\n", ca.Phase, ca.Since.Local().Format(time.DateTime))
			for _, a := range ca.Authorities {
				what := "trusted"
				if a.Signing {
					what = "signs"
				}
				fmt.Fprintf(w, "%s:\tpin %s\n\tfingerprint sha256:%s\n", what, a.Pin, a.SHA256)
			}
			fmt.Fprintf(w, "Next:\t%s\n", map[string]string{
				"steady":     "postern ca rotate makes a second CA that is trusted and does not sign yet",
				"introduced": "postern ca rotate, after a minute, lets the second CA sign",
				"switched":   "postern ca rotate, after 30 hours, drops the former CA; until then --back is safe",
			}[ca.Phase])
			if len(ca.Authorities) > 1 {
				fmt.Fprintln(w, "ca_pin:\tboth pins, with a space between, wherever machines join, templates included, before the former CA is dropped")
			}
		}
	}
	var in api.RotateCA
	rotate := &cobra.Command{
		Use: "rotate", Short: "Take the CA one phase of its rotation further, or back", Args: cobra.NoArgs,
		Long: "Take the CA one phase of its rotation further: steady → introduced (a second CA\n" +
			"is trusted) → switched (it signs) → steady (the former one is trusted no more).\n" +
			"Users, proxies and auditors go on working all the time.\n\n" +
			"In a script give the phase that it is to lead out of, --from, so that a second try\n" +
			"is no second step.",
		PreRunE: func(*cobra.Command, []string) error {
			switch in.From {
			case "", "steady", "introduced", "switched":
				return nil
			}
			return usageError{fmt.Errorf("--from: %q is no phase: want steady, introduced or switched", in.From)}
		},
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, _ []string) error {
			if in.From == "" {
				seen, err := b.CA(cmd.Context())
				if err != nil {
					return err
				}
				in.From = seen.Phase
			}
			ca, err := b.RotateCA(cmd.Context(), in)
			if err != nil {
				return err
			}
			return c.print(ca, text(ca))
		}),
	}
	rotate.Flags().StringVar(&in.From, "from", "", "steady, introduced or switched: do nothing unless the CA is (default: as it is when the command starts)")
	rotate.Flags().BoolVar(&in.Back, "back", false, "take the last phase back")
	rotate.Flags().BoolVar(&in.Force, "force", false, "now, though some may not have taken the new CA, or hold certificates of the old one")
	cmd.AddCommand(&cobra.Command{
		Use: "show", Short: "What is trusted, with the pins for joining, and how far a rotation is", Args: cobra.NoArgs,
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, _ []string) error {
			ca, err := b.CA(cmd.Context())
			if err != nil {
				return err
			}
			return c.print(ca, text(ca))
		}),
	}, rotate)
	return cmd
}
