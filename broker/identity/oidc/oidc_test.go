package oidc

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/events"
)

// hostile is a provider that says what a test tells it to.
type hostile struct {
	*httptest.Server
	key *rsa.PrivateKey
	// sign makes the ID token of claims, userinfo is what the endpoint says.
	sign     func(claims map[string]any) string
	claims   map[string]any
	userinfo map[string]any
	issuer   string
	wants    string // of acr_values
}

func newHostile(t *testing.T) *hostile {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	h := &hostile{key: key}
	mux := http.NewServeMux()
	say := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		say(w, map[string]any{
			"issuer": h.issuer, "authorization_endpoint": h.URL + "/auth", "token_endpoint": h.URL + "/token", "jwks_uri": h.URL + "/jwks",
			"userinfo_endpoint": h.URL + "/userinfo", "id_token_signing_alg_values_supported": []string{"none", "HS256", "RS256"},
		})
	})
	mux.HandleFunc("/jwks", func(w http.ResponseWriter, _ *http.Request) {
		say(w, map[string]any{"keys": []any{map[string]any{"kty": "RSA", "kid": "k", "use": "sig",
			"n": b64(key.N.Bytes()), "e": b64(big.NewInt(int64(key.E)).Bytes())}}})
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, _ *http.Request) {
		say(w, map[string]any{"access_token": "a", "token_type": "Bearer", "expires_in": 60, "id_token": h.sign(h.claims)})
	})
	mux.HandleFunc("/userinfo", func(w http.ResponseWriter, _ *http.Request) { say(w, h.userinfo) })
	h.Server = httptest.NewServer(mux)
	t.Cleanup(h.Close)
	h.issuer, h.sign = h.URL, h.rs256
	now := time.Now().Unix()
	h.claims = map[string]any{"iss": h.URL, "aud": "postern", "sub": "42", "exp": now + 60, "iat": now, "nonce": "N",
		"email": "dana@example.com", "email_verified": true, "groups": []string{"a", "b"}, "nested": map[string]any{"x": 1}}
	h.userinfo = map[string]any{"sub": "42", "email": "mallory@example.com", "team": "blue"}
	return h
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func jwt(header string, claims map[string]any, sign func(input string) []byte) string {
	body, _ := json.Marshal(claims)
	input := b64([]byte(header)) + "." + b64(body)
	return input + "." + b64(sign(input))
}

func (h *hostile) rs256(claims map[string]any) string {
	return jwt(`{"alg":"RS256","kid":"k"}`, claims, func(in string) []byte {
		sum := sha256.Sum256([]byte(in))
		sig, _ := rsa.SignPKCS1v15(rand.Reader, h.key, crypto.SHA256, sum[:])
		return sig
	})
}

func hs256(key []byte) func(map[string]any) string {
	return func(claims map[string]any) string {
		return jwt(`{"alg":"HS256","kid":"k"}`, claims, func(in string) []byte {
			mac := hmac.New(sha256.New, key)
			mac.Write([]byte(in))
			return mac.Sum(nil)
		})
	}
}

func (h *hostile) exchange(t *testing.T) (Person, error) {
	t.Helper()
	o := &events.OIDCConnector{IssuerURL: h.URL, ClientID: "postern", RedirectURL: "https://localhost/callback", ACRValues: h.wants}
	return New().Exchange(t.Context(), o, "code", "N", "verifier")
}

func TestHonest(t *testing.T) {
	h := newHostile(t)
	p, err := h.exchange(t)
	if err != nil || p.User != "dana@example.com" || !strings.HasPrefix(p.ID, "oidc/") {
		t.Fatalf("%+v, %v", p, err)
	}
	want := map[string][]string{"sub": {"42"}, "email": {"dana@example.com"}, "email_verified": {"true"}, "groups": {"a", "b"}, "team": {"blue"}}
	if d := cmp.Diff(want, p.Claims); d != "" {
		t.Errorf("claims; what is signed wins over userinfo (-want +got):\n%s", d)
	}
}

