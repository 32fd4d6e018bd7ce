package resource

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/posternhq/postern/broker/policy"
)

const (
	// maxNodes bounds what aliases can make of a file.
	maxNodes = 200_000
	// maxFaults is how many faults of a file are said: who has more mends these first, or
	// has given a file of something else. A file of Teleport's may well have many warnings.
	maxFaults   = 50
	maxWarnings = 500
)

// Fault is what is wrong at one place of a file.
type Fault struct {
	File string
	Line int
	// Column of the line, from 1; 0 where it is not known.
	Column int
	Path   string
	Reason string
}

// String is "file:line: path: reason", or "file:line:column: …" where it is known. Line 0
// is none in particular.
func (f Fault) String() string {
	if f.Line == 0 {
		return f.File + ": " + f.Reason
	}
	s := f.File + ":" + strconv.Itoa(f.Line) + ": "
	if f.Column > 0 {
		s = s[:len(s)-2] + ":" + strconv.Itoa(f.Column) + ": "
	}
	if f.Path != "" {
		s += f.Path + ": "
	}
	return s + f.Reason
}

// Faults is everything that is wrong with a file.
type Faults []Fault

func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// reader walks the nodes of one file and collects what is wrong.
type reader struct {
	file  string
	nodes int
	// faults and warnings are the first ones; found and warned count all.
	faults        Faults
	warnings      []string
	found, warned int
	// lines are where the paths of the document at hand stand, columns where
	// their texts begin.
	lines, columns map[string]int
}

func (r *reader) fault(n *yaml.Node, path, format string, args ...any) {
	if r.found++; r.found <= maxFaults {
		r.faults = append(r.faults, Fault{File: r.file, Line: n.Line, Path: path, Reason: fmt.Sprintf(format, args...)})
	}
}

// faultAt is for a fault that was found by its path: it stands on the line of
// the path, or of what the path is in.
func (r *reader) faultAt(path string, err error) {
	if r.found++; r.found > maxFaults {
		return
	}
	line := 0
	for p := path; ; {
		if l, ok := r.lines[p]; ok {
			line = l
			break
		}
		i := strings.LastIndexAny(p, ".[")
		if i < 0 {
			line = r.lines[""]
			break
		}
		p = p[:i]
	}
	f := Fault{File: r.file, Line: line, Path: path, Reason: err.Error()}
	if bad := new(policy.SyntaxError); errors.As(err, &bad) && r.columns[path] > 0 {
		f.Column = r.columns[path] + bad.Offset
	}
	r.faults = append(r.faults, f)
}

func (r *reader) warn(n *yaml.Node, path, reason string) {
	if r.warned++; r.warned <= maxWarnings {
		r.warnings = append(r.warnings, Fault{File: r.file, Line: n.Line, Path: path, Reason: reason}.String())
	}
}

// at notes where a path stands and follows an alias.
func (r *reader) at(n *yaml.Node, path string) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	r.count(n, path)
	r.note(n, path)
	return n
}

// count bounds the work that aliases can make.
func (r *reader) count(n *yaml.Node, path string) {
	if r.nodes++; r.nodes == maxNodes {
		r.fault(n, path, "the file has more than %d values", maxNodes)
	}
}

func (r *reader) note(n *yaml.Node, path string) {
	r.lines[path] = n.Line
	switch n.Style {
	case yaml.SingleQuotedStyle, yaml.DoubleQuotedStyle:
		r.columns[path] = n.Column + 1
	case 0:
		r.columns[path] = n.Column
	}
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Tag == "!!null"
}

// fields reads the keys of a mapping, each by what known has for it. ignored
// names keys that have no effect here: they are reported if they say anything.
func (r *reader) fields(n *yaml.Node, path string, known map[string]func(*yaml.Node, string), ignored []string) {
	r.each(n, path, func(key, v *yaml.Node, at string) {
		read, ok := known[key.Value]
		switch {
		case ok:
			if !isNull(v) {
				read(v, at)
			}
		case slices.Contains(ignored, key.Value):
			if !isEmpty(v) {
				r.warn(key, at, "has no effect in postern")
			}
		default:
			r.fault(key, at, "unknown key; known are %s", strings.Join(sortedKeys(known), ", "))
		}
	})
}

// each visits the keys of a mapping; no key stands twice. What YAML's merge key << brings
// (https://yaml.org/type/merge.html) counts where the mapping does not say itself.
func (r *reader) each(n *yaml.Node, path string, visit func(key, v *yaml.Node, at string)) {
	n = r.at(n, path)
	if isNull(n) || r.nodes > maxNodes {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.fault(n, path, "want keys and values, not %s", what(n))
		return
	}
	seen := map[string]bool{}
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, v := n.Content[i], n.Content[i+1]
		at := join(path, key.Value)
		switch {
		case key.Kind != yaml.ScalarNode:
			r.fault(key, path, "a key must be text")
		case seen[key.Value]:
			r.fault(key, at, "stands there twice")
		default:
			if seen[key.Value] = true; key.Tag == "!!merge" {
				merged = append(merged, v)
				continue
			}
			visit(key, v, at)
		}
	}
	for _, v := range merged {
		r.merge(v, path, seen, visit)
	}
}

