package main

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/events"
)

// Nobody outside can be given the name of a consumer that postern itself reads by.
func TestOwnConsumersAreReserved(t *testing.T) {
	dev := startDev(t)
	if dev == nil {
		t.Skip("postern dev does not run here: see the lines above")
	}
	nc, err := connectNATS(dev.NATSURL, dev.NATSCreds, "")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, name := range events.Streams() {
		s, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		list := s.ListConsumers(t.Context())
		for c := range list.Info() {
			if c.Config.Durable == "" {
				continue // its name is of the server's making, and it ends by itself
			}
			seen[c.Name] = true
			_, err := access.CreateConsumer(access.NewState(), access.Env{By: "admin", NewID: func() string { return "id" }},
				events.ConsumerCreated{Name: c.Name, Filter: "audit.>"})
			if err == nil {
				t.Errorf("a consumer of %s, which is postern's own, can be made by anybody: %s", name, c.Name)
			}
		}
		if err := list.Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"broker-held", "auditor-lease", "auditor-ACCESS", "_push"} {
		if !seen[name] {
			t.Errorf("there is no %s among %s", name, fmt.Sprint(seen))
		}
	}
}
