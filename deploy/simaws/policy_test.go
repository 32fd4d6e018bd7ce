package simaws

import (
	"strings"
	"testing"
	"time"
)

func TestWildcard(t *testing.T) {
	for _, tc := range []struct {
		pattern, s string
		want       bool
	}{
		{"*", "", true}, {"", "", true}, {"", "x", false}, {"a*c", "abbc", true}, {"a*c", "abcd", false}, {"a?c", "abc", true}, {"a?c", "ac", false},
		{"arn:aws:s3:::b/*", "arn:aws:s3:::b/x/y", true}, {"arn:aws:s3:::b/*", "arn:aws:s3:::bb/x", false}, {"*a*b*", "xxaxxbxx", true}, {"*ab", "aab", true}, {"**", "x", true},
	} {
		if got := wildcard(tc.pattern, tc.s); got != tc.want {
			t.Errorf("wildcard(%q, %q) = %v", tc.pattern, tc.s, got)
		}
	}
}

func TestJudge(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	who := &identity{partition: "aws", account: testAccount, roleARN: testRole, roleName: "Reader", roleID: "AROAX", sessionName: "alice",
		sourceIdentity: "alice", tags: map[string]string{"team": "blue"}, issued: now.Add(-time.Hour), expires: now.Add(time.Hour)}
	const allow1 = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:Get*","Resource":"arn:aws:s3:::b/*"`
	for _, tc := range []struct {
		name, policy, action, resource string
		want                           verdict
	}{
		{"allowed", allow1 + `}]}`, "s3:GetObject", "arn:aws:s3:::b/k", allow},
		{"action in another case", allow1 + `}]}`, "S3:getobject", "arn:aws:s3:::b/k", allow},
		{"other action", allow1 + `}]}`, "s3:PutObject", "arn:aws:s3:::b/k", implicitDeny},
		{"other resource", allow1 + `}]}`, "s3:GetObject", "arn:aws:s3:::c/k", implicitDeny},
		{"deny wins", `{"Statement":[{"Effect":"Deny","Action":"*","Resource":"*"},{"Effect":"Allow","Action":"*","Resource":"*"}]}`, "s3:GetObject", "x", explicitDeny},
		{"not action", `{"Statement":{"Effect":"Allow","NotAction":["iam:*","sts:*"],"Resource":"*"}}`, "iam:GetRole", "x", implicitDeny},
		{"not action, another", `{"Statement":{"Effect":"Allow","NotAction":["iam:*","sts:*"],"Resource":"*"}}`, "s3:GetObject", "x", allow},
		{"not resource", `{"Statement":{"Effect":"Allow","Action":"*","NotResource":"secret*"}}`, "s3:GetObject", "secret1", implicitDeny},
		{"tag holds", allow1 + `,"Condition":{"StringEquals":{"aws:PrincipalTag/team":["red","blue"]}}}]}`, "s3:GetObject", "arn:aws:s3:::b/k", allow},
		{"tag fails", allow1 + `,"Condition":{"StringEquals":{"aws:PrincipalTag/team":"red"}}}]}`, "s3:GetObject", "arn:aws:s3:::b/k", implicitDeny},
		{"two conditions, one fails", allow1 + `,"Condition":{"StringEquals":{"aws:PrincipalTag/team":"blue"},"Bool":{"aws:SecureTransport":false}}}]}`, "s3:GetObject", "arn:aws:s3:::b/k", implicitDeny},
		{"key absent", allow1 + `,"Condition":{"StringEquals":{"aws:PrincipalTag/x":"y"}}}]}`, "s3:GetObject", "arn:aws:s3:::b/k", implicitDeny},
		{"key absent, if exists", allow1 + `,"Condition":{"StringEqualsIfExists":{"aws:PrincipalTag/x":"y"}}}]}`, "s3:GetObject", "arn:aws:s3:::b/k", allow},
		{"key absent, negated", allow1 + `,"Condition":{"StringNotEquals":{"aws:PrincipalTag/x":"y"}}}]}`, "s3:GetObject", "arn:aws:s3:::b/k", allow},
		{"null", allow1 + `,"Condition":{"Null":{"aws:SourceIdentity":"true"}}}]}`, "s3:GetObject", "arn:aws:s3:::b/k", implicitDeny},
		{"ip", allow1 + `,"Condition":{"IpAddress":{"aws:SourceIp":"127.0.0.0/8"}}}]}`, "s3:GetObject", "arn:aws:s3:::b/k", allow},
		{"not ip", allow1 + `,"Condition":{"NotIpAddress":{"aws:SourceIp":["127.0.0.0/8","10.0.0.1"]}}}]}`, "s3:GetObject", "arn:aws:s3:::b/k", implicitDeny},
		{"variable", `{"Statement":{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b/${aws:PrincipalTag/team}/*"}}`, "s3:GetObject", "arn:aws:s3:::b/blue/k", allow},
		{"variable without value", `{"Statement":{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b/${aws:username}*"}}`, "s3:GetObject", "arn:aws:s3:::b/", implicitDeny},
		// How a lock reaches credentials that are out already.
		{"revoked sessions", `{"Statement":{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:SourceIdentity":"alice"},"DateLessThan":{"aws:TokenIssueTime":"2026-03-01T12:00:00Z"}}}}`, "s3:GetObject", "x", explicitDeny},
		{"sessions after the revocation", `{"Statement":{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateLessThan":{"aws:TokenIssueTime":"2026-03-01T10:00:00Z"}}}}`, "s3:GetObject", "x", implicitDeny},
	} {
		p, err := parsePolicy(tc.policy)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		q := accessQuestion{action: tc.action, resource: tc.resource, who: who, keys: who.contextKeys(now, "127.0.0.1", "us-east-1")}
		if got := p.judge(q, false); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
	for policy, want := range map[string]string{
		``: "policy document", `{}`: "no statement", `{"Statement":[{"Effect":"Maybe","Action":"*"}]}`: "statement 0: effect",
		`{"Statement":[{"Effect":"Allow"}]}`:                                                                               "no action",
		`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Conditions":{}}]}`:                                   "unknown field",
		`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringIsNice":{"a":"b"}}}]}`:            "is not simulated",
		`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Principal":{"Person":"x"}}]}`:                        "principal kind",
		`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"a":{"b":"nested"}}}}]}`: "is not a string",
	} {
		if _, err := parsePolicy(policy); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", policy, err, want)
		}
	}
}

// FuzzPolicy: any document is parsed or refused, and evaluating it does not
// panic.
func FuzzPolicy(f *testing.F) {
	f.Add(trustAccount)
	f.Add(`{"Statement":{"Effect":"Deny","NotAction":["a:*"],"NotResource":"x${aws:username}","NotPrincipal":"*","Condition":{"ForAllValues:StringNotLikeIfExists":{"aws:TagKeys":["a",1,true]}}}}`)
	f.Fuzz(func(t *testing.T, doc string) {
		p, err := parsePolicy(doc)
		if err != nil {
			return
		}
		who := &identity{partition: "aws", account: testAccount, userName: "u", userARN: "arn:aws:iam::111122223333:user/u"}
		q := accessQuestion{action: "s3:GetObject", resource: "x", who: who, keys: who.contextKeys(time.Now(), "127.0.0.1", "us-east-1")}
		for _, with := range []bool{true, false} {
			if v := p.judge(q, with); v < implicitDeny || v > explicitDeny {
				t.Errorf("verdict %d", v)
			}
		}
	})
}
