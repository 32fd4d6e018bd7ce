package proxy_test

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/proxy/local"
)

// cli runs the real AWS CLI, with the stand-in for its plugin, through a helper:
// no NO_PROXY, and the plugin's own roots.
func (r *rig) cli(f *channels, s *events.SessionStarted, args ...string) {
	t := r.t
	t.Helper()
	helper, err := local.New(local.Config{ProxyAddr: r.p.Addr(), ProxyTLS: r.tls("alice"), Dir: filepath.Join(t.TempDir(), "local"),
		Sessions: []local.Session{{ID: s.SessionID, App: s.App, Region: s.Region}}, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	embeddedtest.Run(t, helper)
	bin := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(bin, "session-manager-plugin")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "aws", args...)
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+t.TempDir(),
		"SSL_CERT_FILE="+f.ca.pem(t), "SSL_CERT_DIR="+bin, "NO_PROXY=", "no_proxy=")
	for _, v := range helper.Env() {
		cmd.Env = append(cmd.Env, v.Name+"="+v.Value)
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), fmt.Sprintf("echoed %d bytes in session alice-0a1b", pluginBytes)) {
		t.Fatalf("%v\n%s", err, out)
	}
}

func needsCLI(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("aws", "--version").CombinedOutput(); err != nil {
		t.Skipf("the AWS CLI is needed: %v\n%s", err, out)
	}
}

// A command in a container, whose call is of another service.
func TestExecuteCommandWithRealCLI(t *testing.T) {
	needsCLI(t)
	f, with := withChannels(t, webSockets(t))
	r := newRig(t, with)
	r.cli(f, r.session(), "ecs", "execute-command", "--cluster", "c", "--task", "t", "--interactive", "--command", "/bin/sh")
	r.clean()
	o := payloads[*events.AWSTunnelOpened](r.audit())
	if len(o) != 1 || o[0].StartOperation != "ExecuteCommand" {
		t.Errorf("%+v", o)
	}
}

// A session on an instance: megabytes both ways, and the whole on record.
func TestStartSessionWithRealCLI(t *testing.T) {
	needsCLI(t)
	f, with := withChannels(t, webSockets(t))
	r := newRig(t, with)
	s := r.session()
	r.cli(f, s, "ssm", "start-session", "--target", "i-1")
	r.clean()
	es := r.audit()
	var order []string
	byType := map[events.Type]journal.Entry{}
	for _, e := range es {
		order, byType[e.Data.Type()] = append(order, strings.TrimPrefix(string(e.Data.Type()), "io.postern.aws.")), e
	}
	slices.Sort(order) // completed and opened are recorded at about the same time
	if diff := cmp.Diff([]string{"credentials.issued.v1", "request.admitted.v1", "request.completed.v1", "tunnel.closed.v1", "tunnel.opened.v1"}, order); diff != "" {
		t.Fatal(diff)
	}
	admitted, opened, closed := byType[events.TypeAWSRequestAdmitted], byType[events.TypeAWSTunnelOpened], byType[events.TypeAWSTunnelClosed]
	start := admitted.Data.(*events.AWSRequestAdmitted)
	if start.Operation != "StartSession" || opened.CausationID != admitted.ID || closed.CausationID != opened.ID || closed.CorrelationID != opened.CorrelationID {
		t.Errorf("%+v, %+v, %+v", start, opened.Meta, closed.Meta)
	}
	o, c := opened.Data.(*events.AWSTunnelOpened), closed.Data.(*events.AWSTunnelClosed)
	want := &events.AWSTunnelOpened{
		AWSRequest: events.AWSRequest{
			RequestID: o.RequestID, ReceivedAt: o.ReceivedAt, ClientAddr: o.ClientAddr, UserAgent: o.UserAgent,
			User: "alice", SessionID: s.SessionID, App: "prod", AWSRoleARN: s.AWSRoleARN, RoleSessionName: "alice",
			Account: "111122223333", Partition: "aws", Region: "us-east-1", Service: "ssmmessages", SigningName: "ssmmessages",
			Operation: "OpenDataChannel", Action: "ssmmessages:OpenDataChannel", AccessLevel: "Write", Resources: []string{"*"},
			Method: "CONNECT", Host: channel, Proxy: "test",
		},
		StartRequestID: start.RequestID, StartOperation: "StartSession",
	}
	if diff := cmp.Diff(want, o); diff != "" {
		t.Errorf("opened (-want +got):\n%s", diff)
	}
	if opened.Channel != "audit.tunnel.111122223333.ssmmessages.OpenDataChannel" || closed.Channel != opened.Channel {
		t.Errorf("on %s and %s", opened.Channel, closed.Channel)
	}
	if diff := cmp.Diff(want.AWSRequest, c.AWSRequest); diff != "" || c.StartRequestID != start.RequestID {
		t.Errorf("closed (-want +got):\n%s", diff)
	}
	// The last words of TLS, a few bytes each way, may go out to an end that has
	// closed; TestTunnelHalfCloseAndCount is exact.
	if c.Interrupted != "" || c.SentBytes < f.up.Load() || c.SentBytes > f.up.Load()+64 || c.ReceivedBytes > f.down.Load() || c.ReceivedBytes < f.down.Load()-64 ||
		c.SentBytes < pluginBytes || c.ReceivedBytes < pluginBytes || c.DurationMicros <= 0 {
		t.Errorf("%+v; AWS saw %d bytes come and %d go", c, f.up.Load(), f.down.Load())
	}
}

