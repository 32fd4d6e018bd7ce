package simaws

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"net/http"
	"strings"

	"github.com/fxamacker/cbor/v2"
)

// protocol is how a service puts its errors on the wire.
type protocol int

const (
	protoS3 protocol = iota
	protoQuery
	protoEC2
	protoJSON
	protoCBOR
	protoRESTJSON
	protoRESTXML
)

// field is an extra element of an error, in order.
type field struct{ name, value string }

// apiError is an answer other than success, in AWS's words.
type apiError struct {
	status  int
	code    string
	message string
	extra   []field
	header  map[string]string
	// trailCode is the name CloudTrail gives it, where that differs.
	trailCode string
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

func failure(status int, code, message string, extra ...field) *apiError {
	return &apiError{status: status, code: code, message: message, extra: extra}
}

// authFault is why a request could not be attributed to anyone.
type authFault int

const (
	faultMissing authFault = iota
	faultIncomplete
	faultUnknownKey
	faultBadToken
	faultExpired
	faultSignature
	faultScope
	faultSkew
)

// authNames are the codes for one fault: S3, query, EC2, JSON.
// S3: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
// query: https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html
// EC2: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
var authNames = map[authFault][4]string{
	faultMissing:    {"AccessDenied", "MissingAuthenticationToken", "AuthFailure", "MissingAuthenticationTokenException"},
	faultIncomplete: {"AuthorizationHeaderMalformed", "IncompleteSignature", "AuthFailure", "IncompleteSignatureException"},
	faultUnknownKey: {"InvalidAccessKeyId", "InvalidClientTokenId", "AuthFailure", "UnrecognizedClientException"},
	faultBadToken:   {"InvalidToken", "InvalidClientTokenId", "AuthFailure", "UnrecognizedClientException"},
	faultExpired:    {"ExpiredToken", "ExpiredToken", "RequestExpired", "ExpiredTokenException"},
	faultSignature:  {"SignatureDoesNotMatch", "SignatureDoesNotMatch", "AuthFailure", "InvalidSignatureException"},
	faultScope:      {"AuthorizationHeaderMalformed", "SignatureDoesNotMatch", "AuthFailure", "InvalidSignatureException"},
	faultSkew:       {"RequestTimeTooSkewed", "SignatureDoesNotMatch", "RequestExpired", "InvalidSignatureException"},
}

func authFailure(p protocol, fault authFault, message string, extra ...field) *apiError {
	names := authNames[fault]
	switch p {
	case protoS3:
		status := http.StatusForbidden
		switch fault {
		case faultIncomplete, faultScope, faultBadToken, faultExpired:
			status = http.StatusBadRequest
		}
		return failure(status, names[0], message, extra...)
	case protoQuery, protoRESTXML:
		return failure(http.StatusForbidden, names[1], message)
	case protoEC2:
		if names[2] == "AuthFailure" {
			return failure(http.StatusUnauthorized, names[2], "AWS was not able to validate the provided access credentials")
		}
		return failure(http.StatusBadRequest, names[2], message)
	case protoRESTJSON:
		return failure(http.StatusForbidden, names[3], message)
	}
	return failure(http.StatusBadRequest, names[3], message)
}

// denied is "authenticated, but not allowed".
func denied(p protocol, who *identity, action, resource string, v verdict) *apiError {
	why := "because no identity-based policy allows the " + action + " action"
	if v == explicitDeny {
		why = "with an explicit deny in an identity-based policy"
	}
	msg := "User: " + who.arn() + " is not authorized to perform: " + action
	switch p {
	case protoS3:
		return failure(http.StatusForbidden, "AccessDenied", msg+" on resource: \""+resource+"\" "+why)
	case protoEC2:
		return failure(http.StatusForbidden, "UnauthorizedOperation",
			"You are not authorized to perform this operation. "+msg+" on resource: "+resource+" "+why)
	case protoQuery, protoRESTXML:
		return failure(http.StatusForbidden, "AccessDenied", msg+" on resource: "+resource+" "+why)
	case protoRESTJSON:
		return failure(http.StatusForbidden, "AccessDeniedException", msg+" on resource: "+resource+" "+why)
	}
	return failure(http.StatusBadRequest, "AccessDeniedException", msg+" on resource: "+resource+" "+why)
}

// writeError answers in the protocol's shape.
func (c *call) writeError(e *apiError) {
	h := c.w.Header()
	for k, v := range e.header {
		h.Set(k, v)
	}
	var b bytes.Buffer
	switch c.proto {
	case protoS3:
		h.Set("Content-Type", "application/xml")
		b.WriteString(xml.Header + "<Error>")
		element(&b, "Code", e.code)
		element(&b, "Message", e.message)
		for _, f := range e.extra {
			element(&b, f.name, f.value)
		}
		element(&b, "RequestId", c.requestID)
		element(&b, "HostId", c.hostID)
		b.WriteString("</Error>")
	case protoEC2:
		h.Set("Content-Type", "text/xml;charset=UTF-8")
		b.WriteString(xml.Header + "<Response><Errors><Error>")
		element(&b, "Code", e.code)
		element(&b, "Message", e.message)
		b.WriteString("</Error></Errors>")
		element(&b, "RequestID", c.requestID)
		b.WriteString("</Response>")
	case protoQuery, protoRESTXML:
		h.Set("Content-Type", "text/xml")
		b.WriteString("<ErrorResponse xmlns=\"" + queryNamespace[c.ep.service] + "\"><Error><Type>Sender</Type>")
		element(&b, "Code", e.code)
		element(&b, "Message", e.message)
		b.WriteString("</Error>")
		element(&b, "RequestId", c.requestID)
		b.WriteString("</ErrorResponse>")
	case protoCBOR:
		h.Set("Content-Type", "application/cbor")
		h.Set("Smithy-Protocol", "rpc-v2-cbor")
		raw, err := cbor.Marshal(struct {
			Type    string `cbor:"__type"`
			Message string `cbor:"message"`
		}{e.code, e.message})
		if err != nil {
			panic(err) // two texts
		}
		b.Write(raw)
	case protoRESTJSON:
		h.Set("Content-Type", "application/json")
		h.Set("X-Amzn-Errortype", e.code)
		json.NewEncoder(&b).Encode(map[string]string{"message": e.message})
	default:
		h.Set("Content-Type", "application/x-amz-json-1.0")
		name := e.code
		if c.ep.service == "dynamodb" && !strings.Contains(name, "#") {
			ns := "com.amazonaws.dynamodb.v20120810#"
			if strings.HasPrefix(name, "Unrecognized") || strings.HasPrefix(name, "InvalidSignature") || strings.HasPrefix(name, "Expired") ||
				strings.HasPrefix(name, "Missing") || strings.HasPrefix(name, "Incomplete") || strings.HasPrefix(name, "AccessDenied") || name == "ValidationException" || name == "UnknownOperationException" {
				ns = "com.amazon.coral.service#"
			}
			name = ns + name
		}
		json.NewEncoder(&b).Encode(map[string]string{"__type": name, "message": e.message})
	}
	c.w.WriteHeader(e.status)
	if c.r.Method != http.MethodHead && e.status != http.StatusNotModified {
		c.w.Write(b.Bytes())
	}
}

var queryNamespace = map[string]string{
	"sts": "https://sts.amazonaws.com/doc/2011-06-15/",
	"iam": "https://iam.amazonaws.com/doc/2010-05-08/",
	"sns": "http://sns.amazonaws.com/doc/2010-03-31/",
}

// element writes <name>escaped text</name>.
func element(b *bytes.Buffer, name, text string) {
	b.WriteString("<" + name + ">")
	xml.EscapeText(b, []byte(text))
	b.WriteString("</" + name + ">")
}
