package awsreq

import (
	"cmp"
	"compress/gzip"
	"encoding/json"
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
	Operations map[string]struct{ Input struct{ Shape string } }
	Shapes     map[string]struct {
		Type, Payload, Pattern string
		Enum                   []string
		Flattened              bool
		Required               []string
		Members                map[string]member
		Member                 member
	}
}

type member struct {
	Shape, Location, LocationName, QueryName string
}

// fill puts a value into every text at the top of an operation's input, and into
// lists of such, as AWS's SDKs put them on the wire.
func (m *model) fill(tab *Table, o *operation, in *Input, op string) (names int) {
	shape := m.Shapes[m.Operations[op].Input.Shape]
	body, form, query := map[string]any{}, url.Values{}, []string{}
	if in.RawQuery != "" {
		query = append(query, in.RawQuery)
	}
	prefix, _, _ := strings.Cut(o.action, ":")
	for _, name := range slices.Sorted(maps.Keys(shape.Members)) {
		x := shape.Members[name]
		s := m.Shapes[x.Shape]
		list := s.Type == "list"
		item := s
		if list {
			item = m.Shapes[s.Member.Shape]
		}
		if item.Type != "string" || strings.HasSuffix(name, "Token") {
			continue
		}
		v := sampleValue(tab, prefix, o, name, item.Pattern, item.Enum)
		if len(item.Enum) == 0 {
			names++
		}
		wire := cmp.Or(x.LocationName, name)
		switch {
		case x.Location == "uri":
			in.Path = strings.NewReplacer("{"+wire+"}", url.PathEscape(v), "{"+wire+"+}", url.PathEscape(v)).Replace(in.Path)
		case x.Location == "querystring":
			query = append(query, url.QueryEscape(wire)+"="+url.QueryEscape(v))
		case x.Location == "header":
			in.Header.Set(wire, v)
		case x.Location != "":
		case m.Metadata.Protocol == "ec2":
			wire = cmp.Or(x.QueryName, strings.ToUpper(wire[:1])+wire[1:])
			if list {
				wire += ".1"
			}
			form.Set(wire, v)
		case m.Metadata.Protocol == "query":
			switch {
			case list && s.Flattened:
				wire = cmp.Or(s.Member.LocationName, wire) + ".1"
			case list:
				wire += "." + cmp.Or(s.Member.LocationName, "member") + ".1"
			}
			form.Set(wire, v)
		case list:
			body[wire] = []string{v}
		default:
			body[wire] = v
		}
	}
	in.RawQuery = strings.Join(query, "&")
	switch {
	case len(in.Body) > 0 && in.Body[0] != '{':
		in.Body = append(append(in.Body, '&'), form.Encode()...)
	case strings.HasPrefix(m.Metadata.Protocol, "rest-xml"):
	case isCBOR(in):
		all := smithy.Map{}
		for name, v := range body {
			if list, ok := v.([]string); ok {
				all[name] = smithy.List{smithy.String(list[0])}
			} else {
				all[name] = smithy.String(v.(string))
			}
		}
		in.Body = smithy.Encode(all)
	default:
		in.Body, _ = json.Marshal(body)
		if in.Header.Get("Content-Type") == "" {
			in.Header.Set("Content-Type", "application/json")
		}
	}
	return names
}

// sampleValue is what a member of that name may hold.
func sampleValue(tab *Table, prefix string, o *operation, name, pattern string, enum []string) string {
	if len(enum) > 0 {
		return enum[0]
	}
	if ids := tab.ids[prefix]; about(name) && ids != nil {
		for _, id := range slices.Sorted(maps.Keys(ids)) {
			if slices.Contains(strings.Split(o.types, ","), ids[id]) {
				return strings.Replace(id, "#", account, 1) + strings.Repeat("-0a1b2c3d", 1-strings.Count(id, "#"))
			}
		}
	}
	if slices.ContainsFunc(tab.owners[tab.svcs[o.service].name], func(owner string) bool { return strings.EqualFold(owner, name) }) {
		return account
	}
	base, isARN := strings.CutSuffix(strings.TrimSuffix(plain(name), "s"), "arn")
	if !isARN && !strings.HasPrefix(strings.TrimLeft(pattern, "^("), "arn:") {
		return "n1"
	}
	for _, typ := range strings.Split(o.types, ",") {
		kind := plain(typ)
		if base != "" && base != "resource" && base != "target" && !strings.Contains(base, kind) && !strings.Contains(kind, base) {
			continue
		}
		if p := tab.resources[prefix][typ]; len(p) > 0 {
			return variables.ReplaceAllStringFunc(p[0], func(v string) string {
				switch v {
				case "${Partition}":
					return "aws"
				case "${Region}":
					return "us-east-1"
				case "${Account}":
					return account
				}
				return "n1"
			})
		}
	}
	return "arn:aws:other:us-east-1:" + account + ":thing/n1"
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

// TestEveryResource fills in all that operations take which act upon resources, as
// AWS's SDKs send it, and counts those whose request still tells no ARN. What is
// left names things by what no ARN holds (lightsail's and athena's ids), or deep in
// a structure.
func TestEveryResource(t *testing.T) {
	tab, models := newTable(t), models(t)
	endpoints := usEndpoints(t)
	named, silent := 0, map[string]int{}
	for _, f := range tsv(t, "aws-operations.tsv.gz") {
		e, m := endpoints[f[0]], models[f[0]]
		if e == nil || m == nil || f[0] == "s3" {
			continue
		}
		in := every(tab, f, e, "n1")
		r := tab.Lookup(in)
		if r.op < 0 || tab.ops[r.op].types == "" {
			continue
		}
		if strings.HasPrefix(f[4], "rest") {
			in.Path, _, _ = strings.Cut(strings.TrimSuffix(e[10], "/")+f[8], "?")
		}
		names := m.fill(tab, &tab.ops[r.op], in, f[6])
		in.Path = pathLabel.ReplaceAllString(in.Path, "n1")
		if r = tab.Recognize(in); r.Operation != f[6] || r.Ambiguous {
			t.Errorf("%s %s is read as %q (ambiguous %v)", f[0], f[6], r.Operation, r.Ambiguous)
		}
		switch {
		case len(r.Resources) > 0:
			named++
		case names > 0:
			silent[f[0]]++
		}
	}
	left := 0
	for _, n := range silent {
		left += n
	}
	t.Logf("%d operations name what they act upon; of %d that take texts nothing is told:", named, left)
	for _, s := range slices.SortedFunc(maps.Keys(silent), func(a, b string) int { return silent[b] - silent[a] })[:15] {
		t.Logf("%5d of %s", silent[s], s)
	}
	if named < 11800 || left > 1060 {
		t.Errorf("it was 11,800 and 1,060 at most when this was written")
	}
}
