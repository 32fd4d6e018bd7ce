package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/posternhq/postern/broker"
	"github.com/posternhq/postern/broker/policy"
	"github.com/posternhq/postern/broker/resource"
)

// ProxyPlace is one of several proxies, and the apps that it serves.
type ProxyPlace struct {
	Addr   string `yaml:"addr"`   // HOST:PORT, as users reach it
	Labels labels `yaml:"labels"` // of apps, as in a role's app_labels; default: all
}

// ProxyApps are the apps that a proxy serves.
type ProxyApps struct {
	Resources []AppSelector `yaml:"resources"` // any of these; default: all apps
}

// AppSelector selects apps by their labels.
type AppSelector struct {
	Labels labels `yaml:"labels"`
}

// AppConfig is an app as configuration; as in a resource of kind app.
type AppConfig struct {
	Name        string            `yaml:"name"`
	Description string            `yaml:"description,omitempty"`
	Labels      map[string]string `yaml:"labels,omitempty"`
	AWS         AppAWS            `yaml:"aws,omitempty"`
}

// AppAWS is an app's side of AWS.
type AppAWS struct {
	AccountID      string   `yaml:"account_id,omitempty"`
	Partition      string   `yaml:"partition,omitempty"`
	Region         string   `yaml:"region,omitempty"`
	RoleARNs       []string `yaml:"role_arns,omitempty"`
	ExternalID     string   `yaml:"external_id,omitempty"`
	SourceIdentity bool     `yaml:"source_identity,omitempty"`
	SessionTags    bool     `yaml:"session_tags,omitempty"`
}

// labels are values by key; one value may stand without a list.
type labels map[string][]string

func (l *labels) UnmarshalYAML(n *yaml.Node) error {
	var raw map[string]yaml.Node
	if err := n.Decode(&raw); err != nil {
		return err
	}
	*l = labels{}
	for key, v := range raw {
		if v.Kind == yaml.ScalarNode {
			(*l)[key] = []string{v.Value}
			continue
		}
		var values []string
		if err := v.Decode(&values); err != nil {
			return err
		}
		(*l)[key] = values
	}
	return nil
}

// selector says whether an app's labels are selected; none selects all.
func (l labels) selector() (func(map[string]string) bool, error) {
	if len(l) == 0 {
		return func(map[string]string) bool { return true }, nil
	}
	return policy.Selector(l)
}

// serves says which apps a proxy serves by their labels; nil means all.
func (a ProxyApps) serves() (func(map[string]string) bool, error) {
	if len(a.Resources) == 0 {
		return nil, nil
	}
	var any []func(map[string]string) bool
	for i, r := range a.Resources {
		s, err := r.Labels.selector()
		if err != nil {
			return nil, fmt.Errorf("proxy.apps.resources[%d].labels: %w", i, err)
		}
		any = append(any, s)
	}
	return func(app map[string]string) bool {
		for _, s := range any {
			if s(app) {
				return true
			}
		}
		return false
	}, nil
}

// places are the proxies that users may choose from.
func (b *BrokerConfig) places() ([]broker.ProxyPlace, error) {
	var out []broker.ProxyPlace
	for i, p := range b.Proxies {
		s, err := p.Labels.selector()
		if err != nil {
			return nil, fmt.Errorf("broker.proxies[%d].labels: %w", i, err)
		}
		out = append(out, broker.ProxyPlace{Addr: p.Addr, Serves: s})
	}
	return out, nil
}

// resources are the apps of the configuration as a resource file, nil for none.
func (b *BrokerConfig) resources() ([]byte, error) {
	if len(b.Apps) == 0 {
		return nil, nil
	}
	var buf bytes.Buffer
	enc := yaml.NewEncoder(&buf)
	for _, a := range b.Apps {
		err := enc.Encode(map[string]any{"kind": "app", "version": "v3",
			"metadata": map[string]any{"name": a.Name, "description": a.Description, "labels": a.Labels},
			"spec":     map[string]any{"cloud": "AWS", "aws": a.AWS}})
		if err != nil {
			return nil, err
		}
	}
	err := enc.Close()
	return buf.Bytes(), err
}

// checkApps finds what is wrong with apps and with what is said about them.
func (c *Config) checkApps() (key, problem string) {
	if p := c.Proxy; p != nil {
		if _, err := p.Apps.serves(); err != nil {
			return "proxy.apps", err.Error()
		}
	}
	b := c.Broker
	if b == nil {
		return "", ""
	}
	if _, err := b.places(); err != nil {
		return "broker.proxies", err.Error()
	}
	for i, p := range b.Proxies {
		if p.Addr == "" || !hostPortAddr(p.Addr) {
			return fmt.Sprintf("broker.proxies[%d].addr", i), fmt.Sprintf("%q must be HOST:PORT", p.Addr)
		}
	}
	// One by one first: the lines of what is made of them are nobody's.
	for i, a := range b.Apps {
		text, err := (&BrokerConfig{Apps: []AppConfig{a}}).resources()
		if err == nil {
			_, _, err = resource.Parse("", text)
		}
		var faults resource.Faults
		if errors.As(err, &faults) && len(faults) > 0 {
			err = fmt.Errorf("%s: %s", strings.TrimPrefix(strings.TrimPrefix(faults[0].Path, "metadata."), "spec."), faults[0].Reason)
		}
		if err != nil {
			return fmt.Sprintf("broker.apps[%d]", i), err.Error()
		}
	}
	if text, err := b.resources(); err == nil && text != nil {
		if _, _, err = resource.Parse("broker.apps", text); err != nil {
			return "broker.apps", err.Error()
		}
	}
	return "", ""
}
