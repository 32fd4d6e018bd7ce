package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/broker/resource"
	"github.com/posternhq/postern/events"
)

// Apps of a configuration are the resources that they look like, and proxies
// are chosen by their labels.
func TestConfiguredApps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "postern.yaml")
	if err := os.WriteFile(path, []byte(`
nats: {embedded: true}
broker:
  proxies:
  - {addr: "p1.example.com:3081", labels: {env: prod}}
  - {addr: "p2.example.com:3081"}
  apps:
  - name: payments
    description: Payments
    labels: {env: prod}
    aws: {account_id: "123456789012", region: eu-central-1, role_arns: ["arn:aws:iam::123456789012:role/A"], external_id: x-1, source_identity: true}
  - {name: sandbox, labels: {env: dev}, aws: {partition: aws-cn}}
proxy:
  apps:
    resources:
    - labels: {env: [prod, staging]}
    - labels: {team: "pay-*"}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := readConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := c.Broker.resources()
	if err != nil {
		t.Fatal(err)
	}
	docs, warnings, err := resource.Parse("apps", text)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	var got []events.App
	for _, d := range docs {
		got = append(got, *d.App)
	}
	if d := cmp.Diff([]events.App{
		{Name: "payments", Description: "Payments", Labels: map[string]string{"env": "prod"}, AccountID: "123456789012", Region: "eu-central-1",
			RoleARNs: []string{"arn:aws:iam::123456789012:role/A"}, ExternalID: "x-1", SourceIdentity: true},
		{Name: "sandbox", Labels: map[string]string{"env": "dev"}, Partition: "aws-cn"},
	}, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	places, err := c.Broker.places()
	if err != nil || len(places) != 2 || places[0].Serves(got[1].Labels) || !places[0].Serves(got[0].Labels) || !places[1].Serves(got[1].Labels) {
		t.Errorf("places %+v, %v", places, err)
	}
	serves, err := c.Proxy.Apps.serves()
	if err != nil || !serves(got[0].Labels) || serves(got[1].Labels) || !serves(map[string]string{"team": "pay-eu"}) {
		t.Errorf("what the proxy serves: %v", err)
	}
}

// Sessions in one helper go to a proxy that serves all of their apps.
func TestProxiesOf(t *testing.T) {
	a, b := &appSession{Proxies: []string{"p1:1", "p2:1"}}, &appSession{Proxies: []string{"p2:1", "p3:1"}}
	for _, c := range []struct {
		named    string
		sessions []*appSession
		want     []string
	}{
		{"p:1", nil, []string{"p:1"}},
		{"p:1", []*appSession{{}}, []string{"p:1"}},
		{"", []*appSession{{}}, nil},
		{"p:1", []*appSession{a}, a.Proxies},
		{"p:1", []*appSession{a, {}, b}, []string{"p2:1"}},
		{"p:1", []*appSession{a, b, {Proxies: []string{"p1:1"}}}, nil},
	} {
		got, err := proxiesOf(c.named, c.sessions...)
		if !cmp.Equal(got, c.want) || (err == nil) != (c.want != nil) {
			t.Errorf("%q, %d sessions: %v, %v, want %v", c.named, len(c.sessions), got, err, c.want)
		}
	}
}
