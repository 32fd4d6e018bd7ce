package policy

import (
	"strings"
	"testing"
)

func TestSelector(t *testing.T) {
	app := map[string]string{"env": "prod", "team": "payments-eu"}
	for _, c := range []struct {
		labels map[string][]string
		want   bool
	}{
		{map[string][]string{"*": {"*"}}, true},
		{map[string][]string{"env": {"dev", "prod"}}, true},
		{map[string][]string{"env": {"prod"}, "team": {"payments-*"}}, true},
		{map[string][]string{"env": {"prod"}, "team": {"^billing-.*$"}}, false},
		{map[string][]string{"stage": {"prod"}}, false},
		{nil, false},
	} {
		selects, err := Selector(c.labels)
		if err != nil || selects(app) != c.want {
			t.Errorf("%v: %v, want %t", c.labels, err, c.want)
		}
	}
	for words, labels := range map[string]map[string][]string{
		"no traits here": {"env": {"{{external.env}}"}},
		"bad regular":    {"env": {"^($"}},
		"all apps":       {"*": {"prod"}},
	} {
		if _, err := Selector(labels); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v: %v, want %q", labels, err, words)
		}
	}
}
