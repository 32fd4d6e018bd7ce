package auditor_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/auditor"
	"github.com/posternhq/postern/events"
)

// A log that cannot be opened, because its files are damaged, is told by the metrics that
// alerts go by, and said once, with what to do; that helps.
func TestDamagedLog(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "log", events.Access)
	if err := os.MkdirAll(filepath.Join(log, ".state"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(log, ".state", "treeState"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var said bytes.Buffer
	w := newWorld(t, func(c *auditor.Config) {
		c.DataDir, c.Log = dir, zerolog.New(locked{&mu, &said})
		c.Notary.PublishEvery = 100 * time.Millisecond
	})
	registry := prometheus.NewPedanticRegistry()
	for _, c := range w.a.Metrics() {
		if err := registry.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	unpublished := func() (n float64) {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if f.GetName() == "postern_auditor_log_unpublished" && m.GetLabel()[0].GetValue() == events.Access {
					n = m.GetGauge().GetValue()
				}
			}
		}
		return n
	}
	if _, err := w.j.Append(t.Context(), events.Event{Data: &events.SessionEnded{SessionID: "S", User: "alice", By: "alice"}}); err != nil {
		t.Fatal(err)
	}
	w.until("the metric tells", func() bool { return unpublished() == 1 })
	begun := time.Now()
	w.until("it was tried several times", func() bool { return time.Since(begun) > 2*time.Second })
	mu.Lock()
	text := said.String()
	mu.Unlock()
	if n := strings.Count(text, "transparency log stopped"); n != 1 || !strings.Contains(text, log) || !strings.Contains(text, "move the directory away") {
		t.Errorf("said %d times:\n%s", n, text)
	}
	if err := os.Rename(log, filepath.Join(t.TempDir(), "away")); err != nil {
		t.Fatal(err)
	}
	w.until("it is logged and published", func() bool { return unpublished() == 0 })
}

// locked is a log that is read while it is written.
type locked struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (l locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}
