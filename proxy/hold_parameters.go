package proxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxParameters bounds what reviewers are shown of a call, in bytes.
const maxParameters = 4 << 10

// hidden stands for what looks like a secret.
const hidden = "(hidden)"

// secretName finds the names of what should not be shown to others.
var secretName = regexp.MustCompile(`(?i)passw|passphrase|secret|token|private_?key|credential|plaintext|api_?key`)

var secretElement = regexp.MustCompile(`(?i)(<([a-z]*(?:passw|passphrase|secret|token|privatekey|credential|plaintext)[a-z]*)>)[^<]*<`)

// parameters is what the call says, for those who decide on it.
func (c *call) parameters() string {
	var parts []string
	if q := form(c.query); q != "" {
		parts = append(parts, q)
	}
	switch body := c.body.head; {
	case len(body) == 0 && c.r.ContentLength == 0:
	case len(body) == 0 || !c.body.whole || !utf8.Valid(body):
		parts = append(parts, fmt.Sprintf("body of %d bytes, not shown", max(c.r.ContentLength, int64(len(body)))))
	case strings.Contains(c.r.Header.Get("Content-Type"), "json"):
		parts = append(parts, jsonText(body))
	case strings.HasPrefix(c.r.Header.Get("Content-Type"), "application/x-www-form-urlencoded"):
		parts = append(parts, form(string(body)))
	default:
		parts = append(parts, secretElement.ReplaceAllString(string(body), "${1}"+hidden+"<"))
	}
	s := strings.Join(parts, " ")
	if len(s) > maxParameters {
		s = strings.ToValidUTF8(s[:maxParameters], "") + "…"
	}
	return s
}

// form shows a query or form, with no secrets and nothing of a signature.
func form(s string) string {
	var out []string
	for part := range strings.SplitSeq(s, "&") {
		name, value, _ := strings.Cut(part, "=")
		plain, err := url.QueryUnescape(name)
		if err != nil || part == "" || slices.Contains(signing, http.CanonicalHeaderKey(plain)) {
			continue
		}
		if v, err := url.QueryUnescape(value); err == nil {
			value = v
		}
		if secretName.MatchString(plain) {
			value = hidden
		}
		out = append(out, plain+"="+value)
	}
	return strings.Join(out, "&")
}

// jsonText shows a JSON document without secrets.
func jsonText(body []byte) string {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return "a body that is not JSON"
	}
	out, err := json.Marshal(hide(v))
	if err != nil {
		return "a body that is not JSON"
	}
	return string(out)
}

func hide(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, of := range v {
			if _, nested := of.(map[string]any); secretName.MatchString(name) && !nested {
				v[name] = hidden
				continue
			}
			v[name] = hide(of)
		}
	case []any:
		for i := range v {
			v[i] = hide(v[i])
		}
	}
	return v
}
