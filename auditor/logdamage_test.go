package auditor_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"github.com/posternhq/postern/auditor"
	"github.com/posternhq/postern/auditor/tlog"
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
	unpublished := unpublishedOf(w)
	if _, err := w.j.Append(t.Context(), events.Event{Data: &events.SessionEnded{SessionID: "S", User: "alice", By: "alice"}}); err != nil {
		t.Fatal(err)
	}
	w.until("the metric tells", func() bool { return unpublished(events.Access) == 1 })
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
	w.until("it is logged and published", func() bool { return unpublished(events.Access) == 0 })
}

// unpublishedOf reads the metric that says how much of a log is not published.
func unpublishedOf(w *world) func(stream string) float64 {
	registry := prometheus.NewPedanticRegistry()
	for _, c := range w.a.Metrics() {
		if err := registry.Register(c); err != nil {
			w.t.Fatal(err)
		}
	}
	return func(stream string) (n float64) {
		w.t.Helper()
		families, err := registry.Gather()
		if err != nil {
			w.t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if f.GetName() == "postern_auditor_log_unpublished" && m.GetLabel()[0].GetValue() == stream {
					n = m.GetGauge().GetValue()
				}
			}
		}
		return n
	}
}

// A checkpoint that is damaged holds up its own log and no other; that is said once, with
// what to do, and that helps.
func TestDamagedCheckpoint(t *testing.T) {
	dir, kept := t.TempDir(), t.TempDir()
	var mu sync.Mutex
	var said bytes.Buffer
	w := newWorld(t, func(c *auditor.Config) {
		c.DataDir, c.Log = dir, zerolog.New(locked{&mu, &said})
		c.Notary.PublishEvery, c.Notary.Dirs = 50*time.Millisecond, []string{kept}
	})
	published := func(stream string, seq uint64) bool {
		_, err := os.Stat(filepath.Join(kept, stream, fmt.Sprintf("%020d", seq)))
		return err == nil
	}
	file := filepath.Join(dir, "log", events.Access, "checkpoint")
	for i, damage := range []string{"", "postern\nx\n", "\x00\xff"} {
		n := uint64(2*i + 1)
		both := func() {
			t.Helper()
			for _, p := range []events.Payload{&events.SessionEnded{SessionID: "S", User: "alice", By: "alice"}, &events.AWSRequestAdmitted{AWSRequest: awsRequest(rand.Text(), "alice", time.Now())}} {
				if _, err := w.j.Append(t.Context(), events.Event{Data: p}); err != nil {
					t.Fatal(err)
				}
			}
		}
		both()
		w.until("both are published", func() bool { return published(events.Access, n) && published(events.Audit, n) })
		if err := os.WriteFile(file, []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		both()
		w.until("the other is published", func() bool { return published(events.Audit, n+1) })
		if published(events.Access, n+1) {
			t.Errorf("damaged as %q, it is published", damage)
		}
		const news = "checkpoints of this log are not published"
		w.until("it is said", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return strings.Contains(said.String(), news)
		})
		mu.Lock()
		text := said.String()
		said.Reset()
		mu.Unlock()
		if strings.Count(text, news) != 1 || !strings.Contains(text, file) || !strings.Contains(text, "move it away") {
			t.Errorf("said\n%s", text)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		w.until("it is published", func() bool { return published(events.Access, n+1) })
	}
}

// What is signed is published while there always is something that is not yet: under load,
// and with a witness that never answers, of which each checkpoint lacks a second.
func TestPublishedUnderLoad(t *testing.T) {
	_, key, err := note.GenerateKey(rand.Reader, "witness.test")
	if err == nil {
		key, err = fnote.VKeyToCosignatureV1(key)
	}
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-over }))
	defer silent.Close()
	defer close(over)
	w := newWorld(t, func(c *auditor.Config) {
		c.DataDir = t.TempDir()
		c.Notary = auditor.NotaryConfig{PublishEvery: 50 * time.Millisecond, Witnesses: []tlog.Witness{{URL: silent.URL, Key: key}}}
	})
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	defer load.Wait()
	defer stop()
	load.Go(func() {
		for tick := time.NewTicker(20 * time.Millisecond); ctx.Err() == nil; <-tick.C {
			_, _ = w.j.Append(ctx, events.Event{Data: &events.AWSRequestAdmitted{AWSRequest: awsRequest(rand.Text(), "alice", time.Now())}})
		}
	})
	w.until("it was published several times", func() bool {
		return w.count(`SELECT count() FROM events WHERE type = ?`, string(events.TypeLogCheckpointed)) >= 4
	})
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
