// Package push sends events over HTTP to those who asked for them: as
// CloudEvents or OCSF to webhooks, signed (https://www.standardwebhooks.com), and
// as Security Event Tokens to receivers of shared signals (OpenID SSF 1.0, CAEP,
// RISC). Each event at least once, in the order of its stream; one that an
// endpoint would not take is set aside, and the next one goes on.
package push
