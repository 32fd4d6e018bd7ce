package sigv4

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// S3's presigned URLs of Signature Version 2 are still what the AWS CLI and
// boto3 make by default in the regions of before 2014. They are read and
// verified here, and never made: [Signer.Sign] puts a SigV4 signature in their
// place. See "Signing and authenticating REST requests (AWS signature version
// 2)", query string request authentication:
// https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html#RESTAuthenticationQueryStringAuth

// presignedV2 are the query parameters of such a URL, decoded.
type presignedV2 struct{ key, signature, expires string }

// v2Param tells the names, which have one spelling.
func v2Param(name string) bool {
	return name == "AWSAccessKeyId" || name == "Signature" || name == "Expires"
}

// queryV2 finds them; ok only where all are there.
func queryV2(query string) (p presignedV2, ok bool, err error) {
	if !strings.Contains(query, "AWSAccessKeyId=") {
		return p, false, nil
	}
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		name = string(appendDecoded(nil, name))
		var dst *string
		switch {
		case name == "AWSAccessKeyId":
			dst = &p.key
		case name == "Signature":
			dst = &p.signature
		case name == "Expires":
			dst = &p.expires
		case len(name) > 6 && strings.EqualFold(name[:6], "X-Amz-"):
			return p, false, &Error{Kind: ErrUnsupported, Service: "s3", Query: true,
				Detail: fmt.Sprintf("%.60s in a presigned URL of Signature Version 2; presign with signature_version s3v4", name)}
		default:
			continue
		}
		if *dst != "" {
			return p, false, &Error{Kind: ErrMalformed, Service: "s3", Query: true, Detail: "query: " + name + " given twice"}
		}
		*dst = string(appendDecoded(nil, value))
	}
	return p, p.key != "" && p.signature != "" && p.expires != "", nil
}

func parseV2(m *message, p presignedV2) (*Authorization, error) {
	bad := func(detail string) (*Authorization, error) {
		return nil, &Error{Kind: ErrMalformed, Service: "s3", Query: true, Detail: "query: " + detail}
	}
	_, region, ok := hostV2(m.host)
	if !ok || !plain(region) {
		return nil, &Error{Kind: ErrUnsupported, Query: true, Detail: "Signature Version 2 on a host other than S3's; use " + algHMAC}
	}
	if !plain(p.key) {
		return bad("AWSAccessKeyId holds a character that none has")
	}
	end, err := strconv.ParseInt(p.expires, 10, 64)
	if err != nil || end < 0 || end > 1<<40 {
		return bad("Expires must be in seconds since 1970")
	}
	if sum, err := base64.StdEncoding.DecodeString(p.signature); err != nil || len(sum) != sha1.Size {
		return bad("Signature is no HMAC-SHA1 in base64")
	}
	for _, name := range [...]string{"X-Amz-Content-Sha256", "Content-Md5", "Content-Type"} {
		if len(m.header[name]) > 1 {
			return bad(name + " given twice")
		}
	}
	a := &Authorization{
		Scope:         Scope{AccessKeyID: p.key, Region: region, Service: "s3"},
		SignedHeaders: []string{"host"}, Signature: p.signature, Presigned: true, V2: true,
		Time: time.Unix(end, 0).UTC(), Payload: PayloadUnsigned, PayloadHash: unsignedPayload,
	}
	if v := m.header["X-Amz-Content-Sha256"]; len(v) == 1 {
		if a.Payload, ok = payloadMode(v[0]); !ok || a.Payload.Signed() {
			return bad("X-Amz-Content-Sha256 names a mode that goes with no presigned URL")
		}
		a.PayloadHash = v[0]
	}
	return a, nil
}

// hostV2 splits an S3 host into the bucket, "" in path style, and the region.
func hostV2(host string) (bucket, region string, ok bool) {
	host, _, _ = strings.Cut(strings.ToLower(host), ":")
	rest, ok := strings.CutSuffix(host, ".amazonaws.com")
	if !ok {
		return "", "", false
	}
	labels := strings.Split(rest, ".")
	// A bucket's name may hold dots, and even a label "s3": the last one counts.
	for i := len(labels) - 1; i >= 0 && i >= len(labels)-3; i-- {
		after := labels[i+1:]
		if len(after) > 0 && after[0] == "dualstack" {
			after = after[1:]
		}
		switch l := labels[i]; {
		case l == "s3" && len(after) == 0:
			region = "us-east-1"
		case l == "s3" && len(after) == 1:
			region = after[0]
		case strings.HasPrefix(l, "s3-") && i == len(labels)-1 && strings.Count(l, "-") >= 3: // s3-us-west-2, from before regions had labels
			region = l[3:]
		default:
			continue
		}
		return strings.Join(labels[:i], "."), region, true
	}
	return "", "", false
}

