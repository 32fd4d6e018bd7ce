package proxy_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/coder/websocket"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/local"
	"github.com/posternhq/postern/proxy/sigv4"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

// helped is a client of a real helper in front of the rig's proxy, and the
// credentials that the helper gave it.
func (r *rig) helped(s *events.SessionStarted) (*http.Client, aws.Credentials) {
	r.t.Helper()
	return r.helpedBy(s, r.p.Addr())
}

// helpedBy is helped by a helper that reaches the proxy at addr.
func (r *rig) helpedBy(s *events.SessionStarted, addr string) (*http.Client, aws.Credentials) {
	t := r.t
	t.Helper()
	helper, err := local.New(local.Config{ProxyAddr: addr, ProxyTLS: r.tls("alice"), Dir: filepath.Join(t.TempDir(), "local"),
		Sessions: []local.Session{{ID: s.SessionID, App: s.App, Region: s.Region}}, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	embeddedtest.Run(t, helper)
	env := map[string]string{}
	for _, v := range helper.Env() {
		env[v.Name] = v.Value
	}
	through, err := url.Parse(env["HTTPS_PROXY"])
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(env["AWS_CA_BUNDLE"])
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	transport := &http.Transport{Proxy: http.ProxyURL(through), TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}, aws.Credentials{AccessKeyID: env["AWS_ACCESS_KEY_ID"], SecretAccessKey: env["AWS_SECRET_ACCESS_KEY"]}
}

// transcribe is where Amazon Transcribe takes WebSockets
// (https://docs.aws.amazon.com/transcribe/latest/dg/streaming-websocket.html).
const transcribe = "https://transcribestreaming.us-east-1.amazonaws.com:8443/stream-transcription-websocket?language-code=en-US&media-encoding=pcm&sample-rate=16000&X-Amz-Expires=60"

// presign signs the address of the WebSocket as of a time.
func presign(ctx context.Context, creds aws.Credentials, at time.Time) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, transcribe, nil)
	if err != nil {
		return "", err
	}
	signed, _, err := v4.NewSigner().PresignHTTP(ctx, creds, req, sigv4.EmptyHash, "transcribe", "us-east-1", at)
	return signed, err
}

// spoken stands for a service that is spoken to on a WebSocket.
func spoken(t *testing.T) func(*proxy.Config, *ststest.AWS) {
	return func(_ *proxy.Config, a *ststest.AWS) {
		a.Presigned = true
		a.Serve = func(w http.ResponseWriter, r *http.Request, k ststest.Key) {
			at, err := time.Parse("20060102T150405Z", r.URL.Query().Get("X-Amz-Date"))
			if err != nil {
				t.Error(err)
			}
			want, err := presign(r.Context(), aws.Credentials{AccessKeyID: k.ID, SecretAccessKey: k.Secret, SessionToken: k.Token}, at)
			if err != nil {
				t.Error(err)
			}
			if u, err := url.Parse(want); err != nil || u.Query().Get("X-Amz-Signature") != r.URL.Query().Get("X-Amz-Signature") || r.Host != u.Host {
				t.Errorf("AWS would refuse https://%s%s, which should be %s", r.Host, r.RequestURI, want)
			}
			conn, err := websocket.Accept(w, r, nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.CloseNow()
			conn.SetReadLimit(-1)
			for {
				kind, b, err := conn.Read(r.Context())
				if err != nil || conn.Write(r.Context(), kind, b) != nil {
					return
				}
			}
		}
	}
}

func TestWebSocket(t *testing.T) {
	r := newRig(t, spoken(t))
	s := r.session()
	client, creds := r.helped(s)
	address, err := presign(t.Context(), creds, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	conn, resp, err := websocket.Dial(t.Context(), "wss"+strings.TrimPrefix(address, "https"), &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		t.Fatal(err, resp)
	}
	defer conn.CloseNow()
	conn.SetReadLimit(-1)
	for i := range 100 {
		said := fmt.Appendf(nil, "%d %s", i, strings.Repeat("x", 1000*i))
		if err := conn.Write(t.Context(), websocket.MessageBinary, said); err != nil {
			t.Fatal(err)
		}
		if _, heard, err := conn.Read(t.Context()); err != nil || string(heard) != string(said) {
			t.Fatalf("%d: %d bytes, %v", i, len(heard), err)
		}
	}
	if err := conn.Close(websocket.StatusNormalClosure, "over"); err != nil {
		t.Fatal(err)
	}

	locked, _, err := websocket.Dial(t.Context(), "wss"+strings.TrimPrefix(address, "https"), &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		t.Fatal(err)
	}
	defer locked.CloseNow()
	r.emit(&events.LockPlaced{LockID: "lock-1", Target: events.LockTarget{Kind: "user", Name: "alice"}, By: "admin"})
	if _, _, err := locked.Read(t.Context()); err == nil {
		t.Error("the lock did not cut the WebSocket")
	}

	es := r.audit()
	var got []string
	for _, c := range payloads[*events.AWSRequestCompleted](es) {
		if c.Status != http.StatusSwitchingProtocols || c.Service != "transcribe-streaming" || c.Action != "transcribe:StartStreamTranscriptionWebSocket" {
			t.Errorf("%+v", c)
		}
		got = append(got, fmt.Sprintf("%s sent %t received %t", c.Interrupted, c.RequestBytes > 4_900_000, c.ResponseBytes > 4_900_000))
	}
	slices.Sort(got)
	if want := []string{" sent true received true", "lock sent false received false"}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("completed: %q, want %q", got, want)
	}
	if n := len(payloads[*events.AWSRequestAdmitted](es)); n != 2 {
		t.Errorf("%d admitted", n)
	}
}
