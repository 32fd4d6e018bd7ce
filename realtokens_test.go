package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAWSCommand(t *testing.T) {
	for args, want := range map[string]string{
		"s3 presign s3://b/k":                                "s3 presign",
		"--region us-east-1 eks get-token --cluster-name c":  "eks get-token",
		"--region=us-east-1 --no-paginate rds x --port 5432": "rds x",
		"s3 --profile p presign":                             "s3 presign",
		"--debug --output json":                              "",
		"help":                                               "help",
	} {
		if got := awsCommand(strings.Fields(args)); got != want {
			t.Errorf("%s: %q, want %q", args, got, want)
		}
	}
}

func TestAsksHelp(t *testing.T) {
	for args, want := range map[string]bool{
		"rds generate-db-auth-token help": true,
		"s3 help":                         true,
		"s3 presign s3://b/help":          false,
		"rds generate-db-auth-token --hostname h --username help": false,
		"help": false,
		"":     false,
	} {
		if got := asksHelp(strings.Fields(args)); got != want {
			t.Errorf("%s: %v", args, got)
		}
	}
}

func TestOneURL(t *testing.T) {
	for text, want := range map[string]bool{
		"https://b.s3.amazonaws.com/k?X-Amz-Signature=1\n": true,
		"db.rds.amazonaws.com:5432/?X-Amz-Signature=1\n":   true,
		"": false, "{\n  \"Bucket\": \"\"\n}\n": false, "PRESIGN()   PRESIGN()\n": false,
	} {
		if got := oneURL(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// Only the context's own user runs postern, before the arguments that the AWS CLI
// chose; comments and other entries stay.
func TestThroughPostern(t *testing.T) {
	const before = `apiVersion: v1
current-context: here
contexts:
  - name: there
    context: {cluster: a, user: other}
  - name: here
    context: {cluster: a, user: mine}
users:
  # of the other team
  - name: other
    user:
      exec:
        command: aws
        args: [eks, get-token]
  - name: mine
    user:
      exec:
        apiVersion: client.authentication.k8s.io/v1beta1
        args:
          - --region
          - us-east-1
          - eks
          - get-token
        command: aws
`
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	after := strings.Replace(before, "        command: aws\n        args: [eks", "        command: OTHER\n        args: [eks", 1)
	after = strings.Replace(after, "command: aws", "command: "+self, 1)
	after = strings.Replace(after, "OTHER", "aws", 1)
	after = strings.Replace(after, "          - --region", "          - aws\n          - --app\n          - prod\n          - --identity\n          - "+filepath.Join(mustGetwd(t), "id.pem")+"\n          - --region", 1)
	for _, name := range []string{"here", ""} {
		got, err := (&cli{identity: "id.pem"}).throughPostern([]byte(before), name, &appSession{App: "prod"})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(after, string(got)); diff != "" {
			t.Errorf("context %q (-want +got):\n%s", name, diff)
		}
	}
	for _, doc := range []string{"", "[]", "contexts: []", "{", strings.ReplaceAll(before, "command: aws", "command: gcloud"), strings.Replace(before, "user: mine", "user: nobody", 1)} {
		if got, err := (&cli{}).throughPostern([]byte(doc), "here", &appSession{App: "prod"}); err == nil {
			t.Errorf("%q became %s", doc, got)
		}
	}
}

func mustGetwd(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
