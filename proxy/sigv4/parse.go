package sigv4

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxExpires is the longest validity of a presigned request (Amazon S3 API
// Reference, "Authenticating Requests: Using Query Parameters").
const maxExpires = 7 * 24 * time.Hour

// defaultExpires holds where X-Amz-Expires is absent, which services other than
// S3 allow.
const defaultExpires = 15 * time.Minute

// Anonymous tells whether a request that Parse refused with err has no signature
// of any kind and no session token: some of AWS's operations take none, such as
// cognito-idp:InitiateAuth and reading a public object of S3.
func Anonymous(r *http.Request, err error) bool {
	if !errors.Is(err, ErrMissing) {
		return false
	}
	h, m := r.Header, messageOf(r)
	// Only signers set X-Amz-Date: what has one lost its signature.
	for _, name := range [...]string{"Authorization", "X-Amz-Date", "X-Amz-Security-Token", "X-Amz-S3session-Token"} {
		if len(h[name]) > 0 {
			return false
		}
	}
	// The form of a POST to S3 may hold a signature, and so may queries of Signature
	// Version 2.
	for _, v := range h["Content-Type"] {
		if strings.HasPrefix(strings.ToLower(v), "multipart/") {
			return false
		}
	}
	for pair := range strings.SplitSeq(m.query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		switch strings.ToLower(string(appendDecoded(nil, name))) {
		case "signature", "awsaccesskeyid", "x-amz-signature", "x-amz-credential", "x-amz-security-token", "x-amz-date":
			return false
		}
	}
	return true
}

// Parse reads a request's signature from its Authorization header or its query.
// It refuses what could be read in two ways: a signature in both places, a
// parameter given twice, an unknown one. Of Signature Version 2 it reads S3's
// presigned URLs. Errors are of type [*Error].
// Parse checks form only; see [Verifier.Verify].
func Parse(r *http.Request) (*Authorization, error) {
	m := messageOf(r)
	auth := m.header["Authorization"]
	q, err := queryParams(m.query)
	if err != nil {
		return nil, err
	}
	switch {
	case len(auth) > 1:
		return nil, &Error{Kind: ErrMalformed, Detail: "several Authorization headers"}
	case len(auth) == 1 && q.present:
		return nil, &Error{Kind: ErrMalformed, Detail: "signed in the Authorization header and in the query; use one"}
	case len(auth) == 1:
		return parseHeader(&m, auth[0])
	case q.present:
		return parseQuery(&m, q)
	}
	if v2, ok, err := queryV2(m.query); err != nil {
		return nil, err
	} else if ok {
		return parseV2(&m, v2)
	}
	return nil, &Error{Kind: ErrMissing, Detail: "neither an Authorization header nor X-Amz-Signature in the query"}
}

func parseHeader(m *message, v string) (*Authorization, error) {
	a := new(Authorization)
	alg, rest, _ := strings.Cut(strings.TrimSpace(v), " ")
	switch alg {
	case algHMAC:
	case algECDSA:
		a.Algorithm = SigV4A
	default:
		detail := fmt.Sprintf("authorization scheme %s; use %s", scheme(alg), algHMAC)
		if strings.EqualFold(alg, "Bearer") {
			detail = `authorization scheme "Bearer", of API keys and other tokens; unset it (AWS_BEARER_TOKEN_BEDROCK, for one), so that the client signs by ` + algHMAC
		}
		return nil, &Error{Kind: ErrUnsupported, Detail: detail}
	}
	bad := func(format string, args ...any) (*Authorization, error) {
		return nil, &Error{Kind: ErrMalformed, Service: a.Service, Detail: "Authorization header: " + fmt.Sprintf(format, args...)}
	}
	var credential, signed string
	for rest != "" {
		var part string
		part, rest, _ = strings.Cut(rest, ",")
		key, val, ok := strings.Cut(strings.Trim(part, " \t"), "=")
		var dst *string
		switch key {
		case "Credential":
			dst = &credential
		case "SignedHeaders":
			dst = &signed
		case "Signature":
			dst = &a.Signature
		}
		switch {
		case dst == nil: // whatever it is
			return bad("holds something other than Credential, SignedHeaders and Signature")
		case !ok || val == "":
			return bad("cannot read %s", key)
		}
		if *dst != "" {
			return bad("%s given twice", key)
		}
		*dst = val
	}
	switch {
	case credential == "":
		return bad("requires Credential")
	case signed == "":
		return bad("requires SignedHeaders")
	case a.Signature == "":
		return bad("requires Signature")
	}
	if err := a.parseCredential(credential, m); err != "" {
		return bad("%s", err)
	}
	if err := a.parseSigned(signed); err != "" {
		return bad("%s", err)
	}
	if err := a.checkSignature(); err != "" {
		return bad("%s", err)
	}
	if err := a.parseTime(m); err != "" {
		return bad("%s", err)
	}
	return a, a.parsePayload(m, "")
}

// scheme is what may be said of an authorization scheme that is not ours. Anything but a
// well-known name may be a secret: APIs of customers' own take tokens without a scheme.
func scheme(alg string) string {
	for _, name := range [...]string{"AWS", "AWS3", "AWS3-HTTPS", "Basic", "Bearer", "Digest", "Negotiate"} {
		if strings.EqualFold(alg, name) {
			return strconv.Quote(name)
		}
	}
	return "unknown"
}

// parseTime reads X-Amz-Date, else Date.
func (a *Authorization) parseTime(m *message) string {
	if v := m.header["X-Amz-Date"]; len(v) > 0 {
		t, err := time.Parse(timeFormat, v[0])
		if len(v) > 1 || err != nil {
			return "X-Amz-Date must be one time such as 20060102T150405Z"
		}
		a.Time = t
		return ""
	}
	v := m.header["Date"]
	if len(v) != 1 {
		return "requires X-Amz-Date or Date, once"
	}
	t, err := http.ParseTime(v[0])
	if err != nil {
		if t, err = time.Parse(timeFormat, v[0]); err != nil {
			return "Date is no HTTP date"
		}
	}
	a.Time = t.UTC()
	return ""
}

// parseCredential splits key/date/region/service/aws4_request; SigV4A has no
// region there and names a set of them elsewhere.
func (a *Authorization) parseCredential(v string, m *message) string {
	parts := 5
	if a.Algorithm == SigV4A {
		parts = 4
	}
	var f [5]string
	n := 0
	for rest, more := v, true; more; n++ {
		if n == parts {
			return "Credential has too many parts"
		}
		f[n], rest, more = strings.Cut(rest, "/")
	}
	if n != parts {
		return "Credential is not KEY/DATE/REGION/SERVICE/" + ending
	}
	for _, s := range f[:n] {
		if !plain(s) {
			return "Credential holds an empty part or a character that no part may have"
		}
	}
	if f[n-1] != ending {
		return "Credential does not end in " + ending
	}
	if _, err := time.Parse(dateFormat, f[1]); err != nil {
		return "Credential's date is not of the form 20060102"
	}
	a.AccessKeyID, a.Date, a.Service = f[0], f[1], f[n-2]
	if a.Algorithm == SigV4 {
		a.Region = f[2]
		return ""
	}
	if set := m.header["X-Amz-Region-Set"]; len(set) == 1 {
		a.Region = strings.TrimSpace(set[0])
	}
	return ""
}

func plain(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !unreserved(c) && c != '+' && c != '@' && c != ':' && c != '*' {
			return false
		}
	}
	return s != "" && len(s) <= 256
}

