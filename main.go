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
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

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
// exit code: 0 done, 1 failed, 2 wrong usage, 129, 130 or 143 broken off by SIGHUP, SIGINT or SIGTERM,
// or that of a command that postern ran for the user.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := untilSignal()
	defer stop()
	c := &cli{ctx: ctx, stdin: stdin, stdout: stdout, stderr: stderr}
	c.absent = &absence{say: c.say}
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
		fmt.Fprintln(stderr, "postern:", plain(err.Error()))
		return int(exit)
	case errors.As(err, new(usageError)), !c.began:
		fmt.Fprintln(stderr, "postern:", plain(err.Error()))
		return 2
	default:
		fmt.Fprintln(stderr, "postern:", plain(err.Error())+c.elsewhere(err))
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

	piped *identity // what came through a pipe that --identity names

	absent *absence // of the broker

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
	}
	asked := root.Flags().Bool("version", false, "say which build of postern this is")
	root.Args, root.RunE = cobra.ArbitraryArgs, func(cmd *cobra.Command, args []string) error {
		if *asked && len(args) == 0 {
			return c.printVersion()
		}
		return group(cmd, args)
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	f := root.PersistentFlags()
	f.StringVar(&c.homeDir, "home", envOr("POSTERN_HOME", ""), "directory of your state, ~/.postern if not given")
	f.StringVar(&c.identity, "identity", envOr("POSTERN_IDENTITY", ""), "act as this identity file, with no sign-in")
	f.StringVar(&c.format, "format", "text", "text, json or yaml; some commands know more")
	root.AddGroup(
		&cobra.Group{ID: "user", Title: "To use AWS:"},
		&cobra.Group{ID: "operator", Title: "To operate postern:"},
		&cobra.Group{ID: "security", Title: "To ask what happened:"},
		&cobra.Group{ID: "run", Title: "To run postern:"},
	)
	add := func(id string, cmds ...*cobra.Command) {
		for _, cmd := range cmds {
			cmd.GroupID = id
			root.AddCommand(cmd)
		}
	}
	add("user", c.login(), c.logout(), c.status(), c.apps(), c.aws(), c.exec(), c.proxy(), c.console(), c.creds(), c.request(), c.mfa(), c.sessions())
	add("operator", c.create(), c.get(), c.edit(), c.rm(), c.users(), c.passwd(), c.lists(), c.lock(), c.tokens(), c.consumers(), c.ca())
	add("security", c.access(), c.audit(), c.events())
	add("run", c.dev(), c.demo(), c.serve(), c.config(), c.version())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd("completion") // by now there is all that is to be checked
	checkGroups(root)
	c.noteBegin(root)
	return root
}

// checkGroups has every command that is there for its subcommands alone say which it
// doesn't know: cobra shows the help, as if all were well.
func checkGroups(cmd *cobra.Command) {
	nameArgs(cmd)
	if cmd.Name() == "help" && !cmd.HasSubCommands() {
		cmd.Run, cmd.RunE = nil, func(cmd *cobra.Command, args []string) error {
			topic, rest, err := cmd.Root().Find(args)
			if err != nil {
				return usageError{err}
			}
			if len(rest) > 0 {
				return unknownCommand(topic, rest[0])
			}
			topic.InitDefaultHelpFlag()
			return topic.Help()
		}
	}
	if cmd.HasSubCommands() && cmd.RunE == nil {
		cmd.Args, cmd.RunE, cmd.DisableFlagsInUseLine = cobra.ArbitraryArgs, group, true
	}
	for _, sub := range cmd.Commands() {
		checkGroups(sub)
	}
}

// nameArgs has a command say which arguments it wants: cobra says how many.
func nameArgs(cmd *cobra.Command) {
	check := cmd.Args
	if _, wants, found := strings.Cut(cmd.Use, " "); found && check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError{fmt.Errorf("%w; want: %s %s", err, cmd.CommandPath(), wants)}
			}
			return nil
		}
	}
}

// group is what a command does that is there for its subcommands alone.
func group(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return unknownCommand(cmd, args[0])
	}
	return cmd.Help()
}

func unknownCommand(cmd *cobra.Command, name string) error {
	text := fmt.Sprintf("unknown command %q for %q", name, cmd.CommandPath())
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		text += ": did you mean " + strings.Join(near, " or ") + "?"
	}
	return usageError{errors.New(text)}
}

// noteBegin lets run tell a command line that can't be understood from a
// command that failed.
func (c *cli) noteBegin(cmd *cobra.Command) {
	if do := cmd.RunE; do != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if err := errors.Join(refuseEmpty(cmd.Flags()), c.settleFormat(cmd)); err != nil {
				return err
			}
			c.began = true
			return do(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		c.noteBegin(sub)
	}
}

// saying are the flags by which a user says as whom a command acts, what it trusts, and for
// how long something holds. One that is given and empty, as of a variable that is not set,
// must not leave that to what there is besides: another sign-in, the system's roots, a
// server's own word, for ever.
var saying = []string{"identity", "home", "ca-pin", "ca-file", "key", "ttl"}

func refuseEmpty(flags *pflag.FlagSet) error {
	for _, name := range saying {
		if f := flags.Lookup(name); f != nil && f.Changed && f.Value.String() == "" {
			return emptyFlag(name)
		}
	}
	return nil
}

func emptyFlag(name string) error {
	return usageError{fmt.Errorf("--%s is empty: give a value, or leave it out", name)}
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
