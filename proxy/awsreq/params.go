package awsreq

import (
	"strings"
	"unsafe"
)

// queryValue finds a parameter of a raw query (or form body) by its decoded name
// and gives its raw value, of the first occurrence.
func queryValue(query, name string) (string, bool) {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		k, v, _ := strings.Cut(pair, "=")
		if equalDecoded(k, name) {
			return v, true
		}
	}
	return "", false
}

// hasQuery tells whether a query has a parameter of that name, with or without
// a value.
func hasQuery(query, name string) bool {
	_, ok := queryValue(query, name)
	return ok
}

// equalDecoded compares a percent-encoded text with a plain one.
func equalDecoded(enc, plain string) bool {
	if enc == plain {
		return true
	}
	if !strings.ContainsAny(enc, "%+") {
		return false
	}
	j := 0
	for i := 0; i < len(enc); j++ {
		if j == len(plain) {
			return false
		}
		c, w := decodeAt(enc, i)
		if c != plain[j] {
			return false
		}
		i += w
	}
	return j == len(plain)
}

func decodeAt(s string, i int) (byte, int) {
	switch {
	case s[i] == '+':
		return ' ', 1
	case s[i] == '%' && i+2 < len(s):
		hi, lo := unhex(s[i+1]), unhex(s[i+2])
		if hi < 16 && lo < 16 {
			return hi<<4 | lo, 3
		}
	}
	return s[i], 1
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

// decode undoes percent-encoding; in a path, "+" is a plus.
func decode(s string, path bool) string {
	if !strings.Contains(s, "%") && (path || !strings.Contains(s, "+")) {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		if path && s[i] == '+' {
			b, i = append(b, '+'), i+1
			continue
		}
		c, w := decodeAt(s, i)
		b, i = append(b, c), i+w
	}
	return string(b)
}

// bytesAsString views b as a string without copying. Callers do not write to a
// peeked body while it is looked at.
func bytesAsString(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return unsafe.String(&b[0], len(b))
}
