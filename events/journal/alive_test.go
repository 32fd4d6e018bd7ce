package journal

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

func TestCertainty(t *testing.T) {
	led := func(ages ...time.Duration) *jetstream.ClusterInfo {
		c := &jetstream.ClusterInfo{Leader: "n1"}
		for _, a := range ages {
			c.Replicas = append(c.Replicas, &jetstream.PeerInfo{Active: a})
		}
		return c
	}
	for _, c := range []struct {
		name string
		info *jetstream.ClusterInfo
		age  time.Duration
		ok   bool
	}{
		{"one server", nil, 0, true},
		{"one replica in a cluster", led(), 0, true},
		{"nobody leads", &jetstream.ClusterInfo{Replicas: led(1, 2).Replicas}, 0, false},
		{"of three, the first that answered makes two", led(5, 2), 2, true},
		{"one of them never did", led(0, 7), 7, true},
		{"none ever did", led(0, 0), 0, false},
		{"of two, both count", led(4), 4, true},
		{"of two, the other never did", led(0), 0, false},
		{"of four, three", led(1, 2, 3), 2, true},
		{"of five, three", led(9, 1, 8, 3), 3, true},
		{"of five, two have answered", led(9, 0, 8, 0), 9, true},
		{"of five, one has", led(9, 0, 0, 0), 0, false},
	} {
		if age, err := certainty(c.info); age != c.age || (err == nil) != c.ok {
			t.Errorf("%s: %s, %v", c.name, age, err)
		}
	}
}
