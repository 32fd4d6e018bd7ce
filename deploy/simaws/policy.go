package simaws

import (
	"encoding/json"
	"fmt"
	"strings"
)

// policyDoc is an IAM policy: identity, trust, bucket or session policy.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
type policyDoc struct {
	Version   string
	Statement oneOrMany[statement]
}

type statement struct {
	Sid          string
	Effect       string
	Principal    *principalSet
	NotPrincipal *principalSet
	Action       oneOrMany[string]
	NotAction    oneOrMany[string]
	Resource     oneOrMany[string]
	NotResource  oneOrMany[string]
	Condition    map[string]map[string]oneOrMany[scalar]
}

// oneOrMany is IAM's habit of writing a list of one as the one.
type oneOrMany[T any] []T

func (o *oneOrMany[T]) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, (*[]T)(o))
	}
	var one T
	if err := json.Unmarshal(b, &one); err != nil {
		return err
	}
	*o = []T{one}
	return nil
}

// scalar is a condition value: a string, or a number or boolean taken as one.
type scalar string

func (s *scalar) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, (*string)(s))
	}
	switch b[0] {
	case '{', '[', 'n':
		return fmt.Errorf("condition value %s is not a string, number or boolean", b)
	}
	*s = scalar(b)
	return nil
}

// principalSet is "*" or {"AWS": …, "Service": …, "Federated": …}.
type principalSet struct {
	any bool
	aws []string
}

func (p *principalSet) UnmarshalJSON(b []byte) error {
	if string(b) == `"*"` {
		p.any = true
		return nil
	}
	var m map[string]oneOrMany[string]
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	for kind, list := range m {
		switch kind {
		case "AWS":
			p.aws = list
		case "Service", "Federated", "CanonicalUser":
			// Valid, and never a caller of this AWS.
		default:
			return fmt.Errorf("principal kind %q is not one of AWS, Service, Federated, CanonicalUser", kind)
		}
	}
	return nil
}

// parsePolicy refuses what it could not evaluate: a condition that is silently
// skipped would make a simulated refusal mean nothing.
func parsePolicy(doc string) (*policyDoc, error) {
	dec := json.NewDecoder(strings.NewReader(doc))
	var raw struct {
		Version   string
		Id        string
		Statement oneOrMany[json.RawMessage]
	}
	if err := dec.Decode(&raw); err != nil {
		return nil, fmt.Errorf("policy document: %w", err)
	}
	p := &policyDoc{Version: raw.Version}
	for i, r := range raw.Statement {
		var st statement
		d := json.NewDecoder(strings.NewReader(string(r)))
		d.DisallowUnknownFields()
		if err := d.Decode(&st); err != nil {
			return nil, fmt.Errorf("policy document: statement %d: %w", i, err)
		}
		if st.Effect != "Allow" && st.Effect != "Deny" {
			return nil, fmt.Errorf("policy document: statement %d: effect %q is neither Allow nor Deny", i, st.Effect)
		}
		if len(st.Action) == 0 && len(st.NotAction) == 0 {
			return nil, fmt.Errorf("policy document: statement %d: no action", i)
		}
		for op := range st.Condition {
			if _, ok := conditionOperator(op); !ok {
				return nil, fmt.Errorf("policy document: statement %d: condition operator %q is not simulated", i, op)
			}
		}
		p.Statement = append(p.Statement, st)
	}
	if len(p.Statement) == 0 {
		return nil, fmt.Errorf("policy document: no statement")
	}
	return p, nil
}

type verdict int

const (
	implicitDeny verdict = iota
	allow
	explicitDeny
)

// accessQuestion is one "may this principal do this" with its context keys.
type accessQuestion struct {
	action, resource string
	who              *identity
	keys             map[string][]string // lower-case condition keys
}

// judge evaluates one policy. withPrincipal is for trust and bucket policies,
// whose statements apply only to the principals they name.
func (p *policyDoc) judge(q accessQuestion, withPrincipal bool) verdict {
	out := implicitDeny
	for i := range p.Statement {
		st := &p.Statement[i]
		if withPrincipal && !st.names(q.who) {
			continue
		}
		if !st.covers(q, withPrincipal) || !conditionsHold(st.Condition, q.keys) {
			continue
		}
		if st.Effect == "Deny" {
			return explicitDeny
		}
		out = allow
	}
	return out
}

func (st *statement) covers(q accessQuestion, resourceOptional bool) bool {
	if len(st.NotAction) > 0 {
		if matchesAny(st.NotAction, q.action, true) {
			return false
		}
	} else if !matchesAny(st.Action, q.action, true) {
		return false
	}
	switch {
	case len(st.NotResource) > 0:
		return !matchesAny(expand(st.NotResource, q.keys), q.resource, false)
	case len(st.Resource) > 0:
		return matchesAny(expand(st.Resource, q.keys), q.resource, false)
	}
	return resourceOptional
}

func (st *statement) names(who *identity) bool {
	if st.NotPrincipal != nil {
		return !st.NotPrincipal.holds(who)
	}
	return st.Principal != nil && st.Principal.holds(who)
}

func (p *principalSet) holds(who *identity) bool {
	if p.any {
		return true
	}
	for _, a := range p.aws {
		switch a {
		case "*", who.account, "arn:" + who.partition + ":iam::" + who.account + ":root", who.arn(), who.roleARN:
			if a != "" {
				return true
			}
		}
	}
	return false
}

// expand puts policy variables such as ${aws:username} in place.
func expand(patterns []string, keys map[string][]string) []string {
	out := patterns
	for i, p := range patterns {
		start := strings.Index(p, "${")
		if start < 0 {
			continue
		}
		if &out[0] == &patterns[0] {
			out = append([]string(nil), patterns...)
		}
		for start >= 0 {
			end := strings.IndexByte(p[start:], '}')
			if end < 0 {
				break
			}
			value := "\x00" // matches nothing: a variable without a value never grants
			if v := keys[strings.ToLower(p[start+2:start+end])]; len(v) == 1 {
				value = v[0]
			}
			p = p[:start] + value + p[start+end+1:]
			start = strings.Index(p, "${")
		}
		out[i] = p
	}
	return out
}

func matchesAny(patterns []string, s string, fold bool) bool {
	for _, p := range patterns {
		if fold {
			p, s = strings.ToLower(p), strings.ToLower(s)
		}
		if wildcard(p, s) {
			return true
		}
	}
	return false
}

// wildcard matches * and ? as IAM does: both cross every separator.
func wildcard(p, s string) bool {
	star, mark, pi, si := -1, 0, 0, 0
	for si < len(s) {
		switch {
		case pi < len(p) && p[pi] == '*':
			star, mark = pi, si
			pi++
		case pi < len(p) && (p[pi] == '?' || p[pi] == s[si]):
			pi++
			si++
		case star >= 0:
			mark++
			pi, si = star+1, mark
		default:
			return false
		}
	}
	for pi < len(p) && p[pi] == '*' {
		pi++
	}
	return pi == len(p)
}
