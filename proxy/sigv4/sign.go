package sigv4

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Signer signs requests. The zero value is ready; one may serve all goroutines.
type Signer struct {
	Keys    Keys
	scratch sync.Pool
}

// Sign signs r in its headers with creds, for the scope (region, service,
// algorithm), headers and payload mode of in: what [Parse] made of the client's
// request, presigned or not. Of in's scope the key and the date are replaced.
//
// The client's Authorization, Date, X-Amz-Date, session tokens and presigned
// parameters are removed from r. The signature covers host, content-type, every
// x-amz-* header and the headers that were signed before and are still there,
// except hop-by-hop ones. Path and the rest of the query stay as they are on the
// wire, byte for byte; r.RequestURI is cleared and r.URL set so that net/http's
// client sends just that (scheme and host of r.URL are left alone).
//
// payloadHash is the body's SHA-256 in hex, needed where in.Payload is
// PayloadUndeclared; else "" passes on what the client declared. A body with
// signatures of its own (in.Payload.Signed()) must then be sent through a
// [StreamReader] that has the returned Authorization to sign with.
func (s *Signer) Sign(r *http.Request, creds Credentials, in *Authorization, payloadHash string, now time.Time) (*Authorization, error) {
	a, m, err := s.prepare(r, creds, in, payloadHash, now)
	if err != nil {
		return nil, err
	}
	h := r.Header
	h["X-Amz-Date"] = []string{a.Time.Format(timeFormat)}
	switch {
	case creds.SessionToken == "":
	case creds.S3Session:
		h["X-Amz-S3session-Token"] = []string{creds.SessionToken}
	default:
		h["X-Amz-Security-Token"] = []string{creds.SessionToken}
	}
	if a.Algorithm == SigV4A {
		h["X-Amz-Region-Set"] = []string{a.Region}
	}
	if singleEncoded(a.Service) || len(h["X-Amz-Content-Sha256"]) > 0 {
		h["X-Amz-Content-Sha256"] = []string{a.PayloadHash}
	}
	a.SignedHeaders = headersToSign(m, in.SignedHeaders)
	if err := s.sign(a, m, creds.SecretAccessKey); err != nil {
		return nil, err
	}
	var arr [512]byte
	b := append(arr[:0], a.Algorithm.String()...)
	b = append(append(append(b, " Credential="...), a.AccessKeyID...), '/')
	b = a.appendCredential(b)
	b = append(b, ", SignedHeaders="...)
	for i, n := range a.SignedHeaders {
		if i > 0 {
			b = append(b, ';')
		}
		b = append(b, n...)
	}
	b = append(append(b, ", Signature="...), a.Signature...)
	h["Authorization"] = []string{string(b)}
	r.RequestURI = ""
	return a, SetTarget(r.URL, m.target())
}

// Presign signs r in its query, valid for expires (whole seconds, at most seven
// days; 0 takes in.Expires), and otherwise as [Signer.Sign]. x-amz-* headers of r
// stay headers, and whoever uses the URL has to send them.
func (s *Signer) Presign(r *http.Request, creds Credentials, in *Authorization, payloadHash string, expires time.Duration, now time.Time) (*Authorization, error) {
	if in.Payload.Signed() {
		return nil, errors.New("presign: a body signed in chunks cannot be presigned")
	}
	if expires == 0 {
		expires = in.Expires
	}
	if expires < time.Second || expires > maxExpires {
		return nil, fmt.Errorf("presign: validity %v is not between 1 s and 7 days", expires)
	}
	a, m, err := s.prepare(r, creds, in, payloadHash, now)
	if err != nil {
		return nil, err
	}
	a.Presigned, a.Expires = true, expires
	if singleEncoded(a.Service) && (in.Presigned || in.Payload == PayloadHashed) && len(r.Header["X-Amz-Content-Sha256"]) == 0 {
		a.Payload, a.PayloadHash = PayloadUnsigned, unsignedPayload
	}
	a.SignedHeaders = headersToSign(m, in.SignedHeaders)
	q := []byte(m.query)
	param := func(name, value string) {
		if len(q) > 0 {
			q = append(q, '&')
		}
		q = append(append(q, name...), '=')
		for i := range len(value) {
			q = appendEncoded(q, value[i])
		}
	}
	param("X-Amz-Algorithm", a.Algorithm.String())
	param("X-Amz-Credential", a.AccessKeyID+"/"+string(a.appendCredential(nil)))
	param("X-Amz-Date", a.Time.Format(timeFormat))
	param("X-Amz-Expires", strconv.Itoa(int(expires/time.Second)))
	if a.Algorithm == SigV4A {
		param("X-Amz-Region-Set", a.Region)
	}
	param("X-Amz-SignedHeaders", strings.Join(a.SignedHeaders, ";"))
	// AWS IoT leaves the token out of what is signed (AWS IoT Core Developer Guide,
	// "Device communication protocols": MQTT over WebSocket).
	tokenAfter := a.Service == "iotdevicegateway" && creds.SessionToken != ""
	switch {
	case creds.SessionToken == "" || tokenAfter:
	case creds.S3Session:
		param("X-Amz-S3session-Token", creds.SessionToken)
	default:
		param("X-Amz-Security-Token", creds.SessionToken)
	}
	m.query = string(q)
	if err := s.sign(a, m, creds.SecretAccessKey); err != nil {
		return nil, err
	}
	param("X-Amz-Signature", a.Signature)
	if tokenAfter {
		param("X-Amz-Security-Token", creds.SessionToken)
	}
	r.RequestURI = ""
	return a, SetTarget(r.URL, m.path+"?"+string(q))
}

