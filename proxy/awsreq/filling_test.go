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
