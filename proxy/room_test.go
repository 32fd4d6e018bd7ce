package proxy_test

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

// A disk that takes no more bodies is no fault of clients, and operators hear of it.
func TestNoRoomForBodies(t *testing.T) {
	var said bytes.Buffer
	r := newRig(t, withEcho, func(c *proxy.Config, _ *ststest.AWS) {
		c.SpillDir, c.Log = filepath.Join(t.TempDir(), "absent"), zerolog.New(zerolog.SyncWriter(&said))
	})
	c := r.client(r.session())
	call := func(size int) (int, string) {
		resp, body := c.do(t, c.call(t, "dynamodb", "POST", "https://dynamodb.us-east-1.amazonaws.com/", strings.Repeat("x", size), target("DynamoDB_20120810.GetItem", "1.0")))
		return resp.StatusCode, body
	}
	if status, body := call(3 << 20); status != 503 || !strings.Contains(body, "no room") || strings.Contains(body, "absent") {
		t.Errorf("%d %s", status, body)
	}
	if status, body := call(100 << 10); status != 200 {
		t.Errorf("what needs no file: %d %s", status, body)
	}
	if status, _ := call(3 << 20); status != 503 {
		t.Errorf("again: %d", status)
	}
	r.audit()
	if n := strings.Count(said.String(), "make room"); n != 1 || !strings.Contains(said.String(), "absent") {
		t.Errorf("the log: %s", said.String())
	}
}
