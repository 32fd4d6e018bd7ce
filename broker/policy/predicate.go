package policy

import (
	"errors"
	"fmt"
	"go/ast"
	goparser "go/parser"
	"go/token"
	"slices"
	"strconv"
)

const (
	maxPredicate = 4096 // bytes
	maxNesting   = 64
)

// Predicate is a condition in the language of Teleport's threshold filters and
// where clauses, whose syntax is that of Go expressions: equals(a, b),
// contains(list, b), regexp.match(a, "glob or ^expression$"), !, &&, || and
// parentheses over strings in quotes and variables such as request.reason or
// reviewer.traits["team"]. The zero Predicate is true.
type Predicate struct {
	test func(Facts) bool
	// foreign: it is about what postern does not have, and never true.
	foreign bool
}

// Foreign reports whether the predicate is Teleport's, but about things that
// postern does not have: it is never true.
func (p Predicate) Foreign() bool { return p.foreign }

// Facts are the variables of a predicate: lists by name such as
// "reviewer.roles", and traits by name such as "reviewer.traits". A text is a
// list of one.
type Facts struct {
	Lists  map[string][]string
	Traits map[string]map[string][]string
}

// The kinds of values.
type kind int

const (
	condition kind = iota // true or false
	single                // one text
	list
)

// expression is a part of a predicate made ready.
type expression struct {
	kind kind
	test func(Facts) bool
	text func(Facts) []string
	// literal is the text in quotes that it is.
	literal *string
}

// ParsePredicate reads a predicate over variables: names of texts, lists and
// trait sets. The error names what is wrong and where.
func ParsePredicate(s string, vars Vocabulary) (Predicate, error) {
	if s == "" {
		return Predicate{}, nil
	}
	if len(s) > maxPredicate {
		return Predicate{}, fmt.Errorf("longer than %d bytes", maxPredicate)
	}
	tree, err := goparser.ParseExpr(s)
	if err != nil {
		return Predicate{}, fmt.Errorf("not an expression: %w", err)
	}
	if name := foreign(tree); name != "" {
		return Predicate{foreign: true, test: func(Facts) bool { return false }}, fmt.Errorf("postern has no %s: this is never true", name)
	}
	e, err := vars.read(tree, 0)
	switch {
	case err != nil:
		return Predicate{}, err
	case e.kind != condition:
		return Predicate{}, errors.New("it is no condition: want equals(…), contains(…) or regexp.match(…)")
	}
	return Predicate{test: e.test}, nil
}

// foreign finds a variable of Teleport's that postern does not have.
func foreign(tree ast.Expr) (found string) {
	ast.Inspect(tree, func(n ast.Node) bool {
		if x, ok := n.(ast.Expr); ok {
			if name, _ := dotted(x); name == "request.system_annotations" || name == "review.annotations" {
				found = name
			}
		}
		return found == ""
	})
	return found
}

// True evaluates the predicate.
func (p Predicate) True(f Facts) bool { return p.test == nil || p.test(f) }

// Vocabulary is what a predicate may speak about.
type Vocabulary struct{ Texts, Lists, Traits []string }

func (v Vocabulary) read(n ast.Expr, depth int) (expression, error) {
	if depth > maxNesting {
		return expression{}, fmt.Errorf("nested deeper than %d", maxNesting)
	}
	switch n := n.(type) {
	case *ast.ParenExpr:
		return v.read(n.X, depth+1)
	case *ast.UnaryExpr:
		x, err := v.condition(n.X, depth)
		if err == nil && n.Op != token.NOT {
			err = fault(n, "%s is not known here; want !, && or ||", n.Op)
		}
		return expression{test: func(f Facts) bool { return !x(f) }}, err
	case *ast.BinaryExpr:
		return v.both(n, depth)
	case *ast.CallExpr:
		return v.call(n, depth)
	case *ast.BasicLit:
		if n.Kind != token.STRING {
			return expression{}, fault(n, "%s is not a text in double quotes", n.Value)
		}
		s, err := strconv.Unquote(n.Value)
		return expression{kind: single, literal: &s, text: func(Facts) []string { return []string{s} }}, err
	}
	return v.variable(n)
}

func (v Vocabulary) condition(n ast.Expr, depth int) (func(Facts) bool, error) {
	e, err := v.read(n, depth+1)
	if err == nil && e.kind != condition {
		err = fault(n, "want a condition")
	}
	return e.test, err
}

