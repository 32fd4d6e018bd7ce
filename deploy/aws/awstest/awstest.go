// Package awstest reads the IAM roles out of this directory's CloudFormation
// templates, so that tests run what ships. It knows what the templates use of
// CloudFormation: Ref, GetAtt and Sub.
package awstest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/posternhq/postern/deploy/simaws"
)

// Stack is a template with its parameters.
type Stack struct {
	t testing.TB
	// Values of parameters, pseudo parameters (AWS::AccountId) and attributes of
	// resources (Bucket.Arn).
	Values    map[string]string
	resources map[string]resource
}

type resource struct {
	Type       string    `yaml:"Type"`
	Properties yaml.Node `yaml:"Properties"`
}

// Load reads a template of deploy/aws by its name.
func Load(t testing.TB, name string, values map[string]string) *Stack {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	b, err := os.ReadFile(filepath.Join(filepath.Dir(here), "..", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Resources map[string]resource `yaml:"Resources"`
	}
	if err := yaml.Unmarshal(b, &doc); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	s := &Stack{t: t, Values: map[string]string{"AWS::Partition": "aws", "AWS::Region": "us-east-1", "AWS::URLSuffix": "amazonaws.com"}, resources: doc.Resources}
	for k, v := range values {
		s.Values[k] = v
	}
	return s
}

// Role is the role of a logical id as the simulated AWS takes it: its managed
// policies are AWS's own and left out.
func (s *Stack) Role(id string) simaws.Role {
	s.t.Helper()
	r, ok := s.resources[id]
	if !ok || r.Type != "AWS::IAM::Role" {
		s.t.Fatalf("no role %s in the template", id)
	}
	var p struct {
		Path     string    `yaml:"Path"`
		RoleName string    `yaml:"RoleName"`
		Trust    yaml.Node `yaml:"AssumeRolePolicyDocument"`
		Policies []struct {
			Document yaml.Node `yaml:"PolicyDocument"`
		} `yaml:"Policies"`
	}
	if err := r.Properties.Decode(&p); err != nil {
		s.t.Fatal(err)
	}
	if p.Path == "" {
		p.Path = "/"
	}
	role := simaws.Role{ARN: s.Sub("arn:${AWS::Partition}:iam::${AWS::AccountId}:role" + p.Path + p.RoleName), TrustPolicy: s.json(&p.Trust)}
	for _, each := range p.Policies {
		if role.Policy != "" {
			s.t.Fatalf("%s: the simulated AWS takes one policy", id)
		}
		role.Policy = s.json(&each.Document)
	}
	return role
}

func (s *Stack) json(n *yaml.Node) string {
	s.t.Helper()
	s.resolve(n)
	var v any
	if err := n.Decode(&v); err != nil {
		s.t.Fatal(err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

func (s *Stack) resolve(n *yaml.Node) {
	s.t.Helper()
	switch n.Tag {
	case "!Ref", "!GetAtt":
		n.Tag, n.Value = "!!str", s.value(n.Value)
	case "!Sub":
		n.Tag, n.Value = "!!str", s.Sub(n.Value)
	}
	if n.Kind == yaml.AliasNode {
		s.t.Fatalf("line %d: CloudFormation has no aliases", n.Line)
	}
	for _, child := range n.Content {
		s.resolve(child)
	}
}

var variable = regexp.MustCompile(`\$\{([^}]+)\}`)

// Sub puts values in for ${…}.
func (s *Stack) Sub(text string) string {
	return variable.ReplaceAllStringFunc(text, func(m string) string { return s.value(m[2 : len(m)-1]) })
}

func (s *Stack) value(name string) string {
	s.t.Helper()
	v, ok := s.Values[name]
	if !ok {
		s.t.Fatal(fmt.Errorf("the test gives no value for %s", name))
	}
	return v
}
