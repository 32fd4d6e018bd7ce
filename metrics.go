package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// MetricsConfig is where Prometheus reads how the services of this process are.
type MetricsConfig struct {
	// Listen is a loopback address, because whoever reaches it may read.
	Listen string `yaml:"listen"` // default 127.0.0.1:3090
}

// loopback tells whether HOST:PORT is of this machine alone.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// metrics serves what services have to tell, in the format that Prometheus reads.
type metrics struct {
	ln       net.Listener
	registry *prometheus.Registry
	ready    chan struct{}
}

func newMetrics(ln net.Listener, of ...[]prometheus.Collector) (*metrics, error) {
	m := &metrics{ln: ln, registry: prometheus.NewRegistry(), ready: make(chan struct{})}
	of = append(of, []prometheus.Collector{collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})})
	for _, list := range of {
		for _, c := range list {
			if err := m.registry.Register(c); err != nil {
				return nil, fmt.Errorf("metrics: %w", err)
			}
		}
	}
	return m, nil
}

func (m *metrics) Ready() <-chan struct{} { return m.ready }

func (m *metrics) Run(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10}
	defer context.AfterFunc(ctx, func() { _ = srv.Close() })()
	close(m.ready)
	if err := srv.Serve(m.ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// listenForMetrics takes the address, before anything is started that others see: one that
// is taken is found at once. Who asks before startMetrics waits.
func (s *services) listenForMetrics(ctx context.Context) error {
	if s.cfg.Metrics == nil {
		return nil
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.cfg.Metrics.Listen)
	if err != nil {
		return fmt.Errorf("metrics.listen: %w", err)
	}
	s.metricsAt = ln
	s.closing = append(s.closing, func() { _ = ln.Close() })
	return nil
}

// startMetrics serves the metrics of what was started before.
func (s *services) startMetrics(ctx context.Context) error {
	var of [][]prometheus.Collector
	if s.broker != nil {
		of = append(of, s.broker.Metrics())
	}
	if s.proxy != nil {
		of = append(of, s.proxy.Metrics())
	}
	if s.auditor != nil {
		of = append(of, s.auditor.Metrics())
	}
	m, err := newMetrics(s.metricsAt, of...)
	if err != nil {
		return err
	}
	return s.stack.start(ctx, "metrics", m)
}
