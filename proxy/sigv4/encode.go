package sigv4

const upperHex = "0123456789ABCDEF"

// unreserved: RFC 3986, section 2.3; what AWS leaves unencoded.
func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

func appendEncoded(b []byte, c byte) []byte {
	if unreserved(c) {
		return append(b, c)
	}
	return append(b, '%', upperHex[c>>4], upperHex[c&15])
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// decodeAt reads the byte at s[i], percent-decoding it, and its width. A
// percent sign that starts no escape stands for itself.
func decodeAt(s string, i int) (c byte, width int) {
	if s[i] == '%' && i+2 < len(s) {
		hi, ok1 := unhex(s[i+1])
		lo, ok2 := unhex(s[i+2])
		if ok1 && ok2 {
			return hi<<4 | lo, 3
		}
	}
	return s[i], 1
}

// appendReencoded appends s in the one canonical encoding: decoded, then every
// byte that is not unreserved (and not a slash, with keepSlash) encoded. With
// plus, "+" is read as a space, as in a form.
func appendReencoded(b []byte, s string, keepSlash, plus bool) []byte {
	for i := 0; i < len(s); {
		if s[i] == '/' && keepSlash {
			b, i = append(b, '/'), i+1
			continue
		}
		if s[i] == '+' && plus {
			b, i = append(b, "%20"...), i+1
			continue
		}
		c, w := decodeAt(s, i)
		b, i = appendEncoded(b, c), i+w
	}
	return b
}

// appendTwiceEncoded appends the canonical path of all services but S3: the
// path on the wire, already encoded once, is encoded again.
func appendTwiceEncoded(b []byte, path string) []byte {
	for i := range len(path) {
		if path[i] == '/' {
			b = append(b, '/')
		} else {
			b = appendEncoded(b, path[i])
		}
	}
	return b
}

// normalPath tells whether path has no empty and no dot segments, so that
// normalising it changes nothing.
func normalPath(path string) bool {
	for i := 0; i < len(path); {
		j := i + 1
		for j < len(path) && path[j] != '/' {
			j++
		}
		switch seg := path[i+1 : j]; {
		case seg == "." || seg == "..":
			return false
		case seg == "" && j < len(path):
			return false
		}
		i = j
	}
	return true
}

// normalize removes empty and dot segments (RFC 3986, section 5.2.4, and AWS's
// rule on double slashes). It keeps one trailing slash.
func normalize(path string) string {
	out := make([]byte, 0, len(path))
	for i := 0; i < len(path); {
		j := i + 1
		for j < len(path) && path[j] != '/' {
			j++
		}
		switch seg := path[i+1 : j]; seg {
		case "", ".":
		case "..":
			for len(out) > 0 && out[len(out)-1] != '/' {
				out = out[:len(out)-1]
			}
			out = out[:max(len(out)-1, 0)]
		default:
			out = append(append(out, '/'), seg...)
		}
		i = j
	}
	if len(out) == 0 || path[len(path)-1] == '/' {
		out = append(out, '/')
	}
	return string(out)
}