// parseSigned reads a;b;c: lower case and in order, each name once.
func (a *Authorization) parseSigned(v string) string {
	names := make([]string, 0, 8)
	for rest, more := v, true; more; {
		var n string
		n, rest, more = strings.Cut(rest, ";")
		if n == "" {
			return "SignedHeaders has an empty name"
		}
		for i := range len(n) {
			if n == authority {
				break
			}
			if c := n[i]; !unreserved(c) && strings.IndexByte("!#$%&'*+^`|", c) < 0 || 'A' <= c && c <= 'Z' {
				return "SignedHeaders must hold lower-case header names"
			}
		}
		if len(names) > 0 && names[len(names)-1] >= n {
			return "SignedHeaders must be in alphabetical order, each once"
		}
		names = append(names, n)
	}
	a.SignedHeaders = names
	return ""
}

func (a *Authorization) checkSignature() string {
	if a.Algorithm == SigV4A {
		// A DER-encoded pair of 256-bit numbers is 8 to 72 bytes.
		if n := len(a.Signature); n < 16 || n > 144 || n%2 != 0 || !isHex(a.Signature, n) {
			return "Signature is not a DER signature in lower-case hex"
		}
		return ""
	}
	if !isHex(a.Signature, 64) {
		return "Signature is not 64 lower-case hex digits"
	}
	return ""
}

