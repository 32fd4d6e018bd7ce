package awsreq

import (
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	smithy "github.com/aws/smithy-go/encoding/cbor"
)

// models reads botocore's service models as far as these tests need them, by
// service, or skips.
func models(t *testing.T) map[string]*model {
	t.Helper()
	out, err := exec.Command("python3", "-c", "import botocore, os; print(os.path.join(os.path.dirname(botocore.__file__), 'data'))").Output()
	if err != nil {
		t.Skipf("python3 with botocore is needed for its service models: %v", err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "*", "*", "service-2.json*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no service models in %s: %v", out, err)
	}
	all := map[string]*model{}
	for _, file := range files { // versions are dates, and files are sorted: the latest wins
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		var r io.Reader = f
		if strings.HasSuffix(file, ".gz") {
			if r, err = gzip.NewReader(f); err != nil {
				t.Fatal(err)
			}
		}
		m := &model{}
		if err := json.NewDecoder(r).Decode(m); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		f.Close()
		all[filepath.Base(filepath.Dir(filepath.Dir(file)))] = m
	}
	return all
}

type model struct {
	Metadata   struct{ Protocol string }
	Operations map[string]struct{ Input member }
	Shapes     map[string]shape
}

type shape struct {
	Type, Payload, Pattern string
	Documentation          string
	Enum                   []string
	Flattened              bool
	Members                map[string]member
	Member, Key, Value     member
}

type member struct {
	Shape, Location, LocationName, QueryName string
	XMLNamespace                             struct{ URI string }
}

// filling fills an operation's input with what names a thing of a type: by names and
// ids, and, where arn is given, by that wherever an ARN may stand.
type filling struct {
	tab      *Table
	m        *model
	o        *operation
	typ, arn string
	deep     bool // structures, too
	names    int  // texts at the top
}

// fill puts a value into every text at the top of an operation's input, and into
// lists of such, or into all that it holds, as AWS's SDKs put them on the wire.
func (f *filling) fill(in *Input, op string) {
	m := f.m
	input := m.Operations[op].Input
	s := m.Shapes[input.Shape]
	body, form, query := map[string]any{}, url.Values{}, []string{}
	if in.RawQuery != "" {
		query = append(query, in.RawQuery)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Members)) {
		x := s.Members[name]
		text := m.Shapes[x.Shape]
		if text.Type == "list" {
			text = m.Shapes[text.Member.Shape]
		}
		if flat := text.Type == "string" && !strings.HasSuffix(name, "Token"); flat && len(text.Enum) == 0 {
			f.names++
		} else if !flat && !f.deep {
			continue
		}
		v := f.tree(name, x.Shape, 0)
		if v == nil {
			continue
		}
		one, _ := v.(string)
		if list, ok := v.([]any); ok && len(list) > 0 {
			one, _ = list[0].(string)
		}
		wire := cmp.Or(x.LocationName, name)
		switch {
		case x.Location == "uri":
			in.Path = strings.NewReplacer("{"+wire+"}", url.PathEscape(one), "{"+wire+"+}", url.PathEscape(one)).Replace(in.Path)
		case x.Location == "querystring":
			query = append(query, url.QueryEscape(wire)+"="+url.QueryEscape(one))
		case x.Location == "header":
			in.Header.Set(wire, one)
		case x.Location != "":
		case m.Metadata.Protocol == "ec2":
			f.form(form, cmp.Or(x.QueryName, strings.ToUpper(wire[:1])+wire[1:]), x.Shape, v)
		case m.Metadata.Protocol == "query":
			f.form(form, wire, x.Shape, v)
		case s.Payload == name && m.Shapes[x.Shape].Type == "structure":
			body, _ = v.(map[string]any)
		default:
			body[wire] = v
		}
	}
	in.RawQuery = strings.Join(query, "&")
	switch {
	case len(in.Body) > 0 && in.Body[0] != '{':
		in.Body = append(append(in.Body, '&'), form.Encode()...)
	case strings.HasPrefix(m.Metadata.Protocol, "rest-xml"):
		if len(body) > 0 {
			in.Body = []byte(asXML(cmp.Or(input.LocationName, "Request"), body))
		}
	case isCBOR(in):
		in.Body = smithy.Encode(asCBOR(body))
	default:
		in.Body, _ = json.Marshal(body)
		if in.Header.Get("Content-Type") == "" {
			in.Header.Set("Content-Type", "application/json")
		}
	}
}

// tree is what a member holds: texts, lists and structures of such.
func (f *filling) tree(name, shape string, depth int) any {
	s := f.m.Shapes[shape]
	switch s.Type {
	case "string":
		return f.value(name, s)
	case "list":
		if v := f.tree(name, s.Member.Shape, depth); v != nil {
			return []any{v}
		}
	case "structure":
		if !f.deep || depth == 4 {
			return nil
		}
		all := map[string]any{}
		for _, inner := range slices.Sorted(maps.Keys(s.Members)) {
			x := s.Members[inner]
			if v := f.tree(inner, x.Shape, depth+1); v != nil {
				all[cmp.Or(x.LocationName, inner)] = v
			}
		}
		if len(all) > 0 {
			return all
		}
	}
	return nil
}

