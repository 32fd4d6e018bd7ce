// Package auditor is the service that keeps what happened: it takes every
// stream into ClickHouse, AWS's CloudTrail log files onto a stream, compares the
// two accounts, and answers questions about them over HTTPS.
//
// The path of data: stream → [Auditor.sink] → store (rows, then the ledger) →
// [judge] (package correlate) → FINDINGS → store again → package query.
package auditor