// merge visits what a mapping, or each of a list of mappings, brings by a merge key.
func (r *reader) merge(n *yaml.Node, path string, seen map[string]bool, visit func(key, v *yaml.Node, at string)) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if r.count(n, path); r.nodes > maxNodes {
		return
	}
	switch n.Kind {
	case yaml.SequenceNode:
		for _, item := range n.Content {
			r.merge(item, path, seen, visit)
		}
	case yaml.MappingNode:
		var deeper []*yaml.Node
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, v := n.Content[i], n.Content[i+1]
			if r.count(key, path); r.nodes > maxNodes { // seen or not: it was looked at
				return
			}
			switch {
			case key.Tag == "!!merge":
				deeper = append(deeper, v)
			case key.Kind != yaml.ScalarNode:
				r.fault(key, path, "a key must be text")
			case !seen[key.Value]:
				seen[key.Value] = true
				visit(key, v, join(path, key.Value))
			}
		}
		for _, v := range deeper {
			r.merge(v, path, seen, visit)
		}
	default:
		r.fault(n, path, "<< brings keys and values in, not %s", what(n))
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// text reads a scalar as it is written.
func (r *reader) text(n *yaml.Node, path string) string {
	n = r.at(n, path)
	if n.Kind != yaml.ScalarNode || isNull(n) {
		r.fault(n, path, "want text, not %s", what(n))
		return ""
	}
	return n.Value
}

// list reads a list of texts, or one text.
func (r *reader) list(n *yaml.Node, path string) []string {
	n = r.at(n, path)
	switch {
	case isNull(n) || r.nodes > maxNodes:
		return nil
	case n.Kind == yaml.ScalarNode:
		r.note(n, path+"[0]")
		return []string{n.Value}
	case n.Kind != yaml.SequenceNode:
		r.fault(n, path, "want a list, not %s", what(n))
		return nil
	}
	var out []string
	for i, item := range n.Content {
		out = append(out, r.text(item, fmt.Sprintf("%s[%d]", path, i)))
	}
	return out
}

// items visits the mappings of a list.
func (r *reader) items(n *yaml.Node, path string, visit func(*yaml.Node, string)) {
	n = r.at(n, path)
	if n.Kind != yaml.SequenceNode {
		r.fault(n, path, "want a list, not %s", what(n))
		return
	}
	for i, item := range n.Content {
		if r.nodes <= maxNodes {
			visit(item, fmt.Sprintf("%s[%d]", path, i))
		}
	}
}

// texts reads keys with one text each.
func (r *reader) texts(n *yaml.Node, path string) map[string]string {
	out := map[string]string{}
	r.each(n, path, func(key, v *yaml.Node, at string) { out[key.Value] = r.text(v, at) })
	if len(out) == 0 {
		return nil
	}
	return out
}

// lists reads keys with a list, or one text, each.
func (r *reader) lists(n *yaml.Node, path string) map[string][]string {
	out := map[string][]string{}
	r.each(n, path, func(key, v *yaml.Node, at string) { out[key.Value] = r.list(v, at) })
	if len(out) == 0 {
		return nil
	}
	return out
}

func (r *reader) flag(n *yaml.Node, path string) bool {
	n = r.at(n, path)
	var b bool
	if n.Kind != yaml.ScalarNode || n.Decode(&b) != nil {
		r.fault(n, path, "want true or false, not %s", what(n))
	}
	return b
}

func (r *reader) number(n *yaml.Node, path string) int {
	n = r.at(n, path)
	i, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil {
		r.fault(n, path, "want a whole number, not %s", what(n))
	}
	return i
}

func (r *reader) duration(n *yaml.Node, path string) time.Duration {
	d, err := ParseDuration(r.text(n, path))
	if err != nil {
		r.fault(n, path, "%v", err)
	}
	return d
}

func (r *reader) time(n *yaml.Node, path string) time.Time {
	s := r.text(n, path)
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		r.fault(n, path, "%q is not a time such as 2026-01-31T18:00:00Z", s)
	}
	return t.UTC()
}

// isEmpty reports whether a value says nothing: null, false, "", [] or {}.
func isEmpty(n *yaml.Node) bool {
	switch n.Kind {
	case yaml.ScalarNode:
		return isNull(n) || n.Value == "" || n.Tag == "!!bool" && strings.EqualFold(n.Value, "false")
	case yaml.MappingNode, yaml.SequenceNode:
		return len(n.Content) == 0
	}
	return false
}

// what names what a node is, for people.
func what(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys and values"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		if isNull(n) {
			return "nothing"
		}
		return strconv.Quote(n.Value)
	}
	return "that"
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
