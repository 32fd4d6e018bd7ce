package proxy_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

// A URL of Signature Version 2 on the host without a region is signed for the
// session's, and the error in AWS's answer is recorded by name.
func TestPresignedV2OnGlobalHost(t *testing.T) {
	scope := make(chan string, 1)
	r := newRig(t, func(_ *proxy.Config, a *ststest.AWS) {
		a.Serve = func(w http.ResponseWriter, r *http.Request, _ ststest.Key) {
			scope <- r.Header.Get("Authorization")
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>NoSuchKey</Code></Error>`)
		}
	})
	s := r.session(func(s *events.SessionStarted) { s.Region = "eu-west-1" })
	c := r.client(s)
	q := url.Values{"AWSAccessKeyId": {"AKIDEXAMPLE"}, "Signature": {base64.StdEncoding.EncodeToString(make([]byte, 20))},
		"Expires": {fmt.Sprint(time.Now().Add(time.Minute).Unix())}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://s3.amazonaws.com/bucket/key?"+q.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Postern-Session", s.SessionID)
	if resp, body := c.do(t, req); resp.StatusCode != http.StatusNotFound {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	if got := <-scope; !strings.Contains(got, "/eu-west-1/s3/aws4_request") {
		t.Errorf("signed %s", got)
	}
	r.clean()
	done := payloads[*events.AWSRequestCompleted](r.audit())
	if len(done) != 1 || done[0].AWSErrorCode != "NoSuchKey" || done[0].Status != http.StatusNotFound {
		t.Errorf("%+v", done)
	}
}
