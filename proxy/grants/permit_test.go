package grants_test

import (
	"path"
	"strings"
	"testing"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy/grants"
)

func TestPermissions(t *testing.T) {
	get := grants.Call{Action: "s3:GetObject", AccessLevel: "Read", Resources: []string{"arn:aws:s3:::b/k"}, Region: "us-east-1"}
	put := grants.Call{Action: "s3:PutObject", AccessLevel: "Write", Resources: []string{"arn:aws:s3:::b/k"}, Region: "us-east-1"}
	list := grants.Call{Action: "s3:ListAllMyBuckets", AccessLevel: "List", Resources: []string{"*"}, Region: "us-east-1"}
	nameless := grants.Call{Region: "us-east-1"}
	two := grants.Call{Action: "dynamodb:BatchGetItem", AccessLevel: "Read", Resources: []string{"arn:t/a", "arn:t/b"}, Region: "us-east-1"}
	acl := grants.Call{Action: "s3:PutObjectAcl", AccessLevel: "Permissions management", Resources: []string{"arn:aws:s3:::b/k"}, Region: "us-east-1"}
	regions := func(set string) grants.Call {
		return grants.Call{Action: "s3:GetObject", AccessLevel: "Read", Resources: []string{"arn:aws:s3:::b/k"}, Region: set}
	}
	copied := grants.Call{Action: "s3:PutObject", Also: []grants.Action{{Name: "s3:PutObjectTagging", Level: "Tagging"}, {Name: "s3:GetObject", Level: "Read"}}, AccessLevel: "Write", Resources: []string{"arn:aws:s3:::b/k"}, Region: "us-east-1"}
	query := grants.Call{Action: "neptune-db:ReadDataViaQuery", Also: []grants.Action{{Name: "neptune-db:WriteDataViaQuery", Level: "Write"}}, AccessLevel: "Read", Region: "us-east-1"}
	part := grants.Call{Action: "s3:DeleteObject", AccessLevel: "Write", Resources: []string{"arn:aws:s3:::b/*"}, Region: "us-east-1"}
	secret := grants.Call{Action: "secretsmanager:GetSecretValue", AccessLevel: "Read", Resources: []string{"arn:aws:secretsmanager:us-east-1:1:secret:prod/db-??????"}, Region: "us-east-1"}
	user := grants.Call{Action: "iam:DeleteUser", AccessLevel: "Write", Resources: []string{"arn:aws:iam::1:user/*ALICE"}, Region: "us-east-1"}
	logs := grants.Call{Action: "logs:DeleteLogGroup", AccessLevel: "Write", Resources: []string{"arn:aws:logs:us-east-1:1:log-group:/app/a"}, Region: "us-east-1"}
	of := func(action string, services ...string) grants.Call {
		return grants.Call{Action: action, AccessLevel: "Read", Services: services, Region: "us-east-1"}
	}
	along := of("lambda:CreateFunction", "lambda")
	along.Also = []grants.Action{{Name: "s3:GetObject", Level: "Read", Services: []string{"s3"}}, {Name: "iam:X", Level: "Write"}}
	type perms = []events.Permission
	allow := func(actions, resources, regions string) events.Permission {
		return events.Permission{Role: "dev", Effect: "Allow", Actions: fields(actions), Resources: fields(resources), Regions: fields(regions)}
	}
	deny := func(actions, resources, regions string) events.Permission {
		p := allow(actions, resources, regions)
		p.Role, p.Effect = "guard", "Deny"
		return p
	}
	for _, c := range []struct {
		name string
		perms
		call   grants.Call
		rule   string // "" allows
		reason string // part of it
	}{
		{"none", nil, get, "", ""},
		{"all", perms{allow("", "", "")}, nameless, "", ""},
		{"action", perms{allow("s3:Get*", "", "")}, get, "", ""},
		{"case", perms{allow("S3:gEToBJECT", "", "")}, get, "", ""},
		{"question mark", perms{allow("s3:?etObject", "", "")}, get, "", ""},
		{"other action", perms{allow("s3:Get*", "", "")}, put, "no role of the session allows it", "no role of the session allows s3:PutObject on arn:aws:s3:::b/k in us-east-1"},
		{"level", perms{allow("@Read", "", "")}, get, "", ""},
		{"level of service", perms{allow("s3:@Read", "", "")}, get, "", ""},
		{"level of other service", perms{allow("ec2:@Read", "", "")}, get, "no role of the session allows it", ""},
		{"other level", perms{allow("@Read,@List", "", "")}, put, "no role of the session allows it", ""},
		{"long level", perms{allow("@Permissions management", "", "")}, acl, "", ""},
		{"long level, short", perms{allow("@PermissionsManagement", "", "")}, acl, "", ""},
		{"level that starts alike", perms{allow("@Permissions", "", "")}, acl, "no role of the session allows it", ""},
		{"deny wins", perms{allow("*", "", ""), deny("s3:Put*", "", "")}, put, "role guard denies s3:Put*", `role guard denies s3:PutObject by "s3:Put*"`},
		{"deny level", perms{allow("", "", ""), deny("@Write", "", "")}, put, "role guard denies @Write", ""},
		{"deny passes over", perms{allow("", "", ""), deny("@Write", "", "")}, get, "", ""},
		{"deny all lists must match", perms{allow("", "", ""), deny("s3:*", "arn:aws:s3:::other/*", "")}, get, "", ""},
		{"deny region", perms{allow("", "", ""), deny("", "", "us-*")}, get, "role guard denies us-*", ""},
		{"unknown effect", perms{allow("", "", ""), {Role: "odd", Effect: "Hold", Actions: []string{"s3:*"}}}, get, "role odd denies s3:*", ""},
		{"only deny", perms{deny("ec2:*", "", "")}, get, "no role of the session allows it", ""},
		{"resource", perms{allow("", "arn:aws:s3:::b/*", "")}, get, "", ""},
		{"resource's case", perms{allow("", "arn:aws:s3:::B/*", "")}, get, "no role of the session allows it", ""},
		{"resource-less action", perms{allow("s3:List*", "arn:aws:s3:::b/*", "")}, list, "no role of the session allows it", ""},
		{"resource-less action, all", perms{allow("s3:List*", "*", "")}, list, "", ""},
		{"resource-less action, deny", perms{allow("", "", ""), deny("", "arn:aws:s3:::b/*", "")}, list, "", ""},
		{"every resource", perms{allow("", "arn:t/a", "")}, two, "no role of the session allows it", "on arn:t/b"},
		{"resources by several", perms{allow("", "arn:t/a", ""), allow("", "arn:t/b", "")}, two, "", ""},
		{"one resource denied", perms{allow("", "", ""), deny("", "arn:t/b", "")}, two, "role guard denies arn:t/b", ""},
		{"region", perms{allow("", "", "us-*,eu-west-1")}, get, "", ""},
		{"other region", perms{allow("", "", "eu-*")}, get, "no role of the session allows it", ""},
		{"no region", perms{allow("", "", "us-*")}, regions(""), "no role of the session allows it", "cannot tell the region"},
		{"no region denied", perms{allow("", "", ""), deny("", "", "eu-*")}, regions(""), "role guard denies eu-*", "cannot tell the region"},
		{"all regions", perms{allow("", "", "us-*,eu-*")}, regions("*"), "no role of the session allows it", "signed for the regions *"},
		{"all regions allowed", perms{allow("", "", "us-*,*")}, regions("*"), "", ""},
		{"all regions, not narrowed", perms{allow("", "", "")}, regions("*"), "", ""},
		{"all regions denied", perms{allow("", "", ""), deny("", "", "eu-*")}, regions("*"), "role guard denies eu-*", "signed for the regions *"},
		{"some regions", perms{allow("", "", "us-*,eu-west-1")}, regions("us-east-1, EU-west-1"), "", ""},
		{"some regions by wildcards", perms{allow("", "", "us-*")}, regions("us-east-*,us-west-2"), "", ""},
		{"some regions, one not allowed", perms{allow("", "", "us-*")}, regions("us-east-1,eu-west-1"), "no role of the session allows it", "signed for the regions us-east-1,eu-west-1"},
		{"some regions, one too wide", perms{allow("", "", "us-east-*")}, regions("us-east-1,us-*"), "no role of the session allows it", "signed for the regions"},
		{"some regions, none allowed", perms{allow("", "", "ap-*")}, regions("us-east-1,eu-*"), "no role of the session allows it", ""},
		{"some regions, each by another", perms{allow("", "", "us-*"), allow("", "", "eu-*")}, regions("us-east-1,eu-west-1"), "no role of the session allows it", "all of which it would have to cover"},
		{"some regions, one denied", perms{allow("", "", ""), deny("", "", "ap-*,eu-west-1")}, regions("us-east-1,eu-west-1"), "role guard denies eu-west-1", "signed for the regions"},
		{"some regions, one may be denied", perms{allow("", "", ""), deny("", "", "EU-west-1")}, regions("us-east-1,eu-*"), "role guard denies EU-west-1", "signed for the regions"},
		{"some regions, others denied", perms{allow("", "", ""), deny("", "", "ap-*")}, regions("us-east-1,eu-*"), "", ""},
		{"some regions, one empty", perms{allow("", "", "us-*")}, regions("us-east-1,"), "no role of the session allows it", "signed for the regions"},
		{"some regions, one odd", perms{allow("", "", "us-*"), deny("", "", "us-west-2")}, regions("us-west-?"), "role guard denies us-west-2", ""},
		{"unknown action", perms{allow("s3:*", "", "")}, nameless, "no role of the session allows it", "cannot tell which IAM action"},
		{"unknown action denied", perms{allow("", "", ""), deny("s3:*", "", "")}, nameless, "role guard denies s3:*", "cannot tell which IAM action"},
		{"unknown level", perms{allow("@Read", "", "")}, grants.Call{Action: "s3:GetObject"}, "no role of the session allows it", "cannot tell which IAM action"},
		{"unknown resource", perms{allow("", "arn:aws:s3:::b/*", "")}, grants.Call{Action: "s3:GetObject"}, "no role of the session allows it", "cannot tell which resources"},
		{"unknown resource denied", perms{allow("", "", ""), deny("", "arn:aws:s3:::b/*", "")}, grants.Call{Action: "s3:GetObject"}, "role guard denies arn:aws:s3:::b/*", "cannot tell which resources"},
		{"several actions", perms{allow("s3:Put*,s3:GetObject", "", "")}, copied, "", ""},
		{"one of several missing", perms{allow("s3:Put*", "", "")}, copied, "no role of the session allows it", "allows s3:GetObject"},
		{"one of several denied", perms{allow("", "", ""), deny("s3:GetObject", "", "")}, copied, "role guard denies s3:GetObject", "denies s3:GetObject by"},
		{"each by its level", perms{allow("@Read,@Write,@Tagging", "", "")}, copied, "", ""},
		{"one's level missing", perms{allow("@Write,@Tagging", "", "")}, copied, "no role of the session allows it", "allows s3:GetObject"},
		{"one's level denied", perms{allow("", "", ""), deny("@Permissions management,@Tagging", "", "")}, copied, "role guard denies @Tagging", `denies s3:PutObjectTagging by "@Tagging"`},
		{"reads, and may write", perms{allow("@Read,@List", "", "")}, query, "no role of the session allows it", "allows neptune-db:WriteDataViaQuery"},
		{"reads, and may write, of a service", perms{allow("neptune-db:@Read,neptune-db:@Write", "", "")}, query, "", ""},
		{"the first by its own", perms{allow("@Write", "", "")}, query, "no role of the session allows it", "allows neptune-db:ReadDataViaQuery"},
		{"unknown resource, all", perms{allow("", "*", "")}, grants.Call{Action: "s3:GetObject"}, "", ""},
		{"in part, covered", perms{allow("", "arn:aws:s3:::b/*", "")}, part, "", ""},
		{"in part, not covered", perms{allow("", "arn:aws:s3:::b/secret/*", "")}, part, "no role of the session allows it", "only in part"},
		{"in part, one letter", perms{allow("", "arn:aws:s3:::b/?", "")}, part, "no role of the session allows it", "only in part"},
		{"in part, may be denied", perms{allow("", "", ""), deny("", "arn:aws:s3:::b/secret/*", "")}, part, "role guard denies arn:aws:s3:::b/secret/*", "only in part"},
		{"secret, as AWS recommends", perms{allow("", "arn:aws:secretsmanager:*:1:secret:prod/db-??????", "")}, secret, "", ""},
		{"secret, by its beginning", perms{allow("", "arn:aws:secretsmanager:*:1:secret:prod/*", "")}, secret, "", ""},
		{"secret, one ARN", perms{allow("", "arn:aws:secretsmanager:*:1:secret:prod/db-a1B2c3", "")}, secret, "no role of the session allows it", "only in part"},
		{"secret, denied as AWS recommends", perms{allow("", "", ""), deny("", "arn:aws:secretsmanager:*:1:secret:prod/db-??????", "")}, secret, "role guard denies arn:aws:secretsmanager:*:1:secret:prod/db-??????", ""},
		{"secret, one ARN denied", perms{allow("", "", ""), deny("", "arn:aws:secretsmanager:*:1:secret:prod/db-a1B2c3", "")}, secret, "role guard denies arn:aws:secretsmanager:*:1:secret:prod/db-a1B2c3", "only in part"},
		{"secret, another denied", perms{allow("", "", ""), deny("", "arn:aws:secretsmanager:*:1:secret:prod/x-??????", "")}, secret, "", ""},
		{"user, denied in another case", perms{allow("", "", ""), deny("", "arn:aws:iam::1:user/team/alice", "")}, user, "role guard denies arn:aws:iam::1:user/team/alice", "only in part"},
		{"user, another denied", perms{allow("", "", ""), deny("", "arn:aws:iam::1:user/bob", "")}, user, "", ""},
		{"log group, IAM's ARN", perms{allow("", "arn:aws:logs:*:1:log-group:/app/*:*", "")}, logs, "", ""},
		{"log group, IAM's ARN denied", perms{allow("", "", ""), deny("", "arn:aws:logs:*:1:log-group:/app/a:*", "")}, logs, "role guard denies arn:aws:logs:*:1:log-group:/app/a:*", ""},
		{"log group, another", perms{allow("", "arn:aws:logs:*:1:log-group:/app:*", "")}, logs, "no role of the session allows it", ""},
		{"of another service, denied", perms{allow("", "", ""), deny("", "arn:aws:s3:::b/*", "")}, of("lambda:GetFunction", "lambda"), "", ""},
		{"of this service, denied", perms{allow("", "", ""), deny("", "arn:aws:s3:::b/*,arn:aws:lambda:*:1:function:secret", "")}, of("lambda:GetFunction", "lambda"), "role guard denies arn:aws:lambda:*:1:function:secret", "cannot tell which resources"},
		{"of either service, denied", perms{allow("", "", ""), deny("", "arn:aws:ec2:*:1:instance/i", "")}, of("ssm:StartSession", "ssm", "ec2"), "role guard denies arn:aws:ec2:*:1:instance/i", ""},
		{"of this service, in another partition's words", perms{allow("", "", ""), deny("", "arn:*:lambda:*", "")}, of("lambda:GetFunction", "lambda"), "role guard denies arn:*:lambda:*", ""},
		{"of another service, in any partition", perms{allow("", "", ""), deny("", "arn:aws*:s3:::b,arn:*:s3:::b", "")}, of("lambda:GetFunction", "lambda"), "", ""},
		{"any service, denied", perms{allow("", "", ""), deny("", "arn:aws:*:*:1:*", "")}, of("lambda:GetFunction", "lambda"), "role guard denies arn:aws:*:*:1:*", ""},
		{"wildcard in the service", perms{allow("", "", ""), deny("", "arn:aws:lam*:*:1:*", "")}, of("lambda:GetFunction", "lambda"), "role guard denies arn:aws:lam*:*:1:*", ""},
		{"wildcard in another service", perms{allow("", "", ""), deny("", "arn:aws:s?:*,arn:aws:lambdas*:x", "")}, of("lambda:GetFunction", "lambda"), "", ""},
		{"wildcard that goes on", perms{allow("", "", ""), deny("", "arn:*secret", "")}, of("lambda:GetFunction", "lambda"), "role guard denies arn:*secret", ""},
		{"wildcard that goes on from the partition", perms{allow("", "", ""), deny("", "arn:a*:function:secret", "")}, of("lambda:GetFunction", "lambda"), "role guard denies arn:a*:function:secret", ""},
		{"no ARN", perms{allow("", "", ""), deny("", "?rn:aws:s3:::b", "")}, of("lambda:GetFunction", "lambda"), "role guard denies ?rn:aws:s3:::b", ""},
		{"another service's, allowed", perms{allow("", "arn:aws:s3:::b/*", "")}, of("lambda:GetFunction", "lambda"), "no role of the session allows it", "cannot tell which resources"},
		{"about nothing, denied", perms{allow("", "", ""), deny("", "arn:aws:ec2:*:1:instance/*,arn:aws:s3:::b,arn:aws:*:*:1:x", "")}, of("ec2:DescribeInstances", grants.NoService), "", ""},
		{"about nothing, all denied", perms{allow("", "", ""), deny("", "*", "")}, of("ec2:DescribeInstances", grants.NoService), "role guard denies *", ""},
		{"about nothing, all of the service denied", perms{allow("", "", ""), deny("", "arn:aws:s3:::*", "")}, of("s3:ListAllMyBuckets", grants.NoService), "role guard denies arn:aws:s3:::*", ""},
		{"about nothing, all of another denied", perms{allow("", "", ""), deny("", "arn:aws:s3:::*", "")}, of("ec2:DescribeInstances", grants.NoService), "", ""},
		{"about nothing, allowed elsewhere", perms{allow("", "arn:aws:ec2:*:1:instance/*", "")}, of("ec2:DescribeInstances", grants.NoService), "no role of the session allows it", `only "*" covers it`},
		{"about nothing, allowed", perms{allow("", "*", "")}, of("ec2:DescribeInstances", grants.NoService), "", ""},
		{"what comes along may be", perms{allow("", "", ""), deny("", "arn:aws:s3:::b/*", "")}, along, "role guard denies arn:aws:s3:::b/*", "denies s3:GetObject by"},
		{"what comes along is unknown", perms{allow("", "", ""), deny("", "arn:aws:sqs:*:1:q", "")}, along, "role guard denies arn:aws:sqs:*:1:q", "denies iam:X by"},
		{"in part, denied elsewhere", perms{allow("", "", ""), deny("", "arn:aws:s3:::other/*", "")}, part, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := grants.New("proxy-1")
			g.Fresh()
			s := session("s", "alice")
			s.Permissions = c.perms
			fold(t, g, s)
			d := g.Check("s", "alice", c.call, t0)
			if d.Allowed != (c.rule == "") || d.Rule() != c.rule || !strings.Contains(d.Reason(), c.reason) {
				t.Errorf("allowed %v, rule %q, reason %q", d.Allowed, d.Rule(), d.Reason())
			}
			if !d.Allowed && d.Cause() != grants.CauseRule {
				t.Errorf("cause %q", d.Cause())
			}
			if d.Allowed && len(c.perms) > 0 && d.Role() != "dev" {
				t.Errorf("role %q allowed it, want dev", d.Role())
			}
		})
	}
}

