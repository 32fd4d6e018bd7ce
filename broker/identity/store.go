package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/posternhq/postern/broker/sealed"
)

// Passwords keeps hashes of passwords in the sealed store: what one broker
// writes is what the next sign-in at any other reads. It is safe for concurrent
// use.
type Passwords struct {
	store  *sealed.Store
	hasher *hasher
}

// record is a user's password. Since names the user's creation by its stream
// sequence: a later user of the same name does not inherit the password.
type record struct {
	Hash  string `json:"hash"`
	Since uint64 `json:"since"`
	hash  hash
}

func passwordName(user string) string { return "password/" + user }

// OpenPasswords opens the passwords of a store. A file passwords.json in dir,
// from before the store was, goes into it and is removed.
func OpenPasswords(ctx context.Context, store *sealed.Store, dir string) (*Passwords, error) {
	p := &Passwords{store: store, hasher: newHasher()}
	if err := p.migrate(ctx, filepath.Join(dir, "passwords.json")); err != nil {
		return nil, fmt.Errorf("passwords: %w", err)
	}
	return p, nil
}

func (p *Passwords) migrate(ctx context.Context, path string) error {
	text, err := readSecret(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var former map[string]json.RawMessage
	if err := json.Unmarshal(text, &former); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for user, one := range former {
		if _, err := parseRecord(one); err != nil {
			return fmt.Errorf("%s: user %s: %w", path, user, err)
		}
		// What is in the store already is newer.
		if _, err := p.store.Update(ctx, passwordName(user), one, 0); err != nil && !errors.Is(err, sealed.ErrConflict) {
			return err
		}
	}
	return os.Remove(path)
}

func parseRecord(text []byte) (r record, err error) {
	if err = json.Unmarshal(text, &r); err == nil {
		r.hash, err = parseHash(r.Hash)
	}
	return r, err
}

// Set stores a user's new password. since is the sequence of the user's creation.
func (p *Passwords) Set(ctx context.Context, user string, since uint64, password string) error {
	h, err := p.hasher.make(ctx, password)
	if err != nil {
		return err
	}
	text, err := json.Marshal(record{Hash: h.String(), Since: since})
	if err == nil {
		err = p.store.Put(ctx, passwordName(user), text)
	}
	if err != nil {
		return fmt.Errorf("store the password of %s: %w", user, err)
	}
	return nil
}

// Delete forgets a user's password, if there is one.
func (p *Passwords) Delete(ctx context.Context, user string) error {
	if err := p.store.Delete(ctx, passwordName(user)); err != nil {
		return fmt.Errorf("forget the password of %s: %w", user, err)
	}
	return nil
}

// Verify reports whether password is the user's. since 0 stands for a user
// that does not exist, which takes as long to find out.
func (p *Passwords) Verify(ctx context.Context, user string, since uint64, password string) (bool, error) {
	var r record
	text, _, err := p.store.Get(ctx, passwordName(user))
	known := err == nil
	if known {
		r, err = parseRecord(text)
	}
	if err != nil && !errors.Is(err, sealed.ErrNotFound) {
		return false, fmt.Errorf("password of %s: %w", user, err)
	}
	return p.hasher.verify(ctx, password, r.hash, known && since != 0 && r.Since == since)
}
