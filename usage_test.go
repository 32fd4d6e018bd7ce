package main

import (
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Whoever misspells a subcommand hears so, by exit code 2, wherever it is.
func TestUnknownSubcommands(t *testing.T) {
	var groups func(cmd *cobra.Command, path []string) [][]string
	groups = func(cmd *cobra.Command, path []string) (out [][]string) {
		for _, sub := range cmd.Commands() {
			out = append(out, groups(sub, append(path[:len(path):len(path)], sub.Name()))...)
		}
		if cmd.HasSubCommands() {
			out = append(out, path)
		}
		return out
	}
	all := groups((&cli{}).root(), nil)
	if len(all) < 10 {
		t.Fatalf("only %d groups: %v", len(all), all)
	}
	for _, path := range all {
		for _, args := range [][]string{append(path, "no-such"), append([]string{"help"}, append(path, "no-such")...)} {
			var stdout, stderr strings.Builder
			if code := run(args, io.LimitReader(nil, 0), &stdout, &stderr); code != 2 || stdout.Len() > 0 || !strings.Contains(stderr.String(), "no-such") {
				t.Errorf("postern %s: exit code %d, stdout %q, stderr %q", strings.Join(args, " "), code, stdout.String(), stderr.String())
			}
		}
	}
}

// Who leaves an argument out hears which, by exit code 2.
func TestMissingArgumentIsNamed(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"config", "check"}, "want: postern config check FILE\n"},
		{[]string{"request", "review", "--approve"}, "want: postern request review --approve|--deny|--promote LIST [--reason T] ID\n"},
		{[]string{"lists", "add", "one"}, "LIST MEMBER\n"},
	} {
		var stdout, stderr strings.Builder
		if code := run(c.args, io.LimitReader(nil, 0), &stdout, &stderr); code != 2 || stdout.Len() > 0 || !strings.HasSuffix(stderr.String(), c.want) {
			t.Errorf("postern %s: exit code %d, stdout %q, stderr %q", strings.Join(c.args, " "), code, stdout.String(), stderr.String())
		}
	}
}