// echoAll reads to the end and then answers with all of it, backwards.
func echoAll(c net.Conn) {
	b, err := io.ReadAll(c)
	if err == nil {
		slices.Reverse(b)
		c.Write(b)
	}
	c.Close()
}

// Each way ends by itself, and the bytes of both are counted exactly.
func TestTunnelHalfCloseAndCount(t *testing.T) {
	f, with := withChannels(t, echoAll)
	r := newRig(t, with)
	s := r.session()
	r.startSession(r.client(s))
	outer, inner := r.tunnel(f, s)
	sent := make([]byte, 3<<20)
	rand.Read(sent)
	if _, err := inner.Write(sent); err != nil {
		t.Fatal(err)
	}
	if err := inner.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := outer.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(inner)
	slices.Reverse(got)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d of %d bytes came back, error %v", len(got), len(sent), err)
	}
	if n, err := outer.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the end: %d bytes, error %v", n, err)
	}
	c := payloads[*events.AWSTunnelClosed](r.audit())
	if len(c) != 1 || c[0].Interrupted != "" || c[0].SentBytes != f.up.Load() || c[0].ReceivedBytes != f.down.Load() || c[0].SentBytes < 3<<20 {
		t.Errorf("%+v; AWS saw %d bytes come and %d go", c, f.up.Load(), f.down.Load())
	}
}

// held is a data channel that says one word and then waits for its end.
func heldChannel(gone chan<- error) func(net.Conn) {
	return func(c net.Conn) {
		if _, err := io.WriteString(c, "x"); err != nil {
			gone <- err
			return
		}
		_, err := io.Copy(io.Discard, c)
		gone <- err
	}
}

