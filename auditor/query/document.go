package query

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Document is an IAM policy.
type Document struct {
	Version   string
	Statement []Statement
}

// Statement of a Document.
type Statement struct {
	Effect    string
	Action    []string
	Resource  []string
	Condition *Condition `json:",omitempty"`
}

// Condition of a Statement, on the region that is asked.
type Condition struct{ StringEquals map[string][]string }

const (
	// documentSize is IAM's limit on a managed policy, in characters: "IAM and
	// AWS STS quotas" of the IAM User Guide.
	documentSize = 6144
	regionKey    = "aws:RequestedRegion"
)

// grant is what one action was used on, and where. Resources are as a policy
// writes them; those that end in / or : stand for all within.
type grant struct{ regions, resources map[string]bool }

// documents are the policies that allow the grants, by action. Resources are
// named one by one where they are few, else by what they lie in; the more so the
// less there is room.
func documents(grants map[string]*grant) []Document {
	var fit []Document
	for _, most := range []int{5, 2, 0} {
		if fit = pack(statements(grants, most)); len(fit) == 1 {
			break
		}
	}
	return fit
}

// statements puts actions on the same resources together.
func statements(grants map[string]*grant, most int) []Statement {
	by := map[string]*Statement{}
	for _, action := range slices.Sorted(maps.Keys(grants)) {
		g := grants[action]
		s := Statement{Effect: "Allow", Resource: generalise(sorted(g.resources), most)}
		if !g.regions[""] && !g.regions["*"] {
			s.Condition = &Condition{map[string][]string{regionKey: sorted(g.regions)}}
		}
		key, _ := json.Marshal(s)
		if by[string(key)] == nil {
			by[string(key)] = &s
		}
		by[string(key)].Action = append(by[string(key)].Action, action)
	}
	var out []Statement
	for _, s := range by {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b Statement) int { return strings.Compare(a.Action[0], b.Action[0]) })
	return out
}

// pack puts statements into as few documents as IAM's limit allows; a statement
// that is too long for one by itself is cut.
func pack(list []Statement) []Document {
	out := []Document{}
	room := 0
	for len(list) > 0 {
		s := list[0]
		size := length(s) + 1
		switch {
		case size <= room:
			d := &out[len(out)-1]
			d.Statement = append(d.Statement, s)
			room -= size
			list = list[1:]
		case size+len(`{"Version":"2012-10-17","Statement":[]}`) <= documentSize:
			out = append(out, Document{Version: "2012-10-17"})
			room = documentSize - len(`{"Version":"2012-10-17","Statement":[]}`)
		default:
			a, b := s, s
			if half := len(s.Resource) / 2; half > 0 {
				a.Resource, b.Resource = s.Resource[:half], s.Resource[half:]
			} else if half = len(s.Action) / 2; half > 0 {
				a.Action, b.Action = s.Action[:half], s.Action[half:]
			} else { // one name longer than a policy: no ARN is
				list = list[1:]
				continue
			}
			list = slices.Concat([]Statement{a, b}, list[1:])
		}
	}
	return out
}

func length(v any) int {
	b, err := json.Marshal(v)
	if err != nil {
		return documentSize
	}
	return len(b)
}

// generalise names what lies in one place by the place, where it is more than
// most, from the innermost outwards. What lies in no place, such as a bucket,
// keeps its name.
func generalise(resources []string, most int) []string {
	if slices.Contains(resources, "*") {
		return []string{"*"}
	}
	set := map[string]bool{}
	deepest := 0
	for _, r := range resources {
		set[r] = true
		deepest = max(deepest, len(places(r)))
	}
	for depth := deepest; depth > 0; depth-- {
		within := map[string][]string{}
		for r := range set {
			if p := places(r); len(p) == depth {
				within[p[depth-1]] = append(within[p[depth-1]], r)
			}
		}
		for place, rs := range within {
			if len(rs) <= most {
				continue
			}
			for _, r := range rs {
				delete(set, r)
			}
			set[place] = true
		}
	}
	var out []string
	for r := range set {
		if !slices.ContainsFunc(places(r), func(p string) bool { return set[p] }) {
			if strings.HasSuffix(r, "/") || strings.HasSuffix(r, ":") {
				r += "*"
			}
			out = append(out, r)
		}
	}
	slices.Sort(out)
	return out
}

// places are what an ARN's resource lies in, outermost first: of a/b/c, a/ and a/b/.
func places(arn string) []string {
	start, colons := 0, 0
	for ; start < len(arn) && colons < 5; start++ {
		if arn[start] == ':' {
			colons++
		}
	}
	var out []string
	for i := start; i < len(arn)-1; i++ {
		if arn[i] == '/' || arn[i] == ':' {
			out = append(out, arn[:i+1])
		}
	}
	return out
}

// unpathed are the ARNs of IAM whose path no request gives: a * is in its place.
var unpathed = regexp.MustCompile(`^arn:[^:]*:iam:[^:]*:[^:]*:(?:user|group|role|policy|instance-profile|mfa|sms-mfa|server-certificate)/\*`)

// literal writes an ARN as a policy means it literally: "IAM policy elements:
// variables and tags" of the IAM User Guide. A name that ends as places do (an
// S3 key may) stands for what is in it too. What a request said only a part of is
// recorded with *, which stays: in the place of IAM's paths, of all of a name, and
// of the keys that a DeleteObjects deletes. Characters that IAM takes in no document
// (other than U+0009, U+000A, U+000D and U+0020 to U+00FF, by the IAM API Reference)
// become ? and *; then it is not exact.
func literal(operation, arn string) (pattern string, exact bool) {
	parts := strings.SplitN(arn, ":", 6)
	named := len(parts) == 6 && (strings.HasPrefix(parts[2], "s3") || parts[2] == "execute-api" || parts[2] == "apigateway") // names there may be any text
	own := len(unpathed.FindString(arn)) - 1
	if operation == "DeleteObjects" && strings.HasSuffix(arn, "/*") {
		own = len(arn) - 1
	}
	separator := func(i int) bool { return i < 0 || i >= len(arn) || arn[i] == ':' || arn[i] == '/' }
	var out strings.Builder
	exact = true
	for i, r := range arn {
		switch {
		case r == '*' && (i == own || !named && separator(i-1) && separator(i+1)):
			out.WriteByte('*')
		case r == '*', r == '?', r == '$':
			out.WriteString("${" + string(r) + "}")
		case r == utf8.RuneError, r > 0xffff: // one that can't be told, or may count as two
			out.WriteByte('*')
			exact = false
		case r == '\t', r == '\n', r == '\r', r >= ' ' && r <= 0xff:
			out.WriteRune(r)
		default:
			out.WriteByte('?')
			exact = false
		}
	}
	return out.String(), exact
}

func sorted(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }
