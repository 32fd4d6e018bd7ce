package sigv4

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// The AWS CLI's own credential helper is the oracle.
func TestSignGit(t *testing.T) {
	if _, err := exec.LookPath("aws"); err != nil {
		t.Skip("the AWS CLI is not installed here")
	}
	creds := Credentials{AccessKeyID: "ASIAEXAMPLEPOSTERN01", SecretAccessKey: "example-secret-key-not-real-000000000000", SessionToken: "token/with+signs="}
	for _, repo := range []string{"ledger", "a.b_c-d"} {
		cmd := exec.CommandContext(t.Context(), "aws", "codecommit", "credential-helper", "get")
		cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+creds.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+creds.SecretAccessKey, "AWS_SESSION_TOKEN="+creds.SessionToken,
			"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull)
		cmd.Stdin = strings.NewReader("protocol=https\nhost=git-codecommit.eu-central-1.amazonaws.com:443\npath=v1/repos/" + repo + "\n")
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		_, password, _ := strings.Cut(strings.TrimSpace(string(out)), "password=")
		at, err := time.Parse("20060102T150405", password[:15])
		if err != nil {
			t.Fatal(err)
		}
		got := new(Signer).SignGit("git-codecommit.eu-central-1.amazonaws.com", "/v1/repos/"+repo, "eu-central-1", creds, at)
		if want := strings.TrimSpace(string(out)); "username="+GitUser(creds)+"\npassword="+got != want {
			t.Errorf("%s: %s\nthe AWS CLI: %s", repo, got, want)
		}
	}
}
