package proxy_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

const (
	channelHost = "ssmmessages.us-east-1.amazonaws.com"
	channel     = channelHost + ":443"
	token       = "AAEAA-token-of-the-data-channel"
)

// channels is an AWS with data channels: one address for all hosts, behind
// which ssmmessages has a certificate of an authority that the proxy does not
// know, and all else is the usual stand-in.
type channels struct {
	t         testing.TB
	ca        *authority
	ln        net.Listener
	rest      string // address of the usual stand-in
	serve     func(net.Conn)
	connected atomic.Int64
	up, down  atomic.Int64 // bytes of data channels, both ways
}

// withChannels makes a rig's AWS one with data channels, whose TLS connections
// serve handles.
func withChannels(t testing.TB, serve func(net.Conn)) (*channels, func(*proxy.Config, *ststest.AWS)) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &channels{t: t, ca: newAuthority(t), ln: ln, serve: serve}
	t.Cleanup(func() { ln.Close() })
	return f, func(c *proxy.Config, a *ststest.AWS) {
		link := a.Link()
		f.rest, link.Dial = link.Dial, ln.Addr().String()
		c.AWS.Link = link
		a.Serve = startSession
		cert := f.ca.issue(t, channelHost, nil)
		go f.accept(&tls.Config{Certificates: []tls.Certificate{cert}})
	}
}

