package push

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// transmitter packs Security Event Tokens (RFC 8417) to be pushed by RFC 8935.
type transmitter struct {
	push   events.Push
	from   Signals
	signer jose.Signer
}

func newTransmitter(p events.Push, s Secrets, from Signals) (*transmitter, error) {
	if len(s.Signing) == 0 {
		return nil, errors.New("there is no key to sign with: postern consumers rotate NAME makes one")
	}
	key, err := signingKey(s.Signing[0])
	if err != nil {
		return nil, err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: s.Signing[0].ID}},
		(&jose.SignerOptions{}).WithType("secevent+jwt"))
	return &transmitter{p, from, signer}, err
}

func signingKey(s Signing) (*rsa.PrivateKey, error) {
	key, err := x509.ParsePKCS8PrivateKey(s.Key)
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", s.ID, err)
	}
	rsaKey, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("signing key %s is a %T", s.ID, key)
	}
	return rsaKey, nil
}

// PublicKeys are those by which a consumer's tokens can be verified (RFC 7517).
func (s Secrets) PublicKeys(now time.Time) ([]jose.JSONWebKey, error) {
	var out []jose.JSONWebKey
	for _, k := range s.Signing {
		if k.Key == nil || !k.good(now) {
			continue
		}
		key, err := signingKey(k)
		if err != nil {
			return nil, err
		}
		out = append(out, jose.JSONWebKey{Key: key.Public(), KeyID: k.ID, Algorithm: string(jose.RS256), Use: "sig"})
	}
	return out, nil
}

func (t *transmitter) pack(ctx context.Context, es []journal.Entry, at time.Time) ([]parcel, error) {
	var out []parcel
	for _, e := range es {
		if e.Data == nil {
			continue // of a later version, or nobody's: no signal that we know
		}
		genuine, err := t.from.Genuine(ctx, e)
		if err != nil {
			return nil, &laterError{err}
		}
		if !genuine {
			continue
		}
		found, err := signals(ctx, e, t.from)
		if err != nil {
			return nil, &laterError{err}
		}
		for i, s := range found {
			p, err := t.token(s.id(e, i), e.CorrelationID, s.subject(t.push, t.from), s.kind, s.claims(e), at)
			if err != nil {
				return nil, err
			}
			out = append(out, p)
		}
	}
	return out, nil
}

// token makes one SET. It holds exactly one event (SSF 1.0, section 4.1).
func (t *transmitter) token(id, transaction string, subject map[string]any, kind string, event map[string]any, at time.Time) (parcel, error) {
	claims := map[string]any{
		"iss": t.from.Issuer(), "jti": id, "iat": at.Unix(), "aud": t.push.Audience,
		"sub_id": subject, "events": map[string]any{kind: event},
	}
	if len(t.push.Audience) == 1 {
		claims["aud"] = t.push.Audience[0]
	}
	if transaction != "" {
		claims["txn"] = transaction
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return parcel{}, err
	}
	signed, err := t.signer.Sign(body)
	if err != nil {
		return parcel{}, fmt.Errorf("sign a token: %w", err)
	}
	token, err := signed.CompactSerialize()
	return parcel{http.Header{"Content-Type": {"application/secevent+jwt"}, "Accept": {"application/json"}}, []byte(token)}, err
}

// Verify sends a receiver the verification event of its stream (SSF 1.0, section
// 8.1.4); the error is why it was not taken.
func (k *Courier) Verify(ctx context.Context, id, state string) error {
	t, ok := k.packer.(*transmitter)
	if !ok {
		return errors.New("only receivers of Security Event Tokens are sent verification events")
	}
	event := map[string]any{}
	if state != "" {
		event["state"] = state
	}
	p, err := t.token(id, "", map[string]any{"format": "opaque", "id": k.name}, verification, event, time.Now())
	if err != nil {
		return err
	}
	if a := k.endpoint.do(ctx, "POST", p.header, p.body); a.outcome != taken {
		return errors.New(a.reason)
	}
	return nil
}