// form flattens what a member holds for the query protocols.
func (f *filling) form(form url.Values, key, shape string, v any) {
	s := f.m.Shapes[shape]
	switch v := v.(type) {
	case string:
		form.Set(key, v)
	case []any:
		switch {
		case f.m.Metadata.Protocol == "ec2":
		case !s.Flattened:
			key += "." + cmp.Or(s.Member.LocationName, "member")
		case s.Member.LocationName != "":
			key = key[:strings.LastIndexByte(key, '.')+1] + s.Member.LocationName
		}
		f.form(form, key+".1", s.Member.Shape, v[0])
	case map[string]any:
		for name, x := range s.Members {
			wire := cmp.Or(x.LocationName, name)
			inner, ok := v[wire]
			if !ok {
				continue
			}
			if f.m.Metadata.Protocol == "ec2" {
				wire = cmp.Or(x.QueryName, strings.ToUpper(wire[:1])+wire[1:])
			}
			f.form(form, key+"."+wire, x.Shape, inner)
		}
	}
}

func asXML(name string, v any) string {
	var out strings.Builder
	switch v := v.(type) {
	case string:
		fmt.Fprintf(&out, "<%s>%s</%s>", name, v, name)
	case []any:
		fmt.Fprintf(&out, "<%s>%s</%s>", name, asXML("member", v[0]), name)
	case map[string]any:
		fmt.Fprintf(&out, "<%s>", name)
		for _, inner := range slices.Sorted(maps.Keys(v)) {
			out.WriteString(asXML(inner, v[inner]))
		}
		fmt.Fprintf(&out, "</%s>", name)
	}
	return out.String()
}

func asCBOR(v any) smithy.Value {
	switch v := v.(type) {
	case []any:
		return smithy.List{asCBOR(v[0])}
	case map[string]any:
		all := smithy.Map{}
		for name, x := range v {
			all[name] = asCBOR(x)
		}
		return all
	}
	return smithy.String(v.(string))
}

// sampleValue is what a member of that name may hold: a name, an id or, where the
// service model says so, nothing but an ARN.
func (f *filling) value(name string, s shape) string {
	tab, o := f.tab, f.o
	prefix, _, _ := strings.Cut(o.action, ":")
	if len(s.Enum) > 0 {
		for _, v := range s.Enum { // WirelessDevice, of several
			if plain(v) == plain(f.typ) {
				return v
			}
		}
		return s.Enum[0]
	}
	if slices.ContainsFunc(tab.owners[tab.svcs[o.service].name], func(owner string) bool { return strings.EqualFold(owner, name) }) {
		return account
	}
	if name == "QueueUrl" {
		return "https://sqs.us-east-1.amazonaws.com/" + account + "/n1"
	}
	if f.arn != "" && takesARN(name, s, f.typ, f.arn) {
		return f.arn
	}
	if ids := tab.ids[prefix]; ids != nil {
		for _, id := range slices.Sorted(maps.Keys(ids)) {
			v := strings.Replace(id, "#", account, 1) + strings.Repeat("-0a1b2c3d", 1-strings.Count(id, "#"))
			if prefix == "elasticmapreduce" {
				v = strings.Replace(v, "0a1b2c3d", "0A1B2C3D", 1)
			}
			if ids[id] == f.typ && (about(name) || strings.HasSuffix(name, "Id") && matchesPattern(s.Pattern, v) && !matchesPattern(s.Pattern, "n1")) {
				return v
			}
		}
	}
	return "n1"
}

// takesARN tells whether a member may hold that ARN of a type: by its pattern, its name,
// or what is written of it. Patterns may want more of an id than an example has.
func takesARN(name string, s shape, typ, arn string) bool {
	says := strings.Contains(strings.ToLower(name), "arn") || strings.Contains(s.Pattern, "arn") || arnWord.MatchString(s.Documentation)
	if !says || s.Pattern == "" || matchesPattern(s.Pattern, arn) {
		return says
	}
	if !strings.Contains(s.Pattern, "arn") {
		return false
	}
	base, _ := strings.CutSuffix(strings.TrimSuffix(plain(name), "s"), "arn")
	kind := plain(typ)
	return base == "resource" || base == "target" || strings.Contains(base, kind) || strings.Contains(kind, base)
}

var arnWord = regexp.MustCompile(`\bARNs?\b|Amazon Resource Name`)

// matchesPattern tells whether a value is of a pattern, as far as Go's expressions go:
// others let everything in.
func matchesPattern(pattern, v string) bool {
	re, err := regexp.Compile("^(?:" + manyTimes.ReplaceAllString(pattern, "{$1,}") + ")$")
	return err != nil || re.MatchString(v)
}

var manyTimes = regexp.MustCompile(`\{(\d+),\d{4,}\}`)

// example is an ARN of a type.
func example(tab *Table, prefix, typ string) string {
	for _, p := range tab.resources[prefix][typ] {
		return variables.ReplaceAllStringFunc(strings.ReplaceAll(p, "*", "n1"), func(v string) string {
			switch v {
			case "${Partition}":
				return "aws"
			case "${Region}":
				return "us-east-1"
			case "${Account}", "${AccountId}":
				return account
			}
			return "n1"
		})
	}
	return ""
}

// about tells whether a parameter takes the id of a thing of any kind.
func about(name string) bool {
	switch strings.TrimSuffix(name, "s") {
	case "Resource", "ResourceId", "TargetId", "ParentId":
		return true
	}
	return false
}

var variables = regexp.MustCompile(`\$\{[^}]+\}`)

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