func fields(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// A character is one, however many bytes it takes.
func TestGlobCharacters(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"b/secret-?", "b/secret-é", true}, {"b/secret-?", "b/secret-🙂", true}, {"b/?b", "b/éb", true}, {"?é?", "aéb", true}, {"*?", "日", true}, {"*-?/x", "a-日/x", true},
		{"b/secret-??", "b/secret-é", false}, {"b/secret-?", "b/secret-", false}, {"b/é", "b/è", false}, {"b/?", "b/\xff", true}, {"b/?", "b/\xff\xff", false},
	} {
		if got := grants.Glob(c.pattern, c.s); got != c.want {
			t.Errorf("glob(%q, %q) = %v", c.pattern, c.s, got)
		}
		if c.want && !grants.Meets(c.pattern, c.s+"*") {
			t.Errorf("%q and %q* have nothing in common", c.pattern, c.s)
		}
	}
}

// FuzzGlob compares with path.Match where both give the pattern one meaning.
func FuzzGlob(f *testing.F) {
	for _, s := range []string{"*", "a*b", "?", "a?c*", "**a", "*a*a*b"} {
		f.Add(s, "aabab")
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if strings.ContainsAny(pattern, `[]\/`) || strings.ContainsAny(s, "/*") || strings.ContainsFunc(pattern+s, func(r rune) bool { return r >= 0x80 }) {
			t.Skip("means something else to path.Match")
		}
		want, err := path.Match(pattern, s)
		if err != nil {
			t.Fatal(err)
		}
		if got := grants.Glob(pattern, s); got != want {
			t.Errorf("glob(%q, %q) = %v", pattern, s, got)
		}
	})
}

