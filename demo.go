package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func (c *cli) demo() *cobra.Command {
	return &cobra.Command{
		Use: "demo", Short: "Play the main job with real clients: ask, approve, use AWS, lock, audit", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := os.MkdirTemp("", "postern-demo-*")
			if err != nil {
				return err
			}
			defer os.RemoveAll(dir)
			self, err := os.Executable()
			if err != nil {
				return err
			}
			d := &demonstration{cli: c, dir: dir, self: self, started: time.Now()}
			defer d.stop()
			if err := d.play(cmd.Context()); err != nil {
				return fmt.Errorf("demo, %s: %w", d.scene, err)
			}
			return nil
		},
	}
}

// demonstration drives postern from outside, as people do: every step is a
// command of the real program, the AWS CLI, boto3 or Terraform.
type demonstration struct {
	*cli
	dir, self string
	started   time.Time
	scene     string
	dev       *exec.Cmd
	devLog    bytes.Buffer
	ready     ready
	tf        func() error // waits for terraform init; nil: no Terraform here
}

// say narrates, on a terminal in colours.
func (d *demonstration) say(format string, args ...any) {
	if !isTerminal(d.stderr) {
		format = strings.NewReplacer("\033[1m", "", "\033[36m", "", "\033[0m", "").Replace(format)
	}
	fmt.Fprintf(d.stderr, format+"\n", args...)
}

func (d *demonstration) play(ctx context.Context) error {
	for _, scene := range []struct {
		title string
		do    func(context.Context) error
	}{
		{"postern dev starts: NATS, ClickHouse, broker, proxy, auditor, and a simulated AWS", d.start},
		{"admin creates a role and an app", d.resources},
		{"alice signs in, is denied, and asks; bob approves", d.access},
		{"alice uses the AWS CLI: up and down, byte for byte", d.awsCLI},
		{"alice uses boto3", d.boto3},
		{"alice uses Terraform", d.terraform},
		{"a lock stops alice in the middle of a download", d.lockInFlight},
		{"somebody with a stolen key goes around postern", d.bypass},
		{"CloudTrail arrives: what passed us, and what went around us", d.coverage},
	} {
		d.scene = scene.title
		d.say("\n\033[1m== %s\033[0m  (%.1f s)", scene.title, time.Since(d.started).Seconds())
		if err := scene.do(ctx); err != nil {
			return err
		}
	}
	d.say("\nThat was the main job, in %.0f s. To go on: postern dev, then README.md.", time.Since(d.started).Seconds())
	return nil
}

func (d *demonstration) start(ctx context.Context) error {
	d.tf = d.terraformInit(ctx)
	dir := filepath.Join(d.dir, "dev")
	d.dev = exec.Command(d.self, "dev", "--data-dir", dir, "--listen", "127.0.0.1:0", "--trail-delay", "30s")
	d.dev.Stdout, d.dev.Stderr = &d.devLog, &d.devLog
	ownGroup(d.dev)
	if err := d.dev.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- d.dev.Wait() }()
	return d.poll(ctx, 60*time.Second, "postern dev to be ready", func() (bool, error) {
		select {
		case err := <-ended:
			d.dev = nil
			return false, fmt.Errorf("postern dev ended (%v):\n%s", err, d.devLog.String())
		default:
		}
		b, err := os.ReadFile(filepath.Join(dir, "ready.json"))
		if err != nil {
			return false, nil
		}
		return true, json.Unmarshal(b, &d.ready)
	})
}

