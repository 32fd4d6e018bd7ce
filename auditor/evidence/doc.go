// Package evidence finds out whether anybody tampered with the record: it
// compares a stream, the ledger in ClickHouse and the transparency log with each
// other, sequence by sequence. The log, whose checkpoints are signed and kept by
// others, is the measure for the other two.
//
// It also packs bundles that prove what they hold with nothing else at hand.
package evidence
