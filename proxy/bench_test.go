package proxy_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

// BenchmarkProxyGet1KiB and BenchmarkProxyPut64KiB compare the proxy, with
// authorization and audit on a stream that syncs every commit to disk, with a
// bare httputil.ReverseProxy over the same TLS links, in the same run.
func BenchmarkProxyGet1KiB(b *testing.B) {
	benchmarkProxy(b, "GET", nil)
}

func BenchmarkProxyPut64KiB(b *testing.B) {
	benchmarkProxy(b, "PUT", make([]byte, 64<<10))
}

// durable is a rig on a NATS server that syncs before it acknowledges.
func durable(b *testing.B) (*rig, jetstream.JetStream) {
	b.Helper()
	server, err := embedded.NewNATS(embedded.NATSConfig{Dir: b.TempDir(), Log: zerolog.Nop()})
	if err != nil {
		b.Fatal(err)
	}
	embeddedtest.Run(b, server)
	admin := embeddedtest.Connect(b, server, "test", embedded.Admin())
	if err := journal.Setup(b.Context(), admin, journal.StreamsConfig{}); err != nil {
		b.Fatal(err)
	}
	if err := server.StageInMemory(); err != nil {
		b.Fatal(err)
	}
	js, err := jetstream.New(admin)
	if err != nil {
		b.Fatal(err)
	}
	kib := make([]byte, 1<<10)
	return newRigOn(b, embeddedtest.Connect(b, server, "proxy", embedded.Proxy()), eventstest.Open(b, admin), func(_ *proxy.Config, a *ststest.AWS) {
		a.Lax = true
		a.Serve = func(w http.ResponseWriter, r *http.Request, _ ststest.Key) {
			n, err := io.Copy(io.Discard, r.Body)
			if err != nil {
				b.Error(err)
			}
			w.Header().Set("X-Amz-Request-Id", "AWSREQUESTID")
			w.Header().Set("Content-Type", "binary/octet-stream")
			if n == 0 {
				w.Write(kib)
			}
		}
	}), js
}

// bare is a reverse proxy that does nothing else, behind the same mutual TLS.
func (r *rig) bare() (addr string) {
	up := &http.Transport{TLSClientConfig: &tls.Config{}, DisableCompression: true, MaxIdleConnsPerHost: 256, MaxIdleConns: 1024}
	r.aws.Link().Apply(up)
	srv := httptest.NewUnstartedServer(&httputil.ReverseProxy{
		Transport: up,
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL.Scheme, pr.Out.URL.Host, pr.Out.Host = "https", pr.In.Host, pr.In.Host
		},
	})
	srv.TLS = &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: r.ca.pool,
		Certificates: []tls.Certificate{r.ca.issue(r.t, "proxy.test", nil)}}
	srv.StartTLS()
	r.t.Cleanup(srv.Close)
	r.t.Cleanup(up.CloseIdleConnections)
	return srv.Listener.Addr().String()
}

func benchmarkProxy(b *testing.B, method string, body []byte) {
	for _, conns := range []int{1, 64} {
		b.Run(fmt.Sprintf("conns=%d", conns), func(b *testing.B) {
			r, js := durable(b)
			c := r.client(r.session())
			addr := r.bare()
			bare := &client{session: c.session, signer: c.signer, Client: &http.Client{Transport: r.transportTo("alice", func() string { return addr })}}
			through := func(c *client, n int, after func()) []time.Duration {
				took := make([]time.Duration, n)
				var next atomic.Int64
				var wg sync.WaitGroup
				for range conns {
					wg.Go(func() {
						signed := c.request(b, method, "https://bucket.s3.us-east-1.amazonaws.com/key", bytes.NewReader(body))
						for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
							start := time.Now()
							req := signed.Clone(b.Context())
							if body == nil {
								req.Body, req.ContentLength = http.NoBody, 0
							} else {
								req.Body = io.NopCloser(bytes.NewReader(body))
							}
							resp, err := c.Do(req)
							if err != nil {
								b.Error(err)
								return
							}
							if resp.StatusCode != 200 {
								text, _ := io.ReadAll(resp.Body)
								b.Errorf("%d %s", resp.StatusCode, text)
								return
							}
							if _, err := io.Copy(io.Discard, resp.Body); err != nil {
								b.Error(err)
								return
							}
							resp.Body.Close()
							took[i] = time.Since(start)
							after()
						}
					})
				}
				wg.Wait()
				return took
			}
			nothing := func() {}
			through(c, 8*conns, nothing)
			through(bare, 8*conns, nothing)
			publish := rawPublish(b, js)
			// Blocks in turns, so that what else the machine does strikes both.
			block := max(64*conns/4, b.N/8)
			var ours, theirs, publishes []time.Duration
			var our, their time.Duration
			b.ResetTimer()
			for left := b.N; left > 0; left -= block {
				n := min(block, left)
				start := time.Now()
				ours = append(ours, through(c, n, nothing)...)
				our += time.Since(start)
				b.StopTimer()
				start = time.Now()
				theirs = append(theirs, through(bare, n, nothing)...)
				their += time.Since(start)
				if conns == 1 {
					// One publish after each bare request: a machine that has just
					// served one is not the one that does nothing but publish.
					through(bare, n, func() { publishes = append(publishes, publish()) })
				}
				b.StartTimer()
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/our.Seconds(), "req/s")
			b.ReportMetric(float64(b.N)/their.Seconds(), "bare-req/s")
			b.ReportMetric(their.Seconds()/our.Seconds(), "ratio")
			if conns == 1 {
				added := median(ours) - median(theirs)
				b.ReportMetric(float64(added.Microseconds()), "added-p50-µs")
				b.ReportMetric(float64(median(publishes).Microseconds()), "publish-p50-µs")
				b.ReportMetric(float64(added)/float64(median(publishes)), "added/publish")
			}
		})
	}
}

