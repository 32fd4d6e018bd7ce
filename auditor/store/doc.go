// Package store keeps postern's events in ClickHouse and is the only place
// that writes there.
//
// Two kinds of tables. The ledger, events, has exactly one row for each message
// of each stream. Tables ending in _rows are made from it, one for each question
// people ask; their rows merge by key so that writing one again changes nothing.
// A batch is therefore written to the _rows tables first and to the ledger
// last: what the ledger has is everywhere, what it lacks may be written again.
//
// Exactly once in the ledger:
//
//   - a batch goes in as one block into one partition, so whole or not at all;
//   - a batch that is tried again carries the token stream:first-last, by which
//     ClickHouse knows a block that it has, even while the first try still runs;
//   - after a crash batches are cut elsewhere, so the ledger itself says which
//     sequences it has, and those are left out;
//   - who takes a stream over cancels what another process was inserting, and one
//     that goes on after it was stopped has to hold the stream still: see TakeOver;
//   - whenever the fate of an earlier try is unknown, the range is read back.
package store
