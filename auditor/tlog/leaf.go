package tlog

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/posternhq/postern/events"
)

// Hash is what a leaf keeps of an event.
type Hash [sha256.Size]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// ParseHash reads the form of String.
func ParseHash(s string) (h Hash, err error) {
	if len(s) != hex.EncodedLen(len(h)) {
		return h, fmt.Errorf("hash %q is not 64 hexadecimal digits", s)
	}
	_, err = hex.Decode(h[:], []byte(s))
	return h, err
}

// HashOf is the hash of a message as a stream has it: SHA-256 over its subject,
// a line feed, the time at which the stream took it in nanoseconds since 1970 in
// decimal, a line feed, and its body. The ledger's column hash is the same, by
// ClickHouse.
func HashOf(subject string, storedAt time.Time, body []byte) Hash {
	return events.Place{Subject: subject, StoredAt: storedAt}.Hash(body)
}

// Leaf says that a stream has an event at a sequence. As an entry of the log it
// is one line of text without an end: stream, sequence in decimal, hash in lower
// case hexadecimal, a space between them.
type Leaf struct {
	Stream string
	Seq    uint64
	Hash   Hash
}

// Entry is the leaf as it stands in the log.
func (l Leaf) Entry() []byte {
	return fmt.Appendf(nil, "%s %d %s", l.Stream, l.Seq, l.Hash)
}

// ParseLeaf reads an entry. There is one form only: what it accepts, Entry
// gives back byte for byte.
func ParseLeaf(entry []byte) (Leaf, error) {
	part := strings.Split(string(entry), " ")
	if len(part) != 3 {
		return Leaf{}, fmt.Errorf("log entry %.100q is no leaf", entry)
	}
	l := Leaf{Stream: part[0]}
	var err error
	if l.Seq, err = strconv.ParseUint(part[1], 10, 64); err == nil {
		l.Hash, err = ParseHash(part[2])
	}
	if err != nil || string(l.Entry()) != string(entry) {
		return Leaf{}, fmt.Errorf("log entry %.100q is no leaf", entry)
	}
	return l, nil
}