func (v Vocabulary) both(n *ast.BinaryExpr, depth int) (expression, error) {
	a, err := v.condition(n.X, depth)
	if err != nil {
		return expression{}, err
	}
	b, err := v.condition(n.Y, depth)
	if err != nil {
		return expression{}, err
	}
	switch n.Op {
	case token.LAND:
		return expression{test: func(f Facts) bool { return a(f) && b(f) }}, nil
	case token.LOR:
		return expression{test: func(f Facts) bool { return a(f) || b(f) }}, nil
	}
	return expression{}, fault(n, "%s is not known here; want !, && or ||", n.Op)
}

func (v Vocabulary) call(n *ast.CallExpr, depth int) (expression, error) {
	name, _ := dotted(n.Fun)
	if !slices.Contains([]string{"equals", "contains", "regexp.match"}, name) {
		return expression{}, fault(n, "want equals(…), contains(…) or regexp.match(…)")
	}
	if len(n.Args) != 2 {
		return expression{}, fault(n, "%s takes two values", name)
	}
	a, err := v.read(n.Args[0], depth+1)
	if err != nil {
		return expression{}, err
	}
	b, err := v.read(n.Args[1], depth+1)
	switch {
	case err != nil:
		return expression{}, err
	case a.kind == condition || b.kind == condition:
		return expression{}, fault(n, "%s compares texts and lists, not conditions", name)
	case name == "equals":
		return expression{test: func(f Facts) bool { return slices.Equal(a.text(f), b.text(f)) }}, nil
	case name == "contains" && (a.kind != list || b.kind != single):
		return expression{}, fault(n, "contains takes a list and a text")
	case name == "contains":
		return expression{test: func(f Facts) bool { return slices.Contains(a.text(f), b.text(f)[0]) }}, nil
	case b.literal == nil:
		return expression{}, fault(n, "regexp.match takes its pattern in quotes")
	}
	p, err := ParsePattern(*b.literal)
	if err == nil && p.template != nil {
		err = errors.New("a pattern holds no template here")
	}
	return expression{test: func(f Facts) bool {
		return slices.ContainsFunc(a.text(f), func(s string) bool { return p.Match(s, nil) })
	}}, err
}

// variable reads request.reason, reviewer.traits["team"] or reviewer.traits.team.
func (v Vocabulary) variable(n ast.Expr) (expression, error) {
	if index, ok := n.(*ast.IndexExpr); ok {
		if key, ok := index.Index.(*ast.BasicLit); ok && key.Kind == token.STRING {
			name, _ := dotted(index.X)
			trait, err := strconv.Unquote(key.Value)
			if slices.Contains(v.Traits, name) && err == nil {
				return traitOf(name, trait), nil
			}
		}
		return expression{}, fault(n, "only traits are looked up by a text, one of %v", v.Traits)
	}
	name, ok := dotted(n)
	switch {
	case ok && slices.Contains(v.Texts, name):
		return expression{kind: single, text: func(f Facts) []string {
			if l := f.Lists[name]; len(l) == 1 {
				return l
			}
			return []string{""}
		}}, nil
	case ok && slices.Contains(v.Lists, name):
		return expression{kind: list, text: func(f Facts) []string { return f.Lists[name] }}, nil
	}
	if sel, ok := n.(*ast.SelectorExpr); ok {
		if of, _ := dotted(sel.X); slices.Contains(v.Traits, of) {
			return traitOf(of, sel.Sel.Name), nil
		}
	}
	return expression{}, fault(n, "not known; known are %v", slices.Concat(v.Texts, v.Lists, v.Traits))
}

func traitOf(of, name string) expression {
	return expression{kind: list, text: func(f Facts) []string { return f.Traits[of][name] }}
}

// dotted reads a name such as reviewer.roles.
func dotted(n ast.Expr) (string, bool) {
	switch n := n.(type) {
	case *ast.Ident:
		return n.Name, true
	case *ast.SelectorExpr:
		of, ok := dotted(n.X)
		return of + "." + n.Sel.Name, ok
	}
	return "", false
}

func fault(n ast.Node, format string, args ...any) error {
	return fmt.Errorf("character %d: %s", n.Pos(), fmt.Sprintf(format, args...))
}
