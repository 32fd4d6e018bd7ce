// Package params makes the parameters of an AWS request fit for the record: as
// JSON, without its secrets. What it does not understand it leaves out.
//
// Secrets are what AWS's models mark as sensitive, and whatever has a name like
// one. It is pure.
package params

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"mime"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/smithy-go/encoding/cbor"
)

//go:generate sh -c "go run ./internal/gen -models $(python3 -c 'import botocore, os; print(os.path.dirname(botocore.__file__))')/data"

//go:embed sensitive.tsv
var sensitive string

const (
	// Redacted stands for a secret, Omitted for a body that is not recorded.
	Redacted = "[redacted]"
	Omitted  = "[not recorded]"
	// maxText is how long a text may be, in bytes, before it is cut.
	maxText = 1024
	// maxSize is how long the whole may be; beyond it only names remain.
	maxSize = 16 << 10
)

// Table knows AWS's secrets. It is read-only once built.
type Table struct {
	secret map[string][]string // "service operation" -> members, in lower case; * is the body
}

// New decodes the embedded table. An error means that the build is broken.
func New() (*Table, error) {
	t := &Table{map[string][]string{}}
	for line := range strings.Lines(sensitive) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 3 {
			return nil, fmt.Errorf("sensitive.tsv: %q has not three fields", line)
		}
		for op := range strings.SplitSeq(f[2], ",") {
			key := f[0] + " " + op
			t.secret[key] = append(t.secret[key], strings.Split(f[1], ",")...)
		}
	}
	return t, nil
}

// Input is what is known of a request.
type Input struct {
	// Service is AWS's name for the API (that of botocore), Operation its
	// operation; without it nothing is recorded.
	Service, Operation string
	RawQuery           string
	ContentType        string
	// Body is the beginning of the body, Whole that nothing follows.
	Body  []byte
	Whole bool
}

// Of returns the parameters as a JSON object, nil if there is none.
func (t *Table) Of(in *Input) json.RawMessage {
	if in.Operation == "" {
		return nil
	}
	all := map[string]any{}
	known := secrets(t.secret[in.Service+" "+in.Operation])
	known.form(all, in.RawQuery)
	if len(in.Body) > 0 || !in.Whole {
		known.body(all, in)
	}
	if len(all) == 0 {
		return nil
	}
	b, err := json.Marshal(all)
	if err == nil && len(b) > maxSize {
		for name := range all {
			all[name] = Omitted
		}
		b, err = json.Marshal(all)
	}
	if err != nil || len(b) > maxSize {
		return json.RawMessage(`{"":"` + Omitted + `"}`)
	}
	return b
}

// secrets are the names of an operation's members that AWS's model marks.
type secrets []string

// body adds what the body says; the member "" tells that it says more.
func (t secrets) body(all map[string]any, in *Input) {
	kind, _, _ := mime.ParseMediaType(in.ContentType)
	var v any
	switch {
	case !in.Whole || slices.Contains(t, "*"):
	case kind == "application/x-www-form-urlencoded":
		t.form(all, string(in.Body))
		return
	case kind == "application/json", strings.HasPrefix(kind, "application/x-amz-json-"):
		d := json.NewDecoder(bytes.NewReader(in.Body))
		d.UseNumber()
		if d.Decode(&v) != nil || d.More() {
			v = nil
		}
	case kind == "application/cbor":
		if c, err := cbor.Decode(in.Body); err == nil {
			v = plain(c)
		}
	}
	m, ok := v.(map[string]any)
	if !ok {
		all[""] = Omitted
		return
	}
	for name, x := range m {
		all[name] = t.redact(name, x)
	}
}

// form adds the pairs of a query or a form. Of names with dots any part may name
// a secret; the parts of a signature are left out.
func (t secrets) form(all map[string]any, form string) {
	for pair := range strings.SplitSeq(form, "&") {
		name, value, _ := strings.Cut(pair, "=")
		name, err1 := url.QueryUnescape(name)
		value, err2 := url.QueryUnescape(value)
		lower := strings.ToLower(name)
		if err1 != nil || err2 != nil || name == "" || strings.HasPrefix(lower, "x-amz-") || slices.Contains(signature, lower) {
			continue
		}
		var x any = t.text(value)
		if slices.ContainsFunc(strings.Split(name, "."), t.has) {
			x = Redacted
		}
		all[name] = x
	}
	for name, x := range all { // Parameters.member.1.ParameterKey and …ParameterValue
		at := strings.LastIndexByte(name, '.') + 1
		if value, ok := x.(string); !ok || !keys(name[at:]) || !t.has(value) {
			continue
		}
		for other := range all {
			if rest, ok := strings.CutPrefix(other, name[:at]); ok && holdsValue(rest) {
				all[other] = Redacted
			}
		}
	}
}

// signature names what signs a URL in Signature Version 2, and what only says
// which protocol is spoken.
var signature = []string{"signature", "awsaccesskeyid", "expires", "signatureversion", "signaturemethod", "timestamp", "action", "version"}