// FuzzMeets holds patterns against what is given in part, by a text that both fit.
func FuzzMeets(f *testing.F) {
	f.Add("a*c", "ab*", "abc")
	f.Add("*?b", "a*", "aab")
	f.Add("user/alice", "user/*alice", "user/alice")
	f.Add("a?*", "a\u00e9*", "a\u00e9c")
	f.Fuzz(func(t *testing.T, pattern, part, text string) {
		if strings.Contains(text, "*") || strings.Contains(part, "?") || !grants.Glob(part, text) {
			t.Skip("the part does not stand for the text")
		}
		switch fits := grants.Glob(pattern, text); {
		case fits && !grants.Meets(pattern, part):
			t.Errorf("%q and %q have %q in common", pattern, part, text)
		case !fits && grants.Glob(pattern, part):
			t.Errorf("%q does not cover all of %q: not %q", pattern, part, text)
		}
	})
}

func TestMeets(t *testing.T) {
	for _, c := range []struct {
		pattern, part string
		want          bool
	}{
		{"user/alice", "user/*alice", true}, {"user/team/alice", "user/*alice", true}, {"user/bob", "user/*alice", false},
		{"b/secret/*", "b/*", true}, {"b/?", "b/*", true}, {"c/*", "b/*", false}, {"*", "b/*", true}, {"a*b*c", "*x*", true}, {"abc", "abc*", true}, {"ab", "abc*", false},
	} {
		if got := grants.Meets(c.pattern, c.part); got != c.want {
			t.Errorf("%s and %s: %v", c.pattern, c.part, got)
		}
	}
}
