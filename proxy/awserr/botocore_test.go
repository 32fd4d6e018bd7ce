package awserr_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/proxy/awserr"
)

// message has what each encoding has to escape.
const message = `"alice" may not <read> & write 'it' ]]> ☃ 日本: run ` + "`postern request create --roles a,b --reason \"…\"`\nnow\\"

// answer is a proxy that answers every request with one error, and how many
// requests it saw.
func answer(t *testing.T, e awserr.Error) (url string, seen *atomic.Int64) {
	t.Helper()
	seen = new(atomic.Int64)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		e := e
		switch e.Code {
		case "":
			e.Code = awserr.AccessDenied(r)
		case "throttled":
			e.Code, e.Status = awserr.Throttled(r)
		}
		awserr.Write(w, r, e)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, seen
}

type parsed struct {
	Name      string `json:"name"`
	Code      string `json:"code"`
	Message   string `json:"message"`
	Status    int    `json:"status"`
	Retries   int    `json:"retries"`
	RequestID string `json:"request_id"`
}

func TestBotocore(t *testing.T) {
	if out, err := exec.Command("python3", "-c", "import boto3").CombinedOutput(); err != nil {
		t.Skipf("python3 with boto3 is needed: %v\n%s", err, out)
	}
	url, seen := answer(t, awserr.Error{Message: message, RequestID: "01K0REQUEST"})
	out, err := exec.Command("python3", "testdata/clients.py", url).Output()
	if err != nil {
		if x, ok := err.(*exec.ExitError); ok {
			t.Fatalf("%v\n%s", err, x.Stderr)
		}
		t.Fatal(err)
	}
	jsonCode := map[string]bool{"dynamodb": true, "kinesis": true, "sqs": true, "lambda": true, "cloudwatch": true, "cloudwatch, CBOR": true, "cloudsearchdomain": true}
	calls := int64(0)
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); calls++ {
		var got parsed
		if err := json.Unmarshal(s.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		want := parsed{Name: got.Name, Code: "AccessDenied", Message: message, Status: 403, RequestID: "01K0REQUEST"}
		if jsonCode[got.Name] {
			want.Code = "AccessDeniedException"
		}
		if got.Name == "ec2" {
			want.Code = "UnauthorizedOperation"
		}
		if got.Name == "s3 head" { // nothing but the status comes with HEAD
			want.Code, want.Message = "403", "Forbidden"
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", got.Name, diff)
		}
	}
	if calls < 15 || seen.Load() != calls {
		t.Errorf("%d calls made %d requests: a denial must not be retried", calls, seen.Load())
	}
}

// Every protocol's throttling is tried again by botocore in its oldest and most
// particular retry mode.
func TestBotocoreRetriesThrottling(t *testing.T) {
	if out, err := exec.Command("python3", "-c", "import boto3").CombinedOutput(); err != nil {
		t.Skipf("python3 with boto3 is needed: %v\n%s", err, out)
	}
	url, seen := answer(t, awserr.Error{Code: "throttled", Message: message, RequestID: "01K0REQUEST"})
	cmd := exec.Command("python3", "testdata/clients.py", url)
	cmd.Env = append(os.Environ(), "AWS_RETRY_MODE=legacy", "AWS_MAX_ATTEMPTS=2")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	calls := int64(0)
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); calls++ {
		var got parsed
		if err := json.Unmarshal(s.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if got.Retries != 1 || got.Status != 503 && got.Status != 400 && got.Status != 429 {
			t.Errorf("%+v: want one retry", got)
		}
	}
	if calls < 15 || seen.Load() != 2*calls {
		t.Errorf("%d calls made %d requests, want two each", calls, seen.Load())
	}
}
