package grants

import (
	"strings"
	"unicode/utf8"

	"github.com/posternhq/postern/events"
)

// answer of a comparison with something that may be unknown.
type answer uint8

const (
	no answer = iota
	unknown
	yes
)

// match compares a permission with a call. entry is the list entry that tells
// most: the action if actions are listed, else the resource, else the region.
func match(p *events.Permission, call *Call, resources []string) (m answer, entry string) {
	m = yes
	if len(p.Regions) > 0 {
		a, e := matchRegion(p.Regions, call.Region)
		m, entry = min(m, a), e
	}
	if m != no && len(p.Resources) > 0 {
		a, e := matchResource(p, call, resources)
		m, entry = min(m, a), e
	}
	if m != no && len(p.Actions) > 0 {
		a, e := matchAction(p.Actions, call)
		m, entry = min(m, a), e
	}
	return m, entry
}

// matchAction finds the entry that matches the action: IAM actions with
// wildcards, in any case, or access levels ("@Write", "s3:@Write").
func matchAction(list []string, call *Call) (answer, string) {
	best, entry := no, ""
	for _, pattern := range list {
		if pattern == "*" || call.Action != "" && glob(pattern, call.Action, true) { // no action has an "@"
			return yes, pattern
		}
		var a answer
		if at := strings.IndexByte(pattern, '@'); at >= 0 {
			a = matchLevel(pattern[:at], pattern[at+1:], call)
		} else if call.Action == "" {
			a = unknown
		}
		if a > best {
			best, entry = a, pattern
		}
		if best == yes {
			break
		}
	}
	return best, entry
}

// Among tells whether a list, as in a permission, names one of the call's actions for
// certain.
func (c *Call) Among(actions []string) bool {
	m, _ := matchAction(actions, c)
	for i := 0; m != yes && i < len(c.Also); i++ {
		m, _ = matchAction(actions, &Call{Action: c.Also[i].Name, AccessLevel: c.Also[i].Level})
	}
	return m == yes
}

// matchLevel compares service ("s3:" or "") and access level.
func matchLevel(service, level string, call *Call) answer {
	if service != "" {
		prefix, _, ok := strings.Cut(call.Action, ":")
		if !ok {
			return unknown
		}
		if !glob(strings.TrimSuffix(service, ":"), prefix, true) {
			return no
		}
	}
	switch {
	case call.AccessLevel == "":
		return unknown
	case level == "*", sameLevel(level, call.AccessLevel):
		return yes
	}
	return no
}

// sameLevel compares access levels without regard to case and spaces, so that
// "@PermissionsManagement" is "Permissions management".
func sameLevel(a, b string) bool {
	for {
		for a != "" && a[0] == ' ' {
			a = a[1:]
		}
		for b != "" && b[0] == ' ' {
			b = b[1:]
		}
		if a == "" || b == "" {
			return a == b
		}
		if lower(a[0]) != lower(b[0]) {
			return false
		}
		a, b = a[1:], b[1:]
	}
}

func matchResource(p *events.Permission, call *Call, resources []string) (answer, string) {
	best, entry := no, ""
	for _, pattern := range p.Resources {
		if pattern == "*" {
			return yes, pattern
		}
		group, logs := logGroup(pattern)
		for _, r := range resources {
			switch {
			case glob(pattern, r, false), logs && glob(group, r, false):
				return yes, pattern
			case best == no && inPart(r) && meets(pattern, r):
				best, entry = unknown, pattern
			}
		}
	}
	if len(resources) > 0 {
		return best, entry
	}
	for _, pattern := range p.Resources {
		if p.Effect == "Allow" || call.concerns(pattern) {
			return unknown, pattern
		}
	}
	return no, ""
}

// concerns tells whether a pattern may match what a call is about whose resources are not
// known: by the services that they can be of. A call about nothing that has an ARN, which
// IAM compares as "*", concerns only patterns that leave nothing of its service out: S3
// compares ListAllMyBuckets as "arn:aws:s3:::*"
// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/example-policies-s3.html).
func (c *Call) concerns(pattern string) bool {
	if len(c.Services) == 0 {
		return true
	}
	arn, rest, _ := strings.Cut(pattern, ":")
	partition, rest, ok := strings.Cut(rest, ":")
	// Text with wildcards in the place of the service may go on into what follows it.
	if wild := strings.ContainsAny(partition, "*?") && partition != "*" && partition != "aws*"; !ok || arn != "arn" || wild {
		return true
	}
	service, rest, _ := strings.Cut(rest, ":")
	whole := true
	if i := strings.IndexByte(service, '*'); i >= 0 {
		rest, service, whole = service[i:]+rest, service[:i], false
	}
	for _, s := range c.Services {
		if s == NoService {
			if strings.Trim(rest, "*:") != "" {
				continue
			}
			s, _, _ = strings.Cut(c.Action, ":")
		}
		if len(s) > len(service) && !whole {
			s = s[:len(service)]
		}
		if glob(service, s, false) {
			return true
		}
	}
	return false
}

