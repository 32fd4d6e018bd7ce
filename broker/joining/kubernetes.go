package joining

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/events"
)

// jwtAlgorithms are what clusters sign with; never "none", never a shared secret.
var jwtAlgorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA}

// maxJWTLife bounds a service account's JWT: those that kubelet projects end
// (https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/),
// and the old ones of secrets do not.
const maxJWTLife = 24 * time.Hour

// Verify verifies a projected service account's JWT by the cluster's keys.
func (c *Clusters) Verify(ctx context.Context, k events.JoinKubernetes, token string, now time.Time) (access.Proof, error) {
	token = strings.TrimSpace(token)
	parsed, err := jwt.ParseSigned(token, jwtAlgorithms)
	if err != nil {
		return access.Proof{}, fmt.Errorf("the JWT: %w", err)
	}
	var claims jwt.Claims
	if k.JWKS != "" {
		var keys jose.JSONWebKeySet
		if err := json.Unmarshal([]byte(k.JWKS), &keys); err != nil {
			return access.Proof{}, fmt.Errorf("the token's JWKS: %w", err)
		}
		err = parsed.Claims(keys, &claims)
	} else {
		keys, err := c.keys(ctx, k, now)
		if err != nil {
			return access.Proof{}, err
		}
		payload, err := keys.VerifySignature(ctx, token)
		if err != nil {
			return access.Proof{}, fmt.Errorf("the JWT is signed by none of the keys that the cluster shows: %w", err)
		}
		if err := json.Unmarshal(payload, &claims); err != nil {
			return access.Proof{}, fmt.Errorf("the JWT: %w", err)
		}
	}
	if err != nil {
		return access.Proof{}, fmt.Errorf("the JWT is signed by none of the cluster's keys: %w", err)
	}
	if claims.Expiry == nil || claims.Expiry.Time().Sub(now) > maxJWTLife {
		return access.Proof{}, fmt.Errorf("the JWT lives longer than %s: project one with expirationSeconds", maxJWTLife)
	}
	err = claims.Validate(jwt.Expected{Issuer: k.Issuer, AnyAudience: jwt.Audience{k.Audience}, Time: now})
	if err != nil {
		return access.Proof{}, fmt.Errorf("the JWT: %w", err)
	}
	account, ok := strings.CutPrefix(claims.Subject, "system:serviceaccount:")
	if !ok {
		return access.Proof{}, errors.New("the JWT is not of a service account")
	}
	return access.Proof{Method: access.MethodKubernetes, Cluster: access.ClusterOf(k), ServiceAccount: account}, nil
}
