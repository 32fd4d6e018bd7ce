package main

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

type model struct {
	Metadata   struct{ Protocol string }
	Operations map[string]struct{ Input struct{ Shape string } }
	Shapes     map[string]shape
}

type shape struct {
	Type      string
	Flattened bool
	Payload   string
	Enum      []string
	Members   map[string]member
	Member    member
	Key       member
	Value     member
}

type member struct {
	Shape, Location, LocationName, QueryName string
}

// members lists which parameters of operations may name what is acted upon:
//
//	service parameters operations
//
// Those are the texts at the top of an input and the lists of such, as they are
// called on the wire; with "@", the ARNs and ids in headers, with "=" and their names where
// the header tells none; of EC2, which nests, whatever
// may hold some; "!" where the body is the caller's own; with ".", those deeper in a
// structure that are called as things are which IAM has the action be about (wanted).
// Nothing else in a request is looked at for resources: what AWS ignores must not decide.
// "-" comes first where nothing in the whole of an input, however deep, could name what is
// another service's.
func members(models string, wanted map[string]map[string]bool) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(models, "*", "*", "service-2.json*"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no service models in %s: %w", models, err)
	}
	latest := map[string]string{} // by service: versions are dates, and files are sorted
	for _, f := range files {
		latest[filepath.Base(filepath.Dir(filepath.Dir(f)))] = f
	}
	var out []string
	for _, service := range slices.Sorted(maps.Keys(latest)) {
		m, err := readModel(latest[service])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", latest[service], err)
		}
		byNames := map[string][]string{}
		for op, o := range m.Operations {
			want := wanted[service+"\t"+op]
			names := m.names(m.Shapes[o.Input.Shape], want)
			if want != nil && m.Metadata.Protocol != "ec2" {
				names = append(names, m.nested(m.Shapes[o.Input.Shape], want)...)
			}
			if !m.outward(o.Input.Shape, service, map[string]bool{}) {
				names = append([]string{"-"}, names...)
			}
			if len(names) > 0 {
				text := strings.Join(names, ",")
				byNames[text] = append(byNames[text], op)
			}
		}
		for _, names := range slices.Sorted(maps.Keys(byNames)) {
			slices.Sort(byNames[names])
			out = append(out, service+"\t"+names+"\t"+strings.Join(byNames[names], ","))
		}
	}
	return out, nil
}

func readModel(file string) (*model, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(file, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			return nil, err
		}
	}
	m := &model{}
	return m, json.NewDecoder(r).Decode(m)
}