func (d *demonstration) stop() {
	if d.dev != nil && d.dev.Process != nil {
		_ = d.dev.Process.Signal(syscall.SIGTERM)
		for range 300 {
			if d.dev.Process.Signal(syscall.Signal(0)) != nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		_ = d.dev.Process.Kill()
	}
}

// poll asks until something is so.
func (d *demonstration) poll(ctx context.Context, limit time.Duration, what string, done func() (bool, error)) error {
	deadline := time.After(limit)
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline:
			return fmt.Errorf("waited %s for %s", limit, what)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// as runs postern as a user and shows the command and what it says.
func (d *demonstration) as(ctx context.Context, user string, args ...string) (string, error) {
	return d.run(ctx, user, "", args...)
}

func (d *demonstration) run(ctx context.Context, user, stdin string, args ...string) (string, error) {
	d.say("\033[36m%s$\033[0m postern %s", user, strings.Join(args, " "))
	var out bytes.Buffer
	show := io.MultiWriter(&out, &indented{w: d.stderr})
	cmd := d.command(ctx, user, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), show, show
	err := cmd.Run()
	return out.String(), err
}

func (d *demonstration) command(ctx context.Context, user string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, d.self, args...)
	cmd.Env = append(os.Environ(), "POSTERN_HOME="+filepath.Join(d.dir, "home", user), "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_PAGER=", "TF_CLI_CONFIG_FILE=/dev/null")
	if user != "alice" { // alice signs in; admin and bob have identity files
		cmd.Env = append(cmd.Env, "POSTERN_IDENTITY="+d.ready.Identities[user])
	}
	cmd.Dir = d.dir
	return cmd
}

func (d *demonstration) file(name string, content []byte) (string, error) {
	path := filepath.Join(d.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, content, 0o600)
}

func (d *demonstration) resources(ctx context.Context) error {
	if _, err := d.file("team.yaml", []byte(demoResources)); err != nil {
		return err
	}
	_, err := d.as(ctx, "admin", "create", "-f", "team.yaml")
	return err
}

const demoResources = `kind: role
version: v7
metadata: {name: payments-engineer}
spec:
  options: {max_session_ttl: 4h}
  allow:
    app_labels: {team: payments}
    aws_role_arns: ["arn:aws:iam::` + devAccount + `:role/PosternEngineer"]
---
kind: app
version: v3
metadata: {name: payments, labels: {team: payments}}
spec:
  cloud: AWS
  aws: {account_id: "` + devAccount + `", region: us-east-1}
`

func (d *demonstration) access(ctx context.Context) error {
	passwords, err := readPasswords(d.ready.PasswordsFile)
	if err != nil {
		return err
	}
	address := strings.TrimPrefix(d.ready.BrokerURL, "https://")
	if _, err := d.run(ctx, "alice", passwords["alice"]+"\n", "login", "--proxy", address, "--user", "alice", "--ca-file", d.ready.CAFile); err != nil {
		return err
	}
	if _, err := d.as(ctx, "alice", "aws", "--app", "payments", "s3", "ls"); err == nil {
		return errors.New("alice was let in with no role")
	}
	out, err := d.as(ctx, "alice", "request", "create", "--roles", "payments-engineer", "--reason", "INC-42: refunds hang", "--ttl", "1h", "--format=json")
	if err != nil {
		return err
	}
	var request struct{ ID string }
	if err := json.Unmarshal([]byte(out), &request); err != nil {
		return err
	}
	if _, err := d.as(ctx, "bob", "request", "review", "--approve", "--reason", "on call", request.ID); err != nil {
		return err
	}
	if _, err := d.as(ctx, "alice", "apps", "ls"); err != nil {
		return err
	}
	_, err = d.as(ctx, "alice", "apps", "login", "payments")
	return err
}

func (d *demonstration) awsCLI(ctx context.Context) error {
	content := make([]byte, 20<<20)
	if _, err := rand.Read(content); err != nil {
		return err
	}
	if _, err := d.file("ledger.bin", content); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"aws", "sts", "get-caller-identity"},
		{"aws", "s3", "mb", "s3://payments-ledger"},
		{"aws", "s3", "cp", "--no-progress", "ledger.bin", "s3://payments-ledger/2026/q4 ledger+final.bin"},
		{"aws", "s3", "cp", "--no-progress", "s3://payments-ledger/2026/q4 ledger+final.bin", "back.bin"},
	} {
		if _, err := d.as(ctx, "alice", args...); err != nil {
			return err
		}
	}
	back, err := os.ReadFile(filepath.Join(d.dir, "back.bin"))
	if err != nil {
		return err
	}
	if !bytes.Equal(content, back) {
		return errors.New("what came back is not what went up")
	}
	d.say("  20 MiB went up and came back the same.")
	return nil
}

func (d *demonstration) boto3(ctx context.Context) error {
	if exec.CommandContext(ctx, "python3", "-c", "import boto3").Run() != nil {
		d.say("  skipped: python3 with boto3 is not installed here")
		return nil
	}
	if _, err := d.file("refund.py", []byte(`import boto3
table = boto3.resource("dynamodb").create_table(
    TableName="refunds", BillingMode="PAY_PER_REQUEST",
    AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
    KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}])
table.put_item(Item={"id": "r-1", "amount": 1250})
print(table.get_item(Key={"id": "r-1"})["Item"])
`)); err != nil {
		return err
	}
	_, err := d.as(ctx, "alice", "exec", "--", "python3", "refund.py")
	return err
}

