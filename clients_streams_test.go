package main

import (
	"bufio"
	"encoding/json"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
)

const streamResources = `kind: role
version: v7
metadata: {name: clients-streams}
spec:
  allow:
    app_labels: {clients: streams}
    aws_role_arns: ["arn:aws:iam::` + devAccount + `:role/PosternEngineer"]
    aws_actions: ["logs:*", "kinesis:*"]
    aws_resources: ["arn:aws:logs:us-east-1:` + devAccount + `:log-group:/clients/*", "arn:aws:kinesis:us-east-1:` + devAccount + `:stream/clients*"]
---
kind: app
version: v3
metadata: {name: clients-streams, labels: {clients: streams}}
spec: {cloud: AWS, aws: {account_id: "` + devAccount + `", region: us-east-1}}
`

// streams: answers that go on arrive line by line, as `aws logs start-live-tail`
// and boto3's subscribe_to_shard show them, and a lock ends them with its reason on
// record. Polling, as `aws logs tail --follow` of version 2 polls, sees lines too.
func (c *clients) streams(t *testing.T) {
	needs(t, "aws", "--version")
	needs(t, "python3", "-c", "import boto3")
	home := t.TempDir()
	c.grant(t, streamResources, "clients-streams")
	vars, _ := c.proxyAWS(t, home, "clients-streams")
	aws := func(args ...string) *exec.Cmd {
		return c.postern(t, "alice", home, append([]string{"aws", "--app", "clients-streams"}, args...)...)
	}
	const group = "/clients/app"
	output(t, aws("logs", "create-log-group", "--log-group-name", group))
	output(t, aws("logs", "create-log-stream", "--log-group-name", group, "--log-stream-name", "s"))
	put := func(text string) {
		batch, err := json.Marshal([]map[string]any{{"timestamp": time.Now().UnixMilli(), "message": text}})
		if err != nil {
			t.Fatal(err)
		}
		output(t, aws("logs", "put-log-events", "--log-group-name", group, "--log-stream-name", "s", "--log-events", string(batch)))
	}
	poll := func() string {
		return strings.TrimSpace(output(t, aws("logs", "filter-log-events", "--log-group-name", group, "--start-time", "0", "--query", "events[].message", "--output", "text")))
	}
	put("zero")
	if got := poll(); got != "zero" {
		t.Errorf("polled %q", got)
	}

	tail, tailed := lines(t, aws("logs", "start-live-tail", "--log-group-identifiers", "arn:aws:logs:us-east-1:"+devAccount+":log-group:"+group))
	for heard := false; !heard; { // it tells of nothing before its first event
		put("ready")
		select {
		case <-tailed:
			heard = true
		case <-time.After(2 * time.Second):
		}
	}
	before := strings.Count(poll(), "ready")
	for _, text := range []string{"one ü", "two"} {
		put(text)
		got := <-tailed
		for got == "ready" {
			got = <-tailed
		}
		if got != text {
			t.Fatalf("live tail tells %q, want %q", got, text)
		}
	}
	if got := poll(); got != "zero\t"+strings.Repeat("ready\t", before)+"one ü\ttwo" {
		t.Errorf("polled %q", got)
	}
	subscriber := exec.CommandContext(t.Context(), "python3", "testdata/clients/subscribe.py")
	subscriber.Env = environ(vars)
	subscribed, records := lines(t, subscriber)
	for _, want := range []string{"one", "two", "three", "waiting"} {
		if got := <-records; got != want {
			t.Fatalf("subscribe_to_shard tells %q, want %q: %v", got, want, subscribed())
		}
	}

	c.must(t, "admin", "lock", "--app", "clients-streams", "--message", "laptop reported stolen")
	if err := tail(); err != nil {
		t.Logf("start-live-tail: %v", err)
	}
	if got := <-records; got != "ended" && !strings.HasPrefix(got, "cut:") {
		t.Errorf("after the lock the subscription tells %q", got)
	}
	if err := subscribed(); err != nil {
		t.Error(err)
	}
	for _, operation := range []string{"StartLiveTail", "SubscribeToShard"} {
		done := c.completedOf(operation)
		if done == nil || done.Interrupted != "lock" || !strings.Contains(done.InterruptedDetail, "laptop reported stolen") || done.ResponseBytes == 0 || done.User != "alice" {
			t.Errorf("%s is recorded as %+v", operation, done)
		}
	}
}

// completedOf waits for the record of a call of an operation that occurs once.
func (c *clients) completedOf(operation string) (found *events.AWSRequestCompleted) {
	for deadline := time.Now().Add(time.Minute); found == nil && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		c.mu.Lock()
		for _, e := range c.completed {
			if e.Operation == operation {
				found = e
			}
		}
		c.mu.Unlock()
	}
	return found
}

// lines starts a command, and gives what it writes line by line as it comes, and
// what waits for its end.
func lines(t *testing.T, cmd *exec.Cmd) (wait func() error, out <-chan string) {
	t.Helper()
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	told, ended := make(chan string, 64), make(chan struct{})
	go func() {
		defer close(ended)
		for s := bufio.NewScanner(pipe); s.Scan(); {
			told <- s.Text()
		}
		_, _ = io.Copy(io.Discard, pipe)
		close(told)
	}()
	return func() error {
		<-ended
		err := cmd.Wait()
		if err != nil {
			t.Logf("%v: %s", cmd.Args, errs.String())
		}
		return err
	}, told
}