// BenchmarkLock is the time from a lock's publication, on loopback, until the download
// that it stops has ended at the client, and until a client that asks without a pause is
// first refused.
func BenchmarkLock(b *testing.B) {
	b.Run("cut", func(b *testing.B) {
		r, _ := durable(b)
		r.aws.Serve = func(w http.ResponseWriter, r *http.Request, _ ststest.Key) {
			w.Header().Set("Content-Length", "1000000")
			w.Write([]byte("beginning"))
			if err := http.NewResponseController(w).Flush(); err != nil {
				b.Error(err)
			}
			<-r.Context().Done()
		}
		s := r.session()
		c := r.client(s)
		benchmarkLock(b, r, s, func() (done func()) {
			resp, err := c.Do(c.request(b, "GET", object, nil))
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(resp.Body, make([]byte, 9)); err != nil {
				b.Fatal(err)
			}
			return func() {
				if _, err := io.Copy(io.Discard, resp.Body); err == nil {
					b.Fatal("the download was not cut")
				}
				resp.Body.Close()
			}
		})
	})
	b.Run("refused", func(b *testing.B) {
		r, _ := durable(b)
		s := r.session()
		c := r.client(s)
		ask := func() int {
			resp, err := c.Do(c.request(b, "GET", object, nil))
			if err != nil {
				return 0 // was under way when the lock came
			}
			defer resp.Body.Close()
			io.Copy(io.Discard, resp.Body)
			return resp.StatusCode
		}
		benchmarkLock(b, r, s, func() (done func()) {
			refused := make(chan struct{})
			go func() {
				defer close(refused)
				for status := 0; status != http.StatusForbidden; status = ask() {
					if b.Context().Err() != nil {
						return
					}
				}
			}()
			return func() { <-refused }
		})
	})
}

// benchmarkLock places locks on a session. prepare returns what ends when one has bitten.
func benchmarkLock(b *testing.B, r *rig, s *events.SessionStarted, prepare func() (done func())) {
	var took []time.Duration
	for b.Loop() {
		b.StopTimer()
		done := prepare()
		lock := &events.LockPlaced{LockID: journal.NewID(), Target: events.LockTarget{Kind: "session", Name: s.SessionID}, By: "admin"}
		b.StartTimer()
		start := time.Now()
		r.broker.append(lock)
		done()
		took = append(took, time.Since(start))
		b.StopTimer()
		r.emit(&events.LockLifted{LockID: lock.LockID, By: "admin"})
		b.StartTimer()
	}
	slices.Sort(took)
	b.ReportMetric(float64(median(took).Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// BenchmarkAssumeRole counts how often AWS is asked for credentials by 10,000 requests
// of 100 sessions, 64 at a time.
func BenchmarkAssumeRole(b *testing.B) {
	r, _ := durable(b)
	for b.Loop() {
		b.StopTimer()
		clients := make([]*client, 100)
		for i := range clients {
			clients[i] = r.client(r.session())
		}
		before := len(r.aws.Calls("AssumeRole"))
		b.StartTimer()
		var next atomic.Int64
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				for i := next.Add(1); i <= 10_000; i = next.Add(1) {
					c := clients[i%100]
					resp, err := c.Do(c.request(b, "GET", object, nil))
					if err != nil {
						b.Error(err)
						return
					}
					if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
						b.Errorf("%s, %v", resp.Status, err)
					}
					resp.Body.Close()
				}
			})
		}
		wg.Wait()
		b.ReportMetric(float64(len(r.aws.Calls("AssumeRole"))-before), "AssumeRole-calls")
	}
}

// rawPublish is one raw synchronous publish of an event's size.
func rawPublish(b *testing.B, js jetstream.JetStream) func() time.Duration {
	b.Helper()
	e, err := events.Encode(events.Event{
		Meta: events.Meta{ID: journal.NewID(), Source: "/postern/proxy/test/" + journal.NewID(), Time: time.Now(), CorrelationID: journal.NewID(), CausationID: journal.NewID(), Sequence: 1},
		Data: &events.AWSRequestAdmitted{AWSRequest: events.AWSRequest{
			RequestID: journal.NewID(), ReceivedAt: time.Now(), User: "alice", SessionID: journal.NewID(), App: "prod",
			AWSRoleARN: "arn:aws:iam::111122223333:role/dev", RoleSessionName: "alice", AccessKeyID: "ASIASTANDIN000000001",
			Account: "111122223333", Partition: "aws", Region: "us-east-1", Service: "s3", SigningName: "s3", Operation: "GetObject",
			Action: "s3:GetObject", AccessLevel: "Read", Resources: []string{"arn:aws:s3:::bucket/key"}, Method: "GET",
			Host: "bucket.s3.us-east-1.amazonaws.com", Path: "/key", ClientAddr: "127.0.0.1:40000", UserAgent: "Go-http-client/1.1", Proxy: "test",
		}},
	})
	if err != nil {
		b.Fatal(err)
	}
	return func() time.Duration {
		start := time.Now()
		if _, err := js.Publish(b.Context(), "audit.bench.raw.x.y", e, jetstream.WithMsgID(journal.NewID())); err != nil {
			b.Error(err)
		}
		return time.Since(start)
	}
}

func median(d []time.Duration) time.Duration {
	d = slices.Clone(d)
	slices.Sort(d)
	return d[len(d)/2]
}