// terraformInit begins to set Terraform up, which takes seconds and needs no
// postern, and returns how to wait for it; nil where Terraform is absent.
func (d *demonstration) terraformInit(ctx context.Context) func() error {
	plugins := terraformPlugins()
	if _, err := exec.LookPath("terraform"); err != nil || plugins == "" {
		return nil
	}
	done := make(chan error, 1)
	go func() {
		_, err := d.file("tf/main.tf", []byte(demoTerraform))
		if err == nil {
			init := exec.CommandContext(ctx, "terraform", "-chdir="+filepath.Join(d.dir, "tf"), "init", "-no-color", "-plugin-dir="+plugins)
			init.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE=/dev/null")
			var out []byte
			if out, err = init.CombinedOutput(); err != nil {
				err = fmt.Errorf("terraform init: %w\n%s", err, out)
			}
		}
		done <- err
	}()
	return func() error { return <-done }
}

const demoTerraform = `terraform {
  required_providers { aws = { source = "hashicorp/aws" } }
}
provider "aws" {}
resource "aws_s3_object" "policy" {
  bucket  = "payments-ledger"
  key     = "policy.txt"
  content = "refunds need two people"
}
`

func (d *demonstration) terraform(ctx context.Context) error {
	if d.tf == nil {
		d.say("  skipped: terraform with its AWS provider is not installed here")
		return nil
	}
	if err := d.tf(); err != nil {
		return err
	}
	_, err := d.as(ctx, "alice", "exec", "--", "terraform", "-chdir=tf", "apply", "-no-color", "-input=false", "-auto-approve")
	return err
}

// terraformPlugins finds a folder of Terraform providers on this machine, as
// `terraform init -plugin-dir` takes it.
func terraformPlugins() string {
	candidates := []string{os.Getenv("POSTERN_TERRAFORM_PLUGINS"), "/opt/tf-plugins", "/usr/local/share/terraform/plugins", "/usr/share/terraform/plugins"}
	if home, err := os.UserHomeDir(); err == nil {
		candidates = append(candidates, filepath.Join(home, ".terraform.d", "plugins"))
	}
	for _, dir := range candidates {
		if found, _ := filepath.Glob(filepath.Join(dir, "registry.terraform.io", "hashicorp", "aws", "*")); dir != "" && len(found) > 0 {
			return dir
		}
	}
	return ""
}

func (d *demonstration) lockInFlight(ctx context.Context) error {
	// The download's consumer reads slowly, so that it is surely under way.
	d.say("\033[36malice$\033[0m postern aws s3 cp s3://payments-ledger/2026/… - | slow-reader")
	cmd := d.command(ctx, "alice", "aws", "s3api", "get-object", "--bucket", "payments-ledger", "--key", "2026/q4 ledger+final.bin", "/dev/stdout")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	body, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	first := make([]byte, 1<<20)
	if _, err := io.ReadFull(body, first); err != nil {
		return fmt.Errorf("first MiB: %w: %s", err, errs.String())
	}
	d.say("  1 MiB is through, then:")
	out, err := d.as(ctx, "admin", "lock", "--user", "alice", "--message", "laptop reported stolen", "--format=json")
	if err != nil {
		return err
	}
	var lock struct{ ID string }
	if err := json.Unmarshal([]byte(out), &lock); err != nil {
		return err
	}
	rest, _ := io.Copy(io.Discard, body)
	if err := cmd.Wait(); err == nil {
		return fmt.Errorf("the download ended well in spite of the lock (%d bytes)", rest+1<<20)
	}
	fmt.Fprintf(&indented{w: d.stderr}, "%s\n", strings.TrimSpace(errs.String()))
	d.say("  alice's download was cut after %.1f of 20 MiB.", float64(rest+1<<20)/(1<<20))
	if _, err := d.as(ctx, "alice", "aws", "s3", "ls"); err == nil {
		return errors.New("alice got in in spite of the lock")
	}
	_, err = d.as(ctx, "admin", "lock", "rm", lock.ID)
	return err
}

// indented sets what a command says apart from the narration.
type indented struct {
	w      io.Writer
	middle bool
}

func (i *indented) Write(b []byte) (int, error) {
	for _, line := range bytes.SplitAfter(b, []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		if !i.middle {
			if _, err := io.WriteString(i.w, "  "); err != nil {
				return 0, err
			}
		}
		if _, err := i.w.Write(line); err != nil {
			return 0, err
		}
		i.middle = line[len(line)-1] != '\n'
	}
	return len(b), nil
}
