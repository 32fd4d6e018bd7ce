package proxy_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
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
			serial := ""
			cutByWhereabouts(t, started, "your sign-in was revoked by bob", "", func(s *events.SessionStarted, cert *x509.Certificate) {
				serial = cert.SerialNumber.Text(16)
				if s.Certificate = "another"; started {
					s.Certificate = serial
				}
			}, func() events.Payload {
				return &events.SigninRevoked{CertificateSerial: serial, User: "alice", By: "bob", ExpiresAt: time.Now().Add(time.Hour)}
			})
		})
	}
}

// So does a lock on the machine that the certificate was made for.
func TestLockedDeviceIsCut(t *testing.T) {
	for name, started := range map[string]bool{"its certificate": false, "its session": true} {
		t.Run(name, func(t *testing.T) {
			cutByWhereabouts(t, started, "lock L1 on device "+laptop+", placed by bob: it was stolen", "L1", func(s *events.SessionStarted, _ *x509.Certificate) {
				if started {
					s.Device = laptop
				}
			}, func() events.Payload {
				return &events.LockPlaced{LockID: "L1", Target: events.LockTarget{Kind: "device", Name: laptop}, Message: "it was stolen", By: "bob"}
			})
		})
	}
}

// Where a session is over, so is the connection that it came by: a new session may be
// of a new sign-in, and must not be judged by the certificate of the old.
func TestConnectionEndsWithSession(t *testing.T) {
	for name, signin := range map[string]bool{"the sign-in": true, "the session": false} {
		for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
			t.Run(name+" over "+proto, func(t *testing.T) {
				r := newRig(t, withEcho)
				s := r.session()
				cl := r.client(s)
				tr, cfg := cl.Transport.(*http.Transport), r.tls("alice")
				tr.TLSClientConfig, tr.DialTLSContext, tr.DialContext = cfg, nil, r.dial
				tr.Protocols = new(http.Protocols)
				tr.Protocols.SetHTTP1(proto == "HTTP/1.1")
				tr.Protocols.SetHTTP2(proto == "HTTP/2.0")
				get := func(status int, over string) (reused bool) {
					req := cl.request(t, "GET", object, nil)
					trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }}
					resp, body := cl.do(t, req.WithContext(httptrace.WithClientTrace(t.Context(), trace)))
					if resp.StatusCode != status || resp.Proto != proto || resp.Header.Get("Postern-Session-Over") != over {
						t.Fatalf("%s %s over %q: %s", resp.Proto, resp.Status, resp.Header.Get("Postern-Session-Over"), body)
					}
					return reused
				}
				get(200, "")
				cert, err := x509.ParseCertificate(cfg.Certificates[0].Certificate[0])
				if err != nil {
					t.Fatal(err)
				}
				if signin {
					r.emit(&events.SigninRevoked{CertificateSerial: cert.SerialNumber.Text(16), User: "alice", By: "bob", ExpiresAt: time.Now().Add(time.Hour)})
				} else {
					r.emit(&events.SessionEnded{SessionID: s.SessionID, User: "alice", By: "alice"})
				}
				get(403, s.SessionID)
				// HTTP/2 says so beside the answer, not in it.
				r.eventually("the connection ends", func() bool { return !get(403, s.SessionID) })
			})
		}
	}
}

// laptop is a device.
const laptop = "00112233445566778899aabbccddeeff"

// cutByWhereabouts has a call running when end takes away what it came by: the
// certificate, of laptop, or else what the session was started by.
func cutByWhereabouts(t *testing.T, started bool, reason, lockID string, about func(*events.SessionStarted, *x509.Certificate), end func() events.Payload) {
	gone := make(chan error, 1)
	r := newRig(t, held(nil, gone))
	cfg := r.tls("alice")
	cfg.Certificates = []tls.Certificate{r.ca.issue(t, "alice", func(c *x509.Certificate) { c.Subject.SerialNumber = laptop })}
	cert, err := x509.ParseCertificate(cfg.Certificates[0].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	s := r.session(func(s *events.SessionStarted) { about(s, cert) })
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
	r.emit(end())
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
	if err != nil || again.StatusCode != http.StatusForbidden || !strings.Contains(string(body), reason) {
		t.Errorf("the next request: %s %s %v", again.Status, body, err)
	}
	es := r.audit()
	if done := payloads[*events.AWSRequestCompleted](es); len(done) != 1 || done[0].Interrupted != "lock" || done[0].InterruptedDetail != reason {
		t.Errorf("cut: %+v", done)
	}
	if denied := payloads[*events.AWSRequestDenied](es); len(denied) != 1 || denied[0].LockID != lockID {
		t.Errorf("denied: %+v", denied)
	}
}
