package push

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/posternhq/postern/broker/sealed"
)

// Secrets are what sending to one consumer takes and no event holds.
type Secrets struct {
	// Signing are newest first: text of webhooks' secrets, keys of tokens.
	Signing []Signing `json:"signing"`
	// Authorization is the value of that header, "" for none.
	Authorization string `json:"authorization,omitempty"`
}

// Signing is one secret that signs.
type Signing struct {
	ID string `json:"id"`
	// Secret is a webhook's, Key a token's RSA key in PKCS #8.
	Secret string `json:"secret,omitempty"`
	Key    []byte `json:"key,omitempty"`
	// Until is the end of one that another took the place of.
	Until *time.Time `json:"until,omitempty"`
}

func (s Signing) good(at time.Time) bool { return s.Until == nil || at.Before(*s.Until) }

// webhookKeys are those that sign at a moment.
func (s Secrets) webhookKeys(at time.Time) ([][]byte, error) {
	var out [][]byte
	for _, k := range s.Signing {
		if !k.good(at) {
			continue
		}
		key, err := webhookKey(k.Secret)
		if err != nil {
			return nil, err
		}
		out = append(out, key)
	}
	return out, nil
}

// rotated puts next in front; what was in front is good until a time.
func (s Secrets) rotated(next Signing, now, formerUntil time.Time) Secrets {
	out := Secrets{Signing: []Signing{next}, Authorization: s.Authorization}
	for _, k := range s.Signing {
		if k.Until == nil || formerUntil.Before(*k.Until) { // one of before may be why
			k.Until = &formerUntil
		}
		if k.good(now) {
			out.Signing = append(out.Signing, k)
		}
	}
	return out
}

// NewSecret makes what signs for a consumer of a protocol; given is a webhook's
// own, "" to make one. The id is the caller's.
func NewSecret(webhook bool, id, given string) (Signing, error) {
	switch {
	case webhook && given == "":
		return Signing{ID: id, Secret: NewWebhookSecret()}, nil
	case webhook:
		_, err := webhookKey(given)
		return Signing{ID: id, Secret: given}, err
	case given != "":
		return Signing{}, errors.New("secret: tokens are signed by a key of postern's own")
	}
	// RS256 with 2048 bits is what receivers must take (CAEP Interoperability
	// Profile 1.0, section 2.6).
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return Signing{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return Signing{ID: id, Key: der}, err
}

// Vault keeps the secrets of all consumers, and how sending to them goes, where
// all brokers find them.
type Vault struct{ store *sealed.Store }

// NewVault returns the vault of a sealed store.
func NewVault(store *sealed.Store) *Vault { return &Vault{store} }

const (
	secretsPrefix  = "push/secrets/"
	progressPrefix = "push/progress/"
)

// Secrets of a consumer; without any, the error wraps [sealed.ErrNotFound].
func (v *Vault) Secrets(ctx context.Context, name string) (Secrets, error) {
	s, _, err := v.secrets(ctx, name)
	return s, err
}

func (v *Vault) secrets(ctx context.Context, name string) (s Secrets, rev uint64, err error) {
	b, rev, err := v.store.Get(ctx, secretsPrefix+name)
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return s, 0, fmt.Errorf("secrets of consumer %s: %w", name, err)
	}
	return s, rev, nil
}

// Keep sets the secrets of a new consumer.
func (v *Vault) Keep(ctx context.Context, name string, s Secrets) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return v.store.Put(ctx, secretsPrefix+name, b)
}

// Rotate has next sign for a consumer, and the former until a time.
func (v *Vault) Rotate(ctx context.Context, name string, next Signing, now, formerUntil time.Time) error {
	s, rev, err := v.secrets(ctx, name)
	if err != nil && !errors.Is(err, sealed.ErrNotFound) {
		return err
	}
	b, err := json.Marshal(s.rotated(next, now, formerUntil))
	if err == nil {
		_, err = v.store.Update(ctx, secretsPrefix+name, b, rev)
	}
	if err != nil {
		return fmt.Errorf("secrets of consumer %s: %w", name, err)
	}
	return nil
}

// Forget destroys all of a consumer.
func (v *Vault) Forget(ctx context.Context, name string) error {
	return errors.Join(v.store.Delete(ctx, secretsPrefix+name), v.store.Delete(ctx, progressPrefix+name), v.store.Delete(ctx, boxPrefix+name))
}

// Authorize sets the header by which a consumer's endpoint lets us in, "" for none.
func (v *Vault) Authorize(ctx context.Context, name, authorization string) error {
	s, rev, err := v.secrets(ctx, name)
	if err != nil || s.Authorization == authorization {
		return err
	}
	s.Authorization = authorization
	b, err := json.Marshal(s)
	if err == nil {
		_, err = v.store.Update(ctx, secretsPrefix+name, b, rev)
	}
	return err
}

// Progress is how sending goes while it does not succeed.
type Progress struct {
	Since  time.Time `json:"since"`
	Tries  int       `json:"tries"`
	Reason string    `json:"reason"`
	// Next is when it is tried again.
	Next time.Time `json:"next"`
}

// Progress of a consumer, nil where all is well.
func (v *Vault) Progress(ctx context.Context, name string) (*Progress, error) {
	b, _, err := v.store.Get(ctx, progressPrefix+name)
	if errors.Is(err, sealed.ErrNotFound) {
		return nil, nil
	}
	var p Progress
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	return &p, err
}

// Report sets the progress of a consumer.
func (v *Vault) Report(ctx context.Context, name string, p *Progress) error {
	if p == nil {
		return v.store.Delete(ctx, progressPrefix+name)
	}
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return v.store.Put(ctx, progressPrefix+name, b)
}
