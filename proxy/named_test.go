package proxy_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

// What a client calls its connection's own does not get to AWS, and nothing is decided or
// recorded by it: not the operation, nor what it is about.
func TestDecidedByWhatAWSGets(t *testing.T) {
	var arrived []string
	r := newRig(t, func(_ *proxy.Config, a *ststest.AWS) {
		a.Serve = func(_ http.ResponseWriter, r *http.Request, _ ststest.Key) {
			b, err := io.ReadAll(r.Body)
			arrived = append(arrived, r.Host+r.URL.Path+" "+r.Header.Get("X-Amz-Target")+r.Header.Get("X-Amz-Copy-Source")+string(b))
			if err != nil {
				t.Error(err)
			}
		}
	})
	cl := r.client(r.session(func(s *events.SessionStarted) {
		s.Permissions = []events.Permission{{Role: "engineer", Effect: "Allow"}, {Role: "engineer", Effect: "Deny", Actions: []string{"sqs:DeleteQueue"}}}
	}))
	call := func(method, url, service, named, body string, header http.Header) int {
		t.Helper()
		req := cl.call(t, service, method, url, body, header)
		req.Header.Set("Connection", named)
		resp, _ := cl.do(t, req)
		return resp.StatusCode
	}
	if status := call("POST", "https://sqs.us-east-1.amazonaws.com/", "sqs", "x-amz-target, Content-Type", "Action=DeleteQueue&QueueUrl=https%3A%2F%2Fsqs.us-east-1.amazonaws.com%2F111122223333%2Fq",
		http.Header{"X-Amz-Target": {"AmazonSQS.ListQueues"}, "Content-Type": {"application/x-amz-json-1.0"}}); status != http.StatusForbidden {
		t.Errorf("DeleteQueue under the name of ListQueues: %d", status)
	}
	if status := call("PUT", "https://bucket.s3.us-east-1.amazonaws.com/key", "s3", "X-Amz-Copy-Source", "",
		http.Header{"X-Amz-Copy-Source": {"other/key"}, "X-Amz-Content-Sha256": {hexHash(nil)}}); status != http.StatusOK {
		t.Errorf("PutObject: %d", status)
	}
	if len(arrived) != 1 || arrived[0] != "bucket.s3.us-east-1.amazonaws.com/key " {
		t.Errorf("AWS got %q", arrived)
	}
	es := r.audit()
	for _, d := range payloads[*events.AWSRequestDenied](es) {
		if d.Operation != "DeleteQueue" {
			t.Errorf("denied as %s", d.Operation)
		}
	}
	if done := payloads[*events.AWSRequestCompleted](es); len(done) != 1 || done[0].Operation != "PutObject" || strings.Join(done[0].Resources, " ") != "arn:aws:s3:::bucket/key" {
		t.Error(shown(done))
	}
	r.clean()
}
