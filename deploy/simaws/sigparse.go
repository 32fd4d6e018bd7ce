package simaws

import (
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	algorithm = "AWS4-HMAC-SHA256"
	amzTime   = "20060102T150405Z"
	maxSkew   = 15 * time.Minute

	unsignedPayload    = "UNSIGNED-PAYLOAD"
	streamingUnsigned  = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	streamingSigned    = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	streamingSignedTrl = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
)

// signature is what a request says about how it was signed.
type signature struct {
	accessKey, date, region, service string
	signed                           []string // header names, lower case, sorted
	provided                         string   // 64 hex digits
	stamp                            string   // as sent
	at                               time.Time
	presigned                        bool
	expires                          time.Duration // presigned only; 0 when not said
	token                            string
	bucketToken                      string // of S3 Express
	payload                          string // declared payload hash; "" when not declared

	key          []byte // derived signing key, for chunks
	stringToSign string
	canonical    string
}

func (s *signature) scope() string {
	return s.date + "/" + s.region + "/" + s.service + "/aws4_request"
}

var (
	hex64     = regexp.MustCompile(`^[0-9a-f]{64}$`)
	eightDate = regexp.MustCompile(`^[0-9]{8}$`)
)

// parseSignature finds the one signature of a request. It refuses anything
// that two readers might understand differently.
func parseSignature(p protocol, r *http.Request, params []param) (*signature, *apiError) {
	auth := r.Header.Values("Authorization")
	inQuery := slices.ContainsFunc(params, func(p param) bool {
		return p.name == "X-Amz-Algorithm" || p.name == "X-Amz-Signature" || p.name == "X-Amz-Credential"
	})
	switch {
	case len(auth) > 1 || len(auth) == 1 && inQuery:
		if p == protoS3 {
			return nil, failure(http.StatusBadRequest, "InvalidArgument",
				"Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified",
				field{"ArgumentName", "Authorization"})
		}
		return nil, authFailure(p, faultIncomplete, "Request is ambiguous: more than one signature was sent.")
	case len(auth) == 1:
		return parseAuthorization(p, r, auth[0])
	case inQuery:
		return parsePresigned(p, params)
	}
	if p == protoS3 && slices.ContainsFunc(params, func(p param) bool { return p.name == "AWSAccessKeyId" }) {
		return nil, oldSignature()
	}
	msg := "Request is missing Authentication Token"
	if p == protoS3 {
		msg = "Access Denied"
	}
	return nil, authFailure(p, faultMissing, msg)
}

func parseAuthorization(p protocol, r *http.Request, value string) (*signature, *apiError) {
	bad := func(why string) (*signature, *apiError) {
		return nil, authFailure(p, faultIncomplete, "The authorization header is malformed; "+why)
	}
	rest, ok := strings.CutPrefix(value, algorithm+" ")
	if !ok && p == protoS3 {
		return nil, oldSignature()
	}
	if !ok {
		return bad("the authorization mechanism you have provided is not " + algorithm + ".")
	}
	parts := map[string]string{}
	for item := range strings.SplitSeq(rest, ",") {
		k, v, ok := strings.Cut(strings.TrimSpace(item), "=")
		if _, dup := parts[k]; !ok || dup {
			return bad("each of Credential, SignedHeaders and Signature must appear once.")
		}
		parts[k] = v
	}
	sig := &signature{provided: parts["Signature"]}
	if len(parts) != 3 || !hex64.MatchString(sig.provided) {
		return bad("Credential, SignedHeaders and a Signature of 64 hex digits are required.")
	}
	if why := sig.setCredential(parts["Credential"]); why != "" {
		return bad(why)
	}
	if why := sig.setSignedHeaders(parts["SignedHeaders"]); why != "" {
		return bad(why)
	}
	for name, to := range map[string]*string{
		"X-Amz-Date": &sig.stamp, "X-Amz-Security-Token": &sig.token, "X-Amz-S3session-Token": &sig.bucketToken, "X-Amz-Content-Sha256": &sig.payload,
	} {
		if v := r.Header.Values(name); len(v) > 1 {
			return bad(name + " was sent more than once.")
		} else if len(v) == 1 {
			*to = v[0]
		}
	}
	if sig.stamp == "" {
		// Date is the fallback that SigV4 allows, in HTTP's format.
		t, err := http.ParseTime(r.Header.Get("Date"))
		if err != nil {
			return bad("the request has neither X-Amz-Date nor Date.")
		}
		sig.stamp = t.UTC().Format(amzTime)
	}
	return sig, sig.setTime(p)
}

