package identity

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/broker/sealed"
	"github.com/posternhq/postern/events/trouble"
)

// CA is the certificate authority that users and postern's services trust, as
// all brokers share it: at most two authorities, of which one signs. It is safe
// for concurrent use.
type CA struct {
	store *sealed.Store
	trust atomic.Pointer[trust]
}

// trust is the CA at one moment. It never changes.
type trust struct {
	revision uint64 // of the store
	phase    Phase
	since    time.Time
	signing  *Authority
	other    *Authority // trusted, too; nil in Steady
	bundle   []byte
	pool     *x509.CertPool
}

// stored is trust as it lies in the sealed store.
type stored struct {
	Phase   Phase     `json:"phase"`
	Since   time.Time `json:"since"`
	Signing string    `json:"signing"`
	Other   string    `json:"other,omitempty"`
}

// caName is the CA's in the sealed store.
const caName = "ca"

// OpenCA reads the CA that the brokers share, or makes it: of several brokers
// at once, one does. A file ca.pem in dir, from before the store was, becomes
// the shared CA and is removed.
func OpenCA(ctx context.Context, store *sealed.Store, dir string, now time.Time) (*CA, error) {
	ca := &CA{store: store}
	former, err := formerCA(dir)
	if err == nil {
		err = ca.load(ctx)
	}
	if errors.Is(err, sealed.ErrNotFound) {
		if err = ca.create(ctx, former, now); errors.Is(err, sealed.ErrConflict) {
			err = nil // another broker did
		}
		if err == nil {
			err = ca.load(ctx)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	if former == nil {
		return ca, nil
	}
	path := filepath.Join(dir, caFile)
	if t := ca.trust.Load(); !bytes.Contains(t.bundle, former.public) {
		return nil, fmt.Errorf("ca: %s is not the CA that the brokers share, which is %s: move it away", path, t.signing.SHA256())
	}
	if err := os.Remove(path); err != nil {
		return nil, fmt.Errorf("ca: it is in the sealed store now: %w", err)
	}
	return ca, nil
}

const caFile = "ca.pem"

// formerCA reads the CA of a data directory, nil where there is none.
func formerCA(dir string) (*Authority, error) {
	path := filepath.Join(dir, caFile)
	text, err := readSecret(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	a, err := ParseAuthority(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return a, nil
}

func (ca *CA) create(ctx context.Context, a *Authority, now time.Time) (err error) {
	if a == nil {
		if a, err = NewAuthority(now); err != nil {
			return err
		}
	}
	return ca.save(ctx, &trust{phase: Steady, since: now.UTC(), signing: a})
}

// save stores t in place of what has its revision.
func (ca *CA) save(ctx context.Context, t *trust) error {
	s := stored{Phase: t.phase, Since: t.since, Signing: string(t.signing.secret)}
	if t.other != nil {
		s.Other = string(t.other.secret)
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	_, err = ca.store.Update(ctx, caName, text, t.revision)
	return err
}

// load reads the CA from the store.
func (ca *CA) load(ctx context.Context) error {
	text, revision, err := ca.store.Get(ctx, caName)
	if err != nil {
		return err
	}
	var s stored
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("stored CA: %w", err)
	}
	t := &trust{revision: revision, phase: s.Phase, since: s.Since, pool: x509.NewCertPool()}
	for _, one := range []struct {
		text string
		to   **Authority
	}{{s.Signing, &t.signing}, {s.Other, &t.other}} {
		if one.text == "" {
			continue
		}
		a, err := ParseAuthority([]byte(one.text))
		if err != nil {
			return fmt.Errorf("stored CA: %w", err)
		}
		*one.to = a
		t.bundle = append(t.bundle, a.public...)
		t.pool.AddCert(a.cert)
	}
	if t.signing == nil {
		return errors.New("stored CA: nothing in it signs")
	}
	if t.signing.cross != nil && t.other != nil {
		t.signing.former = t.other.cert.Raw
	}
	for {
		old := ca.trust.Load()
		if old != nil && old.revision >= revision || ca.trust.CompareAndSwap(old, t) {
			return nil
		}
	}
}

// Follow keeps up with what other brokers do to the CA, until ctx ends.
func (ca *CA) Follow(ctx context.Context, log zerolog.Logger) error {
	const pause = time.Second
	var said trouble.Said
	for {
		err := ca.store.Watch(ctx, caName, func() {
			switch err := ca.load(ctx); {
			case err != nil && ctx.Err() == nil:
				log.Error().Err(err).Msg("cannot read the CA; going on with the former one")
			case err == nil && said.Over():
				log.Info().Msg("the CA is in sight again")
			}
		})
		if err != nil && said.News(err) {
			log.Warn().Err(err).Msg("lost sight of the CA; looking again")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// Signing is the authority that signs.
func (ca *CA) Signing() *Authority { return ca.trust.Load().signing }

// PEM are the certificates to trust, the signing one first.
func (ca *CA) PEM() []byte { return ca.trust.Load().bundle }

// Pool holds the certificates to trust.
func (ca *CA) Pool() *x509.CertPool { return ca.trust.Load().pool }

// SHA256 is the fingerprint of the signing certificate, in hex.
func (ca *CA) SHA256() string { return ca.Signing().SHA256() }

// IssueUser is [Authority.IssueUser] of the signing one.
func (ca *CA) IssueUser(key *ecdsa.PublicKey, user string, roles []string, now time.Time, ttl time.Duration) (Issued, error) {
	return ca.Signing().IssueUser(key, user, roles, now, ttl)
}

// IssueServer is [Authority.IssueServer] of the signing one.
func (ca *CA) IssueServer(names []string, now time.Time) (tls.Certificate, error) {
	return ca.Signing().IssueServer(names, now)
}
