// Package people keeps who is behind the pseudonyms that events, certificates and
// AWS know some users by: sealed, where brokers alone find it, and nowhere else. To
// forget a person is to destroy what is here; every event stays as it is.
package people

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/posternhq/postern/broker/sealed"
)

// Person is who is behind a pseudonym.
type Person struct {
	Pseudonym string `json:"pseudonym"`
	// Name is what they sign in by, or what Connector calls them.
	Name string `json:"name"`
	// Connector is "" for users with a password here.
	Connector string `json:"connector,omitempty"`
	// Account is the connector's own name for the account, which it gives to no other; ""
	// where that is not known.
	Account string    `json:"account,omitempty"`
	Since   time.Time `json:"since"`
}

// pseudonymForm: 26 characters of base32 hold 130 bits.
var pseudonymForm = regexp.MustCompile(`^p-[a-z2-7]{26}$`)

// IsPseudonym tells whether a user's name has the form of one.
func IsPseudonym(name string) bool { return pseudonymForm.MatchString(name) }

// ErrUnknown is wrapped where nobody is known behind a pseudonym, or by a name.
var ErrUnknown = errors.New("nobody is known by that")

// ErrAnother is wrapped where a connector now calls another account by somebody's name.
var ErrAnother = errors.New("another account has that name")

// Register is the mapping. It is safe for concurrent use, by any number of brokers.
type Register struct {
	store *sealed.Store
	key   []byte
}

// NewRegister returns the mapping in a store. The key makes of names what the
// store's keys may show.
func NewRegister(store *sealed.Store, key []byte) *Register { return &Register{store, key} }

const (
	personPrefix = "people/"
	indexPrefix  = "people-index/"
)

// index is the store's name for a person's name: it tells nothing without the key.
func (r *Register) index(connector, name string) string {
	mac := hmac.New(sha256.New, r.key)
	fmt.Fprintf(mac, "%d %s%s", len(connector), connector, name)
	return indexPrefix + hex.EncodeToString(mac.Sum(nil))
}

// Find returns the pseudonym of who is called name at a connector; the error wraps
// ErrUnknown if there is none.
func (r *Register) Find(ctx context.Context, connector, name string) (string, error) {
	b, _, err := r.store.Get(ctx, r.index(connector, name))
	if errors.Is(err, sealed.ErrNotFound) {
		return "", fmt.Errorf("%w name", ErrUnknown)
	}
	return string(b), err
}

// Pseudonym is Find, and makes one for who is new.
func (r *Register) Pseudonym(ctx context.Context, connector, name string, now time.Time) (string, error) {
	if known, err := r.Find(ctx, connector, name); !errors.Is(err, ErrUnknown) {
		return known, err
	}
	p := Person{Pseudonym: "p-" + strings.ToLower(rand.Text()[:26]), Name: name, Connector: connector, Since: now.UTC()}
	b, err := json.Marshal(p)
	if err != nil {
		return "", err
	}
	if err := r.store.Put(ctx, personPrefix+p.Pseudonym, b); err != nil {
		return "", err
	}
	_, err = r.store.Update(ctx, r.index(connector, name), []byte(p.Pseudonym), 0)
	if errors.Is(err, sealed.ErrConflict) { // another broker was faster
		if err := r.store.Delete(ctx, personPrefix+p.Pseudonym); err != nil {
			return "", err
		}
		return r.Find(ctx, connector, name)
	}
	return p.Pseudonym, err
}

// Of is the pseudonym of an account of a connector, which calls it name. With an error that
// wraps ErrAnother comes the pseudonym of the account that had the name before.
func (r *Register) Of(ctx context.Context, connector, name, account string, now time.Time) (string, error) {
	pseudonym, err := r.Pseudonym(ctx, connector, name, now)
	if err != nil || account == "" {
		return pseudonym, err
	}
	b, revision, err := r.store.Get(ctx, personPrefix+pseudonym)
	var p Person
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	switch {
	case err != nil:
		return pseudonym, err
	case p.Account == account:
		return pseudonym, nil
	case p.Account != "":
		return pseudonym, fmt.Errorf("%w: %s", ErrAnother, pseudonym)
	}
	p.Account = account // the first, or of before accounts were kept
	if b, err = json.Marshal(p); err == nil {
		_, err = r.store.Update(ctx, personPrefix+pseudonym, b, revision)
	}
	return pseudonym, err
}

// Who returns who is behind a pseudonym; the error wraps ErrUnknown if nobody
// knows, or knows any more.
func (r *Register) Who(ctx context.Context, pseudonym string) (p Person, err error) {
	b, _, err := r.store.Get(ctx, personPrefix+pseudonym)
	if errors.Is(err, sealed.ErrNotFound) {
		return p, fmt.Errorf("%w pseudonym", ErrUnknown)
	}
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	return p, err
}

// All are all of them, by pseudonym.
func (r *Register) All(ctx context.Context) ([]Person, error) {
	names, err := r.store.List(ctx, personPrefix)
	if err != nil {
		return nil, err
	}
	out := make([]Person, 0, len(names))
	for _, name := range names {
		p, err := r.Who(ctx, strings.TrimPrefix(name, personPrefix))
		if errors.Is(err, ErrUnknown) {
			continue // forgotten meanwhile
		} else if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// Forget destroys who is behind a pseudonym. Nobody behind it is no error.
func (r *Register) Forget(ctx context.Context, pseudonym string) error {
	p, err := r.Who(ctx, pseudonym)
	if errors.Is(err, ErrUnknown) {
		return nil
	} else if err != nil {
		return err
	}
	// The index first: without it, and with the person, this can be done again.
	if err := r.store.Delete(ctx, r.index(p.Connector, p.Name)); err != nil {
		return err
	}
	return r.store.Delete(ctx, personPrefix+pseudonym)
}
