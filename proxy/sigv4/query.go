package sigv4

import "strings"

// signedQuery is the signature's part of a query string, decoded.
type signedQuery struct {
	present                                                        bool
	algorithm, credential, date, expires, signedHeaders, signature string
	token, payloadHash, regionSet                                  string
	s3Token                                                        bool
}

// authParam tells what a decoded query name means to a signature; "" if nothing.
// AWS reads these names in any case, so postern must as well: a name that it
// overlooked would travel on next to its own signature.
func authParam(name string) string {
	if len(name) < 10 || !strings.EqualFold(name[:6], "X-Amz-") {
		return ""
	}
	for _, p := range [...]string{
		"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders",
		"X-Amz-Signature", "X-Amz-Security-Token", "X-Amz-S3session-Token", "X-Amz-Region-Set", "X-Amz-Content-Sha256",
	} {
		if strings.EqualFold(name, p) {
			return p
		}
	}
	return ""
}

func queryParams(query string) (signedQuery, error) {
	var q signedQuery
	if !mayBeSigned(query) {
		return q, nil
	}
	var buf []byte
	for rest := query; rest != ""; {
		var pair string
		pair, rest, _ = strings.Cut(rest, "&")
		name, value, _ := strings.Cut(pair, "=")
		buf = appendDecoded(buf[:0], name)
		var dst *string
		switch p := authParam(string(buf)); p {
		case "":
			continue
		case "X-Amz-Algorithm":
			dst = &q.algorithm
		case "X-Amz-Credential":
			dst = &q.credential
		case "X-Amz-Date":
			dst = &q.date
		case "X-Amz-Expires":
			dst = &q.expires
		case "X-Amz-SignedHeaders":
			dst = &q.signedHeaders
		case "X-Amz-Signature":
			dst = &q.signature
		case "X-Amz-Region-Set":
			dst = &q.regionSet
		case "X-Amz-Content-Sha256":
			dst = &q.payloadHash
		default:
			dst, q.s3Token = &q.token, p == "X-Amz-S3session-Token"
		}
		if *dst != "" || value == "" {
			return q, &Error{Kind: ErrMalformed, Query: true, Detail: "query: " + string(buf) + " is empty or given twice"}
		}
		*dst = string(appendDecoded(nil, value))
	}
	q.present = q.algorithm != "" || q.credential != "" || q.signature != ""
	return q, nil
}

// mayBeSigned spares ordinary queries the parsing.
func mayBeSigned(query string) bool {
	for i := 0; i+4 < len(query); i++ {
		// "mz" of X-Amz-, in any case, or an escape that might hide it.
		if query[i] == '%' || (query[i]|0x20) == 'm' && (query[i+1]|0x20) == 'z' {
			return true
		}
	}
	return false
}

func appendDecoded(b []byte, s string) []byte {
	for i := 0; i < len(s); {
		c, w := decodeAt(s, i)
		b, i = append(b, c), i+w
	}
	return b
}

// stripAuth removes the signature's parameters from a raw query and leaves all
// other bytes as they are.
func stripAuth(query string) string {
	var b strings.Builder
	for rest, more := query, true; more; {
		var pair string
		pair, rest, more = strings.Cut(rest, "&")
		name, _, _ := strings.Cut(pair, "=")
		if authParam(string(appendDecoded(nil, name))) != "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		b.WriteString(pair)
	}
	return b.String()
}
