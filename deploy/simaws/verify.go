package simaws

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// authenticate finds out who signed the request, or refuses it as AWS would.
// The payload is checked later, as it is read, against sig.payload.
func (s *Sim) authenticate(c *call) *apiError {
	sig, fail := parseSignature(c.proto, c.r, c.params)
	if fail != nil {
		return fail
	}
	c.sig = sig
	if c.ep.multiRegion {
		s.route(c)
	}
	if fail := checkScope(c.proto, &c.ep, sig); fail != nil {
		return fail
	}
	if fail := checkTime(c.proto, sig, c.at); fail != nil {
		return fail
	}
	who, fail := s.resolve(c, sig)
	if fail != nil {
		return fail
	}
	if fail := c.checkSignature(who); fail != nil {
		return fail
	}
	// Only after the signature: who cannot sign learns nothing about expiry.
	if who.temporary() && !c.at.Before(who.expires) {
		msg := "The security token included in the request is expired"
		if c.proto == protoS3 {
			msg = "The provided token has expired."
		}
		return authFailure(c.proto, faultExpired, msg)
	}
	c.who = who
	return nil
}

// checkScope compares the credential scope with what the host name demands.
func checkScope(p protocol, ep *endpoint, sig *signature) *apiError {
	if sig.alg == algorithmECDSA {
		if ep.kind == hostLocal || ep.region == "" || !coveredBy(sig.regions, ep.region) {
			return authFailure(p, faultScope, fmt.Sprintf("The authorization header is malformed; the region set %q does not cover '%s'", strings.Join(sig.regions, ","), ep.region),
				field{"Region", ep.region})
		}
		sig.region = ep.region
	}
	if ep.kind == hostLocal {
		ep.service, ep.region, ep.partition = sig.service, sig.region, partitionOf(sig.region, "aws")
		if strings.HasPrefix(sig.region, "cn-") {
			ep.partition = "aws-cn"
		}
	}
	if sig.service != ep.service && sig.service == alsoSigns[ep.service] {
		ep.service = sig.service
	}
	if sig.service != ep.service {
		if p == protoS3 {
			return authFailure(p, faultScope, fmt.Sprintf("The authorization header is malformed; incorrect service %q. This endpoint belongs to %q.", sig.service, ep.service))
		}
		return authFailure(p, faultScope, fmt.Sprintf("Credential should be scoped to correct service: '%s'.", ep.service))
	}
	if ep.region == "" { // accelerate and the like: the bucket decides
		ep.region = sig.region
	}
	if sig.region == ep.regionToo {
		ep.region = sig.region
	}
	if sig.region != ep.region {
		if p == protoS3 {
			return authFailure(p, faultScope, fmt.Sprintf("The authorization header is malformed; the region '%s' is wrong; expecting '%s'", sig.region, ep.region),
				field{"Region", ep.region})
		}
		return authFailure(p, faultScope, "Credential should be scoped to a valid region.")
	}
	return nil
}

func checkTime(p protocol, sig *signature, now time.Time) *apiError {
	if sig.presigned {
		if now.Add(maxSkew).Before(sig.at) {
			if p == protoS3 {
				return failure(http.StatusForbidden, "AccessDenied", "Request is not valid yet")
			}
			return authFailure(p, faultSkew, "Signature not yet current: "+sig.stamp+" is still later than "+now.Add(maxSkew).Format(amzTime))
		}
		if end := sig.at.Add(sig.expires); now.After(end) {
			if p == protoS3 {
				return failure(http.StatusForbidden, "AccessDenied", "Request has expired",
					field{"X-Amz-Expires", fmt.Sprint(int(sig.expires / time.Second))},
					field{"Expires", end.Format(time.RFC3339)}, field{"ServerTime", now.Format(time.RFC3339)})
			}
			return authFailure(p, faultSkew, "Signature expired: "+sig.stamp+" is now earlier than "+now.Add(-sig.expires).Format(amzTime))
		}
		return nil
	}
	early, late := now.Add(-maxSkew), now.Add(maxSkew)
	if !sig.at.Before(early) && !sig.at.After(late) {
		return nil
	}
	if p == protoS3 {
		return authFailure(p, faultSkew, "The difference between the request time and the current time is too large.",
			field{"RequestTime", sig.stamp}, field{"ServerTime", now.Format(time.RFC3339)}, field{"MaxAllowedSkewMilliseconds", "900000"})
	}
	if sig.at.Before(early) {
		return authFailure(p, faultSkew, fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - 15 min.)", sig.stamp, early.Format(amzTime), now.Format(amzTime)))
	}
	return authFailure(p, faultSkew, fmt.Sprintf("Signature not yet current: %s is still later than %s (%s + 15 min.)", sig.stamp, late.Format(amzTime), now.Format(amzTime)))
}

