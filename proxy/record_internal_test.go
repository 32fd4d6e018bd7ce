package proxy

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/events"
)

// While the journal answers for nothing, refused calls come by the hundred a second: each
// that is dropped counts, and the log says it once.
func TestDroppedIsSaidOnce(t *testing.T) {
	var log strings.Builder
	r := newRecorder(nil, zerolog.New(&log))
	r.waiting.Store(backlog)
	for range 100 {
		r.later(events.Event{Data: &events.AWSRequestDenied{}}, true)
	}
	if n := testutil.ToFloat64(r.meters.dropped); n != 100 || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("%v dropped, log:\n%s", n, &log)
	}
}
