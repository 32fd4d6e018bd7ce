package policy

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/events"
)

const (
	reader = "arn:aws:iam::123456789012:role/Reader"
	writer = "arn:aws:iam::123456789012:role/Writer"
	other  = "arn:aws:iam::999999999999:role/Reader"
)

var at = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

type labels = map[string][]string

var anyApp = labels{"*": {"*"}}

func compile(t *testing.T, r events.Role) *Role {
	t.Helper()
	out, faults := Compile(r, 1)
	for _, f := range faults {
		t.Errorf("role %s: %s: %v", r.Name, f.Path, f.Err)
	}
	return out
}

// subject holds roles: standing ones, unless granted names them.
func subject(t *testing.T, traits map[string][]string, roles ...events.Role) Subject {
	s := Subject{User: "alice", Traits: traits}
	for _, r := range roles {
		s.Roles = append(s.Roles, Held{Role: compile(t, r)})
	}
	return s
}

func allow(name string, sel labels, arns ...string) events.Role {
	return events.Role{Name: name, Allow: events.RoleConditions{AppLabels: sel, AWSRoleARNs: arns}}
}

func deny(name string, c events.RoleConditions) events.Role { return events.Role{Name: name, Deny: c} }

func TestAWSRoles(t *testing.T) {
	listed := events.App{Name: "a", Labels: map[string]string{"env": "dev"}, RoleARNs: []string{reader, writer}}
	open := events.App{Name: "a", Labels: map[string]string{"env": "dev"}}
	for _, c := range []struct {
		name   string
		app    events.App
		traits map[string][]string
		roles  []events.Role
		want   []string
	}{
		{"no role", listed, nil, nil, nil},
		{"literal", listed, nil, []events.Role{allow("r", anyApp, reader)}, []string{reader}},
		{"no labels select nothing", listed, nil, []events.Role{allow("r", nil, reader)}, nil},
		{"a label that the app has not", listed, nil, []events.Role{allow("r", labels{"team": {"*"}}, reader)}, nil},
		{"any value of a label", listed, nil, []events.Role{allow("r", labels{"env": {"*"}}, reader)}, []string{reader}},
		{"all labels must match", listed, nil, []events.Role{allow("r", labels{"env": {"dev"}, "team": {"x"}}, reader)}, nil},
		{"glob and regexp of labels", listed, nil, []events.Role{allow("r", labels{"env": {"prod", "^de.$"}}, reader)}, []string{reader}},
		{"label by trait", listed, map[string][]string{"env": {"dev"}}, []events.Role{allow("r", labels{"env": {"{{external.env}}"}}, reader)}, []string{reader}},
		{"label by a trait that is missing", listed, nil, []events.Role{allow("r", labels{"env": {"{{external.env}}"}}, reader)}, nil},
		{"wildcard chooses among the app's", listed, nil, []events.Role{allow("r", anyApp, "*")}, []string{reader, writer}},
		{"glob chooses among the app's", listed, nil, []events.Role{allow("r", anyApp, "arn:aws:iam::*:role/W*")}, []string{writer}},
		{"wildcard has nothing to choose from", open, nil, []events.Role{allow("r", anyApp, "*")}, nil},
		{"literal that the app does not list", listed, nil, []events.Role{allow("r", anyApp, other)}, nil},
		{"literal on an app without a list", open, nil, []events.Role{allow("r", anyApp, other)}, []string{other}},
		{"trait", open, map[string][]string{"aws_role_arns": {reader, "junk", writer}}, []events.Role{allow("r", anyApp, "{{internal.aws_role_arns}}")}, []string{reader, writer}},
		{"trait that holds a wildcard", listed, map[string][]string{"aws_role_arns": {"*"}}, []events.Role{allow("r", anyApp, "{{internal.aws_role_arns}}")}, nil},
		{"trait that is missing", open, nil, []events.Role{allow("r", anyApp, "{{internal.aws_role_arns}}")}, nil},
		{"labels of one role, ARN of another", listed, nil, []events.Role{allow("r", labels{"env": {"dev"}}), allow("q", labels{"env": {"prod"}}, reader)}, nil},
		{"denied ARN", listed, nil, []events.Role{allow("r", anyApp, "*"), deny("d", events.RoleConditions{AWSRoleARNs: []string{writer}})}, []string{reader}},
		{"denied by glob", listed, nil, []events.Role{allow("r", anyApp, "*"), deny("d", events.RoleConditions{AWSRoleARNs: []string{"*/W*"}})}, []string{reader}},
		{"denied app", listed, nil, []events.Role{allow("r", anyApp, "*"), deny("d", events.RoleConditions{AppLabels: labels{"env": {"d*"}}})}, nil},
		{"account of the app", events.App{Name: "a", AccountID: "999999999999"}, nil, []events.Role{allow("r", anyApp, reader, other)}, []string{other}},
		{"partition of the app", events.App{Name: "a", Partition: "aws-cn"}, nil, []events.Role{allow("r", anyApp, reader, "arn:aws-cn:iam::123456789012:role/Reader")}, []string{"arn:aws-cn:iam::123456789012:role/Reader"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, r := range subject(t, c.traits, c.roles...).AWSRoles(c.app) {
				got = append(got, r.ARN)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

// A role that this version does not understand takes away, never gives.
func TestBrokenRole(t *testing.T) {
	broken, faults := Compile(events.Role{Name: "b", Allow: events.RoleConditions{
		AppLabels:   labels{"env": {"^($"}},
		AWSRoleARNs: []string{reader},
		Rules:       []events.ResourceRule{{Resources: []string{"*"}, Verbs: []string{"*"}}},
	}}, 1)
	if len(faults) != 1 || faults[0].Path != "spec.allow.app_labels.env[0]" {
		t.Fatalf("faults: %+v", faults)
	}
	app := events.App{Name: "a", RoleARNs: []string{reader}}
	s := subject(t, nil, allow("r", anyApp, reader))
	if len(s.AWSRoles(app)) != 1 {
		t.Fatal("without the broken role there is access")
	}
	s.Roles = append(s.Roles, Held{Role: broken})
	if got := s.AWSRoles(app); len(got) != 0 {
		t.Errorf("with the broken role there still is: %v", got)
	}
	if s.May("read", "user") {
		t.Error("rules of a broken role hold")
	}
}

func TestGrant(t *testing.T) {
	app := events.App{Name: "a", RoleARNs: []string{reader, writer}}
	narrow := allow("narrow", anyApp, reader)
	narrow.Allow.AWSActions = []string{"s3:Get*"}
	byTrait := allow("trait", anyApp, reader)
	byTrait.Allow.AWSResources = []string{"arn:aws:s3:::{{external.bucket}}"}
	free := allow("free", anyApp, reader)
	short := events.Role{Name: "short", Options: events.RoleOptions{MaxSessionTTL: 1800}}
	noDelete := deny("nodelete", events.RoleConditions{AWSActions: []string{"s3:Delete*"}})
	early, late := at.Add(time.Hour), at.Add(3*time.Hour)

	held := func(r events.Role, request string, until time.Time, only ...string) Held {
		return Held{Role: compile(t, r), RequestID: request, Until: until, Only: only}
	}
	type want struct {
		roles, requests []string
		until           time.Time
		maxTTL          time.Duration
		perms           []events.Permission
		refused         string
	}
	say := func(role, effect string, actions ...string) events.Permission {
		return events.Permission{Role: role, Effect: effect, Actions: actions}
	}
	for _, c := range []struct {
		name    string
		held    []Held
		traits  map[string][]string
		arn     string
		request string
		want    want
	}{
		{"nothing", nil, nil, reader, "", want{refused: "no role of alice selects app a"}},
		{"another ARN", []Held{held(free, "", time.Time{})}, nil, writer, "", want{refused: "no role of alice allows"}},
		{"an ARN that is not the app's", []Held{held(free, "", time.Time{})}, nil, other, "", want{refused: "is not an AWS role of app a"}},
		{"a standing role", []Held{held(free, "", time.Time{})}, nil, reader, "", want{roles: []string{"free"}}},
		{"a narrow role", []Held{held(narrow, "", time.Time{})}, nil, reader, "",
			want{roles: []string{"narrow"}, perms: []events.Permission{say("narrow", "Allow", "s3:Get*")}}},
		{"shortest TTL of all roles", []Held{held(free, "", time.Time{}), held(short, "", time.Time{})}, nil, reader, "",
			want{roles: []string{"free"}, maxTTL: 30 * time.Minute}},
		{"a denial beside all", []Held{held(free, "", time.Time{}), held(noDelete, "", time.Time{})}, nil, reader, "",
			want{roles: []string{"free"}, perms: []events.Permission{say("free", "Allow"), say("nodelete", "Deny", "s3:Delete*")}}},
		{"limited by a trait", []Held{held(byTrait, "", time.Time{})}, map[string][]string{"bucket": {"b"}}, reader, "",
			want{roles: []string{"trait"}, perms: []events.Permission{{Role: "trait", Effect: "Allow", Resources: []string{"arn:aws:s3:::b"}}}}},
		{"limited by a trait that is missing is not unlimited", []Held{held(byTrait, "", time.Time{})}, nil, reader, "",
			want{refused: "limit it by a trait that alice does not have"}},
		{"a grant", []Held{held(free, "R1", early)}, nil, reader, "", want{roles: []string{"free"}, requests: []string{"R1"}, until: early}},
		{"the latest of two grants", []Held{held(free, "R1", early), held(free, "R2", late)}, nil, reader, "",
			want{roles: []string{"free"}, requests: []string{"R2"}, until: late}},
		{"the grant that was named", []Held{held(free, "R1", early), held(free, "R2", late)}, nil, reader, "R1",
			want{roles: []string{"free", "free"}, requests: []string{"R1", "R2"}, until: early}},
		{"a grant that was named and does not help", []Held{held(free, "R1", early)}, nil, reader, "R9",
			want{refused: "access request R9 gives no access"}},
		{"a free standing role needs no grant", []Held{held(free, "", time.Time{}), held(narrow, "R1", early)}, nil, reader, "",
			want{roles: []string{"free"}}},
		{"a grant widens a narrow standing role", []Held{held(narrow, "", time.Time{}), held(free, "R1", early)}, nil, reader, "",
			want{roles: []string{"narrow", "free"}, requests: []string{"R1"}, until: early}},
		{"a grant that ends earlier gives nothing to the longer session", []Held{held(free, "R1", early), held(narrow, "R2", late)}, nil, reader, "",
			want{roles: []string{"narrow"}, requests: []string{"R2"}, until: late, perms: []events.Permission{say("narrow", "Allow", "s3:Get*")}}},
		{"a grant for one ARN", []Held{held(allow("all", anyApp, "*"), "R1", early, reader)}, nil, writer, "", want{refused: "no role of alice allows"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Subject{User: "alice", Traits: c.traits, Roles: c.held}
			g, err := s.Grant(app, c.arn, c.request)
			if c.want.refused != "" {
				var r *Refusal
				if !errors.As(err, &r) || !strings.Contains(r.Reason, c.want.refused) {
					t.Errorf("refusal %v, want %q", err, c.want.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var roles []string
			for _, h := range g.Roles {
				roles = append(roles, h.Name)
			}
			got := want{roles, g.RequestIDs(), g.Until, g.MaxTTL, g.Permissions, ""}
			if d := cmp.Diff(c.want, got, cmp.AllowUnexported(want{})); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

func TestCovers(t *testing.T) {
	get := events.Permission{Role: "r", Effect: "Allow", Actions: []string{"s3:Get*"}}
	put := events.Permission{Role: "q", Effect: "Allow", Actions: []string{"s3:Put*"}}
	all := events.Permission{Role: "a", Effect: "Allow"}
	no := events.Permission{Role: "d", Effect: "Deny", Actions: []string{"s3:Delete*"}}
	two := func(a, b string) events.Permission {
		return events.Permission{Role: "r", Effect: "Allow", Actions: []string{a, b}}
	}
	type ps = []events.Permission
	for _, c := range []struct {
		name        string
		now, before ps
		want        bool
	}{
		{"free and free", nil, nil, true},
		{"free now", nil, ps{get}, true},
		{"narrowed now", ps{get}, nil, false},
		{"the same", ps{get, put}, ps{get, put}, true},
		{"more now", ps{get, put}, ps{get}, true},
		{"less now", ps{get}, ps{get, put}, false},
		{"a new denial", ps{all, no}, nil, false},
		{"a denial gone", nil, ps{all, no}, true},
		{"the same denial", ps{all, no}, ps{get, no}, true},
		{"in another order", ps{two("s3:Get*", "s3:List*")}, ps{two("s3:List*", "s3:Get*")}, true},
		{"one of two", ps{two("s3:Get*", "s3:Get*")}, ps{two("s3:List*", "s3:Get*")}, false},
		{"two of one", ps{two("s3:Get*", "s3:List*")}, ps{two("s3:Get*", "s3:Get*")}, false}, // as far as entries tell
	} {
		if got := Covers(c.now, c.before); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestParseRoleARN(t *testing.T) {
	got, err := ParseRoleARN("arn:aws-us-gov:iam::123456789012:role/a/b/Name+x")
	want := RoleARN{Partition: "aws-us-gov", Account: "123456789012", Path: "/a/b/", Name: "Name+x"}
	if err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{
		"", "Reader", "arn:aws:iam::123:role/X", "arn:aws:iam::123456789012:user/X", "arn:aws:s3:::bucket",
		"arn:aws:iam::123456789012:role/", "arn:aws:iam::123456789012:role/a b", "arn:AWS:iam::123456789012:role/X",
		"arn:aws:iam:us-east-1:123456789012:role/X", "arn:aws:iam::123456789012:role/*", "arn:aws:iam::123456789012:role/X\n",
	} {
		if _, err := ParseRoleARN(bad); err == nil {
			t.Errorf("%q is taken for a role's ARN", bad)
		}
	}
}
