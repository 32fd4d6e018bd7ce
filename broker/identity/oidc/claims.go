package oidc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// technical claims say something of the token and nothing of the person
// (OpenID Connect Core 1.0, section 2, and RFC 7519).
var technical = []string{
	"iss", "aud", "exp", "iat", "nbf", "jti", "nonce", "azp", "at_hash", "c_hash", "s_hash", "sid", "auth_time", "session_state",
}

// read adds claims to those that are known. Numbers stay as they are written: ids may
// have more digits than a float holds.
func read(claims func(any) error, into map[string]any) error {
	var raw json.RawMessage
	if err := claims(&raw); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return d.Decode(&into)
}

// together are the claims of an ID token and of userinfo, of which the signed ones win.
// email_verified is about the address beside it, and says nothing of one that the other has.
func together(signed, info map[string]any) map[string]any {
	out := maps.Clone(info)
	maps.Copy(out, signed)
	beside := signed
	if _, ok := signed["email"]; !ok || text(signed, "email") == text(info, "email") && signed["email_verified"] == nil {
		beside = info
	}
	delete(out, "email_verified")
	if v, ok := beside["email_verified"]; ok {
		out["email_verified"] = v
	}
	return out
}

func text(claims map[string]any, name string) string {
	s, _ := claims[name].(string)
	return s
}

// traits makes claims lists of text: text, numbers, truth values and lists of
// these. What is nested deeper is left out.
func traits(claims map[string]any) map[string][]string {
	out := map[string][]string{}
	for name, v := range claims {
		if slices.Contains(technical, name) || strings.ContainsAny(name, "\"{}()[] \t\n") {
			continue
		}
		list, ok := v.([]any)
		if !ok {
			list = []any{v}
		}
		for _, item := range list {
			switch item.(type) {
			case string, bool, json.Number:
				out[name] = append(out[name], fmt.Sprint(item))
			}
		}
	}
	return out
}
