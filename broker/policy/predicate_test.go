package policy

import (
	"strings"
	"testing"

	"github.com/posternhq/postern/events"
)

var reviewFacts = Facts{
	Lists: map[string][]string{
		"request.roles": {"dba", "ops"}, "request.reason": {"INC-42: full disk"}, "review.reason": {""},
		"reviewer.roles": {"lead"},
	},
	Traits: map[string]map[string][]string{"reviewer.traits": {"team": {"db", "infra"}}},
}

func TestPredicate(t *testing.T) {
	for s, want := range map[string]bool{
		``:                                 true,
		`contains(reviewer.roles, "lead")`: true,
		`contains(reviewer.roles, "boss")`: false,
		`!contains(reviewer.roles, "boss") && contains(request.roles, "dba")`:                                  true,
		`contains(reviewer.roles, "boss") || (contains(request.roles, "dba") && !equals(request.reason, "x"))`: true,
		`contains(reviewer.traits["team"], "db")`:                                                              true,
		`contains(reviewer.traits.team, "infra")`:                                                              true,
		`contains(reviewer.traits["nothing"], "db")`:                                                           false,
		`equals(reviewer.roles, "lead")`:                                                                       true,
		`equals(request.roles, "dba")`:                                                                         false,
		`equals(review.reason, "")`:                                                                            true,
		`regexp.match(request.reason, "INC-*")`:                                                                true,
		`regexp.match(request.reason, "^INC-[0-9]+: .*$")`:                                                     true,
		`regexp.match(request.reason, "INC")`:                                                                  false,
		"regexp.match(reviewer.traits.team, `^in.*$`)":                                                         true,
		`contains(request.roles, request.reason)`:                                                              false,
	} {
		p, err := ParsePredicate(s, FilterVocabulary)
		if err != nil || p.True(reviewFacts) != want {
			t.Errorf("%s: %v, %v; want %v", s, p.True(reviewFacts), err, want)
		}
	}
	for s, want := range map[string]string{
		`true`:                                "not known",
		`reviewer.roles`:                      "no condition",
		`"x"`:                                 "no condition",
		`contains(reviewer.roles)`:            "two values",
		`contains("lead", reviewer.roles)`:    "a list and a text",
		`contains(reviewer.roles, 'lead')`:    "not an expression",
		`contains(reviewer.roles, 1)`:         "not a text",
		`contains(user.roles, "x")`:           "not known",
		`reviewer.roles == "lead"`:            "want a condition",
		`system("rm")`:                        "want equals",
		`equals(!equals("a","a"), "a")`:       "not conditions",
		`contains(reviewer.roles, "a") + 1`:   "not a text",
		`-contains(reviewer.roles, "a")`:      "- is not known",
		`regexp.match("a", request.reason)`:   "in quotes",
		`regexp.match("a", "^($")`:            "regular expression",
		`regexp.match("a", "{{external.x}}")`: "template",
		`reviewer.roles["x"]`:                 "looked up",
		`func(){}()`:                          "want equals",
		strings.Repeat("(", 3000) + `equals("a","a")` + strings.Repeat(")", 3000): "longer",
		strings.Repeat("!", 100) + `equals("a","a")`:                              "nested",
	} {
		if _, err := ParsePredicate(s, FilterVocabulary); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q", s, err, want)
		}
	}
	p, err := ParsePredicate(`!contains(request.system_annotations["x"], "y")`, WhereVocabulary)
	if err == nil || !p.Foreign() || p.True(reviewFacts) {
		t.Errorf("about what postern does not have: %v, %v", p.True(reviewFacts), err)
	}
}

// FuzzPredicate checks that nothing makes the parser or what it made fail, and
// that negation is just that.
func FuzzPredicate(f *testing.F) {
	for _, s := range []string{
		`contains(reviewer.roles, "lead") && !equals(request.reason, "x") || regexp.match(request.roles, "^d.*$")`,
		`contains(reviewer.traits["team"], "db")`, `((equals("a", "b")))`, `reviewer.traits[reviewer.roles]`, `a.b.c(d)(e)`,
		`contains(reviewer.traits.team, "x") || !`, `func() bool { return true }()`, "regexp.match(`a`, `^(a|b)*$`)", `[]string{"a"}`, `*x`, `x.(type)`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePredicate(s, FilterVocabulary)
		if err != nil {
			if p.True(reviewFacts) && !p.Foreign() && p.test != nil {
				t.Errorf("%q is wrong (%v) and true", s, err)
			}
			return
		}
		is := p.True(reviewFacts)
		if s == "" {
			return
		}
		not, err := ParsePredicate("!("+s+")", FilterVocabulary)
		if err == nil && not.True(reviewFacts) == is {
			t.Errorf("%q and its negation are both %v", s, is)
		}
	})
}

func TestCountsFor(t *testing.T) {
	ts := []events.Threshold{
		{Approve: 1, Deny: 1}, {Filter: `contains(reviewer.roles, "lead")`}, {Filter: `equals(review.reason, "seen")`},
		{Filter: `contains(reviewer.traits["team"], "db")`}, {Filter: `broken(`},
	}
	s := subject(t, map[string][]string{"team": {"db"}}, events.Role{Name: "lead"})
	got := s.CountsFor(ts, Wish{User: "bob", Roles: []string{"dba"}}, "seen")
	if len(got) != 4 || got[3] != 3 {
		t.Errorf("counts for %v", got)
	}
	if got := subject(t, nil).CountsFor(ts, Wish{User: "bob"}, ""); len(got) != 1 {
		t.Errorf("without roles: counts for %v", got)
	}
}
