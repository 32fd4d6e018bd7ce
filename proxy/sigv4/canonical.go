package sigv4

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"
)

// variant is a set of readings in which AWS clients differ. Signing uses
// standard; verifying tries the others only where they would make a difference.
type variant uint8

const (
	standard variant = 0
	// asIs leaves dots and double slashes in the path (the Go SDK).
	asIs variant = 1 << iota
	// literalPlus reads "+" in the query as a plus (the C SDK), not as a space.
	literalPlus
	// tokenAfter leaves X-Amz-Security-Token out of the query: some clients add
	// it to a presigned URL after signing (AWS IoT wants it so).
	tokenAfter
)

// scratch holds the buffers of one canonicalisation, to be used again.
type scratch struct {
	buf    []byte
	enc    []byte
	params []param
}

type param struct{ name, value [2]int } // offsets into scratch.enc

// canonical builds the canonical request. The result is valid until the next use.
func (s *scratch) canonical(m *message, service string, signed []string, payloadHash string, v variant) []byte {
	b := append(s.buf[:0], m.method...)
	b = append(b, '\n')
	switch {
	case singleEncoded(service):
		b = appendReencoded(b, m.path, true, false)
	case v&asIs != 0 || m.path[0] != '/' || normalPath(m.path):
		b = appendTwiceEncoded(b, m.path)
	default:
		b = appendTwiceEncoded(b, normalize(m.path))
	}
	b = append(b, '\n')
	b = s.appendQuery(b, m.query, v)
	b = append(b, '\n')
	for _, name := range signed {
		b = append(append(b, name...), ':')
		if name == "host" { // the common one, without a slice for it
			b = appendTrimmed(b, m.host)
		} else {
			for i, val := range m.values(name) {
				if i > 0 {
					b = append(b, ',')
				}
				b = appendTrimmed(b, val)
			}
		}
		b = append(b, '\n')
	}
	b = append(b, '\n')
	for i, name := range signed {
		if i > 0 {
			b = append(b, ';')
		}
		b = append(b, name...)
	}
	b = append(append(b, '\n'), payloadHash...)
	s.buf = b
	return b
}

func (s *scratch) appendQuery(b []byte, query string, v variant) []byte {
	s.enc, s.params = s.enc[:0], s.params[:0]
	for rest := query; rest != ""; {
		var pair string
		pair, rest, _ = strings.Cut(rest, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		var p param
		p.name[0] = len(s.enc)
		s.enc = appendReencoded(s.enc, name, false, v&literalPlus == 0)
		p.name[1] = len(s.enc)
		switch n := s.enc[p.name[0]:p.name[1]]; {
		case asciiEqualFold(n, "X-Amz-Signature"), v&tokenAfter != 0 && asciiEqualFold(n, "X-Amz-Security-Token"):
			s.enc = s.enc[:p.name[0]]
			continue
		}
		p.value[0] = len(s.enc)
		s.enc = appendReencoded(s.enc, value, false, v&literalPlus == 0)
		p.value[1] = len(s.enc)
		s.params = append(s.params, p)
	}
	enc := s.enc
	slices.SortStableFunc(s.params, func(x, y param) int {
		if c := bytes.Compare(enc[x.name[0]:x.name[1]], enc[y.name[0]:y.name[1]]); c != 0 {
			return c
		}
		return bytes.Compare(enc[x.value[0]:x.value[1]], enc[y.value[0]:y.value[1]])
	})
	for i, p := range s.params {
		if i > 0 {
			b = append(b, '&')
		}
		b = append(b, enc[p.name[0]:p.name[1]]...)
		b = append(b, '=')
		b = append(b, enc[p.value[0]:p.value[1]]...)
	}
	return b
}

// appendTrimmed appends a header value without surrounding white space and with
// runs of it inside as one space.
func appendTrimmed(b []byte, v string) []byte {
	space := false
	start := len(b)
	for i := range len(v) {
		switch c := v[i]; c {
		case ' ', '\t', '\n', '\r', '\v', '\f':
			space = true
		default:
			if space && len(b) > start {
				b = append(b, ' ')
			}
			space = false
			b = append(b, c)
		}
	}
	return b
}

// stringToSign replaces the canonical request in the scratch buffer.
func (s *scratch) stringToSign(canonical []byte, scope *Scope, t time.Time) []byte {
	sum := sha256.Sum256(canonical)
	b := append(s.buf[:0], scope.Algorithm.String()...)
	b = append(b, '\n')
	b = t.UTC().AppendFormat(b, timeFormat)
	b = append(b, '\n')
	b = scope.appendCredential(b)
	b = append(b, '\n')
	b = hex.AppendEncode(b, sum[:])
	s.buf = b
	return b
}

func asciiEqualFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range b {
		x, y := b[i], s[i]
		if 'A' <= x && x <= 'Z' {
			x += 'a' - 'A'
		}
		if 'A' <= y && y <= 'Z' {
			y += 'a' - 'A'
		}
		if x != y {
			return false
		}
	}
	return true
}
