package policy

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestTemplates(t *testing.T) {
	traits := map[string][]string{
		"email":  {"alice@example.com", "Bob <bob.b@example.com>", "not an address"},
		"groups": {"aws-dev", "aws-prod", "wiki"},
		"teams":  {"red,blue", "green"},
		"name":   {"Zoë"},
		"stars":  {"a-*"},
		"long":   {strings.Repeat("x", 200)},
	}
	for template, want := range map[string][]string{
		"{{email.local(external.email)}}":                                                      {"alice", "bob.b"},
		`{{regexp.replace(external.groups, "^aws-(.*)$", "$1")}}`:                              {"dev", "prod"},
		"{{regexp.replace(external.groups, `^aws-(\\w+)$`, `${1}s`)}}":                         {"devs", "prods"},
		`{{strings.upper(external.name)}}`:                                                     {"ZOË"},
		`{{ strings.lower( external["name"] ) }}`:                                              {"zoë"},
		`{{strings.replaceall(external.groups, "aws-", "")}}`:                                  {"dev", "prod", "wiki"},
		`{{strings.split(external.teams, ",")}}`:                                               {"red", "blue", "green"},
		`{{regexp.replace(strings.upper(email.local(internal.email)), "^(A.*)$", "team-$1")}}`: {"team-ALICE"},
		`{{regexp.replace(external.name, "^.*$", "}}{{")}}`:                                    {"}}{{"},
		`{{regexp.replace(external.groups, "^nobody$", "x")}}`:                                 nil,
		`{{strings.upper(external.missing)}}`:                                                  nil,
		`{{regexp.replace(external.name, "^.*$", "")}}`:                                        nil,
		`{{strings.lower(external.stars)}}`:                                                    nil, // a wildcard must not widen
		`{{strings.replaceall(external.long, "x", "0123456789")}}`:                             {strings.Repeat("0123456789", 200)},
		`{{strings.replaceall(external.long, "x", "0123456789ab")}}`:                           nil, // too long
	} {
		p, err := ParsePattern(template)
		if err != nil {
			t.Errorf("%s: %v", template, err)
			continue
		}
		if got := p.Globs(traits, false); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", template, got, want)
		}
	}
}

func TestTemplateFaults(t *testing.T) {
	for pattern, want := range map[string]struct {
		offset int
		words  string
	}{
		"a}}b":                                         {1, "}} without {{"},
		"ab{{external.x":                               {2, "{{ without }}"},
		`{{email.local("}}")`:                          {0, "{{ without }}"},
		"{{external.x}}-{{external.y}}":                {15, "more than one template"},
		"team-{{extrenal.x}}":                          {7, "want internal.NAME"},
		"{{email.remote(external.email)}}":             {2, `no function "email.remote"`},
		"{{email.local(external.email)}} {{":           {32, "more than one"},
		"{{email.local external.email}}":               {2, "want internal.NAME"},
		"{{email.local(external.email, \"x\")}}":       {28, "want ')' to end email.local"},
		`{{regexp.replace(external.x, "a")}}`:          {32, "takes a value and 2 texts"},
		`{{regexp.replace(external.x, "(", "")}}`:      {29, "bad regular expression"},
		`{{regexp.replace(external.x, "a", "b)}}`:      {0, "{{ without }}"},
		`{{regexp.replace(external.x, a, b)}}`:         {29, "want a text in quotes"},
		`{{strings.upper(external.x) + "y"}}`:          {28, "follows the end"},
		`{{external["x"}}`:                             {14, "want ']'"},
		`{{strings.upper(strings.upper(user.x))}}`:     {30, "want internal.NAME"},
		`{{strings.replaceall(external.x, "\q", "")}}`: {33, "bad escape"},
	} {
		_, err := ParsePattern(pattern)
		var bad *SyntaxError
		if !errors.As(err, &bad) || bad.Offset != want.offset || !strings.Contains(bad.Reason, want.words) {
			t.Errorf("%s: %+v, want %q at %d", pattern, err, want.words, want.offset)
		}
	}
}

// FuzzTemplate checks that no template breaks the parser, that faults lie within
// it, and that what it makes keeps its bounds.
func FuzzTemplate(f *testing.F) {
	for _, s := range []string{
		"external.x", `internal["x"]`, "email.local(external.x)", `regexp.replace(external.x, "^(.*)$", "$1$1")`,
		"strings.split(strings.upper(external.x), `,`)", `strings.replaceall(external.x, "", "xx")`, "(", `"`, "external.x)", "a(b(c(",
	} {
		f.Add(s, "alice@example.com,bob")
	}
	f.Fuzz(func(t *testing.T, s, v string) {
		tpl, err := parseTemplate(s)
		if err != nil {
			var bad *SyntaxError
			if !errors.As(err, &bad) || bad.Offset < 0 || bad.Offset > len(s) || bad.Reason == "" {
				t.Fatalf("%q: fault %+v", s, err)
			}
			return
		}
		if tpl.trait == "" {
			t.Fatalf("%q names no trait", s)
		}
		got := tpl.values(map[string][]string{tpl.trait: {v, ""}})
		if len(got) > maxValues {
			t.Fatalf("%q makes %d values", s, len(got))
		}
		for _, made := range got {
			if made == "" || len(tpl.steps) > 0 && len(made) > maxValue {
				t.Fatalf("%q makes a value of %d bytes", s, len(made))
			}
		}
	})
}