func TestTunnelIsCut(t *testing.T) {
	for _, cut := range cuts {
		t.Run(cut.name, func(t *testing.T) {
			gone := make(chan error, 1)
			f, with := withChannels(t, heldChannel(gone))
			r := newRig(t, with)
			s := r.session(func(s *events.SessionStarted) {
				if cut.session != nil {
					cut.session(s)
					s.ExpiresAt = s.ExpiresAt.Add(time.Second) // a tunnel is more to set up than a call
				}
			})
			r.startSession(r.client(s))
			_, inner := r.tunnel(f, s)
			if _, err := io.ReadFull(inner, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			cut.end(r, s)
			if n, err := inner.Read(make([]byte, 1)); err == nil || err == io.EOF {
				t.Errorf("the client believes that the channel ended well: %d bytes, %v", n, err)
			}
			if err := <-gone; err == nil {
				t.Error("AWS believes that the channel ended well")
			}
			_, status, _ := r.connect("alice", s.SessionID, channel)
			if status != http.StatusForbidden {
				t.Errorf("another tunnel: %d", status)
			}
			c := payloads[*events.AWSTunnelClosed](r.audit())
			if len(c) != 1 || c[0].Interrupted != cut.interrupted || !strings.Contains(c[0].InterruptedDetail, cut.detail) || c[0].SentBytes == 0 || c[0].ReceivedBytes == 0 {
				t.Errorf("%+v", c)
			}
		})
	}
}

// A client that takes nothing, and an AWS that does not, are cut too.
func TestStalledTunnelIsCut(t *testing.T) {
	gone := make(chan error, 1)
	f, with := withChannels(t, func(c net.Conn) {
		chunk := make([]byte, 1<<20)
		for {
			if _, err := c.Write(chunk); err != nil {
				gone <- err
				return
			}
		}
	})
	r := newRig(t, with)
	s := r.session()
	r.startSession(r.client(s))
	_, inner := r.tunnel(f, s)
	stuck := make(chan error, 1)
	go func() {
		for {
			if _, err := inner.Write(make([]byte, 1<<16)); err != nil {
				stuck <- err
				return
			}
		}
	}()
	r.emit(&events.LockPlaced{LockID: "lock-1", Target: events.LockTarget{Kind: "session", Name: s.SessionID}, By: "admin"})
	<-gone
	<-stuck
	if c := payloads[*events.AWSTunnelClosed](r.audit()); len(c) != 1 || c[0].Interrupted != "lock" {
		t.Errorf("%+v", c)
	}
}

// What ends a tunnel from outside postern's decisions is told apart.
func TestTunnelBreaksOff(t *testing.T) {
	for _, c := range []struct {
		want string
		end  func(r *rig, outer, inner *tls.Conn, aws net.Conn)
	}{
		{"client_gone", func(_ *rig, outer, _ *tls.Conn, _ net.Conn) { reset(outer) }},
		{"upstream", func(_ *rig, _, _ *tls.Conn, aws net.Conn) { reset(aws) }},
		{"shutdown", func(r *rig, _, _ *tls.Conn, _ net.Conn) { r.stop() }},
		{"client_gone", func(_ *rig, outer, _ *tls.Conn, _ net.Conn) { outer.CloseWrite() }}, // and AWS never ends its side
	} {
		t.Run(c.want, func(t *testing.T) {
			accepted, gone := make(chan net.Conn, 1), make(chan error, 1)
			f, with := withChannels(t, func(conn net.Conn) {
				accepted <- conn
				// TLS alone, so that the end of the client's side is not AWS's end.
				_, err := io.Copy(io.Discard, conn)
				if err == nil || strings.Contains(err.Error(), "unexpected EOF") {
					_, err = conn.(*tls.Conn).NetConn().Write(make([]byte, 1))
					for err == nil {
						time.Sleep(time.Millisecond)
						_, err = conn.(*tls.Conn).NetConn().Write(make([]byte, 1))
					}
				}
				gone <- err
			})
			r := newRig(t, with)
			r.p.SetHalfOpen(50 * time.Millisecond)
			s := r.session()
			r.startSession(r.client(s))
			outer, inner := r.tunnel(f, s)
			c.end(r, outer, inner, <-accepted)
			if err := <-gone; err == nil {
				t.Error("AWS was not told")
			}
			r.eventually("the tunnel ends", func() bool { return r.p.Running() == 0 })
			if done := payloads[*events.AWSTunnelClosed](r.audit()); len(done) != 1 || done[0].Interrupted != c.want {
				t.Errorf("%+v", done)
			}
		})
	}
}

// reset closes a connection as a machine that dies does.
func reset(c net.Conn) {
	for {
		over, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		c = over.NetConn()
	}
	if counted, ok := c.(*countedConn); ok {
		c = counted.Conn
	}
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

// Without an acknowledgement nothing is dialled.
func TestTunnelIsNotOpenedUnrecorded(t *testing.T) {
	server := embeddedtest.StartNATS(t)
	admin := embeddedtest.Connect(t, server, "test", embedded.Admin())
	if err := journal.Setup(t.Context(), admin, journal.StreamsConfig{}); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(admin)
	if err != nil {
		t.Fatal(err)
	}
	f, with := withChannels(t, echoAll)
	r := newRigOn(t, embeddedtest.Connect(t, server, "proxy", embedded.Proxy()), eventstest.Open(t, admin), with)
	limit := func(messages int64) {
		t.Helper()
		s, err := js.Stream(t.Context(), events.Audit)
		if err != nil {
			t.Fatal(err)
		}
		cfg := s.CachedInfo().Config
		cfg.MaxMsgs, cfg.Discard = messages, jetstream.DiscardNew
		if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	s := r.session()
	r.startSession(r.client(s))
	r.eventually("the call is recorded", func() bool {
		n, err := r.j.Last(t.Context(), events.Audit)
		return err == nil && n == 3
	})
	before := f.connected.Load()
	limit(3)
	_, status, reason := r.connect("alice", s.SessionID, channel)
	if status != http.StatusServiceUnavailable || !strings.Contains(reason, "could not be recorded, so nothing was sent to AWS") {
		t.Errorf("%d %s", status, reason)
	}
	if n := f.connected.Load(); n != before {
		t.Errorf("%d connections to AWS for a tunnel that is not on record", n-before)
	}
	limit(-1)
	if c := payloads[*events.AWSTunnelClosed](r.audit()); len(c) != 1 || c[0].Interrupted != "unrecorded" {
		t.Errorf("%+v", c)
	}
}

func TestTunnelToNobody(t *testing.T) {
	f, with := withChannels(t, echoAll)
	r := newRig(t, with)
	s := r.session()
	r.startSession(r.client(s))
	f.ln.Close()
	_, status, reason := r.connect("alice", s.SessionID, channel)
	if status != http.StatusServiceUnavailable || !strings.Contains(reason, "AWS could not be reached at "+channelHost) {
		t.Errorf("%d %s", status, reason)
	}
	es := r.audit()
	c := payloads[*events.AWSTunnelClosed](es)
	if len(payloads[*events.AWSTunnelOpened](es)) != 1 || len(c) != 1 || c[0].Interrupted != "upstream" || c[0].SentBytes != 0 {
		t.Errorf("%+v", c)
	}
}

// What is refused goes nowhere, and is on record with its cause.
func TestTunnelIsRefused(t *testing.T) {
	f, with := withChannels(t, echoAll)
	r := newRig(t, with)
	began, idle := r.session(), r.session()
	r.startSession(r.client(began))
	refused := r.session()
	if status := r.start(r.client(refused), "ssm.us-east-1.amazonaws.com", "AmazonSSM.StartSession", `{"Target":"i-gone"}`); status != 400 {
		t.Fatalf("StartSession on i-gone: %d", status)
	}
	other := r.session()
	if status := r.start(r.client(other), "ssm.us-east-1.amazonaws.com", "AmazonSSM.DescribeSessions", `{"Target":"i-1"}`); status != 200 {
		t.Fatalf("DescribeSessions: %d", status)
	}
	far := r.session()
	if status := r.start(r.client(far), "ssm.eu-west-1.amazonaws.com", "AmazonSSM.StartSession", `{"Target":"i-1"}`); status != 200 {
		t.Fatalf("StartSession in eu-west-1: %d", status)
	}
	locked := r.session(func(s *events.SessionStarted) { s.App = "locked" })
	r.startSession(r.client(locked))
	r.emit(&events.LockPlaced{LockID: "lock-1", Target: events.LockTarget{Kind: "app", Name: "locked"}, By: "admin"})
	denied := r.session(func(s *events.SessionStarted) {
		s.Permissions = []events.Permission{{Role: "engineer", Effect: "Allow"}, {Role: "no-shells", Effect: "Deny", Actions: []string{"ssmmessages:*"}}}
	})
	r.startSession(r.client(denied))
	before := f.connected.Load()
	var want []string
	for _, c := range []struct {
		name, user, session, target string
		cause, reason               string
	}{
		{"no call", "alice", idle.SessionID, channel, "no_start", "needs ssm:StartSession"},
		{"a call that AWS refused", "alice", refused.SessionID, channel, "no_start", "needs ssm:StartSession"},
		{"another call", "alice", other.SessionID, channel, "no_start", "needs ssm:StartSession"},
		{"another region", "alice", far.SessionID, channel, "no_start", "in us-east-1"},
		{"a port", "alice", began.SessionID, channelHost + ":22", "host", "port 443"},
		{"no port", "alice", began.SessionID, channelHost, "host", "port 443"},
		{"an API", "alice", began.SessionID, "s3.us-east-1.amazonaws.com:443", "host", "ssmmessages endpoints only"},
		{"a host that is not AWS's", "alice", began.SessionID, channelHost + ".example.com:443", "host", "example.com"},
		{"an address", "alice", began.SessionID, "127.0.0.1:443", "host", "127.0.0.1"},
		{"no session", "alice", "", channel, "no_session", "names no session"},
		{"another's session", "mallory", began.SessionID, channel, "no_session", "not one of yours"},
		{"a lock", "alice", locked.SessionID, channel, "lock", "lock-1"},
		{"a role", "alice", denied.SessionID, channel, "rule", "no-shells"},
	} {
		_, status, reason := r.connect(c.user, c.session, c.target)
		if status != http.StatusForbidden || !strings.HasPrefix(reason, "postern: ") || !strings.Contains(reason, c.reason) {
			t.Errorf("%s: %d %s", c.name, status, reason)
		}
		want = append(want, c.user+" "+c.target+" OpenDataChannel "+c.cause)
	}
	if n := f.connected.Load(); n != before {
		t.Errorf("%d connections to AWS for tunnels that were refused", n-before)
	}
	es := r.audit()
	var got []string
	for _, d := range payloads[*events.AWSRequestDenied](es) {
		got = append(got, d.User+" "+d.Host+" "+d.Operation+" "+d.Cause)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("denied (-want +got):\n%s", diff)
	}
	if n := len(payloads[*events.AWSTunnelOpened](es)); n != 0 {
		t.Errorf("%d tunnels opened", n)
	}
}

// Whoever may start a session, or a command in a container, may talk to it,
// whether or not a role lists ssmmessages.
func TestTunnelNeedsNoPermissionOfItsOwn(t *testing.T) {
	f, with := withChannels(t, echoAll)
	r := newRig(t, with)
	narrow := r.session(func(s *events.SessionStarted) {
		s.Permissions = []events.Permission{{Role: "operator", Effect: "Allow", Actions: []string{"ssm:StartSession", "ecs:ExecuteCommand"}}}
	})
	cl := r.client(narrow)
	for _, call := range [][2]string{
		{"ssm.us-east-1.amazonaws.com", "AmazonSSM.StartSession"},
		{"ecs.us-east-1.amazonaws.com", "AmazonEC2ContainerServiceV20141113.ExecuteCommand"},
	} {
		if status := r.start(cl, call[0], call[1], `{"Target":"i-1"}`); status != 200 {
			t.Fatalf("%s: %d", call[1], status)
		}
		outer, inner := r.tunnel(f, narrow)
		inner.CloseWrite()
		outer.CloseWrite()
		if b, err := io.ReadAll(inner); err != nil || len(b) != 0 {
			t.Errorf("%d bytes, %v", len(b), err)
		}
	}
	var got []string
	for _, o := range payloads[*events.AWSTunnelOpened](r.audit()) {
		got = append(got, o.StartOperation+" "+o.Role)
	}
	if diff := cmp.Diff([]string{"StartSession operator", "ExecuteCommand operator"}, got); diff != "" {
		t.Error(diff)
	}
}

// HTTP/2 has tunnels of another kind, which nobody asks for.
func TestTunnelOverHTTP2IsRefused(t *testing.T) {
	f, with := withChannels(t, echoAll)
	r := newRig(t, with)
	s := r.session()
	r.startSession(r.client(s))
	before := f.connected.Load()
	tr := &http.Transport{TLSClientConfig: r.tls("alice"), ForceAttemptHTTP2: true, DialContext: r.dial}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodConnect, "https://proxy.test", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = channel
	req.Header.Set("Postern-Session", s.SessionID)
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.ProtoMajor != 2 || resp.StatusCode != http.StatusForbidden || !strings.Contains(string(b), "HTTP/1.1") || f.connected.Load() != before {
		t.Errorf("%s %d %s, %v", resp.Proto, resp.StatusCode, b, err)
	}
}
