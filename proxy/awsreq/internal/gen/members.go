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
// called on the wire; with "@", the ARNs in headers; of EC2, which nests, whatever
// may hold some; "!" where the body is the caller's own. Nothing else in a request is
// looked at for resources: what AWS ignores must not decide. "-" comes first where
// nothing in the whole of an input, however deep, could name what is another service's.
func members(models string) ([]string, error) {
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
			names := m.names(m.Shapes[o.Input.Shape])
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

func (m *model) names(input shape) []string {
	found := map[string]bool{}
	switch body := m.Shapes[input.Members[input.Payload].Shape]; body.Type { // the body is that member
	case "structure":
		for _, name := range m.names(body) {
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
		if strings.HasSuffix(name, "Token") || strings.HasSuffix(name, "Description") || len(text.Enum) > 0 {
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
			if strings.HasSuffix(name, "Arn") {
				found["@"+wire] = true
			}
		case m.Metadata.Protocol == "query" && s.Type == "list" && s.Flattened && s.Member.LocationName != "":
			found[s.Member.LocationName] = true
		default:
			found[wire] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
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
	"ec2":        {"vpcid", "subnetid", "instanceid", "volumeid", "imageid", "snapshotid", "networkinterfaceid", "groupid", "securitygroupid"},
	"lambda":     {"functionname"},
	"dynamodb":   {"tablename", "backuparn"},
	"sqs":        {"queuename", "queueurl", "queuenameprefix"},
	"sns":        {"topicname", "topicarn", "platformapplicationarn", "endpointarn"},
	"logs":       {"loggroupname", "loggroupidentifier"},
	"kinesis":    {"streamname"},
	"firehose":   {"streamname"},
	"ecs":        {"clustername"},
	"eks":        {"clustername"},
	"iam":        {"rolename"},
	"glue":       {"tablename"},
	"rds":        {"identifier"},
	"docdb":      {"identifier"},
	"neptune":    {"identifier"},
	"redshift":   {"identifier"},
	"ssm":        {"parametername"},
	"cloudwatch": {"expression"},
	"elbv2":      {"loadbalancerarn", "listenerarn", "rulearn", "targetgrouparn", "truststorearn", "resourcearn"},
}
