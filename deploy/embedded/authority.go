package embedded

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// authority is the operator and the accounts of an embedded server: NATS's
// decentralised authentication, which lets credentials be minted while the
// server runs, by whoever holds the account's seed, with no user list to edit.
// The seeds are the whole state; every JWT follows from them.
type authority struct {
	operator, system, account, outside, sealed nkeys.KeyPair
}

// openAuthority reads the seeds under dir, or makes them (0600).
func openAuthority(dir string) (*authority, error) {
	var a authority
	for _, k := range []struct {
		file string
		pair *nkeys.KeyPair
		make func() (nkeys.KeyPair, error)
	}{
		{"operator.nk", &a.operator, nkeys.CreateOperator},
		{"system.nk", &a.system, nkeys.CreateAccount},
		{"account.nk", &a.account, nkeys.CreateAccount},
		{"outside.nk", &a.outside, nkeys.CreateAccount},
		{"sealed.nk", &a.sealed, nkeys.CreateAccount},
	} {
		seed, err := keepSecret(filepath.Join(dir, k.file), func() ([]byte, error) {
			pair, err := k.make()
			if err != nil {
				return nil, err
			}
			return pair.Seed()
		})
		if err != nil {
			return nil, err
		}
		if *k.pair, err = nkeys.FromSeed(seed); err != nil {
			return nil, fmt.Errorf("%s: not an nkey seed: %w", filepath.Join(dir, k.file), err)
		}
	}
	return &a, nil
}

// operatorClaims returns the trusted operator of the server's configuration.
func (a *authority) operatorClaims() (*jwt.OperatorClaims, error) {
	id, err := a.operator.PublicKey()
	if err != nil {
		return nil, err
	}
	system, err := a.system.PublicKey()
	if err != nil {
		return nil, err
	}
	c := jwt.NewOperatorClaims(id)
	c.Name, c.SystemAccount = "postern", system
	token, err := c.Encode(a.operator) // fills in issuer and id
	if err != nil {
		return nil, err
	}
	return jwt.DecodeOperatorClaims(token)
}

// accounts returns the accounts' JWTs by public key: postern's own, which holds
// the streams; the one of outside consumers; the one of the brokers' sealed
// values; and the server's system account.
func (a *authority) accounts() (map[string]string, error) {
	ids := map[string]string{}
	for name, pair := range map[string]nkeys.KeyPair{"SYS": a.system, "POSTERN": a.account, "OUTSIDE": a.outside, "SEALED": a.sealed} {
		id, err := pair.PublicKey()
		if err != nil {
			return nil, err
		}
		ids[name] = id
	}
	system, own, outside := jwt.NewAccountClaims(ids["SYS"]), jwt.NewAccountClaims(ids["POSTERN"]), jwt.NewAccountClaims(ids["OUTSIDE"])
	sealed := jwt.NewAccountClaims(ids["SEALED"])
	for _, c := range []*jwt.AccountClaims{own, sealed} {
		c.Limits.JetStreamLimits = jwt.JetStreamLimits{
			MemoryStorage: jwt.NoLimit, DiskStorage: jwt.NoLimit,
			Streams: jwt.NoLimit, Consumer: jwt.NoLimit, MaxAckPending: jwt.NoLimit,
		}
	}
	for _, subject := range outsideSubjects() {
		s := jwt.Subject(subject)
		// A token is needed to import it; ours is the only other account, and gets none but through here.
		own.Exports.Add(&jwt.Export{Name: subject, Subject: s, Type: jwt.Service, TokenReq: true, ResponseType: jwt.ResponseTypeStream})
		activation := jwt.NewActivationClaims(ids["OUTSIDE"])
		activation.ImportSubject, activation.ImportType = s, jwt.Service
		token, err := activation.Encode(a.account)
		if err != nil {
			return nil, fmt.Errorf("sign the import of %s: %w", subject, err)
		}
		outside.Imports.Add(&jwt.Import{Name: subject, Subject: s, Account: ids["POSTERN"], Type: jwt.Service, Token: token})
	}
	jwts := map[string]string{}
	for name, c := range map[string]*jwt.AccountClaims{"SYS": system, "POSTERN": own, "OUTSIDE": outside, "SEALED": sealed} {
		c.Name = name
		token, err := c.Encode(a.operator)
		if err != nil {
			return nil, fmt.Errorf("sign account %s: %w", name, err)
		}
		jwts[c.Subject] = token
	}
	return jwts, nil
}

