package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/posternhq/postern/broker/api"
)

// Two proxies that nobody configured anywhere but with themselves: users find them, go
// on by the one when the other is killed, and are told no more of one that stops; one
// that serves other apps is named to nobody.
func TestProxiesAnnounceThemselves(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: runs five processes")
	}
	c := startCluster(t, plainBinary(t))
	addrs := map[string]string{}
	for _, p := range []struct{ name, more string }{{"p2", ""}, {"p3", `, apps: {resources: [{labels: {for: load}}]}`}, {"p4", `, apps: {resources: [{labels: {for: others}}]}`}} {
		addrs[p.name] = freePort(t)
		pin := c.token("proxy")
		c.write(p.name+".yaml", fmt.Appendf(nil, `data_dir: %[1]s/%[2]s
proxy:
  {listen: %[3]q, public_addr: %[3]q, name: %[2]s, join: {broker: %[4]q, ca_pin: %[5]q, token_file: %[1]s/proxy.token}, aws: {dial: %[6]q, ca_file: %[7]q}%[8]s}
`, c.dir, p.name, addrs[p.name], c.ports["broker"], pin, c.sim.Addr(), c.sim.CAFile(), p.more))
		c.start(p.name)
	}
	t.Cleanup(func() {
		for name := range addrs {
			c.stop(name)
		}
	})
	ctx := t.Context()
	c.write("load.yaml", []byte(loadResources))
	c.run("create", "--force", "-f", filepath.Join(c.dir, "load.yaml"))
	served := func() []string {
		t.Helper()
		var app api.App // the only one
		if err := json.Unmarshal([]byte(c.run("apps", "ls", "--format=json")), &app); err != nil {
			t.Fatal(err)
		}
		return app.ProxyAddrs
	}
	both := []string{addrs["p2"], addrs["p3"]}
	if got := served(); len(got) != 2 || !slices.Contains(got, both[0]) || !slices.Contains(got, both[1]) {
		t.Fatalf("the app is served by %v, want %v", got, both)
	}
	var session appSession
	if err := json.Unmarshal([]byte(c.run("apps", "login", "--format=json", "load")), &session); err != nil || len(session.Proxies) != 2 {
		t.Fatal(session, err)
	}
	whoami := func(when string) {
		t.Helper()
		if out := c.run("aws", "sts", "get-caller-identity", "--output=text", "--query=Arn"); !strings.Contains(out, "PosternEngineer") {
			t.Errorf("%s: %s", when, out)
		}
	}
	whoami("both run")
	first, second := "p2", "p3"
	if session.Proxies[0] == addrs["p3"] {
		first, second = second, first
	}
	c.kill(first) // it withdraws nothing
	whoami("the first is dead")
	c.start(first)
	c.stop(second)
	if got := served(); !slices.Equal(got, []string{addrs[first]}) {
		t.Errorf("after one stopped the app is served by %v, want %s", got, addrs[first])
	}
	whoami("the second stopped")
	out, err := c.postern(ctx, "events", "tail", "--subject=access.proxy.>", "--since=1h", "--no-follow", "--format=cloudevents")
	if err != nil || strings.Count(out, "io.postern.proxy.announced.v1") != 3 || strings.Count(out, "io.postern.proxy.withdrawn.v1") != 1 {
		t.Errorf("%v: the history has\n%s", err, out)
	}
}

// run is postern without a fault.
func (c *cluster) run(args ...string) string {
	c.t.Helper()
	out, err := c.postern(c.t.Context(), args...)
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}
