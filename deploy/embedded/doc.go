// Package embedded runs postern's two stores on one machine with nothing
// installed: a NATS JetStream server in this process, and a ClickHouse server
// as a supervised subprocess.
//
// It serves `postern dev`, the tests and a small team on a single node. Where
// people outgrow it, the same credentials files and DSNs point at a NATS
// cluster and a ClickHouse server of their own, and no other package changes.
//
// NATS is in process because the library is built for it. ClickHouse is not,
// because the engine aborts its whole process on an internal error: it gets
// one of its own, ended by a pipe that breaks when this process dies.
package embedded
