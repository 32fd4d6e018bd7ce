package tlog

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Key signs checkpoints. The logs of one auditor share it; their names do not:
// the log of stream S is called NAME/S, and a note's signature covers the name.
type Key struct {
	name string
	priv ed25519.PrivateKey
}

// algorithm is Ed25519's in a note's key (https://c2sp.org/signed-note).
const algorithm = 1

// LoadKey reads the key in a file, which is made with mode 0600 if there is none: of
// several that do so at once, all get the same. name is for a new key; "" derives one
// from the key.
func LoadKey(file, name string) (*Key, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		if err := createKey(file, name); err != nil {
			return nil, fmt.Errorf("log key: %w", err)
		}
		b, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, fmt.Errorf("log key: %w", err)
	}
	k, err := parseKey(strings.TrimSpace(string(b)))
	if err != nil {
		return nil, fmt.Errorf("log key %s: %w: put it back from a copy; or move its directory away, and the logs are made anew from the streams, under another key", file, err)
	}
	if name != "" && name != k.name {
		return nil, fmt.Errorf("log key %s is of the log %s, not of %s: a log keeps its name", file, k.name, name)
	}
	return k, nil
}

func createKey(file, name string) error {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	if name == "" {
		name = fmt.Sprintf("postern/%x", pub[:8])
	}
	k := &Key{name, priv}
	if _, err := k.signer(name); err != nil {
		return fmt.Errorf("log name %q: %w", name, err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return writeOnce(file, []byte(k.private(name)+"\n"), 0o600)
}

// parseKey reads a note's private key, "PRIVATE+KEY+NAME+HASH+KEY".
func parseKey(s string) (*Key, error) {
	if _, err := note.NewSigner(s); err != nil {
		return nil, errors.New("is no private key of a signed note")
	}
	part := strings.SplitN(s, "+", 5)
	key, err := base64.StdEncoding.DecodeString(part[4])
	if err != nil || len(key) != 1+ed25519.SeedSize || key[0] != algorithm {
		return nil, errors.New("is no Ed25519 key of a signed note")
	}
	return &Key{part[2], ed25519.NewKeyFromSeed(key[1:])}, nil
}

func (k *Key) private(name string) string {
	key := append([]byte{algorithm}, k.priv.Seed()...)
	return "PRIVATE+KEY+" + name + "+" + keyHash(k.public(name)) + "+" + base64.StdEncoding.EncodeToString(key)
}

func (k *Key) public(name string) string {
	v, err := note.NewEd25519VerifierKey(name, k.priv.Public().(ed25519.PublicKey))
	if err != nil { // only for a key of the wrong length
		panic(err)
	}
	return v
}

func keyHash(public string) string { return strings.SplitN(public, "+", 3)[1] }

func (k *Key) signer(name string) (note.Signer, error) { return note.NewSigner(k.private(name)) }

// Public is the key that people trust, in the form of a note's verifier key.
func (k *Key) Public() PublicKey { return PublicKey(k.public(k.name)) }

// Sign signs a text, which ends with a line feed, under NAME/what.
func (k *Key) Sign(what, text string) ([]byte, error) {
	s, err := k.signer(k.name + "/" + what)
	if err != nil {
		return nil, err
	}
	return note.Sign(&note.Note{Text: text}, s)
}

// PublicKey is a note's verifier key, "NAME+HASH+KEY", of an auditor's logs.
type PublicKey string

// Check says what is wrong with a key.
func (p PublicKey) Check() error {
	if _, err := note.NewVerifier(string(p)); err != nil {
		return fmt.Errorf("log key %.100q: want NAME+HASH+KEY, as `postern audit verify` prints it", string(p))
	}
	return nil
}

// Name is what the auditor's logs are called, without the stream.
func (p PublicKey) Name() string {
	name, _, _ := strings.Cut(string(p), "+")
	return name
}

// Under is the key of what is signed under NAME/what: a stream's checkpoints, for
// tools and witnesses that know of one log at a time.
func (p PublicKey) Under(what string) (PublicKey, error) {
	if err := p.Check(); err != nil {
		return "", err
	}
	key, err := base64.StdEncoding.DecodeString(strings.SplitN(string(p), "+", 3)[2])
	if err != nil {
		return "", err
	}
	v, err := note.NewEd25519VerifierKey(p.Name()+"/"+what, key[1:])
	return PublicKey(v), err
}

// Verifier verifies what was signed under NAME/what.
func (p PublicKey) Verifier(what string) (note.Verifier, error) {
	under, err := p.Under(what)
	if err != nil {
		return nil, err
	}
	return note.NewVerifier(string(under))
}

// Open verifies a note that was signed under NAME/what and returns its text.
func (p PublicKey) Open(what string, signed []byte) (string, error) {
	v, err := p.Verifier(what)
	if err != nil {
		return "", err
	}
	n, err := note.Open(signed, note.VerifierList(v))
	if err != nil {
		return "", fmt.Errorf("not signed by %s: %w", v.Name(), err)
	}
	return n.Text, nil
}
