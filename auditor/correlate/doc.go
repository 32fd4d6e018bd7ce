// Package correlate decides, one to one, which CloudTrail record is AWS's
// account of which request of ours, and what to make of what is left over. It is
// pure: time, and what a store knows, arrive as arguments.
//
// A request and a record are a pair
//
//   - request_id: when AWS's answer and the record give the same AWS request id,
//     unless both name an account or both an access key, and differently. Of several
//     such records the one that fits best (fitness); all but the best possible wait
//     until it is overdue;
//   - key_name_time: when one of the two has no AWS request id, and access key,
//     service and operation agree: the nearest in time, within Config.Skew.
//
// Two different request ids never make a pair: that would let a call that went
// around postern hide behind one whose record got lost.
//
// A request without a record is awaiting, and missing once the record is overdue.
// A record under an identity of postern's is console, forwarded or credentials
// where that explains it, else bypass. Records of other identities are none of
// our business. Verdicts move up only: missing and bypass to matched, when the
// other side comes late.
//
// Why no waiting is needed before a record is called a bypass: the admitted
// event of a request is on the stream before AWS sees the request. Once all
// requests up to the record's arrival are known (Clock.Requests), the request
// that made it is known, or there is none.
package correlate
