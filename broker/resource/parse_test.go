package resource

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/events"
)

func TestTeleportRoles(t *testing.T) {
	data, err := os.ReadFile("testdata/teleport-aws-console.yaml")
	if err != nil {
		t.Fatal(err)
	}
	docs, warnings, err := Parse("roles.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	var got []events.Role
	for _, d := range docs {
		got = append(got, *d.Role)
	}
	want := []events.Role{
		{Name: "aws-console-access", Allow: events.RoleConditions{
			AppLabels: map[string][]string{"*": {"*"}}, AWSRoleARNs: []string{"{{internal.aws_role_arns}}"}}},
		{Name: "cloud-power-user", Description: "Power user of the staging accounts",
			Options: events.RoleOptions{MaxSessionTTL: 8 * 3600},
			Allow: events.RoleConditions{
				AppLabels:   map[string][]string{"env": {"staging", "^dev-[a-z]+$"}, "team": {"{{external.team}}"}},
				AWSRoleARNs: []string{"arn:aws:iam::123456789012:role/PowerUser", "arn:aws-us-gov:iam::123456789012:role/ops/PowerUser"},
				Rules:       []events.ResourceRule{{Resources: []string{"session"}, Verbs: []string{"list", "read"}}},
			},
			Deny: events.RoleConditions{AppLabels: map[string][]string{"env": {"prod"}}}},
		{Name: "contractor", Allow: events.RoleConditions{Request: &events.RequestConditions{
			Roles: []string{"dba", "dev-*"}, SearchAsRoles: []string{"cloud-power-user"}, SuggestedReviewers: []string{"bob"},
			Thresholds:  []events.Threshold{{Name: "quorum", Approve: 2, Deny: 1}, {Filter: `contains(reviewer.roles, "lead")`, Approve: 1, Deny: 1}},
			MaxDuration: 4 * 24 * 3600, ReasonRequired: true,
		}}, Deny: events.RoleConditions{Request: &events.RequestConditions{Roles: []string{"root"}}}},
		{Name: "team-lead", Labels: map[string]string{"team": "infra"}, Allow: events.RoleConditions{
			ReviewRequests: &events.ReviewConditions{Roles: []string{"dba", "dev-*"}, PreviewAsRoles: []string{"dba"}}}},
		{Name: "careful-reviewer", Allow: events.RoleConditions{
			ReviewRequests: &events.ReviewConditions{Roles: []string{"*"}, Where: `contains(request.system_annotations["team"], "infra")`}}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	all := strings.Join(warnings, "\n")
	for _, w := range []string{
		"roles.yaml:21: spec.options.forward_agent: has no effect in postern",
		"spec.allow.logins:", "spec.allow.node_labels:", "spec.allow.kubernetes_resources:", "spec.allow.db_labels:",
		"spec.allow.windows_desktop_logins:", "spec.deny.logins:",
		"spec.allow.rules[0].resources: event has no meaning", "spec.allow.rules[1].where: conditions cannot be evaluated yet: this rule allows nothing",
		"readnosecrets has no meaning", "spec.options.request_access:", "spec.allow.request.annotations:", "spec.allow.request.claims_to_roles:",
		"spec.allow.review_requests.where: postern has no request.system_annotations",
	} {
		if !strings.Contains(all, w) {
			t.Errorf("no warning %q in:\n%s", w, all)
		}
	}
}

// Whatever else Teleport's roles say, of any version, they load, and what has no
// effect here is said.
func TestTeleportEverything(t *testing.T) {
	data, err := os.ReadFile("testdata/teleport-everything.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var first *events.Role
	for _, version := range []string{"v5", "v6", "v7", "v8"} {
		docs, warnings, err := Parse("role.yaml", []byte(strings.Replace(string(data), "VERSION", version, 1)))
		if err != nil {
			t.Fatalf("%s: %v", version, err)
		}
		r := docs[0].Role
		if first == nil {
			first = r
		}
		if d := cmp.Diff(first, r); d != "" {
			t.Errorf("%s is another role than v5:\n%s", version, d)
		}
		all := strings.Join(warnings, "\n")
		for _, w := range []string{"spec.options.idp", "spec.allow.mcp", "spec.allow.node_labels_expression", "okta_import_rule has no meaning", "spec.allow.request.kubernetes_resources", "spec.deny.node_labels"} {
			if !strings.Contains(all, w) {
				t.Errorf("%s: no warning %q in:\n%s", version, w, all)
			}
		}
	}
	if first.Options.Lock != events.LockStrict || first.Options.MaxSessionTTL != 8*3600 || !first.Options.RequireSessionMFA ||
		len(first.Allow.AWSRoleARNs) != 3 || first.Allow.Request == nil || first.Allow.ReviewRequests == nil || len(first.Deny.Rules) != 1 {
		t.Errorf("%+v", first)
	}
	// A typing error for one of ours is none of theirs.
	for _, name := range []string{"sesion", "users", "acces_list", "lockk", "Role"} {
		_, _, err := Parse("role.yaml", fmt.Appendf(nil, "kind: role\nmetadata: {name: r}\nspec: {allow: {rules: [{resources: [%s], verbs: [list]}]}}\n", name))
		if err == nil || !strings.Contains(err.Error(), "is not known") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseApplies(t *testing.T) {
	docs, warnings, err := Parse("all.yaml", []byte(`
kind: lock
metadata: {name: stop-bob}
spec: {target: {user: bob}, message: left, ttl: 1d12h}
---
kind: user
version: v2
metadata: {name: alice, revision: "4"}
spec:
  roles: reader
  traits: {team: [a, b], logins: null, env: dev}
---
---
kind: app
metadata: {name: prod, labels: {env: prod, tier: 1}}
spec:
  cloud: AWS
  uri: https://console.aws.amazon.com/ec2/v2/home
  aws: {account_id: 012345678901, role_arns: "arn:aws:iam::012345678901:role/R", session_tags: yes}
---
kind: role
metadata: {name: reader}
spec: {allow: {aws_regions: [eu-*], aws_actions: ["s3:Get*", "@List"], aws_resources: ["arn:aws:s3:::x/*"]}}
`))
	if err != nil || len(warnings) != 0 {
		t.Fatalf("%v %v", warnings, err)
	}
	want := []Document{ // what others refer to comes first
		{Kind: KindRole, Name: "reader", File: "all.yaml", Line: 21, Role: &events.Role{Name: "reader", Allow: events.RoleConditions{
			AWSRegions: []string{"eu-*"}, AWSActions: []string{"s3:Get*", "@List"}, AWSResources: []string{"arn:aws:s3:::x/*"}}}},
		{Kind: KindApp, Name: "prod", File: "all.yaml", Line: 14, App: &events.App{Name: "prod", Labels: map[string]string{"env": "prod", "tier": "1"},
			AccountID: "012345678901", RoleARNs: []string{"arn:aws:iam::012345678901:role/R"}, SessionTags: true}},
		{Kind: KindUser, Name: "alice", File: "all.yaml", Line: 6, Revision: 4, User: &events.User{Name: "alice", Roles: []string{"reader"},
			Traits: map[string][]string{"team": {"a", "b"}, "env": {"dev"}}}},
		{Kind: KindLock, Name: "stop-bob", File: "all.yaml", Line: 2, Lock: &Lock{Target: events.LockTarget{Kind: "user", Name: "bob"}, Message: "left", TTL: 36 * 3600e9}},
	}
	if d := cmp.Diff(want, docs); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// What is wrong is named with file, line and path; and nothing comes of the file.
func TestParseFaults(t *testing.T) {
	const role = "kind: role\nversion: v7\nmetadata: {name: r}\nspec:\n  allow:\n"
	for _, c := range []struct{ name, text, want string }{
		{"unknown key", role + "    aws_role_arn: x\n", "f.yaml:6: spec.allow.aws_role_arn: unknown key; known are app_labels"},
		{"unknown option", "kind: role\nmetadata: {name: r}\nspec:\n  options:\n    max_sesion_ttl: 8h\n", "f.yaml:5: spec.options.max_sesion_ttl: unknown key"},
		{"unknown at the top", "kind: role\nmetdata: {}\n", "f.yaml:2: metdata: unknown key"},
		{"bad ARN", role + "    aws_role_arns:\n    - arn:aws:iam::123456789012:role/ok\n    - arn:aws:iam::12:role/x\n", `f.yaml:8: spec.allow.aws_role_arns[1]: "arn:aws:iam::12:role/x": "12" is not an AWS account id`},
		{"bad ARN as one text", role + "    aws_role_arns: Admin\n", "f.yaml:6: spec.allow.aws_role_arns[0]: \"Admin\" is not an ARN"},
		{"bad regexp", role + "    app_labels:\n      env:\n      - '^dev($'\n", "f.yaml:8: spec.allow.app_labels.env[0]: bad regular expression"},
		{"label wildcard", role + "    app_labels: {'*': prod}\n", "f.yaml:6: spec.allow.app_labels.*: the label"},
		{"bad template", role + "    app_labels: {env: '{{email.lokal(external.email)}}'}\n", "spec.allow.app_labels.env[0]: template"},
		{"label expression", role + "    app_labels_expression: 'true'\n", "f.yaml:6: spec.allow.app_labels_expression: label expressions are not supported"},
		{"bad duration", "kind: role\nmetadata: {name: r}\nspec:\n  options:\n    max_session_ttl: eight\n", `f.yaml:5: spec.options.max_session_ttl: "eight" is not a duration`},
		{"kind of credentials", "kind: role\nmetadata: {name: r}\nspec:\n  options:\n    real_credentials: [eks_token, ssh]\n", `f.yaml:5: spec.options.real_credentials[1]: "ssh" is not known; want one of eks_token`},
		{"rate of nothing", "kind: role\nmetadata: {name: r}\nspec:\n  options:\n    rate_limits:\n      user: {burst: 3}\n", "f.yaml:6: spec.options.rate_limits.user: rate and burst must be from 1"},
		{"limit of what", "kind: role\nmetadata: {name: r}\nspec:\n  options:\n    rate_limits: {app: {rate: 3}}\n", "spec.options.rate_limits.app: unknown key; known are role, user"},
		{"bad action", role + "    aws_actions: [s3]\n", `f.yaml:6: spec.allow.aws_actions[0]: "s3" is not an IAM action`},
		{"bad access level", role + "    aws_actions: ['@Delete']\n", "is not an IAM action"},
		{"claims that deny", "kind: role\nmetadata: {name: r}\nspec: {deny: {request: {claims_to_roles: [{claim: a, value: b, roles: [c]}]}}}\n", "spec.deny.request.claims_to_roles: is not supported"},
		{"threshold", role + "    request:\n      thresholds:\n      - approve: 0\n", "f.yaml:8: spec.allow.request.thresholds[0]: it needs approve or deny"},
		{"threshold not a number", role + "    request: {thresholds: [{approve: many}]}\n", "want a whole number, not \"many\""},
		{"rule on nothing", role + "    rules: [{resources: [rol], verbs: [read]}]\n", `spec.allow.rules[0].resources: "rol" is not known`},
		{"role of the future", "kind: role\nversion: v9\nmetadata: {name: r}\n", "f.yaml:2: version: roles of version v9 are not understood"},
		{"version", "kind: user\nversion: two\nmetadata: {name: r}\n", "f.yaml:2: version: \"two\" is not a version"},
		{"keys of Teleport's own", "kind: saml\nmetadata: {name: adfs}\nspec:\n  signing_key_pair: {cert: c, private_key: k}\n",
			"f.yaml:4: spec.signing_key_pair: is not supported: brokers sign and decrypt by a key of their own; leave it out, and give the identity provider postern's metadata (/v1/webapi/saml/metadata/adfs)"},
		{"user of a connector", "kind: user\nmetadata: {name: erin}\nspec:\n  roles: [r]\n  connector: okta\n",
			"f.yaml:5: spec.connector: who signs in with okta is written by their sign-ins, and by no file: leave this document out"},
		{"key twice", "kind: user\nmetadata:\n  name: a\n  name: b\n", "f.yaml:4: metadata.name: stands there twice"},
		{"document twice", "kind: user\nmetadata: {name: a}\n---\nkind: user\nmetadata: {name: a}\n", "f.yaml:5: metadata.name: user a stands on line 1 already"},
		{"no kind", "metadata: {name: a}\n", "f.yaml:1: kind: missing"},
		{"no such kind", "kind: node\nmetadata: {name: a}\n", "f.yaml:1: kind: \"node\" is not a kind of resource"},
		{"no name", "kind: user\nspec: {}\n", "f.yaml:1: metadata.name: a user needs a name"},
		{"name", "kind: role\nmetadata: {name: 'a b'}\n", "f.yaml:2: metadata.name: \"a b\" is not a name"},
		{"expiry", "kind: user\nmetadata: {name: a, expires: '2030-01-01T00:00:00Z'}\n", "f.yaml:2: metadata.expires: resources that expire are not supported"},
		{"trait", "kind: user\nmetadata: {name: a}\nspec:\n  traits:\n    aws_role_arns: [x]\n", "f.yaml:5: spec.traits.aws_role_arns[0]: \"x\" is not an ARN"},
		{"list of lists", "kind: user\nmetadata: {name: a}\nspec:\n  roles:\n  - [x]\n", "f.yaml:5: spec.roles[0]: want text, not a list"},
		{"text for keys", "kind: user\nmetadata: name\n", "f.yaml:2: metadata: want keys and values, not \"name\""},
		{"account", "kind: app\nmetadata: {name: a}\nspec:\n  aws:\n    account_id: 12\n", "f.yaml:5: spec.aws.account_id: not an AWS account id"},
		{"another account", "kind: app\nmetadata: {name: a}\nspec:\n  aws:\n    account_id: 123456789012\n    role_arns:\n    - arn:aws:iam::999999999999:role/R\n", "f.yaml:7: spec.aws.role_arns[0]: account 999999999999 is not the app's account"},
		{"cloud", "kind: app\nmetadata: {name: a}\nspec: {cloud: GCP}\n", "f.yaml:3: spec.cloud: \"GCP\" is not a cloud"},
		{"lock on what is not here", "kind: lock\nmetadata: {name: l}\nspec: {target: {server_id: x}}\n", "f.yaml:3: spec.target.server_id: is not a target here"},
		{"lock on two", "kind: lock\nmetadata: {name: l}\nspec: {target: {user: a, role: b}}\n", "spec.target.role: a lock has one target"},
		{"lock on nothing", "kind: lock\nmetadata: {name: l}\nspec: {}\n", "spec.target: \"\" is not a kind of target"},
		{"lock time", "kind: lock\nmetadata: {name: l}\nspec: {target: {user: a}, expires: tomorrow}\n", "spec.expires: \"tomorrow\" is not a time"},
		{"token of nobody", "kind: token\nmetadata: {name: t}\nspec: {join_method: iam, allow: [{aws_account: '123456789012'}]}\n", "spec.roles: missing"},
		{"token for users", "kind: token\nmetadata: {name: t}\nspec: {roles: [Node], join_method: iam, allow: [{aws_account: '123456789012'}]}\n", "spec.roles: \"node\" cannot join"},
		{"token in clear", "kind: token\nmetadata: {name: t}\nspec: {roles: [Proxy], secret_sha256: secret}\n", "f.yaml:3: spec.secret_sha256: want the SHA-256"},
		{"token for all of AWS", "kind: token\nmetadata: {name: t}\nspec: {roles: [Proxy], join_method: iam}\n", "spec.allow: missing"},
		{"token for any account", "kind: token\nmetadata: {name: t}\nspec: {roles: [Proxy], join_method: iam, allow: [{aws_arn: '*'}]}\n", "spec.allow[0].aws_account: not an AWS account id"},
		{"service account of iam", "kind: token\nmetadata: {name: t}\nspec: {roles: [Proxy], join_method: iam, allow: [{service_account: 'a:b'}]}\n", "only join_method kubernetes takes service accounts"},
		{"keys by http", "kind: token\nmetadata: {name: t}\nspec: {roles: [Proxy], join_method: kubernetes, kubernetes: {jwks_url: {url: 'http://k/jwks'}, audience: a}, allow: [{service_account: 'a:b'}]}\n", "spec.kubernetes.jwks_url.url: \"http://k/jwks\" is not an https:// address"},
		{"keys twice", "kind: token\nmetadata: {name: t}\nspec: {roles: [Proxy], join_method: kubernetes, kubernetes: {jwks_url: {url: 'https://k/jwks'}, static_jwks: {jwks: x}, audience: a}, allow: [{service_account: 'a:b'}]}\n", "not both"},
		{"no keys", "kind: token\nmetadata: {name: t}\nspec: {roles: [Proxy], join_method: kubernetes, kubernetes: {audience: a}, allow: [{service_account: 'a:b'}]}\n", "no keys to know the cluster by"},
		{"service account", "kind: token\nmetadata: {name: t}\nspec: {roles: [Proxy], join_method: kubernetes, kubernetes: {static_jwks: {jwks: x}, audience: a}, allow: [{service_account: b}]}\n", "spec.allow[0].service_account: \"b\" is not NAMESPACE:NAME"},
		{"join method", "kind: token\nmetadata: {name: t}\nspec: {roles: [Proxy], join_method: gcp}\n", "spec.join_method: \"gcp\" is not a method"},
		{"syntax", "kind: role\n  x: [\n", "f.yaml:2: mapping values are not allowed in this context"},
		{"nothing", "# only a comment\n", "f.yaml:1: there is no document in it"},
		{"good and bad", "kind: user\nmetadata: {name: a}\n---\nkind: user\nmetadata: {name: b}\nspec: {role: x}\n", "f.yaml:6: spec.role: unknown key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			docs, _, err := Parse("f.yaml", []byte(c.text))
			var faults Faults
			if !errors.As(err, &faults) || docs != nil {
				t.Fatalf("taken: %+v, %v", docs, err)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v\nwant %s", err, c.want)
			}
		})
	}
	// All faults come at once.
	_, _, err := Parse("f.yaml", []byte("kind: user\nmetadata: {name: 'a b'}\n---\nkind: role\nmetadata: {nam: b}\n---\nkind: oidc\n"))
	var faults Faults
	if !errors.As(err, &faults) || len(faults) < 3 {
		t.Errorf("%v", err)
	}
}

func TestParseDuration(t *testing.T) {
	for s, want := range map[string]string{"8h": "8h0m0s", "30h0m0s": "30h0m0s", "4d": "96h0m0s", "1w2d3h": "219h0m0s", "90s": "1m30s"} {
		d, err := ParseDuration(s)
		if err != nil || d.String() != want {
			t.Errorf("%s: %s, %v", s, d, err)
		}
	}
	for _, s := range []string{"", "8", "d", "-1h", "1d-2h", "1.5d", "5ms", "1500ms", "99999999999d", "h8", "1h1d"} {
		if d, err := ParseDuration(s); err == nil {
			t.Errorf("%q is taken for %s", s, d)
		}
	}
	for seconds, want := range map[int64]string{28800: "8h", 5400: "1h30m", 90: "1m30s", 86400: "24h", 60: "1m", 3601: "1h0m1s"} {
		if got := formatDuration(seconds); got != want {
			t.Errorf("%d: %s, want %s", seconds, got, want)
		}
	}
}

// What is written is read as the same again.
func roundTrip(t *testing.T, docs []Document) {
	t.Helper()
	text, err := YAML(docs...)
	if err != nil {
		t.Fatal(err)
	}
	again, warnings, err := Parse("again.yaml", text)
	// A rule that allows nothing, or a filter, is reported again.
	for _, w := range warnings {
		if !strings.Contains(w, "cannot be evaluated") && !strings.Contains(w, "never true") {
			t.Errorf("what was written has no effect: %s", w)
		}
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for i := range again {
		again[i].File, again[i].Line = docs[i].File, docs[i].Line
	}
	if d := cmp.Diff(docs, again); d != "" {
		t.Errorf("-written +read:\n%s\n%s", d, text)
	}
	for _, d := range docs {
		if _, err := JSON(d); err != nil {
			t.Error(err)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	if none, err := YAML(); err != nil || len(none) != 0 {
		t.Errorf("no documents: %q, %v", none, err)
	}
	data, err := os.ReadFile("testdata/teleport-aws-console.yaml")
	if err != nil {
		t.Fatal(err)
	}
	docs, _, err := Parse("roles.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	more, _, err := Parse("more.yaml", []byte(`
kind: app
metadata: {name: a, description: "x: y", labels: {env: "true", "k.e/y": "012"}}
spec: {cloud: AWS, aws: {account_id: "012345678901", partition: aws-cn, region: cn-north-1, external_id: "e:1", source_identity: true, role_arns: ["arn:aws-cn:iam::012345678901:role/x"]}}
---
kind: user
metadata: {name: "zoë@example.com", revision: 12}
spec: {roles: [r], disabled: true, traits: {t: ["", "null", "yes"]}}
---
kind: role
metadata: {name: r}
spec: {options: {real_credentials: [eks_token, export], dry_run: true, rate_limits: {user: {rate: 5}, role: {rate: 10, burst: 30}}}}
---
kind: lock
metadata: {name: l1}
spec: {target: {aws_role: "arn:aws:iam::123456789012:role/x"}, message: "m", expires: "2030-01-01T00:00:00.5Z"}
---
kind: lock
metadata: {name: l2}
spec: {target: {access_request: "01J"}}
---
kind: access_list
metadata: {name: al}
spec: {owners: [bob], grants: {roles: [r]}, audit: {next_audit_date: "2026-07-01T00:00:00.25Z", notifications: {start: 1d}, grace_period: 1d, recurrence: {frequency: 1month, day_of_month: 15}}}
---
kind: token
metadata: {name: t1, expires: "2030-01-01T00:00:00Z"}
spec: {roles: [Proxy, Auditor], join_method: token, secret_sha256: "`+strings.Repeat("ab", 32)+`", max_uses: 1}
---
kind: token
version: v2
metadata: {name: iam}
spec:
  roles: [Proxy]
  join_method: iam
  allow: [{aws_account: "123456789012", aws_arn: "arn:aws:sts::123456789012:assumed-role/postern-*/i-*"}, {aws_account: "111122223333"}]
---
kind: token
metadata: {name: ec2}
spec: {roles: [proxy], join_method: ec2, allow: [{aws_account: "123456789012", aws_regions: [us-east-1]}]}
---
kind: token
metadata: {name: k8s}
spec:
  roles: [Proxy]
  kubernetes: {type: static_jwks, static_jwks: {jwks: '{"keys": []}'}, issuer: "https://k", audience: postern}
  allow: [{service_account: "postern:proxy"}]
  join_method: kubernetes
---
kind: token
metadata: {name: eks}
spec:
  roles: [Proxy]
  kubernetes: {type: oidc, oidc: {issuer: "https://oidc.eks.eu-west-1.amazonaws.com/id/0123"}, audience: postern}
  allow: [{service_account: "postern:proxy"}]
  join_method: kubernetes
---
kind: token
metadata: {name: url}
spec:
  roles: [Proxy]
  kubernetes: {type: jwks_url, jwks_url: {url: "https://k8s.example.com/openid/v1/jwks"}, issuer: "https://k", audience: postern}
  allow: [{service_account: "postern:proxy"}]
  join_method: kubernetes
`))
	if err != nil {
		t.Fatal(err)
	}
	roundTrip(t, docs)
	roundTrip(t, more)
}

// FuzzParse checks that no file makes the parser fail, and that whatever it
// takes is written and read as the same.
func FuzzParse(f *testing.F) {
	data, err := os.ReadFile("testdata/teleport-aws-console.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, doc := range strings.Split(string(data), "---\n") {
		f.Add(doc)
	}
	for _, s := range []string{
		"", "---\n---\n", "kind: lock\nmetadata: {name: l}\nspec: {target: {user: a}, expires: 2030-01-01T00:00:00Z}",
		"kind: user\nmetadata: {name: a}\nspec: {traits: &t {a: [b]}}", "a: &a [*a]", "kind: *x", "? [a]\n: b", "kind: user\n<<: {a: b}\n",
		"kind: app\nmetadata: {name: a}\nspec: {aws: {account_id: 123456789012}}",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		docs, _, err := Parse("fuzz.yaml", []byte(text))
		if err != nil {
			var faults Faults
			if !errors.As(err, &faults) || len(faults) == 0 || docs != nil {
				t.Fatalf("%v", err)
			}
			return
		}
		for i := range docs { // a duration is written as the time it ends
			if docs[i].Lock != nil {
				docs[i].Lock.TTL = 0
			}
		}
		roundTrip(t, docs)
	})
}

// An access list as Teleport writes it, and its way through our own form.
func TestAccessList(t *testing.T) {
	const file = `
kind: access_list
version: v1
metadata: {name: oncall, labels: {team: payments}}
spec:
  title: On call
  description: Who mends payments at night
  owners:
  - name: bob
    description: keeps the rota
  - {name: leads, membership_kind: MEMBERSHIP_KIND_LIST}
  - carol
  membership_requires: {roles: [requester], traits: {team: [payments]}}
  ownership_requires: {roles: [], traits: {}}
  grants: {roles: [engineer], traits: {stage: [prod]}}
  audit:
    next_audit_date: 2026-07-01T00:00:00Z
    recurrence: {frequency: 1year, day_of_month: last}
    notifications: {start: 336h}
    grace_period: 7d
`
	want := &events.AccessList{
		Name: "oncall", Labels: map[string]string{"team": "payments"}, Title: "On call", Description: "Who mends payments at night",
		Owners:             []events.ListOwner{{Name: "bob", Kind: "user", Description: "keeps the rota"}, {Name: "leads", Kind: "list"}, {Name: "carol", Kind: "user"}},
		MembershipRequires: events.ListRequires{Roles: []string{"requester"}, Traits: map[string][]string{"team": {"payments"}}},
		Grants:             events.ListGrants{Roles: []string{"engineer"}, Traits: map[string][]string{"stage": {"prod"}}},
		Audit: events.ListAudit{NextAuditDate: time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC), Months: 12, DayOfMonth: 31,
			NotifyBefore: 14 * 86400, GracePeriod: 7 * 86400},
	}
	docs, warnings, err := Parse("list.yaml", []byte(file))
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	if d := cmp.Diff(want, docs[0].List); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	ours, err := YAML(docs...)
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := Parse("ours.yaml", ours)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, again[0].List); d != "" {
		t.Errorf("written and read again (-want +got):\n%s", d)
	}
	for words, change := range map[string][2]string{
		"list.yaml:18: spec.audit.recurrence.frequency: want": {"1year", "2months"},
		"spec.owners[0].membership_kind: want":                {"description: keeps the rota", "membership_kind: bot"},
		"spec.type":                                           {"title: On call", "type: scim"},
		"spec.owner_grants: owners are granted":               {"title: On call", "owner_grants: {roles: [x]}"},
		"spec.audit.next_audit_date":                          {"2026-07-01T00:00:00Z", "soon"},
	} {
		if _, _, err := Parse("list.yaml", []byte(strings.Replace(file, change[0], change[1], 1))); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("want %q, got %v", words, err)
		}
	}
}

// Lists come behind the lists of the file that own them, whatever their names.
func TestOwningListsFirst(t *testing.T) {
	list := func(name string, owners string) string {
		return "---\nkind: access_list\nmetadata: {name: " + name + "}\nspec: {owners: [" + owners + "], grants: {roles: [r]}}\n"
	}
	of := func(name string) string { return "{name: " + name + ", membership_kind: list}" }
	docs, _, err := Parse("lists.yaml", []byte(list("a", of("b")+", bob")+list("b", of("d"))+list("c", of("elsewhere"))+list("d", "bob")+
		list("x", of("y"))+list("y", of("x"))+"---\nkind: role\nmetadata: {name: r}\n"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range docs {
		got = append(got, d.Name)
	}
	if d := cmp.Diff([]string{"r", "d", "b", "a", "c", "y", "x"}, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// A bad template is found at its line and column.
func TestTemplateColumns(t *testing.T) {
	const file = `kind: role
metadata: {name: r}
spec:
  allow:
    app_labels:
      team: ["{{extrenal.team}}"]
      env: '{{strings.upper(external.env}}'
    aws_role_arns:
    - arn:aws:iam::123456789012:role/{{email.remote(external.email)}}
`
	_, _, err := Parse("r.yaml", []byte(file))
	for _, want := range []string{
		"r.yaml:6:17: spec.allow.app_labels.team[0]: template {{extrenal.team}}: want internal.NAME",
		"r.yaml:7:41: spec.allow.app_labels.env[0]: template {{strings.upper(external.env}}: want ')'",
		`r.yaml:9:40: spec.allow.aws_role_arns[0]: template {{email.remote(external.email)}}: there is no function "email.remote"`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got\n%v", want, err)
		}
	}
}

// What is shared by a merge key counts as if it stood there; what a mapping says itself wins.
func TestParseMerged(t *testing.T) {
	text := `
kind: role
version: v7
metadata: {name: a}
spec:
  allow: &engineers
    namespaces: [default]
    app_labels: {env: dev}
    aws_actions: ["@Read"]
---
kind: role
version: v7
metadata: {name: b}
spec:
  allow: &loop
    aws_regions: [eu-west-1]
    <<: [{aws_regions: [us-east-1], app_labels: &labels {env: prod}}, {app_labels: {env: qa}, aws_actions: ["@List"]}]
`
	docs, warnings, err := Parse("f.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := events.RoleConditions{AppLabels: map[string][]string{"env": {"prod"}}, AWSRegions: []string{"eu-west-1"}, AWSActions: []string{"@List"}}
	if d := cmp.Diff(want, docs[1].Role.Allow); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "f.yaml:7: spec.allow.namespaces: has no effect") {
		t.Errorf("warnings %q", warnings)
	}
	shared := "kind: role\nmetadata: {name: a}\nspec:\n  allow: &a\n    app_labels: {env: dev}\n  deny:\n    <<: *a\n    aws_actions: [\"@Write\"]\n"
	if docs, _, err = Parse("f.yaml", []byte(shared)); err != nil || docs[0].Role.Deny.AppLabels["env"][0] != "dev" || docs[0].Role.Deny.AWSActions[0] != "@Write" {
		t.Errorf("%+v, %v", docs, err)
	}
	for text, want := range map[string]string{
		"kind: role\nmetadata: {name: a}\nspec:\n  <<: x\n":          "f.yaml:4: spec: << brings keys and values in, not \"x\"",
		"kind: role\nmetadata: {name: a}\nspec:\n  <<: {alow: {}}\n": "f.yaml:4: spec.alow: unknown key",
		"kind: role\nmetadata: {name: a}\nspec: &s\n  <<: *s\n":      "the file has more than 200000 values",
		"kind: role\nmetadata: {name: a}\nspec:\n  <<: [" + strings.Repeat("&s {"+strings.Repeat("allow: {}, ", 500)+"}, "+strings.Repeat("*s, ", 500), 1) + "]\n": "the file has more than 200000 values",
		"kind: role\nmetadata: {name: a}\nspec:\n  <<: {allow: {}}\n  <<: {deny: {}}\n  allow: {}":                                                                 "stands there twice",
	} {
		if _, _, err := Parse("f.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n%v, want %s", text, err, want)
		}
	}
}

// Of a file that is something else altogether, the first faults are said.
func TestParseManyFaults(t *testing.T) {
	_, _, err := Parse("f.yaml", []byte("kind: role\nmetadata: {name: a}\nspec:\n"+func() string {
		var b strings.Builder
		for i := range 60_000 {
			fmt.Fprintf(&b, "  key%d: 1\n", i)
		}
		return b.String()
	}()))
	var faults Faults
	if !errors.As(err, &faults) || len(faults) != maxFaults+1 || faults[maxFaults].String() != "f.yaml: and 59950 more" {
		t.Errorf("%d faults, the last %v", len(faults), faults[len(faults)-1])
	}
}
