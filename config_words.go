package main

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// What the YAML library says of a value of a wrong kind, and of a key that no type has.
var (
	wrongKind  = regexp.MustCompile("^line (\\d+): cannot unmarshal (!!\\w+)(?: `(.*)`)? into (.+)$")
	unknownKey = regexp.MustCompile(`^line (\d+): field (.+) not found in type \S+$`)
	otherFault = regexp.MustCompile(`^line (\d+): (.*)$`)
)

// configError says what the YAML library says of Go types in words of the file: by line
// and key.
func configError(path string, doc *yaml.Node, err error) error {
	var wrong *yaml.TypeError
	if !errors.As(err, &wrong) {
		return fmt.Errorf("%s: %s", path, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	var lines []string
	for _, s := range wrong.Errors {
		lines = append(lines, path+": "+inWords(doc, s))
	}
	return errors.New(strings.Join(lines, "\n"))
}

func inWords(doc *yaml.Node, said string) string {
	at := func(number string, is func(key, value *yaml.Node) bool) string {
		line, _ := strconv.Atoi(number)
		key := keyAt(doc, "", line, is)
		if key == "" {
			return "line " + number
		}
		return "line " + number + ": " + key
	}
	if m := unknownKey.FindStringSubmatch(said); m != nil {
		key := strings.TrimPrefix(at(m[1], func(k, _ *yaml.Node) bool { return k.Value == m[2] }), "line "+m[1])
		section := strings.TrimSuffix(strings.TrimPrefix(key, ": "), m[2])
		if section = strings.TrimSuffix(section, "."); section == "" {
			return fmt.Sprintf("line %s: unknown key %s at the top level", m[1], m[2])
		}
		return fmt.Sprintf("line %s: unknown key %s in %s", m[1], m[2], section)
	}
	if m := wrongKind.FindStringSubmatch(said); m != nil {
		there := kinds[m[2]]
		if m[3] != "" {
			there = strconv.Quote(m[3])
		} else if there == "" {
			there = "a value of another kind"
		}
		place := at(m[1], func(_, v *yaml.Node) bool {
			// The library cuts long values short.
			return v.ShortTag() == m[2] && strings.HasPrefix(v.Value, strings.TrimSuffix(m[3], "..."))
		})
		return fmt.Sprintf("%s: there is %s where %s belongs", place, there, wanted(m[4]))
	}
	if m := otherFault.FindStringSubmatch(said); m != nil { // of types that read themselves
		return at(m[1], func(_, v *yaml.Node) bool {
			return v.Kind == yaml.ScalarNode && v.Value != "" && strings.Contains(m[2], strconv.Quote(v.Value))
		}) + ": " + m[2]
	}
	return said
}

// kinds are YAML's, as the library says them.
var kinds = map[string]string{
	"!!seq": "a list", "!!map": "a mapping", "!!str": "text", "!!int": "a number", "!!float": "a number",
	"!!bool": "true or false", "!!null": "nothing", "!!timestamp": "a date",
}

// wanted says what belongs where a Go type is.
func wanted(goType string) string {
	switch {
	case goType == "string":
		return "text"
	case goType == "bool":
		return "true or false"
	case goType == "time.Duration":
		return "a duration such as 20m"
	case strings.HasPrefix(goType, "int"), strings.HasPrefix(goType, "uint"):
		return "a number"
	case goType == "[]string":
		return "a list of text"
	case strings.HasPrefix(goType, "[]"):
		return "a list"
	default:
		return "a mapping of keys"
	}
}

// keyAt finds the key, dotted, of what is on a line and is as asked for; "" for none.
func keyAt(n *yaml.Node, above string, line int, is func(key, value *yaml.Node) bool) string {
	switch n.Kind {
	case yaml.DocumentNode:
		for _, c := range n.Content {
			if key := keyAt(c, above, line, is); key != "" {
				return key
			}
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, v := n.Content[i], n.Content[i+1]
			key := strings.TrimPrefix(above+"."+k.Value, ".")
			if (k.Line == line || v.Line == line) && is(k, v) {
				return key
			}
			if key = keyAt(v, key, line, is); key != "" {
				return key
			}
		}
	case yaml.SequenceNode:
		for i, c := range n.Content {
			key := fmt.Sprintf("%s[%d]", above, i)
			if c.Line == line && is(&yaml.Node{}, c) {
				return key
			}
			if key = keyAt(c, key, line, is); key != "" {
				return key
			}
		}
	}
	return ""
}

// sections are keys that switch something on by being there.
var sections = []string{
	"log", "nats", "clickhouse", "broker", "proxy", "auditor", "metrics", "clickhouse.retention", "clickhouse.tiers", "clickhouse.tiers.s3",
	"broker.aws", "proxy.tls", "proxy.join", "proxy.aws", "proxy.apps", "proxy.aws.lock_policy", "auditor.tls", "auditor.join", "auditor.aws", "auditor.log",
}

// emptySection finds a section without a value, which YAML takes for one that is absent.
func emptySection(doc *yaml.Node) (key, problem string) {
	for _, s := range sections {
		if n := nodeAt(doc, s); n != nil && n.ShortTag() == "!!null" {
			return s, "has no value, and so counts as absent: give keys, or {} for its defaults, or leave it out"
		}
	}
	return "", ""
}

// nodeAt is the value of a dotted key, nil for none.
func nodeAt(n *yaml.Node, key string) *yaml.Node {
	_, value, whole := find(n, key)
	if !whole {
		return nil
	}
	return value
}

// lineOf finds the line of a dotted key, or of the nearest key above it.
func lineOf(n *yaml.Node, key string) int {
	line, _, _ := find(n, key)
	return line
}

var step = regexp.MustCompile(`[^.\[\]]+|\[\d+\]`)

// find follows a dotted key, such as broker.apps[2].name, as far as there is something.
func find(n *yaml.Node, key string) (line int, value *yaml.Node, whole bool) {
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	line = max(n.Line, 1)
	for _, part := range step.FindAllString(key, -1) {
		if index, ok := strings.CutPrefix(part, "["); ok {
			i, err := strconv.Atoi(strings.TrimSuffix(index, "]"))
			if n.Kind != yaml.SequenceNode || err != nil || i >= len(n.Content) {
				return line, n, false
			}
			n = n.Content[i]
			line = n.Line
			continue
		}
		found := false
		for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content) && !found; i += 2 {
			if n.Content[i].Value == part {
				line, n, found = n.Content[i].Line, n.Content[i+1], true
			}
		}
		if !found {
			return line, n, false
		}
	}
	return line, n, true
}
