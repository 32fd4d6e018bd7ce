package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// Passwords keeps hashes of passwords in one file of the broker's data
// directory, mode 0600, replaced at once on every change. It is one broker's:
// several brokers need a store that they share. It is safe for concurrent use.
type Passwords struct {
	path   string
	hasher *hasher

	mu      sync.Mutex
	records map[string]record
}

// record is a user's password. Since names the user's creation by its stream
// sequence: a later user of the same name does not inherit the password.
type record struct {
	Hash  string `json:"hash"`
	Since uint64 `json:"since"`
	hash  hash
}

// OpenPasswords reads the store of a directory; none yet is an empty one.
func OpenPasswords(dir string) (*Passwords, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("passwords: %w", err)
	}
	p := &Passwords{path: filepath.Join(dir, "passwords.json"), hasher: newHasher(), records: map[string]record{}}
	text, err := readSecret(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, fmt.Errorf("passwords: %w", err)
	}
	if err := json.Unmarshal(text, &p.records); err != nil {
		return nil, fmt.Errorf("passwords: %s: %w", p.path, err)
	}
	for user, r := range p.records {
		if r.hash, err = parseHash(r.Hash); err != nil {
			return nil, fmt.Errorf("passwords: %s: user %s: %w", p.path, user, err)
		}
		p.records[user] = r
	}
	return p, nil
}

// Set stores a user's new password. since is the sequence of the user's creation.
func (p *Passwords) Set(ctx context.Context, user string, since uint64, password string) error {
	h, err := p.hasher.make(ctx, password)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	old, had := p.records[user]
	p.records[user] = record{Hash: h.String(), Since: since, hash: h}
	if err := p.save(); err != nil {
		if delete(p.records, user); had {
			p.records[user] = old
		}
		return fmt.Errorf("store the password of %s: %w", user, err)
	}
	return nil
}

// Delete forgets a user's password, if there is one.
func (p *Passwords) Delete(user string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, had := p.records[user]; !had {
		return nil
	}
	delete(p.records, user)
	if err := p.save(); err != nil {
		return fmt.Errorf("forget the password of %s: %w", user, err)
	}
	return nil
}

// Verify reports whether password is the user's. since 0 stands for a user
// that does not exist, which takes as long to find out.
func (p *Passwords) Verify(ctx context.Context, user string, since uint64, password string) (bool, error) {
	p.mu.Lock()
	r, ok := p.records[user]
	p.mu.Unlock()
	return p.hasher.verify(ctx, password, r.hash, ok && since != 0 && r.Since == since)
}

func (p *Passwords) save() error {
	text, err := json.MarshalIndent(p.records, "", "  ")
	if err != nil {
		return err
	}
	return writeSecret(p.path, append(text, '\n'))
}
