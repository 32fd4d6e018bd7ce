// Package signed tells what a broker decided from what anybody else wrote into
// the ACCESS stream: who may publish to NATS can't decide who may use AWS.
//
// Every event of ACCESS carries an Ed25519 signature as its last JSON member,
//
//	{…,"data":{…},"signature":"KEYID.SIGNATURE"}
//
// where KEYID is 16 hex digits and SIGNATURE base64url without padding. Signed
// are the bytes
//
//	"postern decision v1\n" + NATS subject + "\n" + the event without that member
//
// and so its id, type, time and data, the subject that it stands on, and by its
// sequence (the revision of the aggregate, from 1) its place there: an event
// that is repeated, copied elsewhere, or comes before one that it follows is
// found out. See [Place].
//
// Keys are published on the stream itself (io.postern.key.published.v1), each
// with a certificate of the broker's CA, which readers pin anyway. A key lives
// in a broker's memory alone and for as long as its certificate says.
//
// Brokers attest what they verified (io.postern.history.attested.v1): see [Digest],
// and journal.Judge, which reads it.
package signed
