package signed

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"time"
)

const (
	// MinRun is how many events brokers let come before they attest them, MaxRun
	// how many one attestation is about at most.
	MinRun = 1000
	MaxRun = 2048
)

const attestation = "postern history v1\n"

// Leaf stands for one message of ACCESS in what brokers attest.
type Leaf struct {
	Seq uint64
	Sum [sha256.Size]byte
}

// NewLeaf hashes a message as it stands on a channel since storedAt: all that
// [Keys.Verify] looks at, and its place in the stream.
func NewLeaf(channel string, seq uint64, storedAt time.Time, raw []byte) Leaf {
	const stack = 1024 // most messages fit
	head := 20 + len(channel)
	b := make([]byte, 0, max(stack, head))
	b = binary.BigEndian.AppendUint64(b, seq)
	b = binary.BigEndian.AppendUint64(b, uint64(storedAt.UnixNano()))
	b = binary.BigEndian.AppendUint32(b, uint32(len(channel)))
	b = append(b, channel...)
	if len(b)+len(raw) <= stack {
		return Leaf{seq, sha256.Sum256(append(b, raw...))}
	}
	h := sha256.New()
	h.Write(b)
	h.Write(raw)
	out := Leaf{Seq: seq}
	h.Sum(out.Sum[:0])
	return out
}

// Digest is what an attestation of consecutive messages says of them.
func Digest(leaves []Leaf) string {
	h := sha256.New()
	h.Write([]byte(attestation))
	for i := range leaves {
		h.Write(leaves[i].Sum[:])
	}
	return hex.EncodeToString(h.Sum(nil))
}
