// Package tlog keeps the transparency logs: one for each stream, in which leaf
// number i (from 0) says which event the stream has at sequence i+1. A leaf's
// place so proves that nothing is missing before it.
//
// The logs are tiled (https://c2sp.org/tlog-tiles), written by tessera, and
// their checkpoints (https://c2sp.org/tlog-checkpoint) are notes signed with
// Ed25519, so that any tool for such logs reads them. What a leaf says is
// postern's own, see [Leaf] and docs/evidence.md.
//
// Nothing here is remembered besides the log itself: its size tells where to go
// on, and the stream tells the leaves again.
package tlog