func (m *model) names(input shape, want map[string]bool) []string {
	found := map[string]bool{}
	switch body := m.Shapes[input.Members[input.Payload].Shape]; body.Type { // the body is that member
	case "structure":
		for _, name := range m.names(body, want) {
			found[name] = true
		}
	case "blob", "string":
		found["!"] = true
	}
	for name, x := range input.Members {
		s := m.Shapes[x.Shape]
		text := s
		if s.Type == "list" {
			text = m.Shapes[s.Member.Shape]
		}
		if strings.HasSuffix(name, "Token") || strings.HasSuffix(name, "Description") || len(text.Enum) > 0 && folded(name) != "resourcetype" {
			continue
		}
		wire := x.LocationName
		if wire == "" {
			wire = name
		}
		switch ec2 := m.Metadata.Protocol == "ec2"; {
		case ec2 && (text.Type == "structure" || text.Type == "string"):
			if wire = x.QueryName; wire == "" {
				wire = x.LocationName
			}
			if wire == "" {
				wire = name
			}
			if wire = strings.ToUpper(wire[:1]) + wire[1:]; wire != "Filter" && wire != "TagSpecification" {
				found[wire] = true
			}
		case text.Type != "string", x.Location == "uri", x.Location == "headers":
		case x.Location == "header":
			switch {
			case strings.HasSuffix(name, "Arn") || name == "principal" || want[folded(wire)]:
				found["@"+wire] = true
			case want[folded(name)] && s.Type == "string":
				found["@"+wire+"="+name] = true
			}
		case m.Metadata.Protocol == "query" && s.Type == "list" && s.Flattened && s.Member.LocationName != "":
			found[s.Member.LocationName] = true
		default:
			found[wire] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// maxDepth is how many names the path to a text in a structure has at most.
const maxDepth = 4

// sifting are structures that pick out things, or describe them, and name none.
var sifting = regexp.MustCompile(`(?i)filter|tags|criteria|condition|sort|error|logging|variable|attribute|targetdatabase|targettable|targetredshift|federated|catalogid|dependson`)

// nested lists the texts in structures that are called as wanted: paths, in which lists
// have no part of their own but in XML, where their items have names.
func (m *model) nested(input shape, want map[string]bool) []string {
	found := map[string]bool{}
	var look func(s shape, path []string, items bool)
	look = func(s shape, path []string, items bool) {
		for name, x := range s.Members {
			if sifting.MatchString(name) || x.Location != "" && len(path) == 0 {
				continue
			}
			wire := x.LocationName
			if wire == "" {
				wire = name
			}
			here := append(slices.Clip(path), wire)
			inner := m.Shapes[x.Shape]
			if len(path) == 0 && input.Payload == name {
				here = nil
			}
			if inner.Type == "list" {
				item := inner.Member.LocationName
				if item == "" {
					item = "member"
				}
				if flat := inner.Flattened; items && !flat {
					here = append(here, item)
				}
				inner = m.Shapes[inner.Member.Shape]
			}
			switch {
			case inner.Type == "structure" && len(here) < maxDepth:
				look(inner, here, items)
			case inner.Type == "string" && len(inner.Enum) == 0 && len(here) > 1 && want[folded(name)]:
				found[strings.Join(here, ".")] = true
			}
		}
	}
	look(input, nil, m.Metadata.Protocol == "rest-xml")
	return slices.Sorted(maps.Keys(found))
}

// wantedNames tells what things may be called that operations are about: "service\toperation"
// -> names, folded. lines are those of operations.tsv; patterns, ARN patterns by prefix and
// type; synonyms are those of variables.tsv.
func wantedNames(lines []string, resources, synonyms [][]string) map[string]map[string]bool {
	byType := map[string]map[string]bool{} // "prefix\ttype" -> names
	names := func(prefix, typ string) map[string]bool {
		if all := byType[prefix+"\t"+typ]; all != nil {
			return all
		}
		all, kind := map[string]bool{}, folded(typ)
		for _, end := range []string{"", "name", "id", "identifier", "arn"} {
			all[folded(kind+end)] = true
		}
		for _, r := range resources {
			if r[0] != prefix || r[1] != typ {
				continue
			}
			for _, v := range variable.FindAllStringSubmatch(r[2], -1) {
				if v := folded(v[1]); !common[v] {
					all[v] = true
				}
			}
		}
		for _, r := range synonyms {
			if r[0] == prefix && (r[1] == typ || r[1] == "*") {
				for name := range strings.SplitSeq(r[3], ",") {
					name, _, _ = strings.Cut(name, "^")
					all[folded(name)] = true
				}
			}
		}
		for _, none := range []string{"", "name", "id"} {
			delete(all, none)
		}
		byType[prefix+"\t"+typ] = all
		return all
	}
	out, service := map[string]map[string]bool{}, ""
	for _, line := range lines {
		f := strings.Split(line, "\t")
		if f[0] == "S" {
			service = f[1]
		}
		if f[0] != "O" || len(f) < 7 || f[6] == "" {
			continue
		}
		prefix, _, _ := strings.Cut(f[4], ":")
		want := map[string]bool{}
		for typ := range strings.SplitSeq(strings.TrimPrefix(f[6], "*"), ",") {
			maps.Copy(want, names(prefix, typ))
		}
		out[service+"\t"+f[1]] = want
	}
	return out
}

var variable = regexp.MustCompile(`\$\{([^}]+)\}`)

// common are variables of ARN patterns whose names say nothing of what they are of.
var common = map[string]bool{
	"partition": true, "region": true, "account": true, "accountid": true, "id": true, "name": true,
	"resourceid": true, "resourcename": true, "resource": true, "resourcepath": true, "token": true, "type": true,
	"version": true, "path": true, "scope": true, "key": true, "domain": true, "owner": true, "service": true, "method": true, "operation": true,
}

// folded is a name without what spellings differ in, of one or several.
func folded(s string) string {
	s = strings.ToLower(strings.NewReplacer("-", "", "_", "", " ", "").Replace(s))
	return strings.TrimSuffix(s, "s")
}

// Words by which services call what is not their own, or of which they have it: at the
// end of a member's name in lower case, or anywhere in it.
var (
	outwardEnds = regexp.MustCompile(`(arn|bucket|bucketname|uri|url|resource|resourceid|resourcename|resourceidentifier|typename|identifier|targetid|location|path|sql|statement|query|querystring|expression|script|template|templatebody|document|vpcid|subnet|subnetid|securitygroup|securitygroupid|instanceid|volumeid|imageid|snapshotid|networkinterfaceid|tablename|topicname|queuename|functionname|streamname|clustername|loggroupname|parametername|secretid|secretname|rolename)(s|list|es)?$`)
	outwardIn   = regexp.MustCompile(`s3|kms|arn[A-Z_]|role`)
)

// outward tells whether an input has something by which it may name what is another
// service's: a text that is called as such are, or a body of the caller's own. With such,
// a service acts on what is not its own with its caller's rights.
func (m *model) outward(name, service string, seen map[string]bool) bool {
	if name == "" || seen[name] {
		return false
	}
	seen[name] = true
	s := m.Shapes[name]
	if m.Shapes[s.Members[s.Payload].Shape].Type == "blob" {
		return true
	}
	for name, x := range s.Members {
		leaf := m.Shapes[x.Shape]
		for leaf.Type == "list" {
			leaf = m.Shapes[leaf.Member.Shape]
		}
		text := leaf.Type == "string" && len(leaf.Enum) == 0 || leaf.Type == "map"
		if text && outwardName(name, service) || m.outward(x.Shape, service, seen) {
			return true
		}
	}
	return m.outward(s.Member.Shape, service, seen) || m.outward(s.Key.Shape, service, seen) || m.outward(s.Value.Shape, service, seen)
}

// outwardName looks at one member's name. One of a service's own things is none.
func outwardName(name, service string) bool {
	low := strings.ToLower(name)
	for _, own := range append(ownNames[service], "accountidentifier") {
		if strings.HasSuffix(strings.TrimSuffix(low, "s"), own) {
			return false
		}
	}
	return outwardEnds.MatchString(low) || outwardIn.MatchString(name) || outwardIn.MatchString(low)
}

// ownNames are endings of names that are of a service's own things.
var ownNames = map[string][]string{
	"ec2":           {"vpcid", "subnetid", "instanceid", "volumeid", "imageid", "snapshotid", "networkinterfaceid", "groupid", "securitygroupid"},
	"lambda":        {"functionname"},
	"dynamodb":      {"tablename", "backuparn"},
	"sqs":           {"queuename", "queueurl", "queuenameprefix"},
	"sns":           {"topicname", "topicarn", "platformapplicationarn", "endpointarn"},
	"logs":          {"loggroupname", "loggroupidentifier"},
	"kinesis":       {"streamname"},
	"firehose":      {"streamname"},
	"ecs":           {"clustername"},
	"eks":           {"clustername"},
	"iam":           {"rolename"},
	"glue":          {"tablename"},
	"rds":           {"identifier"},
	"docdb":         {"identifier"},
	"neptune":       {"identifier"},
	"redshift":      {"identifier"},
	"ssm":           {"parametername"},
	"cloudwatch":    {"expression"},
	"lightsail":     {"bucketname", "resourcename", "cacertificateidentifier"},
	"efs":           {"mounttargetid"},
	"s3files":       {"mounttargetid"},
	"qapps":         {"instanceid"},
	"bedrock":       {"jobidentifier"},
	"ds":            {"snapshotid"},
	"neptune-graph": {"graphidentifier"},
	"tnb":           {"nsinstanceid"},
	"resiliencehub": {"assessmentarn", "recommendationtemplatearn"},
	"elbv2":         {"loadbalancerarn", "listenerarn", "rulearn", "targetgrouparn", "truststorearn", "resourcearn"},
}
