// Package local is postern's helper on the user's own machine: a loopback HTTP
// proxy that AWS clients reach through HTTPS_PROXY and trust through
// AWS_CA_BUNDLE.
//
// For AWS hosts it ends the client's TLS with a certificate of a CA that lives
// as long as one run, checks that the request was signed with the
// credentials it gave out (they are worth nothing to AWS, and nothing to anybody
// who is not on this machine), and sends it to postern's proxy over mutual TLS
// with the request target byte for byte as it came. Bodies stream both ways. It
// sends nothing that it did not verify, but for requests signed with temporary
// credentials: if the proxy gave them out (to the user's own AssumeRole), the
// proxy can verify them. All other hosts are tunnelled untouched. What may have come to
// the proxy is not sent again, so that a request is admitted and recorded once.
//
// Both HTTP/1.1 and HTTP/2 are offered to AWS clients: streaming needs nothing
// special for either, and SDKs demand HTTP/2 for bidirectional event streams.
// Towards the proxy it is HTTP/1.1, one pooled connection a running request, so
// that a slow download never holds up another one.
//
// Nothing secret is written to disk: the CA's key and the credentials are in
// memory only, the one file is the bundle of trusted certificates.
package local
