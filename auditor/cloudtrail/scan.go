package cloudtrail

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math/bits"
)

// scanner goes through the bytes of one record once: it checks that they are
// JSON and notes where the values are that postern reads. It decodes nothing.
type scanner struct {
	b         []byte
	spans     [fields]span
	resources []span
	spaced    bool // white space between tokens was seen
}

// span is where a value stands; hi is 0 for none.
type span struct {
	lo, hi int32
	// plain: a string of ASCII without escapes, that stands for itself.
	plain bool
}

var (
	// errShort: the bytes end before the value does.
	errShort  = errors.New("unexpected end of JSON")
	errSyntax = errors.New("invalid JSON")
	errDepth  = errors.New("JSON is nested too deeply")
)

// maxDepth is far beyond CloudTrail's records, and within what encoding/json takes.
const maxDepth = 1000

// value scans the value that starts at i, after white space, and returns where
// it ends.
func (s *scanner) value(i int, sh shape, f field, depth int) (int, error) {
	i = s.space(i)
	if i >= len(s.b) {
		return i, errShort
	}
	var end int
	var err error
	plain := false
	switch c := s.b[i]; {
	case c == '"':
		end, plain, err = s.text(i)
	case c == '{':
		end, err = s.object(i, sh, depth)
	case c == '[':
		end, err = s.array(i, sh, depth)
	case c == '-' || c >= '0' && c <= '9':
		end, err = s.number(i)
	case c == 't':
		end, err = s.literal(i, "true")
	case c == 'f':
		end, err = s.literal(i, "false")
	case c == 'n':
		end, err = s.literal(i, "null")
	default:
		return i, errSyntax
	}
	if f != none {
		s.spans[f] = span{int32(i), int32(end), plain}
	}
	return end, err
}

func (s *scanner) object(i int, sh shape, depth int) (int, error) {
	if depth >= maxDepth {
		return i, errDepth
	}
	i = s.space(i + 1)
	if i < len(s.b) && s.b[i] == '}' {
		return i + 1, nil
	}
	for {
		if i >= len(s.b) {
			return i, errShort
		}
		if s.b[i] != '"' {
			return i, errSyntax
		}
		end, plain, err := s.text(i)
		if err != nil {
			return end, err
		}
		f, sub := none, other
		if sh != other {
			f, sub = lookup(sh, s.key(i, end, plain))
		}
		if i = s.space(end); i >= len(s.b) {
			return i, errShort
		}
		if s.b[i] != ':' {
			return i, errSyntax
		}
		if sub != other { // of a name that comes twice, the last one counts
			s.forget(sub)
		}
		if i, err = s.value(i+1, sub, f, depth+1); err != nil {
			return i, err
		}
		if i = s.space(i); i >= len(s.b) {
			return i, errShort
		}
		switch s.b[i] {
		case ',':
			i = s.space(i + 1)
		case '}':
			return i + 1, nil
		default:
			return i, errSyntax
		}
	}
}

func (s *scanner) array(i int, sh shape, depth int) (int, error) {
	if depth >= maxDepth {
		return i, errDepth
	}
	element := other
	if sh == resourceList {
		element = resourceItem
	}
	i = s.space(i + 1)
	if i < len(s.b) && s.b[i] == ']' {
		return i + 1, nil
	}
	for {
		if element == resourceItem {
			s.forget(resourceItem)
		}
		var err error
		if i, err = s.value(i, element, none, depth+1); err != nil {
			return i, err
		}
		if element == resourceItem {
			s.resources = append(s.resources, s.spans[resourceARN], s.spans[resourceName])
		}
		if i = s.space(i); i >= len(s.b) {
			return i, errShort
		}
		switch s.b[i] {
		case ',':
			i++
		case ']':
			return i + 1, nil
		default:
			return i, errSyntax
		}
	}
}

func (s *scanner) forget(sh shape) {
	clear(s.spans[shapes[sh].first : shapes[sh].last+1])
	if sh == resourceList {
		s.resources = s.resources[:0]
	}
}

// key returns an object's key without its quotes.
func (s *scanner) key(i, end int, plain bool) []byte {
	if plain {
		return s.b[i+1 : end-1]
	}
	var k string
	_ = json.Unmarshal(s.b[i:end], &k) // text has checked it
	return []byte(k)
}

func (s *scanner) space(i int) int {
	for i < len(s.b) && s.b[i] <= ' ' && (s.b[i] == ' ' || s.b[i] == '\n' || s.b[i] == '\r' || s.b[i] == '\t') {
		s.spaced = true
		i++
	}
	return i
}

// special marks, in the top bit of each byte, what text has to look at: quotes,
// backslashes, control characters and bytes that are not ASCII.
func special(w uint64) uint64 {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	quote, slash := w^(ones*'"'), w^(ones*'\\')
	return ((quote-ones)&^quote | (slash-ones)&^slash | (w-ones*0x20)&^w | w) & tops
}

// text scans the string whose opening quote is at i.
func (s *scanner) text(i int) (end int, plain bool, err error) {
	b := s.b
	plain = true
	for i++; ; {
		if i+8 <= len(b) {
			m := special(binary.LittleEndian.Uint64(b[i:]))
			if m == 0 {
				i += 8
				continue
			}
			i += bits.TrailingZeros64(m) / 8
		}
		if i >= len(b) {
			return i, false, errShort
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1, plain, nil
		case c < ' ':
			return i, false, errSyntax
		case c >= 0x80:
			plain = false
			i++
		case c != '\\':
			i++
		default:
			plain = false
			if i, err = s.escape(i); err != nil {
				return i, false, err
			}
		}
	}
}

func (s *scanner) escape(i int) (int, error) {
	if i++; i >= len(s.b) {
		return i, errShort
	}
	switch s.b[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1, nil
	case 'u':
		for range 4 {
			if i++; i >= len(s.b) {
				return i, errShort
			}
			if c := s.b[i] | 0x20; !(c >= '0' && c <= '9' && s.b[i] >= '0' || c >= 'a' && c <= 'f') {
				return i, errSyntax
			}
		}
		return i + 1, nil
	}
	return i, errSyntax
}

// number: https://www.rfc-editor.org/rfc/rfc8259#section-6
func (s *scanner) number(i int) (int, error) {
	b := s.b
	digits := func() bool {
		from := i
		for i < len(b) && b[i] >= '0' && b[i] <= '9' {
			i++
		}
		return i > from
	}
	fail := func() (int, error) {
		if i >= len(b) {
			return i, errShort
		}
		return i, errSyntax
	}
	if b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if !digits() {
		return fail()
	}
	if i < len(b) && b[i] == '.' {
		if i++; !digits() {
			return fail()
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if !digits() {
			return fail()
		}
	}
	return i, nil
}

func (s *scanner) literal(i int, word string) (int, error) {
	for k := range len(word) {
		if i+k >= len(s.b) {
			return i + k, errShort
		}
		if s.b[i+k] != word[k] {
			return i + k, errSyntax
		}
	}
	return i + len(word), nil
}