// prepare makes the outgoing scope and strips the client's signature.
func (s *Signer) prepare(r *http.Request, creds Credentials, in *Authorization, payloadHash string, now time.Time) (*Authorization, *message, error) {
	if creds.AccessKeyID == "" || creds.SecretAccessKey == "" {
		return nil, nil, errors.New("sign: no credentials given")
	}
	if in.Service == "" || in.Region == "" {
		return nil, nil, fmt.Errorf("sign: scope has no service or no region (%q, %q)", in.Service, in.Region)
	}
	if r.URL == nil {
		r.URL = new(url.URL)
	}
	m := messageOf(r)
	a := *in
	now = now.UTC().Truncate(time.Second)
	a.AccessKeyID, a.Time, a.Date = creds.AccessKeyID, now, now.Format(dateFormat)
	a.SessionToken, a.S3Session, a.Presigned, a.Expires, a.V2 = creds.SessionToken, creds.S3Session, false, 0, false
	if a.Payload == PayloadUndeclared {
		if !isHex(payloadHash, 64) {
			return nil, nil, errors.New("sign: the client declared no payload hash: one must be given (HashBody)")
		}
		a.PayloadHash = payloadHash
	} else if payloadHash != "" && a.Payload == PayloadHashed && payloadHash != a.PayloadHash {
		return nil, nil, &Error{Kind: ErrPayload, Service: a.Service, Detail: "the body's SHA-256 is not the one declared"}
	}
	// A presigned URL may declare its hash in the query, where it is about to go.
	if in.Presigned {
		if m.query, m.mark = stripAuth(m.query), false; in.V2 {
			m.query = stripV2(m.query)
		}
		if in.Payload != PayloadUndeclared && (singleEncoded(in.Service) || len(m.header["X-Amz-Content-Sha256"]) > 0) {
			a.PayloadHash = in.PayloadHash
		}
	}
	for _, name := range [...]string{"Authorization", "Date", "X-Amz-Date", "X-Amz-Security-Token", "X-Amz-S3session-Token", "X-Amz-Region-Set"} {
		delete(r.Header, name)
	}
	return &a, &m, nil
}

func (s *Signer) sign(a *Authorization, m *message, secret string) error {
	sc, _ := s.scratch.Get().(*scratch)
	if sc == nil {
		sc = new(scratch)
	}
	defer s.scratch.Put(sc)
	msg := sc.stringToSign(sc.canonical(m, a.Service, a.SignedHeaders, a.PayloadHash, standard), &a.Scope, a.Time)
	if a.Algorithm == SigV4A {
		key, err := s.Keys.ecdsaKey(a.AccessKeyID, secret)
		if err != nil {
			return err
		}
		a.Signature, err = signECDSA(key, msg)
		return err
	}
	sum := s.Keys.get(secret, &a.Scope).sign(msg, &sc.enc)
	a.Signature = hex.EncodeToString(sum[:])
	return nil
}

// headersToSign lists host, content-type, every x-amz-* header and those of
// before that are still present.
func headersToSign(m *message, before []string) []string {
	out := make([]string, 0, len(before)+4)
	out = append(out, "host")
	for name := range m.header {
		if strings.HasPrefix(name, "X-Amz-") || name == "Content-Type" {
			out = append(out, strings.ToLower(name))
		}
	}
	for _, n := range before {
		if !perHop(n) && n != "host" && n != authority && !slices.Contains(out, n) && len(m.values(n)) > 0 {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

// perHop tells headers that a proxy may drop or rewrite (RFC 9110, section
// 7.6.1) or that Sign itself removes.
func perHop(name string) bool {
	switch name {
	case "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect",
		"proxy-connection", "proxy-authorization", "authorization", "date", "x-amzn-trace-id":
		return true
	}
	return false
}
