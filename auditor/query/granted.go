package query

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
)

// Granted is an action, or a pattern of actions, that a policy allows, with what
// was used of it.
type Granted struct {
	Action string   `json:"action"`
	Used   []string `json:"used"`
}

// Unneeded holds a policy against what was used: every action that it allows,
// as it is written there. The policy is an IAM document, or what the AWS CLI says
// of one (get-role-policy, get-policy-version).
func (p *LeastPolicy) Unneeded(policy []byte) ([]Granted, error) {
	type statement struct {
		Effect    string
		Action    oneOrMore
		NotAction oneOrMore
	}
	type document struct{ Statement oneOrMoreOf[statement] }
	var d struct {
		document
		PolicyDocument *document
		PolicyVersion  *struct{ Document *document }
	}
	if err := json.Unmarshal(policy, &d); err != nil {
		return nil, fmt.Errorf("read the policy: %w", err)
	}
	doc := &d.document
	if d.PolicyDocument != nil {
		doc = d.PolicyDocument
	} else if d.PolicyVersion != nil && d.PolicyVersion.Document != nil {
		doc = d.PolicyVersion.Document
	}
	if len(doc.Statement) == 0 {
		return nil, errors.New("read the policy: it has no Statement")
	}
	out := []Granted{}
	for _, s := range doc.Statement {
		if s.Effect != "Allow" {
			continue
		}
		for _, pattern := range s.Action {
			g := Granted{Action: pattern, Used: []string{}}
			for _, u := range p.Used {
				if allows(pattern, u.Action) {
					g.Used = append(g.Used, u.Action)
				}
			}
			out = append(out, g)
		}
		if len(s.NotAction) > 0 {
			g := Granted{Action: "all but " + strings.Join(s.NotAction, ", "), Used: []string{}}
			for _, u := range p.Used {
				but := false
				for _, pattern := range s.NotAction {
					but = but || allows(pattern, u.Action)
				}
				if !but {
					g.Used = append(g.Used, u.Action)
				}
			}
			out = append(out, g)
		}
	}
	return out, nil
}

// allows compares as IAM does: without case, with * and ?.
func allows(pattern, action string) bool {
	pattern = strings.NewReplacer("[", `\[`, `\`, `\\`).Replace(strings.ToLower(pattern))
	ok, err := path.Match(pattern, strings.ToLower(action)) // actions have no slash
	return ok && err == nil
}

type oneOrMore = oneOrMoreOf[string]

// oneOrMoreOf is a list of which IAM writes a single element as itself.
type oneOrMoreOf[T any] []T

func (l *oneOrMoreOf[T]) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, (*[]T)(l))
	}
	var one T
	if err := json.Unmarshal(b, &one); err != nil {
		return err
	}
	*l = oneOrMoreOf[T]{one}
	return nil
}
