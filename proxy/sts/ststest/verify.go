package ststest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// verify signs what came in once more, with the SDK's signer and the secret of
// the key that it names, and compares.
func (a *AWS) verify(r *http.Request) (Key, error) {
	for name := range r.Header {
		if strings.HasPrefix(name, "Postern-") || strings.HasPrefix(name, "X-Forwarded-") {
			return Key{}, fmt.Errorf("header %s reached AWS", name)
		}
	}
	if key, _, ok := strings.Cut(r.URL.Query().Get("X-Amz-Credential"), "/"); ok && a.Presigned {
		return a.key(key), nil
	}
	auth := r.Header.Get("Authorization")
	rest, ok := strings.CutPrefix(auth, "AWS4-HMAC-SHA256 Credential=")
	if !ok {
		return Key{}, errors.New("not signed")
	}
	credential, rest, _ := strings.Cut(rest, ", SignedHeaders=")
	signed, signature, _ := strings.Cut(rest, ", Signature=")
	scope := strings.Split(credential, "/")
	if len(scope) != 5 {
		return Key{}, fmt.Errorf("credential %q", credential)
	}
	k := a.key(scope[0])
	if k.Secret == "" {
		return Key{}, fmt.Errorf("unknown key %s", scope[0])
	}
	if !k.Expires.IsZero() && a.Clock().After(k.Expires) {
		return Key{}, fmt.Errorf("key %s has expired", k.ID)
	}
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		return Key{}, err
	}
	if skew := time.Since(at); skew > 5*time.Minute || skew < -5*time.Minute {
		return Key{}, fmt.Errorf("skew %v", skew)
	}
	names := strings.Split(signed, ";")
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Amz-") && !slices.Contains(names, strings.ToLower(name)) {
			return Key{}, fmt.Errorf("%s is not signed", name)
		}
	}
	again := &http.Request{Method: r.Method, Host: r.Host, Header: http.Header{}}
	s3 := scope[3] == "s3" || scope[3] == "s3express"
	path, query, _ := strings.Cut(r.RequestURI, "?")
	if s3 {
		// S3 encodes anew what it has decoded.
		if path, err = canonical(path); err != nil {
			return Key{}, err
		}
	}
	again.URL = &url.URL{Scheme: "https", Host: r.Host, Opaque: "//" + r.Host + path, RawQuery: query}
	for _, n := range names {
		switch n {
		case "host", "x-amz-date", "x-amz-security-token":
		case "content-length":
			again.ContentLength = r.ContentLength
		default:
			again.Header[http.CanonicalHeaderKey(n)] = r.Header.Values(n)
		}
	}
	payload := r.Header.Get("X-Amz-Content-Sha256")
	switch {
	case payload == "":
		body, err := io.ReadAll(io.LimitReader(r.Body, 16<<20))
		if err != nil {
			return Key{}, err
		}
		sum := sha256.Sum256(body)
		payload = hex.EncodeToString(sum[:])
		r.Body = io.NopCloser(bytes.NewReader(body))
	case len(payload) == 64:
		r.Body = &checkedBody{ReadCloser: r.Body, hash: sha256.New(), want: payload}
	}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = s3 })
	creds := aws.Credentials{AccessKeyID: k.ID, SecretAccessKey: k.Secret, SessionToken: k.Token}
	if err := signer.SignHTTP(r.Context(), creds, again, payload, scope[3], scope[2], at); err != nil {
		return Key{}, err
	}
	if want := again.Header.Get("Authorization"); !strings.HasSuffix(want, "Signature="+signature) {
		return Key{}, fmt.Errorf("signature does not match: got %s, want %s", auth, want)
	}
	return k, nil
}

// canonical is S3's canonical path. An encoded slash is part of a name, and stays.
func canonical(path string) (string, error) {
	var b strings.Builder
	for i, part := range strings.Split(strings.ReplaceAll(path, "%2f", "%2F"), "%2F") {
		if i > 0 {
			b.WriteString("%2F")
		}
		decoded, err := url.PathUnescape(part)
		if err != nil {
			return "", err
		}
		for i := range len(decoded) {
			switch c := decoded[i]; {
			case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~/", c) >= 0:
				b.WriteByte(c)
			default:
				fmt.Fprintf(&b, "%%%02X", c)
			}
		}
	}
	return b.String(), nil
}

// checkedBody fails at its end if it is not the body that was signed.
type checkedBody struct {
	io.ReadCloser
	hash hash.Hash
	want string
}

func (b *checkedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.hash.Write(p[:n])
	if err == io.EOF && hex.EncodeToString(b.hash.Sum(nil)) != b.want {
		return n, errors.New("the body is not the one that was signed")
	}
	return n, err
}
