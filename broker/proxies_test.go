package broker

import (
	"slices"
	"testing"
	"time"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/events/eventstest"
)

// A proxy that joined announces itself by its certificate, and users are told of it
// while it does and while it serves their app; others announce nothing.
func TestProxiesAreHandedOut(t *testing.T) {
	j, clk := eventstest.Journal(t), newClock()
	b, _ := startIn(t, j, clk, "")
	ctx := t.Context()
	if _, err := b.Apply(ctx, "test", []byte(demo)); err != nil {
		t.Fatal(err)
	}
	admin := as(t, b, "admin")
	join := func(kind, agent string) (announce func(api.Announcement) (api.Announced, error), withdraw func() error) {
		made, err := admin.NewToken(ctx, api.NewToken{Kinds: []string{kind}})
		if err != nil {
			t.Fatal(err)
		}
		c, key, in := newcomer(t, b, made.Token, kind)
		in.Agent = agent
		out, err := c.Join(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		own := dial(t, b, shown(t, key, out))
		return func(in api.Announcement) (api.Announced, error) { return own.Announce(ctx, in) }, func() error { return own.Withdraw(ctx, "") }
	}
	addrs := func() []string {
		t.Helper()
		alice := as(t, b, "alice")
		apps, err := alice.Apps(ctx)
		if err != nil || len(apps) == 0 {
			t.Fatal(apps, err)
		}
		s, err := alice.StartSession(ctx, api.StartSession{App: apps[0].Name})
		if err != nil {
			t.Fatal(err)
		}
		again, err := alice.Session(ctx, s.ID)
		if err != nil || !slices.Equal(again.ProxyAddrs, s.ProxyAddrs) {
			t.Errorf("%v, read again %v: %v", s.ProxyAddrs, again.ProxyAddrs, err)
		}
		slices.Sort(s.ProxyAddrs)
		slices.Sort(apps[0].ProxyAddrs)
		if !slices.Equal(s.ProxyAddrs, apps[0].ProxyAddrs) {
			t.Errorf("the app is served by %v, its session by %v", apps[0].ProxyAddrs, s.ProxyAddrs)
		}
		return s.ProxyAddrs
	}
	want := func(when string, want ...string) {
		t.Helper()
		if got := addrs(); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	want("nobody announced anything")
	one, leave := join("proxy", "p1")
	two, _ := join("proxy", "p2")
	other, _ := join("proxy", "p3")
	said, err := one(api.Announcement{Addr: "p1.example.com:3081"})
	if err != nil || !said.ExpiresAt.After(clk.now().Add(time.Minute)) {
		t.Fatal(said, err)
	}
	if _, err := two(api.Announcement{Addr: "p2.example.com:3081"}); err != nil {
		t.Fatal(err)
	}
	if _, err := other(api.Announcement{Addr: "p3.example.com:3081", Apps: []api.AppSelector{{Labels: map[string][]string{"team": {"nobody"}}}}}); err != nil {
		t.Fatal(err)
	}
	want("two that serve the app", "p1.example.com:3081", "p2.example.com:3081")

	auditor, _ := join("auditor", "a1")
	if _, err := auditor(api.Announcement{Addr: "a1.example.com:3082"}); code(err) != api.CodeDenied {
		t.Errorf("an auditor: %v", err)
	}
	if _, err := admin.Announce(ctx, api.Announcement{Addr: "evil.example.com:1"}); code(err) != api.CodeUnauthenticated {
		t.Errorf("a user: %v", err)
	}
	if _, err := one(api.Announcement{Addr: "nowhere"}); code(err) != api.CodeInvalid {
		t.Errorf("no address: %v", err)
	}
	if err := leave(); err != nil {
		t.Fatal(err)
	}
	want("one withdrew", "p2.example.com:3081")
	clk.advance(time.Hour)
	want("the other fell silent")

	b.cfg.Proxies = []ProxyPlace{{Addr: "c:1", Serves: func(map[string]string) bool { return true }}}
	want("configured", "c:1")
}

// Apps of the configuration end with it; what people made does not.
func TestConfiguredApps(t *testing.T) {
	j, clk := eventstest.Journal(t), newClock()
	b, _ := startIn(t, j, clk, "")
	ctx := t.Context()
	app := func(names ...string) (out []byte) {
		for _, n := range names {
			out = append(out, "---\nkind: app\nversion: v3\nmetadata: {name: "+n+"}\nspec: {cloud: AWS, aws: {account_id: \"123456789012\"}}\n"...)
		}
		return out
	}
	configure := func(names ...string) {
		t.Helper()
		if err := b.Configure(ctx, "postern.yaml", app(names...)); err != nil {
			t.Fatal(err)
		}
	}
	want := func(names ...string) {
		t.Helper()
		var got []string
		for name := range b.ledger.state.Apps {
			got = append(got, name)
		}
		if slices.Sort(got); !slices.Equal(got, names) {
			t.Errorf("apps %v, want %v", got, names)
		}
	}
	if _, err := b.Apply(ctx, "test", app("made", "both")); err != nil {
		t.Fatal(err)
	}
	configure("a", "b", "both")
	want("a", "b", "both", "made")
	seq := b.ledger.seq
	configure("a", "b", "both")
	if b.ledger.seq != seq {
		t.Error("the same configuration gave events")
	}
	if _, err := b.Apply(ctx, "alice", app("b")); err != nil { // hers from now on
		t.Fatal(err)
	}
	configure("a")
	want("a", "b", "made")
	configure()
	want("b", "made")
	if err := b.Configure(ctx, "postern.yaml", []byte(demo)); code(err) != api.CodeInvalid {
		t.Errorf("roles and users in a configuration: %v", err)
	}
}
