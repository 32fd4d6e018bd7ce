// Command postern gives people and programs access to AWS without handing out
// credentials, and keeps a record of every call that nobody can dispute.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/posternhq/postern/deploy/embedded"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == engineCommand {
		os.Exit(embedded.Engine(os.Args[2:]))
	}
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// engineCommand is the hidden command by which postern runs itself as the
// embedded ClickHouse server.
const engineCommand = "clickhouse-engine"

// run is the whole program: args without the program's name. It returns the
// exit code: 0 done, 1 failed, 2 wrong usage, 130 or 143 broken off by SIGINT or SIGTERM,
// or that of a command that postern ran for the user.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := untilSignal()
	defer stop()
	c := &cli{ctx: ctx, stdin: stdin, stdout: stdout, stderr: stderr}
	root := c.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var exit exitCode
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return int(exit)
	case errors.Is(err, context.Canceled) && errors.As(context.Cause(ctx), &exit):
		fmt.Fprintln(stderr, "postern:", err)
		return int(exit)
	case errors.As(err, new(usageError)), !c.began:
		fmt.Fprintln(stderr, "postern:", err)
		return 2
	default:
		fmt.Fprintln(stderr, "postern:", err)
		return 1
	}
}

// cli is what every command shares.
type cli struct {
	ctx            context.Context // of the run; ends at the first signal
	stdin          io.Reader
	stdout, stderr io.Writer

	lines *bufio.Reader // stdin, once a line of it was read

	began bool // a command was understood and begun

	// Global flags.
	homeDir  string
	identity string
	format   string
}

// root is the command table.
func (c *cli) root() *cobra.Command {
	cobra.EnableCommandSorting = false // the order of the table says what comes first
	root := &cobra.Command{
		Use:           "postern",
		Short:         "Access to AWS without handing out credentials, and a record of every call",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	f := root.PersistentFlags()
	f.StringVar(&c.homeDir, "home", envOr("POSTERN_HOME", ""), "directory of your state (default ~/.postern)")
	f.StringVar(&c.identity, "identity", envOr("POSTERN_IDENTITY", ""), "act as this identity file, with no sign-in")
	f.StringVar(&c.format, "format", "text", "text, json or yaml; some commands know more")
	root.AddGroup(
		&cobra.Group{ID: "user", Title: "To use AWS:"},
		&cobra.Group{ID: "operator", Title: "To operate postern:"},
		&cobra.Group{ID: "security", Title: "To ask what happened:"},
		&cobra.Group{ID: "run", Title: "To run postern:"},
	)
	group := func(id string, cmds ...*cobra.Command) {
		for _, cmd := range cmds {
			cmd.GroupID = id
			root.AddCommand(cmd)
		}
	}
	group("user", c.login(), c.logout(), c.status(), c.apps(), c.aws(), c.exec(), c.proxy(), c.console(), c.creds(), c.request(), c.mfa(), c.sessions())
	group("operator", c.create(), c.get(), c.edit(), c.rm(), c.users(), c.passwd(), c.lists(), c.lock(), c.tokens(), c.consumers(), c.ca())
	group("security", c.access(), c.audit(), c.events())
	group("run", c.dev(), c.demo(), c.serve(), c.config())
	c.noteBegin(root)
	return root
}

// noteBegin lets run tell a command line that can't be understood from a
// command that failed.
func (c *cli) noteBegin(cmd *cobra.Command) {
	if do := cmd.RunE; do != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			c.began = true
			return do(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		c.noteBegin(sub)
	}
}

// usageError is a command line that can't be understood: exit code 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// exitCode ends postern with the code of a command it ran, without a word.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func envOr(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}
