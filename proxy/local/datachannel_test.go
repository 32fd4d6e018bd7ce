package local_test

import (
	"bufio"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/proxy/local"
)

// channelProxy stands in for the proxy: it answers calls and echoes tunnels.
func channelProxy(t *testing.T, s *seen) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".ResumeSession") {
				w.WriteHeader(http.StatusBadRequest)
			}
			return
		}
		s.add(r.RequestURI, r.Header.Get("Postern-Session"), r.UserAgent())
		if strings.HasPrefix(r.Host, "ssmmessages.us-gov-west-1.") {
			http.Error(w, "postern: locked,\nby admin", http.StatusForbidden)
			return
		}
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\nearly ")
		b, err := io.ReadAll(buf)
		if err != nil {
			t.Error(err)
		}
		slices.Reverse(b)
		conn.Write(b)
	}
}

// begin calls as a session does.
func begin(t *testing.T, h *local.Helper, session, host, target string) {
	t.Helper()
	vars := h.SessionEnv(session)
	r := request(t, "POST", "https://"+host+"/", strings.NewReader("{}"))
	r.Header.Set("X-Amz-Target", target)
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	service, _, _ := strings.Cut(host, ".")
	const hash = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" // of "{}"
	resp, body := do(t, client(t, vars, false), sign(t, r, vars, service, hash))
	if resp.StatusCode >= 500 || resp.StatusCode == 403 {
		t.Fatalf("%s: %d %s", target, resp.StatusCode, body)
	}
}

// refused asks for a tunnel that is not to be had, and gives status line and body.
func refused(t *testing.T, h *local.Helper, target string) (status, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", h.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: plugin/1\r\n\r\n", target, target)
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: "GET"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Status, string(b)
}

// A data channel is a tunnel that the proxy is asked for, in the name of the
// session whose call it follows from.
func TestDataChannel(t *testing.T) {
	var s seen
	p := newPKI(t)
	h := run(t, local.Config{ProxyAddr: standIn(t, p, channelProxy(t, &s)).Listener.Addr().String(), ProxyTLS: p.client(),
		Sessions: []local.Session{{ID: "S1"}, {ID: "S2"}, {ID: "S3"}}})
	begin(t, h, "S2", "ssm.eu-central-1.amazonaws.com", "AmazonSSM.StartSession")
	begin(t, h, "S1", "ssm.eu-central-1.amazonaws.com", "AmazonSSM.DescribeSessions")
	begin(t, h, "S1", "ssm.eu-central-1.amazonaws.com", "AmazonSSM.ResumeSession") // which AWS refuses
	begin(t, h, "S1", "ecs.us-east-1.amazonaws.com", "AmazonEC2ContainerServiceV20141113.ExecuteCommand")

	sent := make([]byte, 3<<20)
	rand.Read(sent)
	conn, br := connect(t, h.Addr(), "SSMMessages.eu-central-1.amazonaws.com:443", string(sent[:10]))
	if _, err := conn.Write(sent[10:]); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(br)
	early := strings.HasPrefix(string(got), "early ")
	got = got[min(len(got), len("early ")):]
	slices.Reverse(got)
	if err != nil || !early || !slices.Equal(got, sent) {
		t.Errorf("%d of %d bytes came back, error %v", len(got), len(sent), err)
	}
	connect(t, h.Addr(), "ssmmessages.us-east-1.amazonaws.com:443", "")
	want := []string{"ssmmessages.eu-central-1.amazonaws.com:443 S2 ", "ssmmessages.us-east-1.amazonaws.com:443 S1 "}
	if diff := cmp.Diff(want, s.take()); diff != "" {
		t.Error(diff)
	}
}

func TestDataChannelRefused(t *testing.T) {
	var s seen
	p := newPKI(t)
	h := run(t, local.Config{ProxyAddr: standIn(t, p, channelProxy(t, &s)).Listener.Addr().String(), ProxyTLS: p.client(),
		Sessions: []local.Session{{ID: "S1"}}})
	begin(t, h, "S1", "ssm.us-east-1.amazonaws.com", "AmazonSSM.StartSession")
	begin(t, h, "S1", "ssm.us-gov-west-1.amazonaws.com", "AmazonSSM.StartSession")
	for _, c := range []struct{ target, status, reason string }{
		{"ssmmessages.eu-west-1.amazonaws.com:443", "403 postern: no session of this helper", "postern aws ssm start-session --region eu-west-1"},
		{"ssmmessages.eu-west-1.amazonaws.com.:443", "403 postern: no session of this helper", "postern aws ssm start-session --region eu-west-1"},
		{"ssmmessages.us-east-1.amazonaws.com:22", "403 postern: ", "port 443 only"},
		{"ssmmessages.us-gov-west-1.amazonaws.com:443", "403 postern: locked, by admin", "locked,\nby admin"},
	} {
		status, body := refused(t, h, c.target)
		if !strings.HasPrefix(status, c.status) || !strings.Contains(body, c.reason) {
			t.Errorf("%s: %s\n%s", c.target, status, body)
		}
	}
	if diff := cmp.Diff([]string{"ssmmessages.us-gov-west-1.amazonaws.com:443 S1 plugin/1"}, s.take()); diff != "" {
		t.Error(diff)
	}
	// What a client like the plugin shows its user.
	proxy := &url.URL{Scheme: "http", Host: h.Addr()}
	tr := &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return proxy, nil }}
	defer tr.CloseIdleConnections()
	_, err := tr.RoundTrip(request(t, "GET", "https://ssmmessages.eu-west-1.amazonaws.com/", nil))
	if err == nil || !strings.Contains(err.Error(), "ssm:StartSession or ecs:ExecuteCommand in eu-west-1") {
		t.Errorf("error %v", err)
	}
}

func TestDataChannelWithoutProxy(t *testing.T) {
	p := newPKI(t)
	srv := standIn(t, p, func(http.ResponseWriter, *http.Request) {})
	h := run(t, local.Config{ProxyAddr: srv.Listener.Addr().String(), ProxyTLS: p.client(), Sessions: []local.Session{{ID: "S1"}}})
	begin(t, h, "S1", "ssm.us-east-1.amazonaws.com", "AmazonSSM.StartSession")
	srv.Close()
	if status, body := refused(t, h, "ssmmessages.us-east-1.amazonaws.com:443"); !strings.HasPrefix(status, "502 postern: no answer from the postern proxy") || !strings.Contains(body, "postern login") {
		t.Errorf("%s\n%s", status, body)
	}
}
