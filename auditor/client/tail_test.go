package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestEventsBrokenOff: what was broken off is not all that there is, unless its end was
// the end of following.
func TestEventsBrokenOff(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("{}\n"))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	defer srv.Close()
	c := New(srv.URL, srv.Client())
	for _, follow := range []bool{true, false} {
		ctx, cancel := context.WithCancelCause(t.Context())
		stopped := errors.New("stopped")
		err := c.Events(ctx, "audit.>", "", follow, func(json.RawMessage) error { cancel(stopped); return nil })
		if follow && err != nil || !follow && !errors.Is(err, stopped) {
			t.Errorf("follow=%v: %v", follow, err)
		}
	}
}