// signs are the parts of a signature that are worth something to others, in other addresses than
// those of Signature Version 4.
var signs = []string{"signature", "sig", "awsaccesskeyid"}

// redact hides the secrets in a value of a name.
func (t secrets) redact(name string, v any) any {
	if t.has(name) {
		return Redacted
	}
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			v[k] = t.redact(k, x)
		}
		t.pair(v)
	case []any:
		for i, x := range v {
			v[i] = t.redact("", x)
		}
	case string:
		return t.text(v)
	}
	return v
}

// text is a text without the secrets that can be told in it, and not too long: those of
// JSON, and of addresses.
func (t secrets) text(s string) string {
	if begins := strings.TrimLeft(s, " \t\r\n"); begins != "" && strings.ContainsAny(begins[:1], "{[") {
		s = t.document(s)
	}
	if strings.Contains(s, "://") {
		s = userInfo.ReplaceAllString(s, "${1}"+Redacted+"@")
		s = asked.ReplaceAllStringFunc(s, func(pair string) string {
			name, _, _ := strings.Cut(pair[1:], "=")
			said, err := url.QueryUnescape(name)
			if lower := strings.ToLower(said); err != nil || t.has(said) || strings.HasPrefix(lower, "x-amz-") || slices.Contains(signs, lower) {
				return pair[:1] + name + "=" + Redacted
			}
			return pair
		})
	}
	return short(s)
}

var (
	// userInfo is the password of an address, asked a pair of its query.
	userInfo = regexp.MustCompile(`(://[^/?#\s@:]*:)[^/?#\s@]+@`)
	asked    = regexp.MustCompile(`[?&;][^=?&;#\s]+=[^&;#\s"'<>]+`)
)

// document is a text of JSON values, one after the other, without their secrets; what follows
// that is none, and a text that has none, is as it was.
func (t secrets) document(s string) string {
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	var out []byte
	hidden := false
	for {
		begin := d.InputOffset()
		var v any
		if d.Decode(&v) != nil {
			out = append(out, s[begin:]...)
			break
		}
		before, err1 := json.Marshal(v)
		after, err2 := json.Marshal(t.redact("", v))
		if err1 != nil || err2 != nil || bytes.Equal(before, after) {
			out = append(out, s[begin:d.InputOffset()]...)
			continue
		}
		hidden = true
		if begin > 0 {
			out = append(out, '\n')
		}
		out = append(out, after...)
	}
	if !hidden {
		return s
	}
	return string(out)
}

// pair hides the value of {"Name": "password", "Value": …} and its like.
func (t secrets) pair(m map[string]any) {
	for k, x := range m {
		if name, ok := x.(string); !ok || !keys(k) || !t.has(name) {
			continue
		}
		for k := range m {
			if holdsValue(k) {
				m[k] = Redacted
			}
		}
	}
}

// keys tells whether a member names what another one holds the value of: Name, Key,
// ParameterKey, OptionName.
func keys(member string) bool {
	member = strings.ToLower(member)
	return strings.HasSuffix(member, "name") || strings.HasSuffix(member, "key")
}

func holdsValue(member string) bool { return strings.Contains(strings.ToLower(member), "value") }

// short cuts long text.
func short(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "… (" + strconv.Itoa(len(s)) + " bytes)"
}

// named finds secrets by their names, harmless those that only look like one.
var (
	named    = regexp.MustCompile(`(?i)passw|pwd|passphrase|secret|token|credential|private_?-?key|api_?-?key|access_?-?key|plaintext|auth(orization|entication)?_?(code|header|key|data)|authorization$|bearer|connection_?string|otp|totp|mfa_?code`)
	harmless = regexp.MustCompile(`(?i)^(next|client|client_?request|pagination|page|continuation|idempotency|creator_?request)_?token$|^secret_?(id|arn|name)$|^(access|api)_?key_?(id|last_?used)$|^(max|token)_?(items|results|type)$`)
)

func (t secrets) has(name string) bool {
	return slices.Contains(t, strings.ToLower(name)) || named.MatchString(name) && !harmless.MatchString(name)
}

// plain makes of CBOR what encoding/json would have made of the same JSON.
func plain(v cbor.Value) any {
	switch v := v.(type) {
	case cbor.String:
		return string(v)
	case cbor.Uint:
		return uint64(v)
	case cbor.NegInt:
		return json.Number("-" + strconv.FormatUint(uint64(v), 10))
	case cbor.Bool:
		return bool(v)
	case cbor.Float32:
		return finite(float64(v))
	case cbor.Float64:
		return finite(float64(v))
	case cbor.Slice:
		return base64.StdEncoding.EncodeToString(v)
	case *cbor.Tag:
		return plain(v.Value)
	case cbor.List:
		out := make([]any, len(v))
		for i := range v {
			out[i] = plain(v[i])
		}
		return out
	case cbor.Map:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[k] = plain(x)
		}
		return out
	}
	return nil
}

// finite keeps what JSON has no number for.
func finite(f float64) any {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
	return f
}
