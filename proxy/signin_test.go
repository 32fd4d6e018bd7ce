package proxy_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
)

// A revoked sign-in ends what its certificate is used for, in whichever session,
// and what its sessions are used for, by whichever certificate.
func TestRevokedSigninIsCut(t *testing.T) {
	for name, started := range map[string]bool{"its certificate": false, "its session": true} {
		t.Run(name, func(t *testing.T) {
			gone := make(chan error, 1)
			r := newRig(t, held(nil, gone))
			cfg := r.tls("alice")
			cert, err := x509.ParseCertificate(cfg.Certificates[0].Certificate[0])
			if err != nil {
				t.Fatal(err)
			}
			serial := cert.SerialNumber.Text(16)
			s := r.session(func(s *events.SessionStarted) {
				if s.Certificate = "another"; started {
					s.Certificate = serial
				}
			})
			cl := r.client(s)
			if !started {
				cl.Client.Transport.(*http.Transport).DialTLSContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
					return (&tls.Dialer{Config: cfg}).DialContext(ctx, network, r.p.Addr())
				}
			}
			resp, err := cl.Do(cl.request(t, "GET", object, nil))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if _, err := io.ReadFull(resp.Body, make([]byte, len("beginning"))); err != nil {
				t.Fatal(err)
			}
			r.emit(&events.SigninRevoked{CertificateSerial: serial, User: "alice", By: "bob", ExpiresAt: time.Now().Add(time.Hour)})
			if n, err := io.Copy(io.Discard, resp.Body); err == nil {
				t.Errorf("the client believes that the answer is whole after %d more bytes", n)
			}
			if err := <-gone; err == nil {
				t.Error("AWS was not told")
			}
			again, err := cl.Do(cl.request(t, "GET", object, nil))
			if err != nil {
				t.Fatal(err)
			}
			defer again.Body.Close()
			body, err := io.ReadAll(again.Body)
			if err != nil || again.StatusCode != http.StatusForbidden || !strings.Contains(string(body), "your sign-in was revoked by bob") {
				t.Errorf("the next request: %s %s %v", again.Status, body, err)
			}
			es := r.audit()
			if done := payloads[*events.AWSRequestCompleted](es); len(done) != 1 || done[0].Interrupted != "lock" || done[0].InterruptedDetail != "your sign-in was revoked by bob" {
				t.Errorf("cut: %+v", done)
			}
			if denied := payloads[*events.AWSRequestDenied](es); len(denied) != 1 || denied[0].LockID != "" {
				t.Errorf("denied: %+v", denied)
			}
		})
	}
}
