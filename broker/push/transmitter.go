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
	stream *Stream // nil where an operator made it
	id     string  // of the stream
	from   Signals
	signer jose.Signer // nil where tokens are polled for, and signed then
}

func newTransmitter(c events.ConsumerCreated, stream *Stream, s Secrets, from Signals) (*transmitter, error) {
	t := &transmitter{push: *c.Push, stream: stream, id: c.Name, from: from}
	if stream != nil {
		t.id = stream.ID
		if c.Push.URL == "" {
			return t, nil
		}
	}
	var err error
	t.signer, err = s.signer()
	return t, err
}

// signer signs by the newest key.
func (s Secrets) signer() (jose.Signer, error) {
	if len(s.Signing) == 0 {
		return nil, errors.New("there is no key to sign with: postern consumers rotate NAME makes one")
	}
	key, err := signingKey(s.Signing[0])
	if err != nil {
		return nil, err
	}
	return jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: s.Signing[0].ID}},
		(&jose.SignerOptions{}).WithType("secevent+jwt"))
}

// Sign makes tokens of what waits, by their ids.
func (s Secrets) Sign(sets []Set) (map[string]string, error) {
	out := map[string]string{}
	if len(sets) == 0 {
		return out, nil
	}
	signer, err := s.signer()
	if err != nil {
		return nil, err
	}
	for _, set := range sets {
		if out[set.JTI], err = sign(signer, set.Claims); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func sign(signer jose.Signer, claims []byte) (string, error) {
	signed, err := signer.Sign(claims)
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	return signed.CompactSerialize()
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
		if t.stream != nil && e.Seq <= t.stream.Since {
			continue // from before the stream
		}
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
			if !t.stream.wants(s, e.Seq) {
				continue
			}
			subject, err := s.subject(ctx, t.push, t.from, e.Seq)
			if err != nil {
				return nil, &laterError{err}
			}
			p, err := t.token(s.id(e, i), e.CorrelationID, subject, s.kind, s.claims(e), at)
			if err != nil {
				return nil, err
			}
			if p.set != nil {
				p.set.Sequence, p.set.EventID = e.Seq, e.ID
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
	if t.signer == nil {
		return parcel{id: id, set: &Set{JTI: id, Claims: body}}, nil
	}
	token, err := sign(t.signer, body)
	return parcel{id: id, header: http.Header{"Content-Type": {"application/secevent+jwt"}, "Accept": {"application/json"}}, body: []byte(token)}, err
}

// Verify sends a receiver the verification event of its stream (SSF 1.0, section
// 8.1.4); the error is why it was not taken.
func (k *Courier) Verify(ctx context.Context, state string) error {
	event := map[string]any{}
	if state != "" {
		event["state"] = state
	}
	if _, ok := k.packer.(*transmitter); !ok {
		return errors.New("only receivers of Security Event Tokens are sent verification events")
	}
	return k.ofStream(ctx, verification, event)
}

// Tell sends a receiver that made its stream the event that its status was changed by
// postern (SSF 1.0, section 8.1.5); to others there is nothing to tell.
func (k *Courier) Tell(ctx context.Context, status, reason string) error {
	if t, ok := k.packer.(*transmitter); !ok || t.stream == nil {
		return nil
	}
	event := map[string]any{"status": status}
	if reason != "" {
		event["reason"] = reason
	}
	return k.ofStream(ctx, streamUpdated, event)
}

// ofStream sends an event whose subject is the stream itself.
func (k *Courier) ofStream(ctx context.Context, kind string, event map[string]any) error {
	t := k.packer.(*transmitter)
	p, err := t.token(journal.NewID(), "", map[string]any{"format": "opaque", "id": t.id}, kind, event, time.Now())
	if err != nil {
		return err
	}
	if a := k.to.do(ctx, p); a.outcome != taken {
		return errors.New(a.reason)
	}
	return nil
}
