// Package api holds what goes over the broker's HTTPS interface: the bodies of
// requests and answers, errors, and identity files. The broker and package
// client share it; openapi.yaml in package broker says the same to everybody
// else, and a test holds the two together.
//
// Times are RFC 3339 in UTC. Durations are Go duration strings ("8h", "30m")
// in what people send and seconds where the name says so.
package api
