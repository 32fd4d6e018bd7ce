package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
	"github.com/posternhq/postern/broker/resource"
)

func (c *cli) users() *cobra.Command {
	cmd := &cobra.Command{Use: "users", Short: "Users: add, invite anew, list, remove"}
	var roles, traits []string
	var ttl string
	var pseudonym bool
	add := &cobra.Command{
		Use: "add NAME --roles R[,R]", Short: "Make a user and a link with which they set password and second factor", Args: cobra.ExactArgs(1),
		PreRunE: linkTTL(&ttl), // before there is a user without a link
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
			if pseudonym {
				p, err := b.NewPerson(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				c.say("%s is %s in all that is recorded, and signs in by either.", p.Name, p.Pseudonym)
				args[0] = p.Pseudonym
			}
			doc, err := userDocument(args[0], roles, traits)
			if err != nil {
				return err
			}
			if _, err := b.Apply(cmd.Context(), "users add", doc, false); err != nil {
				return err
			}
			if err := c.invite(cmd.Context(), b, args[0], ttl); err != nil {
				return fmt.Errorf("user %s is made, its link is not; for that, later: postern users reset %[1]s: %w", args[0], err)
			}
			return nil
		}),
	}
	add.Flags().StringSliceVar(&roles, "roles", nil, "roles of the user")
	add.Flags().StringArrayVar(&traits, "trait", nil, "NAME=VALUE[,VALUE], for role templates; may be given more than once")
	add.Flags().StringVar(&ttl, "ttl", "", "how long the link holds (default 24h, 168h at most)")
	add.Flags().BoolVar(&pseudonym, "pseudonym", false, "record a pseudonym in place of the name, which can then be forgotten (docs/privacy.md)")
	_ = add.MarkFlagRequired("roles")
	reset := &cobra.Command{
		Use: "reset NAME", Short: "Make a link with which a user sets password and second factor anew", Args: cobra.ExactArgs(1),
		Long: "Make a link with which a user sets password and second factor anew. What they have\n" +
			"holds until the link is used; to stop them at once, place a lock.",
		PreRunE: linkTTL(&ttl),
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
			return c.invite(cmd.Context(), b, args[0], ttl)
		}),
	}
	reset.Flags().StringVar(&ttl, "ttl", "", "how long the link holds (default 24h, 168h at most)")
	list := &cobra.Command{
		Use: "ls", Short: "List users", Args: cobra.NoArgs,
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, _ []string) error { return c.listUsers(cmd.Context(), b) }),
	}
	rm := &cobra.Command{
		Use: "rm NAME", Short: "Remove a user; running sessions end", Args: cobra.ExactArgs(1),
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
			if err := b.DeleteResource(cmd.Context(), "user", args[0]); err != nil {
				return err
			}
			c.say("Removed %s.", args[0])
			return nil
		}),
	}
	cmd.AddCommand(add, reset, list, rm, c.usersForget())
	return cmd
}

// linkTTL refuses what no link can hold.
func linkTTL(ttl *string) func(*cobra.Command, []string) error {
	return func(*cobra.Command, []string) error {
		if *ttl == "" {
			return nil
		}
		switch d, err := resource.ParseDuration(*ttl); {
		case err != nil:
			return usageError{fmt.Errorf("--ttl: %w", err)}
		case d > api.MaxInviteTTL:
			return usageError{fmt.Errorf("--ttl: a link holds %s at most, not %s", api.MaxInviteTTL, *ttl)}
		}
		return nil
	}
}

// exitNotForgotten is the exit code of `users forget` of somebody who is in events by name.
const exitNotForgotten exitCode = 3

func (c *cli) usersForget() *cobra.Command {
	return &cobra.Command{
		Use: "forget PSEUDONYM|NAME", Short: "Destroy what says who a user is, for ever", Args: cobra.ExactArgs(1),
		Long: "Destroy what says who is behind a user's pseudonym, and remove the user. Events stay\n" +
			"as they are, and verify; they are about nobody known. It cannot be undone.\n" +
			"Of a user who is known by name, destroy what can be, and say where the name stays:\n" +
			"no event can be changed (exit code 3).",
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
			known, err := b.People(cmd.Context())
			if err != nil {
				return err
			}
			var of []string
			for _, p := range known {
				if p.Name == args[0] {
					of = append(of, p.Pseudonym)
				}
			}
			if len(of) == 0 {
				of = args
			}
			var out []api.Forgotten
			whole := true
			for _, p := range of {
				done, err := b.Forget(cmd.Context(), p)
				if err != nil {
					return err
				}
				if out = append(out, done); done.Forgotten {
					c.say("Who %s is, is forgotten.", p)
				} else {
					c.say("%s is removed, and not forgotten: the name is in events, which nobody can change (docs/privacy.md).", p)
					whole = false
				}
			}
			err = c.print(out, func(w *tabwriter.Writer) {
				for _, done := range out {
					for _, r := range done.Removed {
						fmt.Fprintf(w, "destroyed\t%s\n", r)
					}
					for _, r := range done.Remains {
						fmt.Fprintf(w, "remains\t%s\n", r)
					}
				}
			})
			if err != nil || whole {
				return err
			}
			return exitNotForgotten
		}),
	}
}

