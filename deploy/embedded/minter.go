package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

// Minter makes credentials of an account of a server that isn't embedded.
type Minter struct {
	signer  nkeys.KeyPair
	account string // "": the signer is the account's own key
}

// NewMinter takes the seed of an account's key or, when account, the account's public
// key, is given, of a signing key of it.
func NewMinter(seed []byte, account string) (*Minter, error) {
	pair, err := nkeys.FromSeed(bytes.TrimSpace(seed))
	if err != nil {
		return nil, fmt.Errorf("not an nkey seed: %w", err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		return nil, err
	}
	if !nkeys.IsValidPublicAccountKey(public) {
		return nil, errors.New("not the seed of an account")
	}
	if account == public {
		account = ""
	}
	if account != "" && !nkeys.IsValidPublicAccountKey(account) {
		return nil, fmt.Errorf("%q is not the public key of an account", account)
	}
	return &Minter{pair, account}, nil
}

// Mint is [NATS.Mint] for permissions of the account that holds the streams.
func (m *Minter) Mint(name string, perms Permissions, ttl time.Duration) ([]byte, error) {
	if perms.in != ownAccount {
		return nil, fmt.Errorf("mint nats credentials for %s: they are of another account", name)
	}
	return mint(name, perms, ttl, m.signer, func(c *jwt.UserClaims) { c.IssuerAccount = m.account })
}
