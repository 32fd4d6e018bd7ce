// Package mfa makes and checks second factors: time-based one-time passwords
// (RFC 6238) and WebAuthn credentials. It remembers nothing: that a proof counts
// once is decided by package access.
package mfa

import (
	"crypto/hmac"
	"crypto/sha1" // what RFC 6238 and every authenticator app uses
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Parameters that every authenticator app understands.
const (
	period     = 30 // seconds
	digits     = 6
	SecretSize = 20 // bytes, as RFC 4226 section 4 recommends
	// skew is how many steps a phone's clock may be off, each way.
	skew = 1
)

// Code returns the code of a time step (RFC 4226 section 5.3, RFC 6238 section 4).
func Code(secret []byte, step int64) string {
	mac := hmac.New(sha1.New, secret)
	_ = binary.Write(mac, binary.BigEndian, step)
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 15
	return fmt.Sprintf("%0*d", digits, (binary.BigEndian.Uint32(sum[at:])&0x7fffffff)%1_000_000)
}

// Step is the number of the time step of a moment.
func Step(t time.Time) int64 { return t.Unix() / period }

// Match returns the latest step near now that a code is of. Spaces in it do not
// count.
func Match(secret []byte, code string, now time.Time) (step int64, ok bool) {
	code = strings.ReplaceAll(code, " ", "")
	for step = Step(now) + skew; step >= Step(now)-skew; step-- {
		if subtle.ConstantTimeCompare([]byte(Code(secret, step)), []byte(code)) == 1 {
			return step, true
		}
	}
	return 0, false
}

// SecretText is a secret as people type it into an app.
func SecretText(secret []byte) string {
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret)
}

// URI is a secret as apps read it from a QR code
// (https://github.com/google/google-authenticator/wiki/Key-Uri-Format).
func URI(issuer, user string, secret []byte) string {
	q := url.Values{"secret": {SecretText(secret)}, "issuer": {issuer}}
	return "otpauth://totp/" + url.PathEscape(issuer+":"+user) + "?" + strings.ReplaceAll(q.Encode(), "+", "%20")
}
