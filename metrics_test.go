package main

import (
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
)

func TestMetricsListener(t *testing.T) {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "postern_test_total", Help: "A test."})
	c.Add(3)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m, err := newMetrics(ln, []prometheus.Collector{c})
	if err != nil {
		t.Fatal(err)
	}
	stop := embeddedtest.Run(t, m)
	get := func(path string, want int) string {
		t.Helper()
		resp, err := http.Get("http://" + ln.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != want {
			t.Fatalf("%s: %s, %v", path, resp.Status, err)
		}
		return string(b)
	}
	for _, line := range []string{"postern_test_total 3\n", "\ngo_goroutines ", "\nprocess_resident_memory_bytes "} {
		if text := get("/metrics", http.StatusOK); !strings.Contains(text, line) {
			t.Errorf("no %q in\n%s", line, text)
		}
	}
	get("/", http.StatusNotFound)
	stop()
	if _, err := newMetrics(ln, []prometheus.Collector{c, c}); err == nil {
		t.Error("one counter twice")
	}
	for addr, want := range map[string]bool{"127.0.0.1:1": true, "[::1]:1": true, "localhost:1": true, "0.0.0.0:1": false, "10.0.0.1:1": false, ":1": false, "x": false} {
		if got := loopback(addr); got != want {
			t.Errorf("%s is of this machine: %t", addr, got)
		}
	}
}

// A port that is taken is found before anything is started, and said once.
func TestMetricsPortTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dir := t.TempDir()
	s := &services{cfg: &Config{DataDir: dir, NATS: NATSConfig{Embedded: true, Listen: "127.0.0.1:0"}, Metrics: &MetricsConfig{Listen: ln.Addr().String()}}, log: zerolog.Nop()}
	err = s.serve(t.Context(), "")
	if err == nil || !strings.HasPrefix(err.Error(), "metrics.listen: listen tcp "+ln.Addr().String()) {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("something was started before: %v, %v", left, err)
	}
}
