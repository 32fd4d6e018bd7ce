// Package awserr answers an AWS client in its own tongue: an error that the
// client's SDK parses to the same code and message as one from AWS, whichever
// of AWS's protocols the request was written in.
//
// What is written is what the client sees, and SDKs decide by status and code
// whether to try again: 429, 5xx and the throttling codes are for what a retry
// can mend (a proxy that is restarting), never for a denial.
package awserr

import (
	"net/http"
	"strconv"
	"strings"
)

// Error is an answer to one AWS request.
type Error struct {
	// Status is the HTTP status; 0 means 403.
	Status int
	// Code is the AWS error code, such as "AccessDenied".
	Code string
	// Message is for the person in front of the client: cause and next step.
	Message string
	// RequestID is what clients print as the request id.
	RequestID string
}

// Write answers r with e in r's protocol. It reads nothing of r's body, so that
// a client which waits for "100 Continue" never sends it. The answer to HEAD
// has no body: clients then have the status only, and S3 the x-amz-error-*
// headers.
func Write(w http.ResponseWriter, r *http.Request, e Error) {
	if e.Status == 0 {
		e.Status = http.StatusForbidden
	}
	if r.Method == http.MethodConnect {
		// Nothing of AWS's is spoken yet, and no SDK parses this.
		w.Header().Set("X-Amzn-Requestid", e.RequestID)
		http.Error(w, e.Message, e.Status)
		return
	}
	p := protocolOf(r)
	body := p.body(e)
	h := w.Header()
	h.Set("X-Amzn-Requestid", e.RequestID)
	h.Set("X-Amz-Request-Id", e.RequestID)
	h.Set("Content-Type", p.contentType())
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	switch p {
	case json10, json11, restJSON:
		h.Set("X-Amzn-Errortype", e.Code)
	case rpcCBOR:
		// https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html
		h.Set("Smithy-Protocol", "rpc-v2-cbor")
	case s3XML, s3ControlXML:
		h.Set("X-Amz-Id-2", e.RequestID)
	}
	if strings.EqualFold(r.Header.Get("X-Amzn-Query-Mode"), "true") {
		// Services that left the query protocol keep their old codes in this
		// header (https://smithy.io/2.0/aws/protocols/aws-query-protocol.html).
		h.Set("X-Amzn-Query-Error", e.Code+";"+fault(e.Status))
	}
	if r.Method == http.MethodHead {
		// What S3 sends where there can be no body; some clients print it.
		h.Set("X-Amz-Error-Code", e.Code)
		h.Set("X-Amz-Error-Message", headerText(e.Message))
		h.Del("Content-Length")
		w.WriteHeader(e.Status)
		return
	}
	w.WriteHeader(e.Status)
	// The client that is gone has no use for the error of this write.
	_, _ = w.Write(body)
}

// AccessDenied is the code by which r's protocol says that something is not
// allowed: "AccessDeniedException" in the JSON and CBOR protocols, so that
// `except client.exceptions.AccessDeniedException` holds, EC2's own
// "UnauthorizedOperation", else "AccessDenied".
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
func AccessDenied(r *http.Request) string {
	return protocolOf(r).code("AccessDeniedException", "UnauthorizedOperation", "AccessDenied")
}

// Throttled is how r's protocol says that requests come too fast, which SDKs
// answer with a pause and another try.
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
func Throttled(r *http.Request) (code string, status int) {
	switch protocolOf(r) {
	case s3XML, s3ControlXML:
		return "SlowDown", http.StatusServiceUnavailable
	case ec2Query:
		return "RequestLimitExceeded", http.StatusServiceUnavailable
	case query, restXML:
		return "Throttling", http.StatusBadRequest
	case restJSON:
		return "ThrottlingException", http.StatusTooManyRequests
	}
	return "ThrottlingException", http.StatusBadRequest
}

// UnknownAccessKey is the code for an access key id that nobody has issued:
// "InvalidAccessKeyId" from S3, "UnrecognizedClientException" in the JSON and CBOR
// protocols, EC2's "AuthFailure", else "InvalidClientTokenId".
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html
func UnknownAccessKey(r *http.Request) string {
	p := protocolOf(r)
	if p == s3XML || p == s3ControlXML {
		return "InvalidAccessKeyId"
	}
	return p.code("UnrecognizedClientException", "AuthFailure", "InvalidClientTokenId")
}

// WrongSignature is the code for a signature that does not fit: the JSON and CBOR
// protocols' "InvalidSignatureException", EC2's "AuthFailure", else
// "SignatureDoesNotMatch".
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html
func WrongSignature(r *http.Request) string {
	return protocolOf(r).code("InvalidSignatureException", "AuthFailure", "SignatureDoesNotMatch")
}

// fault says whose fault a status is, in the query protocol's words.
func fault(status int) string {
	if status >= 500 {
		return "Receiver"
	}
	return "Sender"
}

// headerText keeps what an HTTP header value may hold.
func headerText(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return ' '
		}
		return c
	}, s)
}
