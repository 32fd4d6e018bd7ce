// Package access decides. It holds the aggregates user, credential, role, app,
// connector, access request, session, sign-in and lock, each as two pure functions: decide turns a
// command, the state and the time into events or a refusal, and State.Apply
// turns events into state. There is no clock, no randomness and no I/O in it,
// so that a replay of the ACCESS stream gives the same state always.
//
// Whoever appends a decision's events does so on condition that the
// aggregate's channel is still at the head that the decision saw
// (State.Head), and decides again when it is not.
package access
