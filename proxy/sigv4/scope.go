package sigv4

import (
	"strings"
	"time"
)

// Algorithm is the signing algorithm of a request.
type Algorithm uint8

const (
	SigV4  Algorithm = iota // AWS4-HMAC-SHA256
	SigV4A                  // AWS4-ECDSA-P256-SHA256
)

const (
	algHMAC  = "AWS4-HMAC-SHA256"
	algECDSA = "AWS4-ECDSA-P256-SHA256"
	ending   = "aws4_request"

	timeFormat = "20060102T150405Z"
	dateFormat = "20060102"
)

// String is the algorithm's name on the wire.
func (a Algorithm) String() string {
	if a == SigV4A {
		return algECDSA
	}
	return algHMAC
}

// Credentials sign requests. They must never be printed: String and GoString
// see to it that %v of one shows the access key id only.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
	// S3Session marks credentials that S3 Express handed out with
	// CreateSession; their token travels in X-Amz-S3session-Token.
	S3Session bool
}

func (c Credentials) String() string   { return "sigv4.Credentials(" + c.AccessKeyID + ")" }
func (c Credentials) GoString() string { return c.String() }

// Scope is what a signature is valid for.
type Scope struct {
	AccessKeyID string
	Date        string // 20060102, UTC
	// Region is one region, or for SigV4A the region set as it was sent ("*",
	// "us-east-1,eu-*").
	Region    string
	Service   string // signing name, such as "s3" or "execute-api"
	Algorithm Algorithm
}

// appendCredential appends "date/region/service/aws4_request".
func (s *Scope) appendCredential(b []byte) []byte {
	b = append(b, s.Date...)
	b = append(b, '/')
	if s.Algorithm == SigV4 {
		b = append(b, s.Region...)
		b = append(b, '/')
	}
	b = append(b, s.Service...)
	return append(b, "/"+ending...)
}

// singleEncoded tells the services whose canonical path is encoded once and
// never normalised: S3, whose keys may hold anything, and its offshoots
// (aws-sdk rules: endpoint property disableDoubleEncoding).
func singleEncoded(service string) bool {
	switch service {
	case "s3", "s3-outposts", "s3-object-lambda", "s3express":
		return true
	}
	return false
}

// PayloadMode is how the body takes part in the signature.
type PayloadMode uint8

const (
	// PayloadUndeclared: no X-Amz-Content-Sha256. The hash of the whole body
	// is signed and has to be computed before verifying ([HashBody]).
	PayloadUndeclared PayloadMode = iota
	// PayloadHashed: a SHA-256 in hex is declared; AWS checks the body.
	PayloadHashed
	// PayloadUnsigned: UNSIGNED-PAYLOAD.
	PayloadUnsigned
	// PayloadUnsignedTrailer: STREAMING-UNSIGNED-PAYLOAD-TRAILER, aws-chunked
	// without signatures; nothing in the body depends on the key.
	PayloadUnsignedTrailer
	// PayloadChunked: STREAMING-AWS4-HMAC-SHA256-PAYLOAD or its ECDSA twin.
	PayloadChunked
	// PayloadChunkedTrailer: the same with a signed trailer.
	PayloadChunkedTrailer
	// PayloadEvents: STREAMING-AWS4-HMAC-SHA256-EVENTS, event-stream frames.
	PayloadEvents
)

const (
	unsignedPayload = "UNSIGNED-PAYLOAD"
	unsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	emptyHash       = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// Signed tells whether the body carries signatures of its own, which must be
// made anew when the key changes.
func (m PayloadMode) Signed() bool { return m >= PayloadChunked }

func payloadMode(declared string) (PayloadMode, bool) {
	switch declared {
	case "":
		return PayloadUndeclared, true
	case unsignedPayload:
		return PayloadUnsigned, true
	case unsignedTrailer:
		return PayloadUnsignedTrailer, true
	case "STREAMING-" + algHMAC + "-PAYLOAD", "STREAMING-" + algECDSA + "-PAYLOAD":
		return PayloadChunked, true
	case "STREAMING-" + algHMAC + "-PAYLOAD-TRAILER", "STREAMING-" + algECDSA + "-PAYLOAD-TRAILER":
		return PayloadChunkedTrailer, true
	case "STREAMING-" + algHMAC + "-EVENTS", "STREAMING-" + algECDSA + "-EVENTS":
		return PayloadEvents, true
	}
	// CodeArtifact's PublishPackageVersion lets users fill in this header: what is
	// no hash there is passed on, for AWS to judge. An unknown mode of streaming
	// is not: its body may be signed in a way that would break.
	return PayloadHashed, len(declared) <= 128 && !strings.HasPrefix(declared, "STREAMING-")
}

// Authorization is a request's signature, parsed.
type Authorization struct {
	Scope
	SignedHeaders []string // lower case, sorted, as declared
	Signature     string   // lower-case hex
	Time          time.Time
	Payload       PayloadMode
	// PayloadHash is what the client declared: a hash in hex, one of the
	// literal modes, or "" when the hash has to be computed.
	PayloadHash string
	Presigned   bool
	Expires     time.Duration // presigned only
	// V2: an S3 URL presigned with Signature Version 2. Time is its end, Region
	// what the host says, us-east-1 where it says nothing.
	V2 bool
	// SessionToken is the token that came with the client's key, "" if none.
	SessionToken string
	// S3Session: the token came in X-Amz-S3session-Token.
	S3Session bool
}

func isHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
