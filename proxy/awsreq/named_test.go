package awsreq

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// told is what a request tells of its resources.
type told int

const (
	nothing told = iota
	byType       // any of the type
	inPart       // one of those that have the name or id
	whole
)

// tell says how much ARNs say.
func tell(arns []string) told {
	best := nothing
	for _, arn := range arns {
		f := strings.SplitN(arn, ":", 6)
		switch {
		case len(f) == 6 && !strings.Contains(arn, "*"):
			return whole
		case len(f) == 6 && (strings.Contains(f[5], "n1") || strings.Contains(f[5], account)), strings.Contains(arn, "0a1b2c3d"), strings.Contains(arn, "0A1B2C3D"):
			best = inPart
		default:
			best = max(best, byType)
		}
	}
	return best
}

// listed is what the Service Authorization Reference says of an action's resources: the
// types, with "*" those that it is always about one of, and their patterns.
type listed struct {
	types    map[string]string
	patterns map[[2]string][]string
}

func reference(t *testing.T) listed {
	l := listed{map[string]string{}, map[[2]string][]string{}}
	for _, f := range tsv(t, "iam-actions.tsv.gz") {
		l.types[f[0]+":"+f[1]] = f[3]
	}
	for _, f := range tsv(t, "iam-resources.tsv.gz") {
		for arn := range strings.SplitSeq(f[2], ",") {
			l.patterns[[2]string{f[0], f[1]}] = append(l.patterns[[2]string{f[0], f[1]}], strings.TrimSpace(arn))
		}
	}
	return l
}

// foreign gives the ARNs that are of no type that the actions are granted on, or of
// another account or partition.
func (l *listed) foreign(r *Request) (out []string) {
	actions := []string{r.Action}
	for _, a := range r.Also {
		actions = append(actions, a.Name)
	}
	for _, arn := range r.Resources {
		switch r.Service {
		case "apigateway", "apigatewayv2", "s3control": // whose own functions name them
			continue
		}
		ok := false
		for _, action := range actions {
			prefix, _, _ := strings.Cut(action, ":")
			for typ := range strings.SplitSeq(strings.ReplaceAll(l.types[action], "*", ""), ",") {
				ok = ok || matchesAny(l.patterns[[2]string{prefix, typ}], arn)
			}
		}
		// MediaConnect's offerings have no account in IAM's pattern.
		if f := strings.SplitN(arn, ":", 6); !ok || f[1] != r.Partition || f[4] != "" && f[4] != account && f[4] != "aws" && f[4] != "aws-marketplace" && f[4] != "third-party" && f[4] != "*" && f[4] != "n1" && f[4] != "offering" {
			out = append(out, arn)
		}
	}
	return out
}

// holds tells whether an input has, however deep, something that is called as the ARN's
// variables are, or as the type: where nothing comes of it, it may be that something
// could.
func (m *model) holds(shapeName string, called map[string]bool, depth int) string {
	if depth > 6 {
		return ""
	}
	s := m.Shapes[shapeName]
	for _, name := range slices.Sorted(maps.Keys(s.Members)) {
		if strings.Contains(strings.ToLower(name), "filter") {
			continue
		}
		x := s.Members[name]
		if inner := m.holds(x.Shape, called, depth+1); inner != "" {
			return name + "." + inner
		}
		leaf := m.Shapes[x.Shape]
		if leaf.Type == "list" {
			leaf = m.Shapes[leaf.Member.Shape]
		}
		if leaf.Type == "string" && called[strings.TrimSuffix(plain(name), "s")] {
			return name
		}
	}
	if s.Type == "list" {
		return m.holds(s.Member.Shape, called, depth+1)
	}
	return ""
}

// called are the names by which requests would hold what makes up an ARN of the types.
func called(l *listed, prefix string, types []string) map[string]bool {
	out := map[string]bool{}
	for _, typ := range types {
		kind := plain(typ)
		for _, end := range []string{"", "arn"} {
			out[kind+end] = true
		}
		for _, p := range l.patterns[[2]string{prefix, typ}] {
			vars := variables.FindAllString(p, -1)
			if len(vars) == 0 {
				continue
			}
			last := plain(strings.Trim(vars[len(vars)-1], "${}"))
			out[last] = true
			if strings.HasSuffix(last, "id") || strings.HasSuffix(last, "identifier") {
				out[kind+"id"], out[kind+"identifier"] = true, true
			} else if strings.HasSuffix(last, "name") {
				out[kind+"name"] = true
			}
		}
	}
	for _, none := range []string{"", "id", "name", "region", "account", "resourceid", "resourcename", "token"} {
		delete(out, none)
	}
	return out
}

