package awslock

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/proxy/grants"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 300_000_000, time.UTC)

func TestPolicies(t *testing.T) {
	deny := func(name, source string, at time.Time) grants.Denial {
		return grants.Denial{RoleSessionName: name, SourceIdentity: source, LockedAt: at}
	}
	st := func(cond string) string {
		return `{"Effect":"Deny","Action":"*","Resource":"*","Condition":{` + cond + `}}`
	}
	before := func(s string) string { return `"DateLessThan":{"aws:TokenIssueTime":"` + s + `"}` }
	many := make([]grants.Denial, 2000)
	for i := range many {
		many[i] = deny(fmt.Sprintf("user-%04d", i), "", t0.Add(time.Duration(i)*time.Second))
	}
	for name, c := range map[string]struct {
		denials []grants.Denial
		want    []string
	}{
		"one name": {[]grants.Denial{deny("alice", "", t0)}, []string{
			st(before("2026-03-01T12:00:06Z") + `,"StringLike":{"aws:userid":["*:alice"]}`),
			st(before("2026-03-01T12:00:06Z"))}},
		"a source identity is surer than a name": {[]grants.Denial{deny("alice", "alice@corp", t0)}, []string{
			st(before("2026-03-01T12:00:06Z") + `,"StringEquals":{"aws:SourceIdentity":["alice@corp"]}`),
			st(before("2026-03-01T12:00:06Z"))}},
		"equal times share a statement, each name once": {[]grants.Denial{deny("bob", "", t0), deny("alice", "", t0), deny("bob", "", t0)}, []string{
			st(before("2026-03-01T12:00:06Z") + `,"StringLike":{"aws:userid":["*:alice","*:bob"]}`),
			st(before("2026-03-01T12:00:06Z"))}},
		"each lock by its own time": {[]grants.Denial{deny("bob", "", t0.Add(time.Minute)), deny("alice", "", t0)}, []string{
			st(before("2026-03-01T12:00:06Z")+`,"StringLike":{"aws:userid":["*:alice"]}`) + "," +
				st(before("2026-03-01T12:01:06Z")+`,"StringLike":{"aws:userid":["*:bob"]}`),
			st(before("2026-03-01T12:01:06Z") + `,"StringLike":{"aws:userid":["*:alice","*:bob"]}`),
			st(before("2026-03-01T12:01:06Z"))}},
		"far too many": {many, []string{st(before("2026-03-01T12:33:25Z"))}},
	} {
		for i, w := range c.want {
			c.want[i] = `{"Version":"2012-10-17","Statement":[` + w + `]}`
		}
		if diff := cmp.Diff(c.want, Policies(c.denials)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if forms := Policies(many[:400]); len(forms) != 2 || strings.Count(forms[0], "*:user-") != 400 {
		t.Errorf("400 locks: %d forms, the first of %d characters", len(forms), len(forms[0]))
	}
}
