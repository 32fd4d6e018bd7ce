package policy

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/events"
)

func optioned(r events.Role, o events.RoleOptions) events.Role {
	r.Options = o
	return r
}

func limited(r events.Role, actions ...string) events.Role {
	r.Allow.AWSActions = actions
	return r
}

var listed = events.App{Name: "a", RoleARNs: []string{reader}}

// What roles let postern hand out adds up; what bounds requests does too.
func TestGrantOptions(t *testing.T) {
	per := func(role string, n int) events.RateLimit {
		return events.RateLimit{Role: role, Per: "user", Rate: n, Burst: n}
	}
	s := subject(t, nil,
		optioned(allow("kube", anyApp, reader), events.RoleOptions{RealCredentials: []string{"eks_token", "presigned_url"}, RateLimits: []events.RateLimit{per("", 5)}}),
		optioned(allow("urls", anyApp, reader), events.RoleOptions{RealCredentials: []string{"presigned_url"}, RateLimits: []events.RateLimit{per("", 9)}}),
		optioned(allow("elsewhere", anyApp, writer), events.RoleOptions{RealCredentials: []string{"export"}, RateLimits: []events.RateLimit{per("", 1)}}),
	)
	g, err := s.Grant(listed, reader, "")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"eks_token", "presigned_url"}, g.RealCredentials); diff != "" {
		t.Errorf("real credentials (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]events.RateLimit{per("kube", 5), per("urls", 9)}, g.RateLimits); diff != "" {
		t.Errorf("rate limits (-want +got):\n%s", diff)
	}
	if why := s.Still(listed, reader, []string{"kube", "urls"}, nil, nil, g.RealCredentials); why != "" {
		t.Errorf("nothing changed: %s", why)
	}
	if why := s.Still(listed, reader, []string{"urls"}, nil, nil, g.RealCredentials); why == "" {
		t.Error("a session keeps a right that its roles have lost")
	}
}

// A role in dry run narrows on paper only, and leaves its lists in the session.
func TestDryRun(t *testing.T) {
	dry := events.RoleOptions{DryRun: true}
	reads := events.Permission{Role: "r", Effect: "Allow", Actions: []string{"@Read"}}
	dryReads := events.Permission{Role: "r", Effect: "Allow", Actions: []string{"@Read"}, DryRun: true}
	dryDeny := events.Permission{Role: "d", Effect: "Deny", Actions: []string{"s3:*"}, DryRun: true}
	denial := deny("d", events.RoleConditions{AWSActions: []string{"s3:*"}})
	for _, c := range []struct {
		name  string
		roles []events.Role
		want  []events.Permission
	}{
		{"enforced", []events.Role{limited(allow("r", anyApp, reader), "@Read")}, []events.Permission{reads}},
		{"in dry run", []events.Role{optioned(limited(allow("r", anyApp, reader), "@Read"), dry)}, []events.Permission{dryReads}},
		{"nothing to try out", []events.Role{optioned(allow("r", anyApp, reader), dry)}, nil},
		{"another role allows all anyhow", []events.Role{optioned(limited(allow("r", anyApp, reader), "@Read"), dry), allow("all", anyApp, reader)}, nil},
		{"a denial in dry run", []events.Role{allow("r", anyApp, reader), optioned(denial, dry)}, []events.Permission{{Role: "r", Effect: "Allow"}, dryDeny}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, err := subject(t, nil, c.roles...).Grant(listed, reader, "")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, g.Permissions); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	for _, c := range []struct {
		name        string
		now, before []events.Permission
		want        bool
	}{
		{"dry run begins", []events.Permission{dryReads}, nil, true},
		{"dry run ends: less is allowed", []events.Permission{reads}, []events.Permission{dryReads}, false},
		{"a denial is tried out", []events.Permission{{Role: "r", Effect: "Allow"}, dryDeny}, nil, true},
		{"a denial is enforced", []events.Permission{{Role: "r", Effect: "Allow"}, {Role: "d", Effect: "Deny", Actions: []string{"s3:*"}}}, []events.Permission{{Role: "r", Effect: "Allow"}, dryDeny}, false},
	} {
		if got := Covers(c.now, c.before); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
