package broker

import (
	"bytes"
	"fmt"
)

// getMetrics tells how far the consumers are, in Prometheus's text format
// (https://prometheus.io/docs/instrumenting/exposition_formats/). Names of
// consumers and streams need no escaping.
func (b *Broker) getMetrics(c *call) (any, error) {
	consumers, err := b.consumers(c)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	gauge := func(name, help string, value func(i int) (v uint64, known bool)) {
		fmt.Fprintf(&out, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name)
		for i, k := range consumers {
			if v, known := value(i); known {
				fmt.Fprintf(&out, "%s{consumer=%q,stream=%q} %d\n", name, k.Name, k.Stream, v)
			}
		}
	}
	seen := func(i int) bool { return consumers[i].Fault == "" }
	gauge("postern_consumer_known", "Whether the consumer's place in the stream is known.", func(i int) (uint64, bool) {
		if seen(i) {
			return 1, true
		}
		return 0, true
	})
	gauge("postern_consumer_pending_events", "Events that were not delivered yet.", func(i int) (uint64, bool) { return consumers[i].Pending, seen(i) })
	gauge("postern_consumer_unacknowledged_events", "Events that were delivered and not acknowledged.", func(i int) (uint64, bool) { return consumers[i].Unacknowledged, seen(i) })
	gauge("postern_consumer_acked_sequence", "Sequence in the stream to which all events are acknowledged.", func(i int) (uint64, bool) { return consumers[i].AckedTo, seen(i) })
	gauge("postern_consumer_last_ack_timestamp_seconds", "When it last acknowledged one.", func(i int) (uint64, bool) {
		if t := consumers[i].LastAck; t != nil {
			return uint64(t.Unix()), true
		}
		return 0, false
	})
	pushed := func(i int) bool { return consumers[i].Push != nil }
	gauge("postern_consumer_dead_letters", "Events that the endpoint would not take.", func(i int) (uint64, bool) { return uint64(consumers[i].DeadLetters), pushed(i) })
	gauge("postern_consumer_unpolled_tokens", "Security Event Tokens that a receiver which polls has not acknowledged.", func(i int) (uint64, bool) { return uint64(consumers[i].Unpolled), consumers[i].StreamStatus != "" })
	gauge("postern_consumer_suspended", "Whether nothing is sent until somebody resumes it.", func(i int) (uint64, bool) {
		if consumers[i].Suspended != "" {
			return 1, true
		}
		return 0, pushed(i)
	})
	gauge("postern_consumer_failing_since_timestamp_seconds", "Since when the endpoint has taken nothing of what was sent.", func(i int) (uint64, bool) {
		if f := consumers[i].Failing; f != nil {
			return uint64(f.Since.Unix()), true
		}
		return 0, false
	})
	return text{"text/plain; version=0.0.4; charset=utf-8", out.Bytes()}, nil
}