// oldSignature is what S3 says to SigV2, which AWS CLI v1 still presigns with
// unless s3.signature_version is s3v4; buckets made since June 2020 take none.
func oldSignature() *apiError {
	return failure(http.StatusBadRequest, "InvalidRequest", "The authorization mechanism you have provided is not supported. Please use "+algorithm+".")
}

func parsePresigned(p protocol, params []param) (*signature, *apiError) {
	bad := func(why string) (*signature, *apiError) {
		if p == protoS3 {
			return nil, failure(http.StatusBadRequest, "AuthorizationQueryParametersError", why)
		}
		return nil, authFailure(p, faultIncomplete, why)
	}
	got := map[string]string{}
	for _, q := range params {
		if strings.HasPrefix(q.name, "X-Amz-") {
			if _, dup := got[q.name]; dup {
				return bad("Query parameter " + q.name + " was sent more than once")
			}
			got[q.name] = q.value
		}
	}
	if got["X-Amz-Algorithm"] != algorithm {
		return bad("X-Amz-Algorithm only supports \"" + algorithm + "\"")
	}
	sig := &signature{presigned: true, provided: got["X-Amz-Signature"], stamp: got["X-Amz-Date"],
		token: got["X-Amz-Security-Token"], bucketToken: got["X-Amz-S3session-Token"], payload: got["X-Amz-Content-Sha256"]}
	if !hex64.MatchString(sig.provided) {
		return bad("X-Amz-Signature must be 64 hex digits")
	}
	if why := sig.setCredential(got["X-Amz-Credential"]); why != "" {
		return bad("Error parsing the X-Amz-Credential parameter; " + why)
	}
	if why := sig.setSignedHeaders(got["X-Amz-SignedHeaders"]); why != "" {
		return bad(why)
	}
	if exp, said := got["X-Amz-Expires"]; said {
		n, err := strconv.Atoi(exp)
		if err != nil || n < 0 {
			return bad("X-Amz-Expires should be a number of seconds")
		}
		if n > 604800 {
			return bad("X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds")
		}
		sig.expires = time.Duration(n) * time.Second
	} else if p == protoS3 {
		return bad("Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.")
	} else {
		sig.expires = maxSkew
	}
	return sig, sig.setTime(p)
}

func (s *signature) setCredential(v string) (why string) {
	p := strings.Split(v, "/")
	if len(p) != 5 || p[4] != "aws4_request" || p[0] == "" || p[2] == "" || p[3] == "" || !eightDate.MatchString(p[1]) {
		return "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\"."
	}
	s.accessKey, s.date, s.region, s.service = p[0], p[1], p[2], p[3]
	return ""
}

func (s *signature) setSignedHeaders(v string) (why string) {
	s.signed = strings.Split(v, ";")
	if v == "" || v != strings.ToLower(v) || !slices.IsSorted(s.signed) || len(slices.Compact(slices.Clone(s.signed))) != len(s.signed) {
		return "SignedHeaders must be lower case, sorted and without repetition."
	}
	if !slices.Contains(s.signed, "host") {
		return "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."
	}
	return ""
}

func (s *signature) setTime(p protocol) *apiError {
	var err error
	if s.at, err = time.Parse(amzTime, s.stamp); err != nil {
		return authFailure(p, faultIncomplete, "Date must be in ISO-8601 'basic format'. Got '"+s.stamp+"'.")
	}
	if s.date != s.stamp[:8] {
		return authFailure(p, faultScope, "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '"+s.date+"' != '"+s.stamp[:8]+"', from '"+s.stamp+"'.")
	}
	return nil
}
