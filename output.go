package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// Formats that commands know: most of them, those that print rows, and, by their
// annotation, some others.
var (
	plainFormats = []string{"text", "table", "json", "yaml"}
	rowFormats   = []string{"text", "table", "json", "yaml", "csv", "parquet"}
)

const formatsKey = "formats"

// knows is the annotation of a command with formats of its own.
func knows(formats []string) map[string]string {
	return map[string]string{formatsKey: strings.Join(formats, " ")}
}

// settleFormat refuses a --format that a command doesn't know before it does anything:
// what it makes may be shown once only.
func (c *cli) settleFormat(cmd *cobra.Command) error {
	known := plainFormats
	if own, has := cmd.Annotations[formatsKey]; has {
		known = strings.Fields(own)
	}
	if slices.Contains(known, "table") && (c.format == "table" || c.format == "") {
		c.format = "text" // by another name
	}
	return c.checkFormat(known)
}

// checkFormat refuses a --format that is none of known, before anything is done.
func (c *cli) checkFormat(known []string) error {
	if slices.Contains(known, c.format) {
		return nil
	}
	return usageError{fmt.Errorf("--format=%s: this command knows %s", c.format, strings.Join(known, ", "))}
}

// print writes v as the --format flag asks. text writes it for people.
func (c *cli) print(v any, text func(w *tabwriter.Writer)) error {
	switch c.format {
	case "text":
		var b strings.Builder
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		text(w)
		if err := w.Flush(); err != nil {
			return err
		}
		_, err := io.WriteString(c.stdout, visible(b.String()))
		return err
	case "json":
		return writeJSON(c.data(), v)
	case "yaml":
		b, err := asYAML(v)
		if err != nil {
			return err
		}
		_, err = c.data().Write(b)
		return err
	}
	return c.checkFormat(plainFormats)
}

// writeJSON writes v as one object, and a list as NDJSON: an object a line.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false) // no page shows it: a filter is audit.> and a link has its &
	list := reflect.ValueOf(v)
	if list.Kind() != reflect.Slice {
		return e.Encode(v)
	}
	for i := range list.Len() {
		if err := e.Encode(list.Index(i).Interface()); err != nil {
			return err
		}
	}
	return nil
}

// asYAML writes v with the names and the order of its JSON form, so that both
// formats stay one.
func asYAML(v any) ([]byte, error) {
	j, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(j))
	d.UseNumber()
	n, err := yamlNode(d)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(n); err != nil {
		return nil, err
	}
	return b.Bytes(), e.Close()
}

// yamlNode reads one value. YAML's own parser would not do for it: it takes neither all of
// the characters that JSON may have as they are, nor JSON's escapes of those beyond U+FFFF.
func yamlNode(d *json.Decoder) (*yaml.Node, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	n := &yaml.Node{Kind: yaml.ScalarNode}
	switch t := token.(type) {
	case string:
		n.Tag, n.Value = "!!str", t // quoted where it must be
		return n, nil
	case json.Number:
		n.Value = t.String()
		return n, nil
	case bool:
		n.Value = strconv.FormatBool(t)
		return n, nil
	case nil:
		n.Value = "null"
		return n, nil
	}
	if n.Kind = yaml.SequenceNode; token == json.Delim('{') {
		n.Kind = yaml.MappingNode
	}
	for d.More() { // of a mapping, keys and values in turn
		child, err := yamlNode(d)
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, child)
	}
	_, err = d.Token()
	return n, err
}

// say tells the user something on stderr; stdout is for data.
func (c *cli) say(format string, args ...any) {
	fmt.Fprintln(c.stderr, visible(fmt.Sprintf(format, args...)))
}

// visible is oneLine for text of several lines.
func visible(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = oneLine(lines[i])
	}
	return strings.Join(lines, "\n")
}

// plain is visible without spaces at the ends of lines.
func plain(s string) string {
	lines := strings.Split(visible(s), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// oneLine keeps text that somebody else wrote from forging lines, moving the cursor of a
// terminal, or having it show what follows in another order.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if steers(r) {
			return ' '
		}
		return r
	}, s)
}

// steers tells what a terminal, or a reader of lines, may take for more than a character.
func steers(r rune) bool {
	return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 ||
		r == '\u2028' || r == '\u2029' || // line and paragraph
		r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' // the order of what follows (UAX #9)
}

// data is where JSON, YAML, CSV and events are written: as they are, but for a terminal,
// which what others wrote in them would steer.
func (c *cli) data() io.Writer {
	if isTerminal(c.stdout) {
		return &shown{to: c.stdout}
	}
	return c.stdout
}

// shown writes what steers as JSON has it, such as \u001b.
type shown struct {
	to   io.Writer
	part []byte // of a character
}

func (s *shown) Write(p []byte) (int, error) {
	b := append(s.part, p...)
	var out []byte
	for utf8.FullRune(b) {
		r, n := utf8.DecodeRune(b)
		switch {
		case r == utf8.RuneError && n == 1:
			out = fmt.Appendf(out, `\x%02x`, b[0])
		case steers(r) && r != '\n' && r != '\r' && r != '\t':
			out = fmt.Appendf(out, `\u%04x`, r)
		default:
			out = append(out, b[:n]...)
		}
		b = b[n:]
	}
	s.part = bytes.Clone(b)
	if _, err := s.to.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// until writes a point in time for people: the clock and what is left.
func until(t time.Time) string {
	left := time.Until(t).Round(time.Second)
	if left <= 0 {
		return t.Local().Format(time.DateTime) + " (expired)"
	}
	return fmt.Sprintf("%s (%s left)", t.Local().Format(time.DateTime), inDays(left))
}

// inDays writes a duration; a long one in days and hours.
func inDays(d time.Duration) string {
	const day = 24 * time.Hour
	if d < 2*day {
		return d.String()
	}
	s := fmt.Sprintf("%dd", d/day)
	if h := d % day / time.Hour; h > 0 {
		s += fmt.Sprintf("%dh", h)
	}
	return s
}

// orDash keeps columns of a table filled.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// shellQuote is a word as a shell reads it, in quotes only where it needs them.
func shellQuote(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+=:,@%", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
