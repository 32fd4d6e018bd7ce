// Package once keeps net/http from sending a request a second time by itself: what a
// lost connection may have delivered could be admitted, carried out and recorded twice,
// and whether to try again is for the client to say. The proxy asks it of requests to
// AWS, the helper of those to the proxy.
package once

import (
	"io"
	"net/http"
	"strings"
)

// Only takes from net/http what it has for leave to send r again when a connection ends
// (Request.isReplayable).
func Only(r *http.Request) {
	if Repeats(r.Method) && (r.Body == nil || r.Body == http.NoBody) {
		r.Body, r.TransferEncoding = empty{}, nil
	}
	r.GetBody = nil
	for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
		if v, ok := r.Header[name]; ok { // it looks for the canonical spelling
			delete(r.Header, name)
			r.Header[strings.ToLower(name)] = v
		}
	}
}

// Repeats tells the methods that net/http takes for such leave. With these, [Only] leaves
// an empty body's declared length out.
func Repeats(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// Empty tells whether there is nothing to send of r's body, so that r can be sent anew.
func Empty(r *http.Request) bool {
	return r.Body == nil || r.Body == http.NoBody || r.Body == empty{}
}

// empty is a body without bytes, of which net/http does not know that.
type empty struct{}

func (empty) Read([]byte) (int, error) { return 0, io.EOF }
func (empty) Close() error             { return nil }
