package policy

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/events"
)

func requester(name string, q events.RequestConditions) events.Role {
	return events.Role{Name: name, Allow: events.RoleConditions{Request: &q}}
}

func refusal(t *testing.T, err error, want string) {
	t.Helper()
	var r *Refusal
	if !errors.As(err, &r) || !strings.Contains(r.Reason, want) {
		t.Errorf("refusal %v, want %q", err, want)
	}
}

func TestAsk(t *testing.T) {
	one := []events.Threshold{{Approve: 1, Deny: 1}}
	two := []events.Threshold{{Name: "two", Approve: 2, Deny: 2}}
	all := []*Role{
		compile(t, allow("db", anyApp, writer)),
		compile(t, allow("eng", anyApp, reader)),
		compile(t, allow("root", anyApp, "*")),
	}
	apps := []events.App{{Name: "a", RoleARNs: []string{reader, writer}}}
	for _, c := range []struct {
		name        string
		holds       []events.Role
		roles, arns []string
		want        Asking
		refused     string
	}{
		{"nothing allows it", nil, []string{"eng"}, nil, Asking{}, "no role of alice lets them ask for role eng"},
		{"no such role", []events.Role{requester("r", events.RequestConditions{Roles: []string{"*"}})}, []string{"ghost"}, nil, Asking{}, "there is no role ghost"},
		{"a role", []events.Role{requester("r", events.RequestConditions{Roles: []string{"e*"}, MaxDuration: 3600, ReasonRequired: true, SuggestedReviewers: []string{"bob"}})},
			[]string{"eng"}, nil,
			Asking{Roles: []string{"eng"}, Thresholds: one, Reviewers: []string{"bob"}, ReasonRequired: true, MaxDuration: time.Hour}, ""},
		{"denied", []events.Role{
			requester("r", events.RequestConditions{Roles: []string{"*"}}),
			deny("d", events.RoleConditions{Request: &events.RequestConditions{Roles: []string{"root"}}}),
		}, []string{"root"}, nil, Asking{}, "ask for role root"},
		{"its own thresholds", []events.Role{requester("r", events.RequestConditions{Roles: []string{"eng"}, Thresholds: two})},
			[]string{"eng"}, nil, Asking{Roles: []string{"eng"}, Thresholds: two}, ""},
		{"two roles: each has its own quorum", []events.Role{
			requester("r", events.RequestConditions{Roles: []string{"eng"}}),
			requester("q", events.RequestConditions{Roles: []string{"db"}, Thresholds: two}),
		}, []string{"eng", "db"}, nil,
			Asking{Roles: []string{"eng", "db"}, Thresholds: []events.Threshold{one[0], two[0]}, Sets: [][]int{{0}, {1}}}, ""},
		{"two roles that allow one: both quorums", []events.Role{
			requester("r", events.RequestConditions{Roles: []string{"eng"}, Thresholds: []events.Threshold{two[0], one[0]}}),
			requester("q", events.RequestConditions{Roles: []string{"eng"}, Thresholds: two}),
		}, []string{"eng"}, nil,
			Asking{Roles: []string{"eng"}, Thresholds: []events.Threshold{two[0], one[0]}, Sets: [][]int{{0, 1}, {0}}}, ""},
		{"an account", []events.Role{requester("r", events.RequestConditions{SearchAsRoles: []string{"eng", "root"}})},
			nil, []string{"123456789012"}, Asking{Roles: []string{"eng", "root"}, Thresholds: one}, ""},
		{"another account", []events.Role{requester("r", events.RequestConditions{SearchAsRoles: []string{"*"}})},
			nil, []string{"999999999999"}, Asking{}, "no role that alice may ask for gives 999999999999"},
		{"an ARN by the roles searched", []events.Role{requester("r", events.RequestConditions{SearchAsRoles: []string{"eng", "db"}})},
			nil, []string{writer}, Asking{Roles: []string{"db"}, Thresholds: one}, ""},
		{"an ARN that no role searched gives", []events.Role{requester("r", events.RequestConditions{SearchAsRoles: []string{"eng"}})},
			nil, []string{writer}, Asking{}, "no role that alice may ask for gives " + writer},
		{"search is not for whole roles", []events.Role{requester("r", events.RequestConditions{SearchAsRoles: []string{"db"}})},
			[]string{"db"}, nil, Asking{}, "ask for role db"},
		{"a role for one ARN", []events.Role{requester("r", events.RequestConditions{SearchAsRoles: []string{"root"}})},
			[]string{"root"}, []string{reader}, Asking{Roles: []string{"root"}, Thresholds: one}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := subject(t, nil, c.holds...).Ask(c.roles, c.arns, false, all, apps)
			if c.refused != "" {
				refusal(t, err, c.refused)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
	granted := subject(t, nil)
	granted.Roles = append(granted.Roles, Held{Role: compile(t, requester("r", events.RequestConditions{Roles: []string{"*"}})), RequestID: "R1", Until: at})
	_, err := granted.Ask([]string{"eng"}, nil, false, all, apps)
	refusal(t, err, "ask for role eng") // what is granted cannot be made into more
}

func TestReview(t *testing.T) {
	may := func(name string, q events.ReviewConditions) events.Role {
		return events.Role{Name: name, Allow: events.RoleConditions{ReviewRequests: &q}}
	}
	dev := may("r", events.ReviewConditions{Roles: []string{"dev-*"}})
	for _, c := range []struct {
		name    string
		holds   []events.Role
		asker   string
		roles   []string
		refused string
	}{
		{"allowed", []events.Role{dev}, "bob", []string{"dev-db", "dev-web"}, ""},
		{"their own", []events.Role{dev}, "alice", []string{"dev-db"}, "their own"},
		{"one role is not theirs to review", []events.Role{dev}, "bob", []string{"dev-db", "prod"}, "role prod"},
		{"denied", []events.Role{dev, deny("d", events.RoleConditions{ReviewRequests: &events.ReviewConditions{Roles: []string{"dev-db"}}})},
			"bob", []string{"dev-db"}, "role d keeps alice"},
		{"a condition that holds", []events.Role{may("r", events.ReviewConditions{Roles: []string{"*"}, Where: `contains(reviewer.roles, "r") && regexp.match(request.reason, "INC-*")`})},
			"bob", []string{"dev-db"}, ""},
		{"a condition that does not", []events.Role{may("r", events.ReviewConditions{Roles: []string{"*"}, Where: `!contains(request.roles, "dev-db")`})},
			"bob", []string{"dev-db"}, "no role of alice"},
		{"a condition about what postern does not have", []events.Role{may("r", events.ReviewConditions{Roles: []string{"*"}, Where: `!contains(request.system_annotations["x"], "y")`})},
			"bob", []string{"dev-db"}, "no role of alice"},
		{"a denial about what postern does not have", []events.Role{dev, deny("d", events.RoleConditions{ReviewRequests: &events.ReviewConditions{Roles: []string{"*"}, Where: `contains(request.system_annotations["x"], "y")`}})},
			"bob", []string{"dev-db"}, "role d keeps alice"},
		{"a denial that does not hold", []events.Role{dev, deny("d", events.RoleConditions{ReviewRequests: &events.ReviewConditions{Roles: []string{"*"}, Where: `equals(request.reason, "x")`}})},
			"bob", []string{"dev-db"}, ""},
		{"no role asked for", []events.Role{dev}, "bob", nil, "names no role"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := subject(t, nil, c.holds...).Review(Wish{User: c.asker, Roles: c.roles, Reason: "INC-1"})
			if c.refused == "" && err != nil {
				t.Error(err)
			}
			if c.refused != "" {
				refusal(t, err, c.refused)
			}
		})
	}
}

func TestMay(t *testing.T) {
	rules := func(name string, resources, verbs []string) events.Role {
		return events.Role{Name: name, Allow: events.RoleConditions{Rules: []events.ResourceRule{{Resources: resources, Verbs: verbs}}}}
	}
	s := subject(t, nil,
		rules("r", []string{"user", "role"}, []string{"list", "read"}),
		rules("l", []string{"lock"}, []string{"*"}),
		deny("d", events.RoleConditions{Rules: []events.ResourceRule{{Resources: []string{"*"}, Verbs: []string{"delete"}}}}))
	for _, c := range []struct {
		verb, resource string
		want           bool
	}{
		{"read", "user", true}, {"update", "user", false}, {"create", "lock", true}, {"delete", "lock", false}, {"read", "audit", false},
	} {
		if got := s.May(c.verb, c.resource); got != c.want {
			t.Errorf("%s %s: %v, want %v", c.verb, c.resource, got, c.want)
		}
	}
	s.Roles = []Held{{Role: compile(t, rules("r", []string{"*"}, []string{"*"})), RequestID: "R1", Until: at, Only: []string{reader}}}
	if s.May("read", "user") {
		t.Error("a role granted for one AWS role gives its rules too")
	}
}

func TestRequestable(t *testing.T) {
	app := events.App{Name: "a", RoleARNs: []string{reader, writer}}
	all := []*Role{
		compile(t, allow("db", anyApp, writer)),
		compile(t, allow("eng", anyApp, "*")),
		compile(t, allow("else", labels{"env": {"x"}}, "*")),
		compile(t, allow("root", anyApp, "*")),
	}
	s := subject(t, nil,
		allow("db", anyApp, writer), // held already
		requester("r", events.RequestConditions{Roles: []string{"db", "eng", "else"}}))
	want := map[string][]string{reader: {"eng"}, writer: {"eng"}}
	if d := cmp.Diff(want, s.Requestable(app, all)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}
