package policy

import (
	"errors"
	"fmt"
	"net/mail"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// maxValue bounds a value that a template makes, in bytes, maxValues how many
	// it makes of one trait: what is beyond gives nothing.
	maxValue  = 2048
	maxValues = 1000
)

// SyntaxError is what is wrong with a pattern at one place of it.
type SyntaxError struct {
	// Offset in bytes from the pattern's start.
	Offset int
	Reason string
}

func (e *SyntaxError) Error() string { return e.Reason }

// template is what stands between {{ and }}: a user's trait, and what is done
// to each of its values in turn. A step that makes nothing of a value drops it.
type template struct {
	trait string
	steps []func(value string) []string
}

// function is one of Teleport's (https://goteleport.com/docs/reference/access-controls/roles/#interpolation-rules),
// with the number of texts that it takes behind the value.
type function struct {
	texts int
	step  func(texts []string) (func(string) []string, error)
}

func functions() map[string]function {
	one := func(change func(string) string) function {
		return function{0, func([]string) (func(string) []string, error) {
			return func(v string) []string { return []string{change(v)} }, nil
		}}
	}
	return map[string]function{
		"email.local":    {0, func([]string) (func(string) []string, error) { return emailLocal, nil }},
		"regexp.replace": {2, regexpReplace},
		"strings.upper":  one(strings.ToUpper),
		"strings.lower":  one(strings.ToLower),
		"strings.replaceall": {2, func(t []string) (func(string) []string, error) {
			return func(v string) []string { return []string{strings.ReplaceAll(v, t[0], t[1])} }, nil
		}},
		"strings.split": {1, func(t []string) (func(string) []string, error) {
			return func(v string) []string { return strings.Split(v, t[0]) }, nil
		}},
	}
}

// emailLocal is the part of an address in front of the @ (RFC 5322).
func emailLocal(v string) []string {
	a, err := mail.ParseAddress(v)
	if err != nil {
		return nil
	}
	return []string{a.Address[:strings.LastIndexByte(a.Address, '@')]}
}

// regexpReplace drops the values that its expression does not match.
func regexpReplace(t []string) (func(string) []string, error) {
	re, err := regexp.Compile(t[0])
	if err != nil {
		return nil, fmt.Errorf("bad regular expression: %w", err)
	}
	return func(v string) []string {
		if !re.MatchString(v) {
			return nil
		}
		return []string{re.ReplaceAllString(v, t[1])}
	}, nil
}

// values are what the template stands for, for a user with those traits.
func (t template) values(traits map[string][]string) []string {
	in := traits[t.trait]
	for _, step := range t.steps {
		var out []string
		for _, v := range in {
			for _, made := range step(v) {
				if len(made) <= maxValue && len(out) < maxValues {
					out = append(out, made)
				}
			}
		}
		in = out
	}
	return slices.DeleteFunc(slices.Clone(in), func(v string) bool { return v == "" })
}

// parseTemplate reads internal.NAME, external.NAME, external["NAME"] or a
// function of one of these. The error is a *SyntaxError whose offset counts
// from the start of s.
func parseTemplate(s string) (template, error) {
	p := parser{text: s}
	t, err := p.expression()
	if err == nil && p.peek() != 0 {
		err = fmt.Errorf("%q follows the end", p.text[p.at:])
	}
	if err != nil {
		return template{}, &SyntaxError{Offset: p.at, Reason: err.Error()}
	}
	return t, nil
}

type parser struct {
	text string
	at   int
}

// peek is the next byte that is not a space, 0 at the end.
func (p *parser) peek() byte {
	for p.at < len(p.text) && (p.text[p.at] == ' ' || p.text[p.at] == '\t') {
		p.at++
	}
	if p.at == len(p.text) {
		return 0
	}
	return p.text[p.at]
}

func (p *parser) take(c byte) error {
	if p.peek() != c {
		return fmt.Errorf("want %q", c)
	}
	p.at++
	return nil
}

// word reads up to what parts words.
func (p *parser) word() string {
	p.peek()
	rest := p.text[p.at:]
	end := strings.IndexAny(rest, " \t\"'`()[]{},")
	if end < 0 {
		end = len(rest)
	}
	p.at += end
	return rest[:end]
}

func (p *parser) expression() (template, error) {
	p.peek()
	start := p.at
	word := p.word()
	if p.peek() == '(' {
		if f, ok := functions()[word]; ok {
			return p.call(word, f)
		}
		p.at = start
		return template{}, fmt.Errorf("there is no function %q; there are email.local, regexp.replace, strings.lower, strings.replaceall, strings.split, strings.upper", word)
	}
	namespace, name, dotted := strings.Cut(word, ".")
	if namespace != "internal" && namespace != "external" {
		p.at = start
		return template{}, errors.New("want internal.NAME, external.NAME or a function of these")
	}
	if !dotted && p.peek() == '[' {
		p.at++
		var err error
		if name, err = p.quoted(); err == nil {
			err = p.take(']')
		}
		if err != nil {
			return template{}, err
		}
	}
	if name == "" || strings.ContainsAny(name, " \t\"'()[]{},") {
		return template{}, fmt.Errorf("%q is not a trait's name", name)
	}
	return template{trait: name}, nil
}

// call reads "(value, text, …)" of a function.
func (p *parser) call(name string, f function) (template, error) {
	if err := p.take('('); err != nil {
		return template{}, err
	}
	t, err := p.expression()
	if err != nil {
		return template{}, err
	}
	var texts []string
	first := p.at
	for range f.texts {
		if p.peek() != ',' {
			return template{}, fmt.Errorf("%s takes a value and %d texts in quotes", name, f.texts)
		}
		p.at++
		if len(texts) == 0 {
			p.peek()
			first = p.at
		}
		text, err := p.quoted()
		if err != nil {
			return template{}, err
		}
		texts = append(texts, text)
	}
	if err := p.take(')'); err != nil {
		return template{}, fmt.Errorf("%w to end %s", err, name)
	}
	step, err := f.step(texts)
	if err != nil {
		p.at = first
		return template{}, err
	}
	t.steps = append(t.steps, step)
	return t, nil
}

// quoted reads a text in quotes as Go writes it, "…" or `…`.
func (p *parser) quoted() (string, error) {
	if c := p.peek(); c != '"' && c != '`' {
		return "", errors.New("want a text in quotes")
	}
	q, err := strconv.QuotedPrefix(p.text[p.at:])
	if err != nil {
		return "", errors.New("the text in quotes has no end, or a bad escape in it")
	}
	text, err := strconv.Unquote(q)
	if err != nil || !utf8.ValidString(text) {
		return "", errors.New("the text in quotes is not UTF-8")
	}
	p.at += len(q)
	return text, nil
}
