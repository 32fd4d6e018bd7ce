package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"

	"github.com/posternhq/postern/deploy/simaws/sdktest"
)

const converseResources = `kind: role
version: v7
metadata: {name: clients-converse}
spec:
  allow:
    app_labels: {clients: converse}
    aws_role_arns: ["arn:aws:iam::` + devAccount + `:role/PosternEngineer"]
    aws_actions: ["bedrock:InvokeModel", "transcribe:StartStreamTranscription"]
    aws_regions: [us-east-1]
---
kind: app
version: v3
metadata: {name: clients-converse, labels: {clients: converse}}
spec: {cloud: AWS, aws: {account_id: "` + devAccount + `", region: us-east-1}}
`

// conversations: signed events both ways over HTTP/2, each answered before the next is
// sent, by the AWS SDK for Go with Bedrock's InvokeModelWithBidirectionalStream and by
// that for JavaScript with that and Amazon Transcribe's StartStreamTranscription. Some the
// client ends, the others a lock, with its reason on record.
func (c *clients) conversations(t *testing.T) {
	c.grant(t, converseResources, "clients-converse")
	vars, _ := c.proxyAWS(t, t.TempDir(), "clients-converse")
	transport := (&clients{vars: vars}).transport(t)
	var id string // of the last request; the SDK tells none of conversations
	// One for each conversation.
	client := func() *bedrockruntime.Client {
		return bedrockruntime.New(bedrockruntime.Options{
			Region:           "us-east-1",
			Credentials:      credentials.NewStaticCredentialsProvider(vars["AWS_ACCESS_KEY_ID"], vars["AWS_SECRET_ACCESS_KEY"], ""),
			RetryMaxAttempts: 1,
			HTTPClient: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				answer, err := transport.RoundTrip(r)
				if err == nil {
					id = answer.Header.Get("X-Amzn-Requestid")
					if answer.ProtoMajor != 2 {
						t.Errorf("the helper answers in %s", answer.Proto)
					}
				}
				return answer, err
			})},
		})
	}
	operations := map[string]string{} // by request id, of those that the client ended
	cut := map[string]string{}        // and of those that it did not
	stream := sdktest.Converse(t, client())
	operations[id] = "InvokeModelWithBidirectionalStream"
	if err := stream.Close(); err != nil {
		t.Errorf("ended by the client: %v", err)
	}
	stream = sdktest.Converse(t, client())
	defer stream.Close()
	cut[id] = "InvokeModelWithBidirectionalStream"

	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute) // it ends what would not end
	defer stop()
	var script func() error
	var told <-chan string
	t.Run("javascript", func(t *testing.T) {
		cmd := exec.CommandContext(ctx, "node", nodeScript(t, "conversations.mjs"))
		cmd.Env = environ(vars, "NODE_EXTRA_CA_CERTS="+vars["AWS_CA_BUNDLE"])
		script, told = lines(t, cmd)
		for _, end := range []string{`"ended"`, `"ended"`, `"waiting"`, `"waiting"`} {
			var call clientCall
			if line := <-told; json.Unmarshal([]byte(line), &call) != nil || call.RequestID == "" {
				t.Fatalf("the client tells %q: %v", line, script())
			}
			if got := <-told; got != end {
				t.Fatalf("%s: the client tells %q, want %s: %v", call.Operation, got, end, script())
			}
			if operations[call.RequestID] = call.Operation; end == `"waiting"` {
				delete(operations, call.RequestID)
				cut[call.RequestID] = call.Operation
			}
		}
	})

	c.must(t, "admin", "lock", "--app", "clients-converse", "--message", "the microphone was left on")
	if event, more := <-stream.Events(); more {
		t.Errorf("after the lock came %+v", event)
	}
	if err := stream.Err(); err == nil {
		t.Error("the conversation was cut, and the client hears of no error")
	}
	if script != nil {
		for range 2 {
			if line := <-told; !strings.HasPrefix(line, `{"cut":`) {
				t.Errorf("after the lock the client tells %q", line)
			}
		}
		if err := script(); err != nil {
			t.Error(err)
		}
	}
	for id, operation := range operations {
		if done := c.completion(id); done == nil || done.Operation != operation || done.Interrupted != "" || done.User != "alice" || done.RequestBytes < 30_000 || done.ResponseBytes == 0 {
			t.Errorf("%s of id %q is recorded as %+v", operation, id, done)
		}
	}
	for id, operation := range cut {
		done := c.completion(id)
		if done == nil || done.Operation != operation || done.Interrupted != "lock" || !strings.Contains(done.InterruptedDetail, "the microphone was left on") || done.RequestBytes < 30_000 || done.ResponseBytes == 0 {
			t.Errorf("%s of id %q is recorded as %+v", operation, id, done)
		}
	}
	t.Logf("%d conversations ended by the client, %d by the lock", len(operations), len(cut))
}
