package events

import (
	"bytes"
	"strconv"
	"strings"
	"time"
)

// quickDecode reads the form that Encode writes, some three times as fast as
// the SDK reads any form: plain strings, each attribute once, nothing else. It
// says no to all that is out of the ordinary, which the SDK then judges; a fuzz
// test holds the two together. The data is not looked into.
func quickDecode(b []byte) (e Event, typ Type, data []byte, ok bool) {
	s := scanner{rest: b}
	if !s.take('{') {
		return
	}
	var version, contentType, schema, kind []byte
	var seen [12]bool
	for {
		name, ok := s.str()
		if !ok || !s.take(':') {
			return e, typ, nil, false
		}
		field := -1
		var value []byte
		if string(name) == "data" {
			field = 0
			if data, ok = s.object(); !ok {
				return e, typ, nil, false
			}
		} else {
			if value, ok = s.str(); !ok || len(value) == 0 {
				return e, typ, nil, false
			}
		}
		switch string(name) {
		case "data":
		case "specversion":
			field, version = 1, value
		case "id":
			field, e.ID = 2, string(value)
		case "source":
			field, e.Source = 3, common(value)
		case "type":
			field, kind = 4, value
		case "subject":
			field = 5
		case "time":
			var t time.Time
			if t.UnmarshalText(value) != nil { // RFC 3339, to the letter
				return e, typ, nil, false
			}
			field, e.Time = 6, t.UTC()
		case "datacontenttype":
			field, contentType = 7, value
		case "dataschema":
			field, schema = 8, value
		case "correlationid":
			field, e.CorrelationID = 9, string(value)
		case "causationid":
			field, e.CausationID = 10, string(value)
		case "signature":
			field = 11 // over the bytes as they are: see package signed
		case "sequence":
			n, err := strconv.ParseUint(string(value), 10, 64)
			if err != nil || e.Sequence != 0 || n == 0 {
				return e, typ, nil, false
			}
			e.Sequence = n
			field = -2
		}
		if field == -1 || field >= 0 && seen[field] {
			return e, typ, nil, false
		}
		if field >= 0 {
			seen[field] = true
		}
		if !s.take(',') {
			break
		}
	}
	typ = Type(kind)
	ok = s.take('}') && len(s.rest) == 0 && data != nil && string(version) == "1.0" && string(contentType) == "application/json" &&
		e.ID != "" && plainPath(e.Source) && e.Source[0] == '/' && plainPath(string(typ)) && isSchemaOf(schema, typ) && !e.Time.IsZero()
	return e, typ, data, ok
}

// isSchemaOf is whether uri is the type's SchemaURI, without making that.
func isSchemaOf(uri []byte, typ Type) bool {
	name, ok := bytes.CutPrefix(uri, []byte(schemas))
	if !ok {
		return false
	}
	name, ok = bytes.CutSuffix(name, []byte(schemaSuffix))
	return ok && string(name) == strings.TrimPrefix(string(typ), typePrefix)
}

// plainPath is whether s is of characters to which no reader of URI references
// can object (RFC 3986).
func plainPath(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; !tokenByte(c) && c != '/' && c != '.' {
			return false
		}
	}
	return s != ""
}

// scanner walks over JSON without white space between tokens.
type scanner struct {
	rest []byte
	// shared, if not empty, is all that rest was at first: see string.
	shared string
}

func (s *scanner) take(c byte) bool {
	if len(s.rest) == 0 || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// str takes a string without escapes, of printable ASCII.
func (s *scanner) str() ([]byte, bool) {
	if !s.take('"') {
		return nil, false
	}
	for i, c := range s.rest {
		switch {
		case c == '"':
			v := s.rest[:i]
			s.rest = s.rest[i+1:]
			return v, true
		case c == '\\' || c < ' ' || c >= 0x7f:
			return nil, false
		}
	}
	return nil, false
}

// object takes a value in braces as it is; whether it is JSON shows when it is
// decoded.
func (s *scanner) object() ([]byte, bool) {
	if len(s.rest) == 0 || s.rest[0] != '{' {
		return nil, false
	}
	depth := 0
	for i := 0; i < len(s.rest); i++ {
		switch s.rest[i] {
		case '"':
			for i++; i < len(s.rest) && s.rest[i] != '"'; {
				// To the next quote, looking at escapes only where there are some.
				next := bytes.IndexByte(s.rest[i:], '"')
				if next < 0 {
					return nil, false
				}
				slash := bytes.IndexByte(s.rest[i:i+next], '\\')
				if slash < 0 {
					i += next
				} else {
					i += slash + 2
				}
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				v := s.rest[:i+1]
				s.rest = s.rest[i+1:]
				return v, true
			}
		}
	}
	return nil, false
}
