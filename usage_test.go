package main

import (
	"io"
	"net"
	"os"
	"path/filepath"
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

// An address that postern dev can't have is refused before anything is made: by exit
// code 2 where it is none, else with what to do.
func TestDevAddress(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	lib := filepath.Join(t.TempDir(), "lib")
	if err := os.WriteFile(lib, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		listen string
		code   int
		want   string
	}{
		{"bogus", 2, "want HOST:PORT"},
		{"127.0.0.1:99999", 2, "a port is a number from 1 to 65535"},
		{taken.Addr().String(), 1, "address already in use: stop what listens there, or choose another address with --listen"},
	} {
		dir := filepath.Join(t.TempDir(), "dev")
		var stdout, stderr strings.Builder
		code := run([]string{"dev", "--data-dir", dir, "--clickhouse-lib", lib, "--listen", c.listen}, strings.NewReader(""), &stdout, &stderr)
		if code != c.code || stdout.Len() > 0 || !strings.Contains(stderr.String(), c.want) {
			t.Errorf("--listen %s: exit code %d, stdout %q, stderr %q", c.listen, code, stdout.String(), stderr.String())
		}
		if made, _ := filepath.Glob(filepath.Join(dir, "[^l]*")); len(made) > 0 { // but for its lock
			t.Errorf("--listen %s: left %v", c.listen, made)
		}
	}
}
