package sigv4

import (
	"errors"
	"net/http"
)

// The kinds of refusal. Match with errors.Is; [Error] carries the detail.
var (
	// ErrMissing: the request carries no AWS signature at all.
	ErrMissing = errors.New("request is not signed")
	// ErrUnsupported: it is signed in a way that postern does not carry
	// (Signature Version 2 but for S3's presigned URLs, bearer tokens, an unknown algorithm).
	ErrUnsupported = errors.New("signature scheme is not supported")
	// ErrMalformed: the signature is there and cannot be read without guessing.
	ErrMalformed = errors.New("signature is malformed")
	// ErrMismatch: the signature does not belong to this request and secret.
	ErrMismatch = errors.New("signature does not match")
	// ErrSkewed: the request's time is more than the allowed skew away from ours.
	ErrSkewed = errors.New("request time is too skewed")
	// ErrExpired: a presigned request is used after its expiry.
	ErrExpired = errors.New("presigned request has expired")
	// ErrUnsigned: a header that must be signed is not.
	ErrUnsigned = errors.New("header is not signed")
	// ErrPayload: the body is not the one that was signed.
	ErrPayload = errors.New("payload does not match")
)

// Error is a refusal with its detail. It unwraps to one of the kinds above.
type Error struct {
	Kind    error
	Detail  string
	Service string // signing name from the scope, "" before it is known
	Query   bool   // the signature was in the query string
}

func (e *Error) Error() string { return e.Kind.Error() + ": " + e.Detail }

// Unwrap gives the kind, for errors.Is.
func (e *Error) Unwrap() error { return e.Kind }

// Code is the error code that AWS itself answers with in this case: S3's own
// where the request was meant for S3, the common one elsewhere. wrong is that of other
// services for a signature that is not good, which depends on the protocol.
func (e *Error) Code(wrong string) string {
	s3 := singleEncoded(e.Service)
	switch e.Kind {
	case ErrMissing:
		if s3 {
			return "AccessDenied"
		}
		return "MissingAuthenticationToken"
	case ErrUnsupported:
		if s3 {
			return "InvalidRequest"
		}
		return "IncompleteSignature"
	case ErrMalformed:
		switch {
		case s3 && e.Query:
			return "AuthorizationQueryParametersError"
		case s3:
			return "AuthorizationHeaderMalformed"
		}
		return "IncompleteSignature"
	case ErrSkewed:
		if s3 {
			return "RequestTimeTooSkewed"
		}
		return wrong
	case ErrExpired, ErrUnsigned:
		if s3 {
			return "AccessDenied"
		}
		return wrong
	case ErrPayload:
		if s3 {
			return "XAmzContentSHA256Mismatch"
		}
		return wrong
	}
	if s3 {
		return "SignatureDoesNotMatch"
	}
	return wrong
}

// Status is the HTTP status that goes with Code.
func (e *Error) Status() int {
	switch e.Kind {
	case ErrUnsupported, ErrMalformed, ErrPayload:
		return http.StatusBadRequest
	}
	return http.StatusForbidden
}