// logGroup is a pattern for log groups as requests name them, if it is one. IAM's own ARN of a log
// group ends with ":*" for nearly all actions
// (https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/iam-access-control-overview-cwl.html).
func logGroup(pattern string) (group string, ok bool) {
	group, ok = strings.CutSuffix(pattern, ":*")
	return group, ok && strings.Contains(group, ":logs:") && strings.Contains(group, ":log-group:")
}

// inPart tells of an ARN that a request gives in part only: "*" stands for what it
// does not say, and "-??????" for what Secrets Manager adds to a secret's name.
func inPart(arn string) bool {
	return strings.HasPrefix(arn, "arn:") && (strings.Contains(arn, "*") || strings.HasSuffix(arn, "-??????"))
}

// meets tells whether some text fits both an IAM pattern and an ARN given in part.
// IAM does not tell names apart by case
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html).
func meets(pattern, part string) bool {
	f := strings.SplitN(part, ":", 4)
	fold := len(f) == 4 && f[2] == "iam"
	// at[j]: what was taken of the pattern so far can be what part[:j] stands for.
	at := make([]bool, len(part)+1)
	at[0] = true
	spread := func(from []bool) {
		for j := range part {
			from[j+1] = from[j+1] || from[j] && part[j] == '*'
		}
	}
	spread(at)
	for i := range len(pattern) {
		next := make([]bool, len(part)+1)
		for j := 0; j < len(at); j++ {
			switch {
			case !at[j]:
			case pattern[i] == '*': // nothing of the part, or any of it
				for k := j; k < len(next); k++ {
					next[k] = true
				}
				j = len(at)
			case j < len(part) && part[j] == '*': // takes this, and may take more
				next[j] = true
			case j < len(part) && pattern[i] == '?':
				next[j+width(part[j:])] = true
			case j < len(part) && (part[j] == '?' || pattern[i] == part[j] || fold && lower(pattern[i]) == lower(part[j])):
				next[j+1] = true
			}
		}
		spread(next)
		at = next
	}
	return at[len(part)]
}

// matchRegion compares with one region, or with the region set of a SigV4A signature,
// which is good in all of its regions: "us-east-1,eu-*". All of them must match; where
// only some do, or may, it is unknown.
func matchRegion(list []string, region string) (answer, string) {
	if strings.IndexByte(region, ',') < 0 {
		return matchOneRegion(list, region)
	}
	best, entry := no, ""
	all := yes
	for rest, more := region, true; more; {
		var one string
		one, rest, more = strings.Cut(rest, ",")
		a, pattern := matchOneRegion(list, one)
		if all = min(all, a); a > best {
			best, entry = a, pattern
		}
	}
	return min(max(all, unknown), best), entry
}

// matchOneRegion compares with an entry of a region set, or with "", a region that is
// not known. AWS names no wildcard but "*" in such an entry.
func matchOneRegion(list []string, region string) (answer, string) {
	region = strings.TrimSpace(region)
	best, entry := no, ""
	known := region != "" && strings.IndexByte(region, '?') < 0
	for _, pattern := range list {
		switch {
		case pattern == "*" || known && glob(pattern, region, true):
			return yes, pattern
		case best == no && (!known || strings.IndexByte(region, '*') >= 0 && meets(strings.ToLower(pattern), strings.ToLower(region))):
			best, entry = unknown, pattern
		}
	}
	return best, entry
}

// glob matches s against an IAM pattern: "*" is any text, "?" any one character, but no
// "*" that stands for more
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html).
func glob(pattern, s string, fold bool) bool {
	i := 0
	for ; i < len(s) && i < len(pattern) && pattern[i] != '*'; i++ { // most differ early
		if c := pattern[i]; c != s[i] && (c != '?' || s[i] == '*') && !(fold && lower(c) == lower(s[i])) {
			return false
		} else if c == '?' && s[i] >= utf8.RuneSelf {
			break
		}
	}
	p := i
	star, from := -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			if p == len(pattern)-1 {
				return true
			}
			star, from = p, i
			p++
		case p < len(pattern) && pattern[p] == '?' && s[i] != '*':
			p++
			i += width(s[i:])
		case p < len(pattern) && (pattern[p] == s[i] || fold && lower(pattern[p]) == lower(s[i])):
			p++
			i++
		case star >= 0:
			from++
			p, i = star+1, from
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// width is that of the first character of s, in bytes.
func width(s string) int {
	if s[0] < utf8.RuneSelf {
		return 1
	}
	_, n := utf8.DecodeRuneInString(s)
	return n
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}
