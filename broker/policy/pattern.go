package policy

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// maxPattern bounds a pattern's length in bytes: compiled expressions grow with it.
const maxPattern = 1024

// Pattern is one value of a role's list: a literal, a glob in which "*" stands
// for any text, an expression "^…$" (RE2), or text around one template such as
// "{{internal.aws_role_arns}}" or "{{email.local(external.email)}}", which
// stands for each value of a user's trait, or what functions make of it.
type Pattern struct {
	raw      string
	re       *regexp.Regexp
	before   []string // text in front of the template's value, cut at each "*"
	template *template
	after    []string // text behind it
}

// ParsePattern reads a pattern. The error says what is wrong with it; it is a
// *SyntaxError where there is a place to name.
func ParsePattern(s string) (Pattern, error) {
	p := Pattern{raw: s}
	if len(s) > maxPattern {
		return p, fmt.Errorf("longer than %d bytes", maxPattern)
	}
	if strings.HasPrefix(s, "^") && strings.HasSuffix(s, "$") {
		if strings.Contains(s, "{{") {
			return p, errors.New("a regular expression cannot hold a template")
		}
		var err error
		if p.re, err = regexp.Compile(s); err != nil {
			return p, fmt.Errorf("bad regular expression: %w", err)
		}
		// ^a|b$ would match whatever starts with a: the anchors are for all of it.
		p.re, err = regexp.Compile(`^(?:` + s + `)$`)
		return p, err
	}
	before, rest, ok := strings.Cut(s, "{{")
	if !ok {
		if strings.Contains(s, "}}") {
			return p, &SyntaxError{strings.Index(s, "}}"), "}} without {{"}
		}
		p.before = strings.Split(s, "*")
		return p, nil
	}
	begin := len(before) + len("{{")
	end := templateEnd(rest)
	if end < 0 {
		return p, &SyntaxError{len(before), "{{ without }}"}
	}
	expr, after := rest[:end], rest[end+len("}}"):]
	if i := strings.Index(after, "{{"); i >= 0 || strings.Contains(after, "}}") {
		return p, &SyntaxError{begin + end + len("}}") + max(i, 0), "more than one template in a value"}
	}
	t, err := parseTemplate(expr)
	if bad := new(SyntaxError); errors.As(err, &bad) {
		return p, &SyntaxError{begin + bad.Offset, fmt.Sprintf("template {{%s}}: %s", expr, bad.Reason)}
	}
	p.template = &t
	p.before, p.after = strings.Split(before, "*"), strings.Split(after, "*")
	return p, nil
}

// templateEnd is where "}}" stands that ends a template, outside quotes; -1 for
// nowhere.
func templateEnd(s string) int {
	var quote byte
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quote == '"' && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '`':
			quote = c
		case strings.HasPrefix(s[i:], "}}"):
			return i
		}
	}
	return -1
}

// String returns the pattern as it was written.
func (p Pattern) String() string { return p.raw }

// Match reports whether the pattern, for a user with those traits, covers v.
func (p Pattern) Match(v string, traits map[string][]string) bool {
	if p.re != nil {
		return p.re.MatchString(v)
	}
	for g := range p.globs(traits) {
		if matchGlob(g, v) {
			return true
		}
	}
	return false
}

// Values returns what the pattern spells out for a user with those traits,
// without what is matched by wildcards.
func (p Pattern) Values(traits map[string][]string) []string {
	var out []string
	if p.re != nil {
		return nil
	}
	for g := range p.globs(traits) {
		if len(g) == 1 {
			out = append(out, g[0])
		}
	}
	return out
}

// Globs returns the pattern as texts in which "*" and "?" are wildcards, as IAM
// writes them, for a user with those traits; an expression has none. A trait's
// value that holds a wildcard is left out unless wide.
func (p Pattern) Globs(traits map[string][]string, wide bool) []string {
	var out []string
	add := func(g []string) bool {
		out = append(out, strings.Join(g, "*"))
		return true
	}
	if p.template == nil {
		p.globs(traits)(add)
		return out
	}
	for _, v := range p.template.values(traits) {
		if wide || !strings.ContainsAny(v, "*?") {
			add(p.around(v))
		}
	}
	return out
}

// globs yields texts between wildcards. A trait's value is literal: a "*" in
// it is not a wildcard, so no claim of an identity provider widens a role.
func (p Pattern) globs(traits map[string][]string) func(func([]string) bool) {
	return func(yield func([]string) bool) {
		switch {
		case p.re != nil:
		case p.template == nil:
			yield(p.before)
		default:
			for _, v := range p.template.values(traits) {
				if !yield(p.around(v)) {
					return
				}
			}
		}
	}
}

// around puts the texts of the pattern around a value of its template.
func (p Pattern) around(v string) []string {
	last := len(p.before) - 1
	g := make([]string, 0, len(p.before)+len(p.after)-1)
	g = append(g, p.before[:last]...)
	g = append(g, p.before[last]+v+p.after[0])
	return append(g, p.after[1:]...)
}

// matchGlob reports whether v is the texts of g in order, with anything
// between them. It takes time linear in len(v) for each text.
func matchGlob(g []string, v string) bool {
	if len(g) == 1 {
		return v == g[0]
	}
	first, last := g[0], g[len(g)-1]
	if len(v) < len(first)+len(last) || !strings.HasPrefix(v, first) || !strings.HasSuffix(v, last) {
		return false
	}
	v = v[len(first) : len(v)-len(last)]
	for _, mid := range g[1 : len(g)-1] {
		i := strings.Index(v, mid)
		if i < 0 {
			return false
		}
		v = v[i+len(mid):]
	}
	return true
}