// credName keeps names to one subject token: they become part of the inbox's.
var credName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)

// mint makes the contents of a standard .creds file. A ttl of 0 never ends.
func (a *authority) mint(name string, perms Permissions, ttl time.Duration) ([]byte, error) {
	signer := map[account]nkeys.KeyPair{ownAccount: a.account, outsideAccount: a.outside, sealedAccount: a.sealed}[perms.in]
	return mint(name, perms, ttl, signer, func(*jwt.UserClaims) {})
}

func mint(name string, perms Permissions, ttl time.Duration, signer nkeys.KeyPair, also func(*jwt.UserClaims)) ([]byte, error) {
	if !credName.MatchString(name) {
		return nil, fmt.Errorf("mint nats credentials: name %q: want letters, digits, - and _, 64 at most", name)
	}
	if ttl < 0 {
		return nil, fmt.Errorf("mint nats credentials for %s: negative lifetime %s", name, ttl)
	}
	user, err := nkeys.CreateUser()
	if err != nil {
		return nil, err
	}
	defer user.Wipe()
	id, err := user.PublicKey()
	if err != nil {
		return nil, err
	}
	c := jwt.NewUserClaims(id)
	c.Name = name
	// An empty allow list means everything to NATS: an absent one must mean nothing.
	c.Pub.Allow.Add(perms.Pub...)
	if len(perms.Pub) == 0 {
		c.Pub.Deny.Add(">")
	}
	c.Sub.Allow.Add(perms.Sub...)
	c.Sub.Allow.Add(InboxPrefix(name) + ".>")
	if ttl > 0 {
		c.Expires = time.Now().Add(ttl).Unix()
	}
	also(c)
	token, err := c.Encode(signer)
	if err != nil {
		return nil, fmt.Errorf("sign nats credentials for %s: %w", name, err)
	}
	seed, err := user.Seed()
	if err != nil {
		return nil, err
	}
	return jwt.FormatUserConfig(token, seed)
}

// InboxPrefix is the private inbox of the credentials of that name: the only
// one they may listen on, so that no holder reads another's replies.
func InboxPrefix(name string) string { return "_INBOX_" + name }

// ClientOptions are the nats.go options that a connection with these
// credentials needs: the credentials and their private inbox. They work as
// well with credentials of a server that isn't embedded.
func ClientOptions(creds []byte) ([]nats.Option, error) {
	token, err := jwt.ParseDecoratedJWT(creds)
	if err != nil {
		return nil, fmt.Errorf("read nats credentials: %w", err)
	}
	claims, err := jwt.DecodeUserClaims(token)
	if err != nil {
		return nil, fmt.Errorf("read nats credentials: %w", err)
	}
	if !credName.MatchString(claims.Name) {
		return nil, errors.New("read nats credentials: the user's name is no subject token, so it has no inbox of its own")
	}
	return []nats.Option{
		nats.UserCredentialBytes(creds),
		nats.CustomInboxPrefix(InboxPrefix(claims.Name)),
		nats.Name(claims.Name),
	}, nil
}

// ReadsBy tells from credentials of a [Consumer] its name and its stream.
func ReadsBy(creds []byte) (name, stream string, err error) {
	token, err := jwt.ParseDecoratedJWT(creds)
	if err != nil {
		return "", "", fmt.Errorf("read nats credentials: %w", err)
	}
	claims, err := jwt.DecodeUserClaims(token)
	if err != nil {
		return "", "", fmt.Errorf("read nats credentials: %w", err)
	}
	for _, subject := range claims.Pub.Allow {
		if rest, ok := strings.CutPrefix(subject, "$JS.API.CONSUMER.MSG.NEXT."); ok {
			if stream, name, ok = strings.Cut(rest, "."); ok && credName.MatchString(name) {
				return name, stream, nil
			}
		}
	}
	return "", "", errors.New("these nats credentials are not those of a consumer: postern consumers add makes some")
}
