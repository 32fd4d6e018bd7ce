package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
	"github.com/posternhq/postern/broker/resource"
)

func (c *cli) create() *cobra.Command {
	var file string
	var force bool
	cmd := &cobra.Command{
		Use: "create -f FILE", Short: "Create resources from YAML: user, role, app, access_list, lock, token, oidc, saml, cluster_settings", Args: cobra.NoArgs,
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, _ []string) error {
			doc, name, err := c.readFile(file)
			if err != nil {
				return err
			}
			applied, err := b.Apply(cmd.Context(), name, doc, force)
			if err != nil {
				return err
			}
			return errors.Join(c.printApplied(&applied), c.inviteCreated(cmd.Context(), b, &applied))
		}),
	}
	cmd.Flags().StringVarP(&file, "filename", "f", "", "YAML file, - for stdin")
	cmd.Flags().BoolVar(&force, "force", false, "replace what exists")
	_ = cmd.MarkFlagRequired("filename")
	return cmd
}

func (c *cli) readFile(path string) ([]byte, string, error) {
	if path == "-" {
		b, err := orSignal(c.ctx, func() ([]byte, error) { return io.ReadAll(c.stdin) })
		return b, "stdin", err
	}
	b, err := orSignal(c.ctx, func() ([]byte, error) { return os.ReadFile(path) })
	return b, filepath.Base(path), err
}

func (c *cli) printApplied(a *api.ResourcesApplied) error {
	for _, warning := range a.Warnings {
		c.say("warning: %s", warning)
	}
	return c.print(a, func(w *tabwriter.Writer) {
		for _, r := range a.Resources {
			fmt.Fprintf(w, "%s/%s\t%s\n", r.Kind, r.Name, r.Verb)
		}
	})
}

// kindName splits KIND[/NAME] as `get`, `edit` and `rm` take it; the kind may be a plural.
func kindName(arg string) (kind, name string) {
	kind, name, _ = strings.Cut(arg, "/")
	if one, many := strings.CutSuffix(kind, "s"); many && slices.Contains(resource.Kinds(), one) {
		kind = one
	}
	return kind, name
}

func (c *cli) get() *cobra.Command {
	return &cobra.Command{
		Use: "get KIND[/NAME]", Short: "Show resources as YAML (or --format=json)", Args: cobra.ExactArgs(1),
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
			kind, name := kindName(args[0])
			if c.format == "json" {
				docs, err := b.Resources(cmd.Context(), kind, name)
				if err != nil {
					return err
				}
				return writeJSON(c.data(), docs.Resources)
			}
			doc, err := b.ResourcesYAML(cmd.Context(), kind, name)
			if err != nil {
				return err
			}
			_, err = c.data().Write(doc)
			return err
		}),
	}
}

func (c *cli) edit() *cobra.Command {
	return &cobra.Command{
		Use: "edit KIND/NAME", Short: "Change a resource in $EDITOR", Args: cobra.ExactArgs(1),
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
			kind, name := kindName(args[0])
			if name == "" {
				return usageError{errors.New("which one? give KIND/NAME")}
			}
			before, err := b.ResourcesYAML(cmd.Context(), kind, name)
			if err != nil {
				return err
			}
			after, kept, err := c.inEditor(cmd.Context(), kind, before)
			if err != nil {
				return err
			}
			if bytes.Equal(before, after) {
				c.say("No change.")
				return os.Remove(kept)
			}
			err = sameResource(after, kind, name)
			var applied api.ResourcesApplied
			if err == nil {
				applied, err = b.Apply(cmd.Context(), args[0], after, true)
			}
			if err != nil {
				return fmt.Errorf("%w\nyour text is kept in %s", err, kept)
			}
			return errors.Join(c.printApplied(&applied), os.Remove(kept))
		}),
	}
}

// sameResource refuses a text of another resource than one was about to edit, or of several:
// that would make a copy. What is no YAML is the broker's to refuse.
func sameResource(text []byte, kind, name string) error {
	for dec, n := yaml.NewDecoder(bytes.NewReader(text)), 0; ; n++ {
		var doc struct {
			Kind     string
			Metadata struct{ Name string }
		}
		switch err := dec.Decode(&doc); {
		case err != nil:
			return nil
		case n > 0:
			return errors.New("there are several documents in it: an edit is of one; see postern create")
		case doc.Kind != kind || doc.Metadata.Name != name:
			return fmt.Errorf("this is %s/%s, and %s/%s was to be edited: a resource keeps its kind and name; see postern create and rm", doc.Kind, doc.Metadata.Name, kind, name)
		}
	}
}

// inEditor lets the user change a text and returns it, and the file it is in.
func (c *cli) inEditor(ctx context.Context, kind string, text []byte) ([]byte, string, error) {
	f, err := os.CreateTemp("", "postern-"+kind+"-*.yaml")
	if err != nil {
		return nil, "", err
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, "", err
	}
	editor := envOr("VISUAL", envOr("EDITOR", "vi"))
	cmd := exec.Command("sh", "-c", editor+` "$1"`, "sh", f.Name())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.stdin, c.stdout, c.stderr
	if err := attend(ctx, cmd); err != nil {
		return nil, "", fmt.Errorf("editor %s: %w; your text is kept in %s", editor, err, f.Name())
	}
	changed, err := os.ReadFile(f.Name())
	return changed, f.Name(), err
}

func (c *cli) rm() *cobra.Command {
	return &cobra.Command{
		Use: "rm KIND/NAME", Short: "Remove a resource", Args: cobra.ExactArgs(1),
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
			kind, name := kindName(args[0])
			if name == "" {
				return usageError{errors.New("which one? give KIND/NAME")}
			}
			if err := b.DeleteResource(cmd.Context(), kind, name); err != nil {
				return err
			}
			c.say("Removed %s.", args[0])
			return nil
		}),
	}
}

func (c *cli) passwd() *cobra.Command {
	return &cobra.Command{
		Use: "passwd USER", Short: "Give a user a password, asked for on the terminal or read from stdin", Args: cobra.ExactArgs(1),
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
			password, err := c.password(fmt.Sprintf("New password of %s: ", args[0]))
			if err != nil {
				return err
			}
			if isTerminal(c.stdin) {
				again, err := c.password("Once more: ")
				if err != nil {
					return err
				}
				if again != password {
					return errors.New("these are two different passwords: nothing was changed")
				}
			}
			if err := b.SetPassword(cmd.Context(), args[0], password); err != nil {
				return err
			}
			c.say("%s has a new password.", args[0])
			return nil
		}),
	}
}
