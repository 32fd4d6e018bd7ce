package main

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/posternhq/postern/proxy/local"
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

// What a flag can't be is said by exit code 2, without a sign-in and before anybody is asked.
func TestBadValues(t *testing.T) {
	home := t.TempDir()
	for _, c := range []struct{ args, want string }{
		{"dev --aws=live --aws-dial aws.test", "--aws-dial=aws.test: want HOST:PORT"},
		{"audit search --limit -1", "--limit: must be from 1 to 10000"},
		{"audit search --limit 10001", "--limit: must be from 1 to 10000"},
		{"audit search --outcome x", "--outcome: is none of admitted, completed, denied"},
		{"audit search --since x", `--since: "x" is neither a time`},
		{"audit search --since 2026-02-01 --until 2026-01-01", "--until: is before since"},
		{"audit search --cursor x", "--cursor: is not one that a page gave"},
		{"audit findings --limit -1", "--limit: must be from 1 to 100000"},
		{"audit findings --state x", "--state: is neither open nor resolved"},
		{"audit coverage --since x", `--since: "x" is neither a time`},
		{"audit policy --aws-role R --since x", `--since: "x" is neither a time`},
		{"audit report --user U --since x", `--since: "x" is neither a time`},
		{"access what-if -f none.yaml --limit -1", "--limit=-1: must not be negative"},
		{"access what-if -f none.yaml --since x", `--since: "x" is neither a time`},
		{"events tail --since x", `--since: "x" is neither a time`},
		{"tokens add --type x", `--type: "x" cannot join: want proxy or auditor`},
		{"tokens add --type proxy --uses -1", "--uses=-1: must be positive"},
		{"users add no-such --roles r --ttl 8d", "--ttl: a link holds 168h0m0s at most, not 8d"},
		{"users reset no-such --ttl soon", `--ttl: "soon" is not a duration`},
		{"request review --deny=false R", "give --approve, --deny or --promote LIST"},
		{"request review --approve=false R", "give --approve, --deny or --promote LIST"},
		{"lock --user alice --user bob", "--user is given twice: a lock is of one, so place another"},
		{"lock --role=", "what to lock?"},
		{"--identity= status", "--identity is empty"},
		{"status --home=", "--home is empty"},
		{"aws --identity= s3 ls", "--identity is empty"},
		{"login --proxy localhost --ca-pin=", "--ca-pin is empty"},
		{"login --proxy localhost --ca-file=", "--ca-file is empty"},
		{"audit verify --key=", "--key is empty"},
		{"lists add --ttl= oncall bob", "--ttl is empty"},
		{"audit report --user alice --key=", "--key is empty"},
		{"events verify --key= -", "--key is empty"},
		{"request review --promote= R", "give --approve, --deny or --promote LIST"},
		{"ca rotate --from x", `--from: "x" is no phase: want steady, introduced or switched`},
	} {
		var stdout, stderr strings.Builder
		if code := run(append([]string{"--home", home}, strings.Fields(c.args)...), strings.NewReader(""), &stdout, &stderr); code != 2 || stdout.Len() > 0 || !strings.Contains(stderr.String(), c.want) {
			t.Errorf("postern %s: exit code %d, stdout %q, stderr %q", c.args, code, stdout.String(), stderr.String())
		}
	}
	// What can be asked fails for want of a sign-in alone.
	for _, args := range []string{"audit search --limit 10000 --outcome bypass --since 7d", "audit findings --state open", "tokens add --type Proxy,auditor --uses 0", "ca rotate --from steady"} {
		var stdout, stderr strings.Builder
		if code := run(append([]string{"--home", home}, strings.Fields(args)...), strings.NewReader(""), &stdout, &stderr); code != 1 || !strings.Contains(stderr.String(), "postern login") {
			t.Errorf("postern %s: exit code %d, stdout %q, stderr %q", args, code, stdout.String(), stderr.String())
		}
	}
}

// A format that a command doesn't know is refused before it does anything: what it makes may
// be a secret that is shown once.
func TestUnknownFormats(t *testing.T) {
	home := t.TempDir()
	for args, known := range map[string]string{
		"tokens add --type proxy": "json", "audit tokens add x --ttl 1h": "json", "consumers add x --filter audit.>": "json", "consumers rotate x": "json",
		"users add x --roles r": "json", "users reset x": "yaml", "request create --roles r": "yaml", "request review --approve x": "json", "create -f x": "yaml",
		"lock --user x": "json", "ca rotate": "json", "apps login x": "table", "logout": "table", "get role": "json", "access what-if -f x": "yaml", "console": "json",
		"audit search": "csv", "audit sql x": "parquet", "audit dead-letters": "csv", "audit dead-letters --replay all": "yaml",
		"proxy aws": "dotenv", "creds": "powershell", "creds serve": "env", "events tail": "ocsf", "consumers read --creds x --nats y": "record",
	} {
		try := func(format string) (int, string) {
			var stdout, stderr strings.Builder
			code := run(append([]string{"--home", home, "--format", format}, strings.Fields(args)...), strings.NewReader(""), &stdout, &stderr)
			return code, stdout.String() + stderr.String()
		}
		for _, unknown := range []string{"xml", "sh,env"} {
			if code, said := try(unknown); code != 2 || !strings.Contains(said, "--format="+unknown+": this command knows text, ") {
				t.Errorf("postern %s --format=%s: exit code %d, %s", args, unknown, code, said)
			}
		}
		if code, said := try(known); code == 2 || strings.Contains(said, "this command knows") {
			t.Errorf("postern %s --format=%s: exit code %d, %s", args, known, code, said)
		}
	}
	var said strings.Builder
	if code := run(strings.Fields("audit dead-letters --replay all --format csv --home "+home), strings.NewReader(""), io.Discard, &said); code != 2 {
		t.Errorf("rows of what is no rows: exit code %d, %s", code, said.String())
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

// PowerShell's ConvertFrom-Json takes no two names that differ in case alone.
func TestEnvironmentForPowerShell(t *testing.T) {
	env := []local.Var{{Name: "HTTPS_PROXY", Value: "http://127.0.0.1:1"}, {Name: "https_proxy", Value: "http://127.0.0.1:1"}, {Name: "A", Value: "1"}}
	var out strings.Builder
	if err := (&cli{format: "json", stdout: &out}).printEnvironment(env); err != nil || out.String() != `{"A":"1","HTTPS_PROXY":"http://127.0.0.1:1"}`+"\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

// Each shell gets the values as they are, whatever is in them.
func TestEnvironmentQuotes(t *testing.T) {
	env := []local.Var{{Name: "A", Value: "/home/o'neill’s ‘files’"}}
	for format, want := range map[string]string{
		"powershell": "$env:A = '/home/o''neill’’s ‘‘files’’'\n",
		"sh":         `export A='/home/o'\''neill’s ‘files’'` + "\n",
		"env":        "A=/home/o'neill’s ‘files’\n",
	} {
		var out strings.Builder
		if err := (&cli{format: format, stdout: &out}).printEnvironment(env); err != nil || out.String() != want {
			t.Errorf("%s: %q, %v; want %q", format, out.String(), err, want)
		}
		full, err := os.Create(filepath.Join(t.TempDir(), "full"))
		if err != nil {
			t.Fatal(err)
		}
		full.Close() // takes nothing, as a disk that is full
		if err := (&cli{format: format, stdout: full}).printEnvironment(env); err == nil {
			t.Errorf("%s: what could not be written is no error", format)
		}
	}
}
