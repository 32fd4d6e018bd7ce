// Package grants is the proxy's view of who may do what: a projection of the
// ACCESS stream that answers, from memory, "may this session make this call,
// now". It is pure: events and the time come as arguments, and nothing here
// does I/O.
//
// Invariants:
//
//   - A session is refused unless its own session.started event is known, it is
//     not ended, not expired, no lock reaches it, and its permissions allow the
//     call. What is unknown is refused.
//   - A refusal that arrives by event (lock, end, deletion) reaches running
//     calls too: see [Grants.Watch]. There is no moment between check and watch
//     at which a lock can slip through, because Watch checks again under the
//     lock that Apply holds.
//   - Memory follows what is live: sessions and locks are forgotten when they
//     have expired (sessions after a grace time in which they can still be told
//     from unknown ones).
package grants
