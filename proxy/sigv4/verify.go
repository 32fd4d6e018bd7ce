package sigv4

import (
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// MaxSkew is how far a request's time may be from ours, as at AWS.
const MaxSkew = 15 * time.Minute

// Verifier checks signatures. The zero value is ready; one may serve all
// goroutines.
type Verifier struct {
	Keys    Keys
	scratch sync.Pool
}

// Verify checks that r was signed with secret, for this moment, and that
// everything which must be signed is. a is what [Parse] made of r. payloadHash is
// the hash in hex of the body that arrived, where it was computed ([HashBody]),
// which a.Payload == PayloadUndeclared requires; else "": the declared hash is
// taken, and whoever reads the body (AWS in the end) checks it. now is the
// present time.
//
// The comparison takes the same time wherever the signatures differ. Where AWS's
// own clients canonicalise differently (double slashes, "+" in a query, a token
// added after presigning) each reading is accepted: each covers all bytes that
// AWS reads.
func (v *Verifier) Verify(r *http.Request, a *Authorization, secret, payloadHash string, now time.Time) error {
	fail := func(kind error, format string, args ...any) error {
		return &Error{Kind: kind, Service: a.Service, Query: a.Presigned, Detail: fmt.Sprintf(format, args...)}
	}
	m := messageOf(r)
	if a.V2 {
		return verifyV2(&m, a, secret, now)
	}
	if !slices.Contains(a.SignedHeaders, "host") && !slices.Contains(a.SignedHeaders, authority) {
		return fail(ErrUnsigned, "host")
	}
	for name := range m.header {
		if strings.HasPrefix(name, "X-Amz-") && name != "X-Amz-Security-Token" && !contains(a.SignedHeaders, name) {
			return fail(ErrUnsigned, "%s", strings.ToLower(name))
		}
	}
	if err := a.checkTime(now, fail); err != nil {
		return err
	}
	hash := a.PayloadHash
	switch {
	case a.Payload == PayloadUndeclared && payloadHash == "":
		return fail(ErrPayload, "no payload hash is declared and none was computed")
	case a.Payload == PayloadUndeclared:
		hash = payloadHash
	case a.Payload == PayloadHashed && payloadHash != "" && payloadHash != hash:
		return fail(ErrPayload, "the body's SHA-256 is not the one declared in X-Amz-Content-Sha256")
	}
	s, _ := v.scratch.Get().(*scratch)
	if s == nil {
		s = new(scratch)
	}
	defer v.scratch.Put(s)
	check, err := v.checker(a, secret)
	if err != nil {
		return fail(ErrMalformed, "%v", err)
	}
	readings, n := variants(&m, a)
	for _, vr := range readings[:n] {
		c := s.canonical(&m, a.Service, a.SignedHeaders, hash, vr)
		if check(s, s.stringToSign(c, &a.Scope, a.Time)) {
			return nil
		}
	}
	return fail(ErrMismatch, "the signature calculated for key %s differs from the one sent", a.AccessKeyID)
}

// checker gives the comparison of one algorithm.
func (v *Verifier) checker(a *Authorization, secret string) (func(*scratch, []byte) bool, error) {
	if a.Algorithm == SigV4A {
		key, err := v.Keys.ecdsaKey(a.AccessKeyID, secret)
		if err != nil {
			return nil, err
		}
		return func(_ *scratch, msg []byte) bool { return verifyECDSA(&key.PublicKey, msg, a.Signature) }, nil
	}
	var want [32]byte
	if n, err := hex.Decode(want[:], []byte(a.Signature)); err != nil || n != 32 {
		return nil, fmt.Errorf("signature is not 64 hex digits")
	}
	key := v.Keys.get(secret, &a.Scope)
	return func(s *scratch, msg []byte) bool {
		got := key.sign(msg, &s.enc)
		return subtle.ConstantTimeCompare(got[:], want[:]) == 1
	}, nil
}

func (a *Authorization) checkTime(now time.Time, fail func(error, string, ...any) error) error {
	if a.Time.UTC().Format(dateFormat) != a.Date {
		return fail(ErrMismatch, "the credential's date %s is not the day of the request's time", a.Date)
	}
	if a.Time.After(now.Add(MaxSkew)) {
		return fail(ErrSkewed, "signed for %s, which is over 15 minutes ahead of %s: set the clock",
			a.Time.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	if !a.Presigned {
		if a.Time.Before(now.Add(-MaxSkew)) {
			return fail(ErrSkewed, "signed at %s, which is over 15 minutes before %s: set the clock",
				a.Time.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
		}
		return nil
	}
	if end := a.Time.Add(a.Expires); now.After(end) {
		return fail(ErrExpired, "it was valid until %s", end.UTC().Format(time.RFC3339))
	}
	return nil
}

// variants lists the readings worth trying: most often the standard one alone.
func variants(m *message, a *Authorization) (out [8]variant, n int) {
	n = 1
	add := func(v variant) {
		for i := range n {
			out[n+i] = out[i] | v
		}
		n *= 2
	}
	if !singleEncoded(a.Service) && m.path[0] == '/' && !normalPath(m.path) {
		add(asIs)
	}
	if strings.IndexByte(m.query, '+') >= 0 {
		add(literalPlus)
	}
	if a.Presigned && a.SessionToken != "" && m.query != "" {
		add(tokenAfter)
	}
	return out, n
}

// contains finds a canonical header name in a list of lower-case ones.
func contains(list []string, name string) bool {
	for _, s := range list {
		if len(s) == len(name) && strings.EqualFold(s, name) {
			return true
		}
	}
	return false
}
