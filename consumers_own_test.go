package main

import (
	"testing"
	"time"

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
	missing := func() (names []string) {
		for _, name := range []string{"broker-held", "auditor-lease", "auditor-ACCESS", "_push"} {
			if !seen[name] {
				names = append(names, name)
			}
		}
		return names
	}
	// An auditor takes its tasks one by one.
	for end := time.Now().Add(time.Minute); len(missing()) > 0; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("there is no %v among %v", missing(), seen)
		}
		for _, name := range events.Streams() {
			s, err := js.Stream(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			list := s.ListConsumers(t.Context())
			for c := range list.Info() {
				if c.Config.Durable == "" || seen[c.Name] {
					continue // one without a name ends by itself
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
	}
}
