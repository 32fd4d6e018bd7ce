package sigv4

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// message is the part of a request that a signature covers, as it is on the
// wire.
type message struct {
	method, path, query, host string
	mark                      bool // a question mark, even with no query behind it
	header                    http.Header
	length                    int64
	encoding                  []string
}

// authority is what the host is called in HTTP/2, and what the AWS SDK for JavaScript
// signs there in the place of "host".
const authority = ":authority"

// messageOf reads a request that came from net/http's server (RequestURI set:
// the very bytes of the request line) or that is about to be sent.
func messageOf(r *http.Request) message {
	m := message{
		method: r.Method, host: r.Host, header: r.Header,
		length: r.ContentLength, encoding: r.TransferEncoding,
	}
	if m.method == "" {
		m.method = http.MethodGet
	}
	if r.RequestURI != "" {
		m.path, m.query, m.mark = strings.Cut(originForm(r.RequestURI), "?")
	} else if r.URL != nil {
		m.path, m.query, m.mark = r.URL.EscapedPath(), r.URL.RawQuery, r.URL.ForceQuery
		if r.URL.Opaque != "" {
			m.path, _, _ = strings.Cut(originForm(r.URL.Opaque), "?")
		}
	}
	if m.path == "" {
		m.path = "/"
	}
	if m.host == "" && r.URL != nil {
		m.host = r.URL.Host
	}
	return m
}

// originForm cuts scheme and host from a request target in absolute form
// (RFC 9112, section 3.2.2).
func originForm(target string) string {
	if strings.HasPrefix(target, "/") {
		return target
	}
	i := strings.Index(target, "://")
	if i < 0 {
		return target
	}
	rest := target[i+3:]
	if j := strings.IndexAny(rest, "/?"); j >= 0 {
		if rest[j] == '?' {
			return "/" + rest[j:]
		}
		return rest[j:]
	}
	return "/"
}

// target is path and query as on the wire.
func (m *message) target() string {
	if m.query == "" && !m.mark {
		return m.path
	}
	return m.path + "?" + m.query
}

// SetTarget makes net/http's client send exactly this request target for u.
// url.URL would otherwise encode some bytes anew, and S3 would see another key
// than the one that was signed.
func SetTarget(u *url.URL, target string) error {
	if strings.IndexByte(target, ' ') >= 0 { // HTTP/2 has room for it; a request line would be in three parts
		return fmt.Errorf("target %.200q has a space in it: percent-encode it", target)
	}
	path, query, mark := strings.Cut(target, "?")
	u.RawQuery, u.ForceQuery, u.Fragment, u.RawFragment = query, mark && query == "", "", ""
	dec, err := url.PathUnescape(path)
	if err != nil {
		return fmt.Errorf("path %q: %w", path, err)
	}
	u.Opaque, u.Path, u.RawPath = "", dec, path
	if u.EscapedPath() == path {
		return nil
	}
	// Opaque goes out untouched, but with two leading slashes it would be read
	// as a host.
	if strings.HasPrefix(path, "//") {
		return fmt.Errorf("path %q cannot be sent unchanged: percent-encode it", path)
	}
	u.Opaque = path
	return nil
}

// sendsZero tells whether net/http's client sends "Content-Length: 0".
func (m *message) sendsZero() bool {
	switch m.method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		return true
	case http.MethodGet, http.MethodHead:
		return false
	}
	return len(m.encoding) == 1 && m.encoding[0] == "identity"
}

// values gives the values of a header by its lower-case name, including those
// that net/http keeps outside of the header map.
func (m *message) values(name string) []string {
	switch name {
	case "host", authority:
		return []string{m.host}
	case "content-length":
		if v := m.header["Content-Length"]; len(v) > 0 {
			return v
		}
		if m.length > 0 || m.length == 0 && m.sendsZero() {
			return []string{strconv.FormatInt(m.length, 10)}
		}
		return nil
	case "transfer-encoding":
		return m.encoding
	}
	for k, v := range m.header {
		if len(k) == len(name) && strings.EqualFold(k, name) {
			return v
		}
	}
	return nil
}
