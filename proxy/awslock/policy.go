package awslock

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/posternhq/postern/proxy/grants"
)

// PolicyName is the inline policy that is ours alone.
const PolicyName = "PosternLocks"

const (
	// maxPolicy is how much of the 10,240 characters that a role's inline policies
	// may have together one of ours takes
	// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html).
	maxPolicy = 9_000
	// skew is how far the broker's clock may be behind that of AWS.
	skew = 5 * time.Second
)

type policy struct {
	Version   string
	Statement []statement
}

type statement struct {
	Effect, Action, Resource string
	Condition                map[string]map[string]any
}

// Policies writes the policy of one role for what is denied there, in up to
// three forms of which the first that fits is to be used: each name by the time
// of its own lock, all names by that of the last, all that was issued before the
// last. The shorter ones deny too much, where leaving somebody out would be too
// little. The same denials give the same texts.
func Policies(denials []grants.Denial) []string {
	type names struct{ sources, sessions []string }
	byTime := map[time.Time]*names{}
	all := &names{}
	var last time.Time
	for _, d := range denials {
		before := d.LockedAt.UTC().Truncate(time.Second).Add(time.Second + skew) // AWS counts in seconds
		if before.After(last) {
			last = before
		}
		if byTime[before] == nil {
			byTime[before] = &names{}
		}
		for _, n := range []*names{byTime[before], all} {
			if d.SourceIdentity != "" {
				n.sources = add(n.sources, d.SourceIdentity)
			} else {
				n.sessions = add(n.sessions, "*:"+d.RoleSessionName) // aws:userid is AROA…:NAME
			}
		}
	}
	var exact []statement
	for _, before := range slices.SortedFunc(maps.Keys(byTime), time.Time.Compare) {
		exact = append(exact, deny(before, byTime[before].sources, byTime[before].sessions)...)
	}
	var out []string
	for _, statements := range [][]statement{exact, deny(last, all.sources, all.sessions), deny(last, nil, nil)} {
		text, _ := json.Marshal(policy{"2012-10-17", statements}) // strings and lists of strings: cannot fail
		if len(text) <= maxPolicy && !slices.Contains(out, string(text)) {
			out = append(out, string(text))
		}
	}
	return out
}

// deny writes statements for what was issued before a moment: to the named, or
// to everybody.
func deny(before time.Time, sources, sessions []string) (out []statement) {
	add := func(operator, key string, values []string) {
		c := map[string]map[string]any{"DateLessThan": {"aws:TokenIssueTime": before.Format(time.RFC3339)}}
		if operator != "" {
			c[operator] = map[string]any{key: values}
		}
		out = append(out, statement{"Deny", "*", "*", c})
	}
	if len(sources) > 0 {
		add("StringEquals", "aws:SourceIdentity", sources)
	}
	if len(sessions) > 0 {
		add("StringLike", "aws:userid", sessions)
	}
	if len(out) == 0 {
		add("", "", nil)
	}
	return out
}

func add(list []string, s string) []string {
	if i, found := slices.BinarySearch(list, s); !found {
		list = slices.Insert(list, i, s)
	}
	return list
}
