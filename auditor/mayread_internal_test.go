package auditor

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
)

// While the store hangs nobody may ask, and everybody is told so: who waits does not wait
// for one look after the other.
func TestStoreHangs(t *testing.T) {
	dsn, err := url.Parse(embeddedtest.ClickHouse(t))
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var hangs atomic.Bool
	var calls atomic.Int64 // since it hangs
	server := dsn.Host
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			if hangs.Load() {
				calls.Add(1)
			}
			to, err := net.Dial("tcp", server)
			if err != nil {
				t.Error(err)
				return
			}
			go func() { _, _ = io.Copy(to, c); _ = to.Close() }()
			go func() {
				defer c.Close()
				for b := make([]byte, 4096); ; {
					n, err := to.Read(b)
					if err != nil {
						return
					}
					if hangs.Load() {
						continue // it answers, and nobody hears it
					}
					if _, err := c.Write(b[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	dsn.Host = ln.Addr().String()
	s, err := store.New(store.Config{DSN: dsn.String(), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	a := &Auditor{store: s, floors: map[string]*atomic.Uint64{events.Access: {}}}
	rs := &a.readers
	asks := func() error { return rs.with(t.Context(), a, func(*readers) error { return nil }) }
	healthy := func() int {
		w := httptest.NewRecorder()
		a.health(w, httptest.NewRequest("GET", "/healthz", nil))
		return w.Code
	}
	if err := asks(); err != nil || healthy() != http.StatusOK {
		t.Fatal(err, healthy())
	}
	hangs.Store(true)
	rs.at, rs.most = time.Time{}, 100*time.Millisecond
	var asking sync.WaitGroup
	for range 5 {
		asking.Go(func() {
			err := asks()
			if late, ok := errors.AsType[net.Error](err); !ok || !late.Timeout() {
				t.Errorf("who may ask: %v", err)
			}
		})
	}
	asking.Wait()
	if n := calls.Load(); n != 0 {
		t.Errorf("%d more looks while it hung", n)
	}
	rs.at = time.Now() // whether it is well is not asked again at once
	if got := healthy(); got != http.StatusServiceUnavailable {
		t.Errorf("it says that it is well: %d", got)
	}
	hangs.Store(false)
	rs.at, rs.most = time.Time{}, 0
	if err := asks(); err != nil || healthy() != http.StatusOK {
		t.Errorf("once it answers: %v, %d", err, healthy())
	}
}