// resolve finds the principal behind the access key, expired or not.
func (s *Sim) resolve(c *call, sig *signature) (*identity, *apiError) {
	invalid := func(fault authFault) *apiError {
		msg := "The security token included in the request is invalid."
		var extra []field
		if c.proto == protoS3 {
			msg = "The AWS Access Key Id you provided does not exist in our records."
			extra = []field{{"AWSAccessKeyId", sig.accessKey}}
			if fault == faultBadToken {
				msg, extra = "The provided token is malformed or otherwise invalid.", nil
			}
		}
		return authFailure(c.proto, fault, msg, extra...)
	}
	var who *identity
	switch {
	case sig.token != "" || sig.bucketToken != "":
		kind, token := ordinarySession, sig.token
		if c.ep.service == "s3express" && token == "" {
			kind, token = bucketSession, sig.bucketToken
		}
		var err error
		who, err = s.iam.session(kind, sig.accessKey, token, time.Time{})
		if errors.Is(err, errTokenInvalid) {
			return nil, invalid(faultBadToken)
		} else if err != nil {
			return nil, failure(http.StatusInternalServerError, "InternalFailure", err.Error())
		}
	default:
		// A temporary key without its token is a key that nobody knows.
		if who = s.iam.longLived(sig.accessKey); who == nil {
			return nil, invalid(faultUnknownKey)
		}
	}
	if c.ep.kind == hostAPI && who.partition != c.ep.partition {
		return nil, invalid(faultUnknownKey)
	}
	return who, nil
}

// checkSignature recomputes the signature over what really arrived.
func (c *call) checkSignature(who *identity) *apiError {
	sig := c.sig
	for name := range c.r.Header {
		lower := strings.ToLower(name)
		if strings.HasPrefix(lower, "x-amz-") && !slices.Contains(sig.signed, lower) {
			if c.proto == protoS3 {
				return failure(http.StatusForbidden, "AccessDenied", "There were headers present in the request which were not signed",
					field{"HeadersNotSigned", lower})
			}
			return authFailure(c.proto, faultSignature, "'"+lower+"' must be a 'SignedHeader' in the AWS Authorization.")
		}
	}
	hash, fail := c.payloadHash()
	if fail != nil {
		return fail
	}
	headers, ok := canonicalHeaders(c.r, sig.signed)
	if !ok {
		return c.mismatch("a signed header was not sent")
	}
	paths, err := canonicalPaths(sig.service, c.path)
	if err != nil {
		return failure(http.StatusBadRequest, "InvalidURI", "Couldn't parse the specified URI.")
	}
	if err := sig.checkWith(who); err != nil {
		return failure(http.StatusInternalServerError, "InternalError", err.Error())
	}
	query := canonicalQuery(c.params)
	for _, path := range paths {
		sig.canonical = c.r.Method + "\n" + path + "\n" + query + "\n" + headers + "\n" + strings.Join(sig.signed, ";") + "\n" + hash
		sig.stringToSign = sig.alg + "\n" + sig.stamp + "\n" + sig.scope() + "\n" + sha256Hex([]byte(sig.canonical))
		if sig.check(sig.stringToSign, sig.provided) {
			return nil
		}
	}
	return c.mismatch("")
}

// mismatch is SignatureDoesNotMatch, with what the server computed: AWS shows
// it too, and it is the only way to find a signing bug.
func (c *call) mismatch(why string) *apiError {
	sig := c.sig
	msg := "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
	if c.proto == protoS3 {
		msg = "The request signature we calculated does not match the signature you provided. Check your key and signing method."
	}
	if why != "" {
		msg += " (" + why + ")"
	}
	if c.proto != protoS3 && sig.canonical != "" {
		msg += "\n\nThe Canonical String for this request should have been\n'" + sig.canonical + "'\n\nThe String-to-Sign should have been\n'" + sig.stringToSign + "'\n"
	}
	return authFailure(c.proto, faultSignature, msg,
		field{"AWSAccessKeyId", sig.accessKey}, field{"StringToSign", sig.stringToSign},
		field{"SignatureProvided", sig.provided}, field{"CanonicalRequest", sig.canonical})
}

// payloadHash is the last line of the canonical request.
func (c *call) payloadHash() (string, *apiError) {
	sig := c.sig
	if c.ep.service != "s3" && c.ep.service != "s3express" {
		return c.smallPayloadHash()
	}
	if sig.presigned && sig.payload == "" {
		sig.payload = unsignedPayload
		if v := c.r.Header.Get("X-Amz-Content-Sha256"); v != "" {
			sig.payload = v // signed, or it would have been refused above
		}
	}
	if _, ok := sig.chunked(); ok {
		return sig.payload, nil
	}
	switch sig.payload {
	case unsignedPayload, streamingUnsigned:
		return sig.payload, nil
	case "":
		return "", failure(http.StatusBadRequest, "InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
	}
	if !hex64.MatchString(sig.payload) {
		return "", failure(http.StatusBadRequest, "InvalidArgument",
			"x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
			field{"ArgumentName", "x-amz-content-sha256"}, field{"ArgumentValue", sig.payload})
	}
	return sig.payload, nil
}

// unsignedBodyServices have operations whose model says unsignedPayload
// (botocore 1.43); no other service outside S3 takes an unsigned body.
var unsignedBodyServices = map[string]bool{"ebs": true, "lex": true, "mediastore": true, "omics": true}

// smallPayloadHash: outside S3 the body itself is hashed, whatever a header
// says about it; a header that disagrees is a signature over another body.
func (c *call) smallPayloadHash() (string, *apiError) {
	if c.converses() {
		return streamingEvents, nil // its events are verified as they are read
	}
	if c.sig.payload == unsignedPayload && unsignedBodyServices[c.ep.service] {
		return unsignedPayload, nil
	}
	return c.bodyHash, nil
}