// asRecorded replaces the name of a person by the pseudonym that is recorded in its place,
// for those who may know it; to others, and once it is forgotten, a name is a name.
func (c *cli) asRecorded(ctx context.Context, b *client.Client, user *pflag.Flag) error {
	known, err := b.People(ctx)
	if err != nil {
		return nil
	}
	var of []string
	for _, p := range known {
		if p.Name == user.Value.String() {
			of = append(of, p.Pseudonym)
		}
	}
	switch len(of) {
	case 0:
		return nil
	case 1:
		c.say("%s is %s in all that is recorded.", user.Value, of[0])
		return user.Value.Set(of[0])
	}
	return usageError{fmt.Errorf("--user %s is several in what is recorded: name one of %s", user.Value, strings.Join(of, ", "))}
}

// userDocument is a user as a resource file says it.
func userDocument(name string, roles, traits []string) ([]byte, error) {
	spec := map[string]any{"roles": roles}
	if len(traits) > 0 {
		values := map[string][]string{}
		for _, t := range traits {
			key, list, ok := strings.Cut(t, "=")
			if !ok {
				return nil, usageError{fmt.Errorf("--trait=%s: want NAME=VALUE[,VALUE]", t)}
			}
			values[key] = append(values[key], strings.Split(list, ",")...)
		}
		spec["traits"] = values
	}
	return json.Marshal(map[string]any{"kind": "user", "version": "v2", "metadata": map[string]string{"name": name}, "spec": spec}) // JSON is YAML
}

func (c *cli) invite(ctx context.Context, b *client.Client, user, ttl string) error {
	inv, err := b.Invite(ctx, user, ttl)
	if err != nil {
		return err
	}
	return c.print(inv, func(w *tabwriter.Writer) {
		fmt.Fprintf(w, "Give %s this link, by a way that nobody else reads; it holds once, until %s:\n%s\n", user, until(inv.ExpiresAt), inv.URL)
	})
}

func (c *cli) listUsers(ctx context.Context, b *client.Client) error {
	docs, err := b.Resources(ctx, "user", "")
	if err != nil {
		return err
	}
	known, err := b.People(ctx)
	if err != nil {
		return err
	}
	behind := map[string]string{}
	for _, p := range known {
		behind[p.Pseudonym] = p.Name
	}
	type user struct {
		Name      string   `json:"name"`
		Person    string   `json:"person,omitempty"` // who is behind a pseudonym
		Roles     []string `json:"roles"`
		Connector string   `json:"connector,omitempty"`
		Expires   string   `json:"expires,omitempty"`
		Disabled  bool     `json:"disabled,omitempty"`
	}
	users := []user{}
	for _, raw := range docs.Resources {
		var d struct {
			Metadata struct{ Name string }
			Spec     user
		}
		if err := json.Unmarshal(raw, &d); err != nil {
			return err
		}
		d.Spec.Name, d.Spec.Person = d.Metadata.Name, behind[d.Metadata.Name]
		users = append(users, d.Spec)
	}
	return c.print(users, func(w *tabwriter.Writer) {
		fmt.Fprintln(w, "USER\tROLES\tSIGNS IN WITH\tUNTIL\tPERSON")
		for _, u := range users {
			how := u.Connector
			if how == "" {
				how = "password"
			}
			if u.Disabled {
				how = "disabled"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", u.Name, orDash(strings.Join(u.Roles, ",")), how, orDash(u.Expires), orDash(u.Person))
		}
	})
}

// inviteCreated makes links for the users among what was created.
func (c *cli) inviteCreated(ctx context.Context, b *client.Client, applied *api.ResourcesApplied) error {
	for _, r := range applied.Resources {
		if r.Kind != "user" || r.Verb != "created" {
			continue
		}
		inv, err := b.Invite(ctx, r.Name, "")
		var refused *api.Error
		if errors.As(err, &refused) && refused.Code == api.CodeDenied {
			c.say("No invitation for %s: %s", r.Name, refused.Message)
			continue
		}
		if err != nil {
			return err
		}
		c.say("Invitation for %s, until %s:\n  %s", r.Name, until(inv.ExpiresAt), inv.URL)
	}
	return nil
}
