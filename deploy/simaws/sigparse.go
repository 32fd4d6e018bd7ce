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
	algorithm      = "AWS4-HMAC-SHA256"
	algorithmECDSA = "AWS4-ECDSA-P256-SHA256" // Signature Version 4A
	amzTime        = "20060102T150405Z"
	maxSkew        = 15 * time.Minute

	unsignedPayload   = "UNSIGNED-PAYLOAD"
	streamingUnsigned = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	// streamingPrefix, the algorithm and one of these ends declare chunks or events
	// that are signed each for itself.
	streamingPrefix = "STREAMING-"
	payloadEnd      = "-PAYLOAD"
	trailerEnd      = "-PAYLOAD-TRAILER"
	streamingEvents = "STREAMING-AWS4-HMAC-SHA256-EVENTS"
)

// signature is what a request says about how it was signed.
type signature struct {
	alg                              string // algorithm or algorithmECDSA
	accessKey, date, region, service string
	regions                          []string // of SigV4A, in the place of region
	signed                           []string // header names, lower case, sorted
	provided                         string   // 64 hex digits; of SigV4A a DER signature in hex
	stamp                            string   // as sent
	at                               time.Time
	presigned                        bool
	expires                          time.Duration // presigned only; 0 when not said
	token                            string
	bucketToken                      string // of S3 Express
	payload                          string // declared payload hash; "" when not declared

	check        func(msg, signature string) bool // signature in hex; for chunks, too
	stringToSign string
	canonical    string
}

func (s *signature) scope() string {
	if s.alg == algorithmECDSA {
		return s.date + "/" + s.service + "/aws4_request"
	}
	return s.date + "/" + s.region + "/" + s.service + "/aws4_request"
}

// chunked tells whether the payload is in signed chunks, with a trailer or without.
func (s *signature) chunked() (trailer, ok bool) {
	switch s.payload {
	case streamingPrefix + s.alg + payloadEnd:
		return false, true
	case streamingPrefix + s.alg + trailerEnd:
		return true, true
	}
	return false, false
}

// wellFormed tells whether a signature is of its algorithm's form. In DER two numbers
// of 256 bits take 72 bytes at most.
func (s *signature) wellFormed() bool {
	if s.alg == algorithmECDSA {
		return derHex.MatchString(s.provided)
	}
	return hex64.MatchString(s.provided)
}

// setRegions reads X-Amz-Region-Set, which SigV4A has and SigV4 has not.
func (s *signature) setRegions(v string) (why string) {
	if (v != "") != (s.alg == algorithmECDSA) {
		return "X-Amz-Region-Set goes with " + algorithmECDSA + " and with nothing else."
	}
	if v == "" {
		return ""
	}
	for r := range strings.SplitSeq(v, ",") {
		if r = strings.TrimSpace(r); r == "" {
			return "X-Amz-Region-Set has an empty region."
		}
		s.regions = append(s.regions, r)
	}
	return ""
}

var (
	hex64     = regexp.MustCompile(`^[0-9a-f]{64}$`)
	derHex    = regexp.MustCompile(`^([0-9a-f]{2}){8,72}$`)
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
	alg, rest, ok := strings.Cut(value, " ")
	ok = ok && (alg == algorithm || alg == algorithmECDSA)
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
	sig := &signature{alg: alg, provided: parts["Signature"]}
	if len(parts) != 3 || !sig.wellFormed() {
		return bad("Credential, SignedHeaders and a Signature in hex are required.")
	}
	if why := sig.setCredential(parts["Credential"]); why != "" {
		return bad(why)
	}
	if why := sig.setSignedHeaders(parts["SignedHeaders"]); why != "" {
		return bad(why)
	}
	var regions string
	for name, to := range map[string]*string{
		"X-Amz-Region-Set": &regions,
		"X-Amz-Date":       &sig.stamp, "X-Amz-Security-Token": &sig.token, "X-Amz-S3session-Token": &sig.bucketToken, "X-Amz-Content-Sha256": &sig.payload,
	} {
		if v := r.Header.Values(name); len(v) > 1 {
			return bad(name + " was sent more than once.")
		} else if len(v) == 1 {
			*to = v[0]
		}
	}
	if why := sig.setRegions(regions); why != "" {
		return bad(why)
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
	alg := got["X-Amz-Algorithm"]
	if alg != algorithm && alg != algorithmECDSA {
		return bad("X-Amz-Algorithm only supports \"" + algorithm + "\" and \"" + algorithmECDSA + "\"")
	}
	sig := &signature{alg: alg, presigned: true, provided: got["X-Amz-Signature"], stamp: got["X-Amz-Date"],
		token: got["X-Amz-Security-Token"], bucketToken: got["X-Amz-S3session-Token"], payload: got["X-Amz-Content-Sha256"]}
	if !sig.wellFormed() {
		return bad("X-Amz-Signature must be a signature in hex")
	}
	if why := sig.setRegions(got["X-Amz-Region-Set"]); why != "" {
		return bad(why)
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
	if s.alg == algorithmECDSA && len(p) == 4 {
		p = slices.Insert(p, 2, "-") // the regions are elsewhere
	} else if s.alg == algorithmECDSA {
		return "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/SERVICE/aws4_request\"."
	}
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
	if !slices.Contains(s.signed, "host") && !slices.Contains(s.signed, ":authority") {
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
