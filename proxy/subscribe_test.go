package proxy_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

// Answers that go on for minutes arrive event by event, each before AWS says the
// next: kinesis:SubscribeToShard and logs:StartLiveTail, over HTTP/1.1 and 2. A
// lock ends them, and the record says so.
func TestSubscriptions(t *testing.T) {
	const each = 3
	for name, c := range map[string]struct {
		url, target, action, resource string
		two                           bool
	}{
		"kinesis": {"https://kinesis.us-east-1.amazonaws.com/", "Kinesis_20131202.SubscribeToShard", "kinesis:SubscribeToShard", "arn:aws:kinesis:us-east-1:111122223333:stream/s/consumer/c:1", true},
		"logs":    {"https://logs.us-east-1.amazonaws.com/", "Logs_20140328.StartLiveTail", "logs:StartLiveTail", "arn:aws:logs:us-east-1:111122223333:log-group:g", false},
	} {
		t.Run(name, func(t *testing.T) {
			heard := make(chan struct{})
			r := newRig(t, func(_ *proxy.Config, a *ststest.AWS) {
				a.Serve = func(w http.ResponseWriter, r *http.Request, _ ststest.Key) {
					w.Header().Set("Content-Type", "application/vnd.amazon.eventstream")
					for i := 0; ; i++ {
						var frame bytes.Buffer
						err := eventstream.NewEncoder().Encode(&frame, eventstream.Message{
							Headers: eventstream.Headers{{Name: ":event-type", Value: eventstream.StringValue("SubscribeToShardEvent")}}, Payload: fmt.Appendf(nil, "record %d", i),
						})
						if err != nil {
							t.Error(err)
							return
						}
						_, _ = w.Write(frame.Bytes())
						_ = http.NewResponseController(w).Flush()
						select {
						case <-heard: // nothing more until the client has this one
						case <-r.Context().Done():
							return
						}
					}
				}
			})
			s := r.session()
			cl := r.client(s)
			if c.two {
				tr := r.transport("alice")
				tr.Protocols = new(http.Protocols)
				tr.Protocols.SetHTTP2(true)
				tr.TLSClientConfig, tr.DialTLSContext, tr.DialContext = r.tls("alice"), nil, r.dial
				cl.Transport = tr
			}
			body := `{"ConsumerARN":"` + c.resource + `","ShardId":"0"}`
			if name == "logs" {
				body = `{"logGroupIdentifiers":["` + c.resource + `"]}`
			}
			resp, err := cl.Do(cl.call(t, name, "POST", c.url, body, target(c.target, "1.1")))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if c.two != (resp.ProtoMajor == 2) {
				t.Errorf("spoken: %s", resp.Proto)
			}
			frames, in := eventstream.NewDecoder(), bufio.NewReader(resp.Body)
			for i := range each {
				m, err := frames.Decode(in, nil)
				if err != nil || string(m.Payload) != fmt.Sprintf("record %d", i) {
					t.Fatalf("%d: %q, %v", i, m.Payload, err)
				}
				if i < each-1 {
					heard <- struct{}{}
				}
			}
			r.emit(&events.LockPlaced{LockID: "l1", Target: events.LockTarget{Kind: "session", Name: s.SessionID}, By: "admin", Message: "incident"})
			if m, err := frames.Decode(in, nil); err == nil {
				t.Errorf("after the lock: %q", m.Payload)
			}
			es := r.audit()
			a, done := payloads[*events.AWSRequestAdmitted](es), payloads[*events.AWSRequestCompleted](es)
			if len(a) != 1 || a[0].Action != c.action || len(a[0].Resources) != 1 || a[0].Resources[0] != c.resource {
				t.Errorf("admitted %+v", a)
			}
			if len(done) != 1 || done[0].Interrupted != "lock" || !strings.Contains(done[0].InterruptedDetail, "incident") || done[0].ResponseBytes == 0 {
				t.Errorf("completed %+v", done)
			}
			r.clean()
		})
	}
}
