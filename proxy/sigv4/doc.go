// Package sigv4 parses, verifies and makes AWS signatures: Signature
// Version 4 in headers and in query strings, its chunked and event-stream
// bodies, and Version 4A.
//
// Both halves of postern use it. The helper on the user's machine parses and
// verifies what the client signed with credentials that are worth nothing to
// AWS; the proxy signs the same request again with credentials of the assumed
// role. Between the two no byte of path, query or body changes, because the
// client's own view of what it sent (checksums, presigned parameters, chunk
// framing) has to hold at AWS too.
//
// Every function works on *http.Request as net/http's server hands it over, or
// as net/http's client is about to send it. Nothing here does I/O apart from
// [HashBody] and the stream readers, nothing logs, and no error carries a secret
// or a computed signature.
//
// Sources: AWS General Reference, "Create a signed AWS API request"
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html);
// Amazon S3 API Reference, "Authenticating Requests (AWS Signature Version 4)"
// (https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html).
package sigv4
