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
// "{{internal.aws_role_arns}}", which stands for each value of a user's trait.
type Pattern struct {
	raw       string
	re        *regexp.Regexp
	before    []string // text in front of the trait's value, cut at each "*"
	trait     string
	templated bool
	after     []string // text behind it
}

// ParsePattern reads a pattern. The error says what is wrong with it.
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
			return p, errors.New("}} without {{")
		}
		p.before = strings.Split(s, "*")
		return p, nil
	}
	expr, after, ok := strings.Cut(rest, "}}")
	switch {
	case !ok:
		return p, errors.New("{{ without }}")
	case strings.Contains(after, "{{") || strings.Contains(after, "}}"):
		return p, errors.New("more than one template in a value")
	}
	trait, err := parseVariable(strings.TrimSpace(expr))
	if err != nil {
		return p, fmt.Errorf("template {{%s}}: %w", expr, err)
	}
	p.templated, p.trait = true, trait
	p.before, p.after = strings.Split(before, "*"), strings.Split(after, "*")
	return p, nil
}

// parseVariable reads internal.name, external.name or external["name"].
func parseVariable(expr string) (trait string, err error) {
	for _, namespace := range []string{"internal", "external"} {
		rest, ok := strings.CutPrefix(expr, namespace)
		if !ok {
			continue
		}
		if quoted, ok := strings.CutPrefix(rest, `["`); ok {
			if trait, ok = strings.CutSuffix(quoted, `"]`); !ok {
				continue
			}
		} else if trait, ok = strings.CutPrefix(rest, "."); !ok {
			continue
		}
		if trait == "" || strings.ContainsAny(trait, " \t\"'()[]{},") {
			return "", fmt.Errorf("%q is not a trait's name", trait)
		}
		return trait, nil
	}
	if strings.Contains(expr, "(") {
		return "", errors.New("functions are not supported by this version")
	}
	return "", errors.New("want internal.NAME or external.NAME")
}

// String returns the pattern as it was written.
func (p Pattern) String() string { return p.raw }

// Literal returns the pattern's text where it stands for nothing but itself.
func (p Pattern) Literal() (string, bool) {
	if p.re != nil || p.templated || len(p.before) != 1 {
		return "", false
	}
	return p.raw, true
}

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
	if p.templated && !wide {
		plain := make([]string, 0, len(traits[p.trait]))
		for _, v := range traits[p.trait] {
			if !strings.ContainsAny(v, "*?") {
				plain = append(plain, v)
			}
		}
		traits = map[string][]string{p.trait: plain}
	}
	var out []string
	for g := range p.globs(traits) {
		out = append(out, strings.Join(g, "*"))
	}
	return out
}

// globs yields texts between wildcards. A trait's value is literal: a "*" in
// it is not a wildcard, so no claim of an identity provider widens a role.
func (p Pattern) globs(traits map[string][]string) func(func([]string) bool) {
	return func(yield func([]string) bool) {
		switch {
		case p.re != nil:
		case !p.templated:
			yield(p.before)
		default:
			last := len(p.before) - 1
			for _, v := range traits[p.trait] {
				if v == "" {
					continue
				}
				g := make([]string, 0, len(p.before)+len(p.after)-1)
				g = append(g, p.before[:last]...)
				g = append(g, p.before[last]+v+p.after[0])
				if !yield(append(g, p.after[1:]...)) {
					return
				}
			}
		}
	}
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
