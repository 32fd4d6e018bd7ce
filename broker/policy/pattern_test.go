package policy

import (
	"slices"
	"strings"
	"testing"
)

func TestPatternMatch(t *testing.T) {
	traits := map[string][]string{
		"env":           {"dev", "qa"},
		"star":          {"*"},
		"empty":         {""},
		"aws-role.arns": {"x"},
	}
	for _, c := range []struct {
		pattern string
		yes, no []string
	}{
		{"prod", []string{"prod"}, []string{"", "pro", "prods", "Prod"}},
		{"*", []string{"", "anything"}, nil},
		{"prod-*", []string{"prod-", "prod-1"}, []string{"prod", "xprod-1"}},
		{"*-prod", []string{"a-prod"}, []string{"prod", "a-prods"}},
		{"a*b*c", []string{"abc", "aXbYc", "abbc"}, []string{"ac", "acb", "ab"}},
		{"ab*ba", []string{"abba", "abXba"}, []string{"aba"}}, // the ends must not overlap
		{"^prod-[0-9]+$", []string{"prod-12"}, []string{"prod-", "xprod-1", "prod-1x"}},
		{"^a|b$", []string{"a", "b"}, []string{"ax", "xb"}}, // anchored as a whole
		{"{{external.env}}", []string{"dev", "qa"}, []string{"prod", "{{external.env}}"}},
		{"team-{{internal.env}}-*", []string{"team-dev-1"}, []string{"team-dev", "team-prod-1"}},
		{`{{external["aws-role.arns"]}}`, []string{"x"}, []string{"y"}},
		{"{{external.star}}", []string{"*"}, []string{"anything"}}, // a trait is never a wildcard
		{"{{external.missing}}", nil, []string{"", "x"}},
		{"{{external.empty}}", nil, []string{""}},
		{"x{{external.empty}}", nil, []string{"x"}},
	} {
		p, err := ParsePattern(c.pattern)
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
			continue
		}
		for _, v := range c.yes {
			if !p.Match(v, traits) {
				t.Errorf("%s does not match %q", c.pattern, v)
			}
		}
		for _, v := range c.no {
			if p.Match(v, traits) {
				t.Errorf("%s matches %q", c.pattern, v)
			}
		}
	}
}

func TestPatternFaults(t *testing.T) {
	for pattern, want := range map[string]string{
		"^prod($":                      "bad regular expression",
		"^{{external.x}}$":             "cannot hold a template",
		"{{external.x":                 "{{ without }}",
		"external.x}}":                 "}} without {{",
		"{{external.x}}{{external.y}}": "more than one template",
		"{{user.name}}":                "want internal.NAME, external.NAME or a function",
		"{{internal.}}":                "is not a trait's name",
		"{{external.a b}}":             `"b" follows the end`,
		strings.Repeat("a", 2000):      "longer than",
	} {
		_, err := ParsePattern(pattern)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %q", pattern, err, want)
		}
	}
}

func TestPatternGlobs(t *testing.T) {
	traits := map[string][]string{"bucket": {"mine", "*", "a?c"}}
	p, err := ParsePattern("arn:aws:s3:::{{external.bucket}}/*")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := p.Globs(traits, false), []string{"arn:aws:s3:::mine/*"}; !slices.Equal(got, want) {
		t.Errorf("allow: %q, want %q: a trait's wildcard must not widen", got, want)
	}
	if got, want := p.Globs(traits, true), []string{"arn:aws:s3:::mine/*", "arn:aws:s3:::*/*", "arn:aws:s3:::a?c/*"}; !slices.Equal(got, want) {
		t.Errorf("deny: %q, want %q", got, want)
	}
}

// FuzzPattern checks that no pattern makes the parser or the matcher fail, and
// that a plain text matches itself alone.
func FuzzPattern(f *testing.F) {
	for _, s := range []string{"", "*", "a*b", "^a.*$", "{{external.x}}", `a{{external["y"]}}*`, "{{", "}}", "^$"} {
		f.Add(s, "value")
	}
	f.Fuzz(func(t *testing.T, pattern, v string) {
		p, err := ParsePattern(pattern)
		if err != nil {
			return
		}
		traits := map[string][]string{"x": {v}}
		got := p.Match(v, traits)
		if plain := p.re == nil && p.template == nil && len(p.before) == 1; plain && got != (pattern == v) {
			t.Errorf("plain text %q matches %q: %v", pattern, v, got)
		}
		if strings.ReplaceAll(pattern, "*", "") == "" && pattern != "" && !got {
			t.Errorf("%q does not match %q", pattern, v)
		}
	})
}
