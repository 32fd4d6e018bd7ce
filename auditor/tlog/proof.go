package tlog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/transparency-dev/tessera/client"
)

// Proof shows that a checkpoint covers the leaf of a sequence.
type Proof struct {
	Seq uint64
	// Path leads from the leaf to the root (RFC 6962, 2.1.1).
	Path [][]byte
	// Note is the signed checkpoint.
	Note []byte
}

const proofHeader = "c2sp.org/tlog-proof@v1\n"

// Text is the proof in the form of https://c2sp.org/tlog-proof.
func (p Proof) Text() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%sindex %d\n", proofHeader, p.Seq-1)
	for _, h := range p.Path {
		b.WriteString(base64.StdEncoding.EncodeToString(h) + "\n")
	}
	b.WriteByte('\n')
	b.Write(p.Note)
	return b.Bytes()
}

// ParseProof reads the form of Text, and no other.
func ParseProof(b []byte) (Proof, error) {
	fail := errors.New("is no proof of inclusion (c2sp.org/tlog-proof@v1)")
	rest, ok := bytes.CutPrefix(b, []byte(proofHeader+"index "))
	head, note, found := bytes.Cut(rest, []byte("\n\n"))
	if !ok || !found {
		return Proof{}, fail
	}
	lines := strings.Split(string(head), "\n")
	index, err := strconv.ParseUint(lines[0], 10, 64)
	if err != nil || index+1 == 0 {
		return Proof{}, fail
	}
	p := Proof{Seq: index + 1, Note: note}
	for _, line := range lines[1:] {
		h, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(h) != sha256.Size {
			return Proof{}, fail
		}
		p.Path = append(p.Path, h)
	}
	if !bytes.Equal(p.Text(), b) {
		return Proof{}, fail
	}
	return p, nil
}

// Prover makes proofs for one checkpoint.
type Prover struct {
	at      Checkpoint
	builder *client.ProofBuilder
}

// NewProver reads from a log what a checkpoint covers.
func NewProver(ctx context.Context, t Tiles, at Checkpoint) (*Prover, error) {
	b, err := client.NewProofBuilder(ctx, at.Size, t.ReadTile)
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", at.Stream, err)
	}
	return &Prover{at, b}, nil
}

// Prove proves that the log has a leaf, and fails where it has not.
func (p *Prover) Prove(ctx context.Context, l Leaf) (Proof, error) {
	path, err := p.builder.InclusionProof(ctx, l.Seq-1)
	if err == nil {
		err = p.at.Included(l, path)
	}
	if err != nil {
		return Proof{}, fmt.Errorf("log of %s: sequence %d: %w", l.Stream, l.Seq, err)
	}
	return Proof{Seq: l.Seq, Path: path, Note: p.at.Note}, nil
}