// startSession answers the calls that data channels follow from.
func startSession(w http.ResponseWriter, r *http.Request, _ ststest.Key) {
	var in struct{ Target string }
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if in.Target == "i-gone" {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"__type":"TargetNotConnected","message":"i-gone is not connected."}`)
		return
	}
	switch _, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), "."); operation {
	case "DescribeTasks":
		fmt.Fprint(w, `{"tasks":[{"containers":[{"name":"app","runtimeId":"r1"}]}]}`)
		return
	case "ExecuteCommand":
		fmt.Fprintf(w, `{"clusterArn":"arn:aws:ecs:us-east-1:111122223333:cluster/c","taskArn":"arn:aws:ecs:us-east-1:111122223333:task/c/t","containerName":"app",
			"session":{"sessionId":"alice-0a1b","tokenValue":%q,"streamUrl":"wss://%s/v1/data-channel/alice-0a1b?role=publish_subscribe"}}`, token, channelHost)
		return
	}
	fmt.Fprintf(w, `{"SessionId":"alice-0a1b","TokenValue":%q,"StreamUrl":"wss://%s/v1/data-channel/alice-0a1b?role=publish_subscribe"}`, token, channelHost)
}

func (f *channels) accept(config *tls.Config) {
	for {
		c, err := f.ln.Accept()
		if err != nil {
			return
		}
		f.connected.Add(1)
		go func() {
			defer c.Close()
			name, head := serverName(c)
			counted := &countedConn{Conn: c, head: head}
			if name == channelHost {
				counted.up, counted.down = &f.up, &f.down
				f.up.Add(int64(len(head)))
				f.serve(tls.Server(counted, config))
				return
			}
			to, err := net.Dial("tcp", f.rest)
			if err != nil {
				f.t.Error(err)
				return
			}
			defer to.Close()
			go func() { io.Copy(to, counted); to.Close() }()
			io.Copy(c, to)
		}()
	}
}

// serverName reads a ClientHello and says for whom it is.
func serverName(c net.Conn) (name string, head []byte) {
	peek := &peekConn{Conn: c}
	tls.Server(peek, &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		name = h.ServerName
		return nil, errors.New("seen")
	}}).Handshake()
	return name, peek.read.Bytes()
}

type peekConn struct {
	net.Conn
	read bytes.Buffer
}

func (c *peekConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read.Write(p[:n])
	return n, err
}

func (c *peekConn) Write(p []byte) (int, error) { return len(p), nil }

type countedConn struct {
	net.Conn
	head     []byte
	up, down *atomic.Int64
}

func (c *countedConn) Read(p []byte) (int, error) {
	if len(c.head) > 0 {
		n := copy(p, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	n, err := c.Conn.Read(p)
	if c.up != nil {
		c.up.Add(int64(n))
	}
	return n, err
}

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if c.down != nil {
		c.down.Add(int64(n))
	}
	return n, err
}

// pem writes the authority's certificate to a file.
func (a *authority) pem(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// webSockets serves data channels that echo.
func webSockets(t testing.TB) func(net.Conn) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/data-channel/alice-0a1b" || r.URL.RawQuery != "role=publish_subscribe" || r.Host != channelHost {
			http.Error(w, "no such channel", http.StatusNotFound)
			return
		}
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		conn.SetReadLimit(-1)
		var hello struct{ TokenValue string }
		if _, b, err := conn.Read(r.Context()); err != nil || json.Unmarshal(b, &hello) != nil || hello.TokenValue != token {
			conn.Close(websocket.StatusPolicyViolation, "token")
			return
		}
		for {
			kind, b, err := conn.Read(r.Context())
			if err != nil || conn.Write(r.Context(), kind, b) != nil {
				return
			}
		}
	}))
	ln := &handed{conns: make(chan net.Conn), done: make(chan struct{})}
	srv.Listener.Close()
	srv.Listener = ln
	srv.Start()
	t.Cleanup(srv.Close)
	return func(c net.Conn) {
		h := &handedConn{Conn: c, closed: make(chan struct{})}
		select {
		case ln.conns <- h:
		case <-ln.done:
			return
		}
		select {
		case <-h.closed:
		case <-ln.done:
		}
	}
}

type handed struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *handed) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *handed) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *handed) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

type handedConn struct {
	net.Conn
	closed chan struct{}
	once   sync.Once
}

func (c *handedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.closed) })
	return err
}

// start makes a call that a data channel follows from, as an SDK does.
func (r *rig) start(cl *client, host, target, body string) int {
	r.t.Helper()
	sum := sha256.Sum256([]byte(body))
	hash := hex.EncodeToString(sum[:])
	req, err := http.NewRequestWithContext(r.t.Context(), "POST", "https://"+host+"/", strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", target)
	service, region, _ := strings.Cut(host, ".")
	region, _, _ = strings.Cut(region, ".")
	if err := cl.signer.SignHTTP(r.t.Context(), helperKey, req, hash, service, region, time.Now()); err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Postern-Session", cl.session)
	req.Header.Set("Postern-Payload-Sha256", hash)
	resp, answer := cl.do(r.t, req)
	if resp.StatusCode >= 500 {
		r.t.Fatalf("%s: %d %s", target, resp.StatusCode, answer)
	}
	return resp.StatusCode
}

func (r *rig) startSession(cl *client) {
	r.t.Helper()
	if status := r.start(cl, "ssm.us-east-1.amazonaws.com", "AmazonSSM.StartSession", `{"Target":"i-1"}`); status != 200 {
		r.t.Fatalf("StartSession: %d", status)
	}
}

// connect asks for a tunnel. reason is the answer's text where it is refused.
func (r *rig) connect(user, session, target string) (conn *tls.Conn, status int, reason string) {
	r.t.Helper()
	to, err := tls.Dial("tcp", r.p.Addr(), r.tls(user))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { to.Close() })
	head := "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\nUser-Agent: plugin\r\n"
	if session != "" {
		head += "Postern-Session: " + session + "\r\n"
	}
	if _, err := io.WriteString(to, head+"\r\n"); err != nil {
		r.t.Fatal(err)
	}
	br := bufio.NewReader(to)
	resp, err := http.ReadResponse(br, &http.Request{Method: http.MethodConnect})
	if err != nil {
		r.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			r.t.Fatal(err)
		}
		return nil, resp.StatusCode, string(b)
	}
	if br.Buffered() > 0 {
		r.t.Error("AWS spoke first")
	}
	return to, resp.StatusCode, ""
}

// tunnel is a data channel after its TLS handshake.
func (r *rig) tunnel(f *channels, s *events.SessionStarted) (outer, inner *tls.Conn) {
	r.t.Helper()
	outer, status, reason := r.connect("alice", s.SessionID, channel)
	if status != 200 {
		r.t.Fatalf("%d %s", status, reason)
	}
	inner = tls.Client(outer, &tls.Config{ServerName: channelHost, RootCAs: f.ca.pool})
	if err := inner.Handshake(); err != nil {
		r.t.Fatal(err)
	}
	return outer, inner
}