// v2Resources are the query parameters that are signed, because they change what
// is asked for.
var v2Resources = []string{
	"accelerate", "acl", "analytics", "cors", "defaultObjectAcl", "delete", "inventory", "lifecycle", "location", "logging",
	"metrics", "notification", "object-lock", "partNumber", "policy", "replication", "requestPayment",
	"response-cache-control", "response-content-disposition", "response-content-encoding", "response-content-language",
	"response-content-type", "response-expires", "restore", "select", "select-type", "storageClass", "tagging", "torrent",
	"uploadId", "uploads", "versionId", "versioning", "versions", "website",
}

// otherV2 are parameters that V2 does not sign and that do not change which
// operation is meant; all others are refused, because nobody vouches for them.
func otherV2(name string) bool {
	switch name {
	case "content-type", "content-md5", "x-id",
		"prefix", "delimiter", "marker", "max-keys", "encoding-type", "list-type", "continuation-token", "start-after", "fetch-owner":
		return true
	}
	return v2Param(name)
}

// verifyV2 checks a presigned URL of Signature Version 2.
func verifyV2(m *message, a *Authorization, secret string, now time.Time) error {
	if now.After(a.Time) {
		return &Error{Kind: ErrExpired, Service: a.Service, Query: true, Detail: "it was valid until " + a.Time.Format(time.RFC3339)}
	}
	bucket, _, _ := hostV2(m.host)
	paths := []string{m.path}
	if bucket != "" {
		paths[0] = "/" + bucket + m.path
	} else if strings.LastIndexByte(m.path, '/') == 0 {
		paths = append(paths, m.path+"/") // botocore signs /bucket/ and sends /bucket, which S3 takes for the same
	}
	given, err := base64.StdEncoding.DecodeString(a.Signature)
	if err != nil {
		return &Error{Kind: ErrMalformed, Service: a.Service, Query: true, Detail: "Signature is not base64"}
	}
	for _, path := range paths {
		text, err := stringToSignV2(m, a, path)
		if err != nil {
			return err
		}
		mac := hmac.New(sha1.New, []byte(secret))
		mac.Write([]byte(text))
		if hmac.Equal(mac.Sum(nil), given) {
			return nil
		}
	}
	return &Error{Kind: ErrMismatch, Service: a.Service, Query: true,
		Detail: fmt.Sprintf("the signature calculated for key %s differs from the one sent", a.AccessKeyID)}
}

func stringToSignV2(m *message, a *Authorization, path string) (string, error) {
	first := func(name string) string {
		if v := m.header[name]; len(v) > 0 {
			return strings.TrimSpace(v[0])
		}
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n%s\n%d\n", m.method, first("Content-Md5"), first("Content-Type"), a.Time.Unix())
	var names []string
	for name := range m.header {
		if strings.HasPrefix(name, "X-Amz-") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		values := slices.Clone(m.header[http.CanonicalHeaderKey(name)])
		for i := range values {
			values[i] = strings.TrimSpace(values[i])
		}
		fmt.Fprintf(&b, "%s:%s\n", strings.ToLower(name), strings.Join(values, ","))
	}
	b.WriteString(path)
	var signed []string
	for pair := range strings.SplitSeq(m.query, "&") {
		name, value, has := strings.Cut(pair, "=")
		name = string(appendDecoded(nil, name))
		switch {
		case pair == "":
		case slices.Contains(v2Resources, name):
			if has && value != "" {
				name += "=" + string(appendDecoded(nil, strings.ReplaceAll(value, "+", "%20")))
			}
			signed = append(signed, name)
		case !otherV2(name):
			return "", &Error{Kind: ErrUnsigned, Service: a.Service, Query: true,
				Detail: fmt.Sprintf("query parameter %.60q: Signature Version 2 does not cover it; presign with signature_version s3v4", name)}
		}
	}
	slices.Sort(signed)
	for i, s := range signed {
		b.WriteByte("?&"[min(i, 1)])
		b.WriteString(s)
	}
	return b.String(), nil
}

// stripV2 removes the signature's parameters from a raw query.
func stripV2(query string) string {
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if !v2Param(string(appendDecoded(nil, name))) {
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "&")
}