// TestEveryResource fills in all that operations take which act upon resources, as
// AWS's SDKs send it, and counts how much their requests tell of them. Where they tell
// nothing, or the type alone, it is by right of those that IAM grants on no resource, or
// on none that has to be there; others do not hold what would make an ARN (Lightsail's
// and Athena's ids, jobs that are about to be). What is left holds something that is
// called as what an ARN has.
//
// None of the ARNs may be of a type that IAM does not list for the action.
func TestEveryResource(t *testing.T) {
	tab, models, ref := newTable(t), models(t), reference(t)
	endpoints := usEndpoints(t)
	counts, none, free, unheld, left := map[told]int{}, 0, 0, 0, []string{}
	for _, row := range tsv(t, "aws-operations.tsv.gz") {
		e, m := endpoints[row[0]], models[row[0]]
		if e == nil || m == nil || row[0] == "s3" {
			continue
		}
		r := tab.Lookup(every(tab, row, e, "n1"))
		if r.op < 0 || tab.ops[r.op].types == "" {
			none++
			continue
		}
		best := nothing
		o := &tab.ops[r.op]
		prefix, _, _ := strings.Cut(o.action, ":")
		types := strings.Split(o.types, ",")
	tries:
		for _, deep := range []bool{false, true} {
			for _, typ := range types {
				for _, arn := range []string{"", example(tab, prefix, typ)} {
					in := every(tab, row, e, "n1")
					if strings.HasPrefix(row[4], "rest") {
						in.Path, _, _ = strings.Cut(strings.TrimSuffix(e[10], "/")+row[8], "?")
					}
					f := filling{tab: tab, m: m, o: o, typ: typ, arn: arn, deep: deep}
					f.fill(in, row[6])
					in.Path = pathLabel.ReplaceAllString(in.Path, "n1")
					if r = tab.Recognize(in); r.Operation != row[6] || r.Ambiguous {
						t.Errorf("%s %s is read as %q (ambiguous %v: %s)", row[0], row[6], r.Operation, r.Ambiguous, r.Doubt)
					}
					if foreign := ref.foreign(&r); len(foreign) > 0 {
						t.Errorf("%s %s: IAM lists %q for %s, and no %q", row[0], row[6], ref.types[r.Action], r.Action, foreign)
					}
					if best = max(best, tell(r.Resources)); best == whole {
						break tries
					}
				}
			}
		}
		counts[best]++
		if best > byType {
			continue
		}
		var required []string
		for typ := range strings.SplitSeq(ref.types[o.action], ",") {
			if typ, ok := strings.CutSuffix(typ, "*"); ok {
				required = append(required, typ)
			}
		}
		member := m.holds(m.Operations[row[6]].Input.Shape, called(&ref, prefix, types), 0)
		switch {
		case member != "":
			left = append(left, row[0]+" "+row[6]+" "+member+" of "+ref.types[o.action])
		case best == nothing && len(required) == 0:
			free++
		default:
			unheld++
		}
	}
	t.Logf("of operations that IAM grants on resources, %d tell them whole, %d in part, %d by type, %d nothing", counts[whole], counts[inPart], counts[byType], counts[nothing])
	t.Logf("by type or nothing: %d hold no name or id, and of %d IAM does not ask for a resource; %d that it does not grant on any", unheld, free, none)
	t.Logf("%d hold something that is called as what an ARN has:", len(left))
	for _, s := range left {
		t.Log(s)
	}
	if counts[whole] < 11400 || counts[nothing] > 320 || len(left) > 4 {
		t.Errorf("it was 11,400 whole, 320 nothing and 4 left when this was written")
	}
}

// TestSampleResources: what is told of real requests is of a type that IAM lists for
// their actions, too, and of the session's account.
func TestSampleResources(t *testing.T) {
	tab, ref := newTable(t), reference(t)
	told := 0
	for _, s := range sample(t) {
		in := s.input(t, tab)
		if in == nil || in.Host.S3 != NotS3 {
			continue
		}
		r := tab.Recognize(in)
		if len(r.Resources) > 0 {
			told++
		}
		if foreign := ref.foreign(&r); len(foreign) > 0 && r.ActionKnown {
			t.Errorf("%s %s: IAM lists %q for %s, and no %q", s.Service, s.Operation, ref.types[r.Action], r.Action, foreign)
		}
	}
	t.Logf("%d requests tell resources", told)
}
