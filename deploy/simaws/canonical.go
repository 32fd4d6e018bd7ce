package simaws

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// The pieces of a SigV4 canonical request, from what came over the wire:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

const emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// rawTarget splits the request target as sent into path and query.
func rawTarget(r *http.Request) (path, query string) {
	t := r.RequestURI
	if i := strings.Index(t, "://"); i >= 0 && !strings.HasPrefix(t, "/") { // absolute form
		if j := strings.IndexByte(t[i+3:], '/'); j >= 0 {
			t = t[i+3+j:]
		} else {
			t = "/"
		}
	}
	path, query, _ = strings.Cut(t, "?")
	if path == "" {
		path = "/"
	}
	return path, query
}

func unreserved(b byte) bool {
	return b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || b == '-' || b == '.' || b == '_' || b == '~'
}

// uriEncode is AWS's UriEncode: upper-case hex, unreserved characters as they are.
func uriEncode(s string, keepSlash bool) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(s) + 16)
	for i := 0; i < len(s); i++ {
		if c := s[i]; unreserved(c) || keepSlash && c == '/' {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
	return b.String()
}

var errEscape = errors.New("bad percent escape")

// percentDecode undoes %XX and nothing else.
func percentDecode(s string) (string, error) {
	if !strings.Contains(s, "%") {
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", errEscape
		}
		v, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", errEscape
		}
		b = append(b, byte(v))
		i += 2
	}
	return string(b), nil
}

// canonicalPaths are the forms of the path a correct client may have signed.
// S3 encodes once and normalises nothing. Other services encode what was sent
// a second time, after RFC 3986 normalisation; AWS's Go SDKs leave that out,
// and AWS takes theirs too.
func canonicalPaths(service, raw string) ([]string, error) {
	if service == "s3" || strings.HasPrefix(service, "s3-") || service == "s3express" {
		p, err := percentDecode(raw)
		if err != nil {
			return nil, err
		}
		return []string{uriEncode(p, true)}, nil
	}
	normal := uriEncode(normalizePath(raw), true)
	if plain := uriEncode(raw, true); plain != normal {
		return []string{normal, plain}, nil
	}
	return []string{normal}, nil
}

// normalizePath removes empty and dot segments.
func normalizePath(p string) string {
	var out []string
	for seg := range strings.SplitSeq(p, "/") {
		switch seg {
		case "", ".":
		case "..":
			if len(out) > 0 {
				out = out[:len(out)-1]
			}
		default:
			out = append(out, seg)
		}
	}
	n := "/" + strings.Join(out, "/")
	if len(out) > 0 && strings.HasSuffix(p, "/") {
		n += "/"
	}
	return n
}

// param is one decoded query parameter.
type param struct{ name, value string }

func parseParams(query string) ([]param, error) {
	var out []param
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		k, v, _ := strings.Cut(part, "=")
		name, err := percentDecode(strings.ReplaceAll(k, "+", " "))
		if err != nil {
			return nil, err
		}
		value, err := percentDecode(strings.ReplaceAll(v, "+", " "))
		if err != nil {
			return nil, err
		}
		out = append(out, param{name, value})
	}
	return out, nil
}

// canonicalQuery sorts by encoded name, then encoded value, and leaves the
// signature out.
func canonicalQuery(params []param) string {
	enc := make([]string, 0, len(params))
	for _, p := range params {
		if p.name != "X-Amz-Signature" {
			// \x00 sorts below every character that a name can hold.
			enc = append(enc, uriEncode(p.name, false)+"\x00"+uriEncode(p.value, false))
		}
	}
	slices.Sort(enc)
	return strings.ReplaceAll(strings.Join(enc, "&"), "\x00", "=")
}

// headerValues are a header's values as sent, including those that net/http
// keeps elsewhere.
func headerValues(r *http.Request, name string) []string {
	switch name {
	case "host":
		return []string{r.Host}
	case ":authority": // the AWS SDK for JavaScript's, by HTTP/2
		if r.ProtoMajor == 2 {
			return []string{r.Host}
		}
		return nil
	case "content-length":
		if r.ContentLength >= 0 {
			return []string{strconv.FormatInt(r.ContentLength, 10)}
		}
		return nil
	case "transfer-encoding":
		return r.TransferEncoding
	}
	return r.Header.Values(name)
}

// canonicalHeaders joins values with commas and collapses runs of spaces.
func canonicalHeaders(r *http.Request, signed []string) (string, bool) {
	var b strings.Builder
	for _, name := range signed {
		values := headerValues(r, name)
		if len(values) == 0 {
			return "", false
		}
		b.WriteString(name)
		b.WriteByte(':')
		for i, v := range values {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(strings.Join(strings.FieldsFunc(v, func(r rune) bool { return r == ' ' || r == '\t' }), " "))
		}
		b.WriteByte('\n')
	}
	return b.String(), true
}

func hmacSHA256(key []byte, data string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(data))
	return m.Sum(nil)
}

func signingKey(secret, date, region, service string) []byte {
	return hmacSHA256(hmacSHA256(hmacSHA256(hmacSHA256([]byte("AWS4"+secret), date), region), service), "aws4_request")
}

func sha256Hex(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