// parsePayload reads X-Amz-Content-Sha256 and the session token. fromQuery is the
// presigned URL's own hash parameter.
func (a *Authorization) parsePayload(m *message, fromQuery string) error {
	v := m.header["X-Amz-Content-Sha256"]
	if len(v) > 1 || len(v) == 1 && fromQuery != "" && fromQuery != v[0] {
		return &Error{Kind: ErrMalformed, Service: a.Service, Query: a.Presigned, Detail: "X-Amz-Content-Sha256 given twice"}
	}
	a.PayloadHash = fromQuery
	if len(v) == 1 {
		a.PayloadHash = strings.TrimSpace(v[0])
	}
	var ok bool
	if a.Payload, ok = payloadMode(a.PayloadHash); !ok {
		return &Error{Kind: ErrMalformed, Service: a.Service, Query: a.Presigned,
			Detail: fmt.Sprintf("X-Amz-Content-Sha256 is neither a hash nor a mode known here: %.80q", a.PayloadHash)}
	}
	if a.Presigned && a.Payload == PayloadUndeclared && singleEncoded(a.Service) {
		a.Payload, a.PayloadHash = PayloadUnsigned, unsignedPayload
	}
	if a.SessionToken != "" {
		return nil
	}
	if v := m.header["X-Amz-Security-Token"]; len(v) == 1 {
		a.SessionToken = v[0]
	} else if v := m.header["X-Amz-S3session-Token"]; len(v) == 1 {
		a.SessionToken, a.S3Session = v[0], true
	}
	return nil
}

func parseQuery(m *message, q signedQuery) (*Authorization, error) {
	a := &Authorization{Presigned: true, SessionToken: q.token, S3Session: q.s3Token, Signature: q.signature}
	bad := func(format string, args ...any) (*Authorization, error) {
		return nil, &Error{Kind: ErrMalformed, Service: a.Service, Query: true, Detail: "query: " + fmt.Sprintf(format, args...)}
	}
	switch q.algorithm {
	case algHMAC:
	case algECDSA:
		a.Algorithm = SigV4A
	case "":
		return bad("requires X-Amz-Algorithm")
	default:
		return nil, &Error{Kind: ErrUnsupported, Query: true, Detail: fmt.Sprintf("X-Amz-Algorithm %.40q; use %s", q.algorithm, algHMAC)}
	}
	if err := a.parseCredential(q.credential, m); err != "" {
		return bad("%s", err)
	}
	if a.Algorithm == SigV4A && q.regionSet != "" {
		a.Region = q.regionSet
	}
	if err := a.parseSigned(q.signedHeaders); err != "" {
		return bad("%s", err)
	}
	if err := a.checkSignature(); err != "" {
		return bad("%s", err)
	}
	t, err := time.Parse(timeFormat, q.date)
	if err != nil {
		return bad("X-Amz-Date must be a time such as 20060102T150405Z")
	}
	a.Time = t
	switch {
	case q.expires != "":
		n, err := strconv.Atoi(q.expires)
		if err != nil || n < 1 || n > int(maxExpires/time.Second) {
			return bad("X-Amz-Expires must be 1 to 604800 seconds")
		}
		a.Expires = time.Duration(n) * time.Second
	case singleEncoded(a.Service):
		return bad("requires X-Amz-Expires")
	default:
		a.Expires = defaultExpires
	}
	return a, a.parsePayload(m, q.payloadHash)
}