// Numbers are what the provider wrote: groups whose ids differ in the last digit are two.
func TestNumbers(t *testing.T) {
	h := newHostile(t)
	h.claims["gid"] = json.RawMessage(`[12345678, 9007199254740992, 9007199254740993]`)
	h.userinfo["uid"] = json.RawMessage(`1000000000`)
	p, err := h.exchange(t)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{"gid": p.Claims["gid"], "uid": p.Claims["uid"]}
	if d := cmp.Diff(map[string][]string{"gid": {"12345678", "9007199254740992", "9007199254740993"}, "uid": {"1000000000"}}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// What acr_values ask for is asked of the signed token: providers may leave it be.
func TestACR(t *testing.T) {
	for said, ok := range map[string]bool{"": false, "urn:password": false, "urn:mfa": true, "urn:key": true, "urn:mfa urn:key": false} {
		h := newHostile(t)
		h.wants, h.userinfo["acr"] = "urn:mfa urn:key", "urn:mfa"
		if said != "" {
			h.claims["acr"] = said
		}
		if p, err := h.exchange(t); (err == nil) != ok || !ok && !strings.Contains(err.Error(), "acr_values want") {
			t.Errorf("acr %q: %+v, %v", said, p, err)
		}
	}
}

// Whatever a provider, or somebody in its place, does wrong signs nobody in.
func TestAttacks(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(h *hostile)
		want string
	}{
		"alg none":                       {func(h *hostile) { h.sign = unsigned }, "ID token"},
		"HS256 with the public key, DER": {func(h *hostile) { h.sign = hs256(x509.MarshalPKCS1PublicKey(&h.key.PublicKey)) }, "ID token"},
		"HS256 with the public key, PEM": {func(h *hostile) {
			der, _ := x509.MarshalPKIXPublicKey(&h.key.PublicKey)
			h.sign = hs256(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		}, "ID token"},
		"another key": {func(h *hostile) {
			other, _ := rsa.GenerateKey(rand.Reader, 2048)
			h.sign = (&hostile{key: other}).rs256
		}, "ID token"},
		"changed after signing": {func(h *hostile) {
			h.sign = func(claims map[string]any) string {
				parts := strings.Split(h.rs256(claims), ".")
				claims["email"] = "root@example.com"
				body, _ := json.Marshal(claims)
				return parts[0] + "." + b64(body) + "." + parts[2]
			}
		}, "ID token"},
		"wrong nonce":         {func(h *hostile) { h.claims["nonce"] = "M" }, "nonce"},
		"no nonce":            {func(h *hostile) { delete(h.claims, "nonce") }, "nonce"},
		"wrong audience":      {func(h *hostile) { h.claims["aud"] = "another" }, "audience"},
		"wrong issuer":        {func(h *hostile) { h.claims["iss"] = "https://evil.example" }, "issue"},
		"expired":             {func(h *hostile) { h.claims["exp"] = time.Now().Add(-time.Minute).Unix() }, "expired"},
		"issuer mix-up":       {func(h *hostile) { h.issuer = "https://other.example" }, "issuer"},
		"userinfo of another": {func(h *hostile) { h.userinfo["sub"] = "43" }, "about"},
		"unverified email":    {func(h *hostile) { h.claims["email_verified"] = false }, "verified"},
		"unsaid email":        {func(h *hostile) { delete(h.claims, "email_verified") }, "verified"},
		"another address is verified": {func(h *hostile) {
			delete(h.claims, "email_verified")
			h.userinfo["email_verified"] = true
		}, "verified"},
		"what is verified is elsewhere": {func(h *hostile) { delete(h.claims, "email") }, "verified"},
		"no token":                      {func(h *hostile) { h.sign = func(map[string]any) string { return "" } }, "ID token"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHostile(t)
			c.do(h)
			if p, err := h.exchange(t); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v, %v; want an error with %q", p, err, c.want)
			}
		})
	}
}

func unsigned(claims map[string]any) string {
	return jwt(`{"alg":"none"}`, claims, func(string) []byte { return nil })
}

// An address is verified by whichever of token and userinfo says so of it.
func TestVerified(t *testing.T) {
	for name, do := range map[string]func(h *hostile){
		"as text": func(h *hostile) { h.claims["email_verified"] = "true" },
		"in userinfo, of the same address": func(h *hostile) {
			delete(h.claims, "email_verified")
			h.userinfo["email"], h.userinfo["email_verified"] = "dana@example.com", true
		},
		"all of it in userinfo": func(h *hostile) {
			delete(h.claims, "email_verified")
			delete(h.claims, "email")
			h.userinfo["email"], h.userinfo["email_verified"] = "dana@example.com", true
		},
	} {
		h := newHostile(t)
		do(h)
		if p, err := h.exchange(t); err != nil || p.User != "dana@example.com" {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

func TestUserName(t *testing.T) {
	claims := map[string]any{"email": "a@b", "preferred_username": "dana", "email_verified": false}
	for _, c := range []struct {
		o    events.OIDCConnector
		want string
	}{
		{events.OIDCConnector{}, ""},
		{events.OIDCConnector{AllowUnverifiedEmail: true}, "a@b"},
		{events.OIDCConnector{UsernameClaim: "preferred_username"}, "dana"},
		{events.OIDCConnector{UsernameClaim: "email"}, ""},
		{events.OIDCConnector{UsernameClaim: "absent"}, ""},
	} {
		if got, err := userName(&c.o, claims); got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %q, %v", fmt.Sprint(c.o), got, err)
		}
	}
}
