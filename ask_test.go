package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/creack/pty"

	"github.com/posternhq/postern/broker/client"
)

// TestWaitOutlastsBrokers: who waits for a decision waits on while brokers are started
// anew, and no longer than until one refuses.
func TestWaitOutlastsBrokers(t *testing.T) {
	answers := []string{`503 {"error":{"code":"unavailable","message":"the broker is still reading its history"}}`, `200 {"id":"R1","state":"approved"}`,
		`404 {"error":{"code":"not_found","message":"there is no access request R1"}}`}
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, body, _ := strings.Cut(answers[0], " ")
		answers = answers[1:]
		n, _ := strconv.Atoi(status)
		w.WriteHeader(n)
		_, _ = io.WriteString(w, body)
	}))
	defer srv.Close()
	b, err := client.New(srv.URL, srv.Client().Transport.(*http.Transport).TLSClientConfig)
	if err != nil {
		t.Fatal(err)
	}
	c := &cli{ctx: t.Context(), stderr: io.Discard}
	if r, err := c.awaitDecision(t.Context(), b, "R1"); err != nil || r.State != "approved" {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := c.awaitDecision(t.Context(), b, "R1"); err == nil || !strings.Contains(err.Error(), "no access request") {
		t.Errorf("refused: %v", err)
	}
}

// TestWaitIsSeen: on a terminal, `postern aws --request` shows that it waits, and
// goes on once somebody has decided.
func TestWaitIsSeen(t *testing.T) {
	if _, err := exec.LookPath("aws"); err != nil {
		t.Skipf("needs the AWS CLI: %v", err)
	}
	dev := startDev(t)
	if dev == nil {
		t.Skip("postern dev does not run here: see the lines above")
	}
	c := &clients{dev: dev, home: t.TempDir()}
	terminal, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	cmd := c.postern(t, "alice", c.home, "aws", "--request", "--reason", "INC-42", "s3", "ls")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, tty
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tty.Close() // the command's own is what keeps it open
	frames, id := map[string]bool{}, ""
	line := regexp.MustCompile(`\r\x1b\[K([|/\\-]) waiting for a decision on request (\w+), `)
	var seen strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := terminal.Read(buf)
		seen.Write(buf[:n])
		for _, m := range line.FindAllStringSubmatch(seen.String(), -1) {
			frames[m[1]] = true
			if id == "" && len(frames) == 4 {
				id = m[2]
				c.must(t, "bob", "request", "review", "--approve", id)
			}
		}
		if err != nil { // Linux says EIO, others io.EOF
			break
		}
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), devTrailBucket) {
		t.Errorf("%v: %s\n%s", err, out.String(), seen.String())
	}
	if len(frames) != 4 {
		t.Errorf("of what moves there were %d: %q", len(frames), seen.String())
	}
}
