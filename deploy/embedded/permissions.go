package embedded

import "slices"

// Permissions are the subjects that credentials may publish to and subscribe
// to, with NATS wildcards. Nothing else is allowed. The private inbox
// ([InboxPrefix]) is always added.
type Permissions struct{ Pub, Sub []string }

// Broker may record decisions and read them back.
func Broker() Permissions {
	return Permissions{Pub: slices.Concat([]string{"access.>"}, read("ACCESS"))}
}

// Proxy may record what it did and follow the decisions. It can't read the
// audit trail, its own part included.
func Proxy() Permissions {
	return Permissions{Pub: slices.Concat([]string{"audit.>"}, read("ACCESS"))}
}

// Auditor may read everything, and record AWS's account of it and findings.
func Auditor() Permissions {
	return Permissions{Pub: slices.Concat([]string{"cloudtrail.>", "findings.>"},
		read("ACCESS"), read("AUDIT"), read("CLOUDTRAIL"), read("FINDINGS"))}
}

// Consumer may read, through one durable pull consumer that must be called
// name, the messages of one stream that filter lets through, and nothing else.
//
// The consumer's name is pinned because MSG.NEXT on another's consumer would
// read past the filter and take that consumer's messages away.
func Consumer(name, stream, filter string) Permissions {
	return Permissions{Pub: []string{
		"$JS.API.INFO",
		"$JS.API.STREAM.INFO." + stream,
		// The server refuses a request whose body names another filter or consumer than its subject.
		"$JS.API.CONSUMER.CREATE." + stream + "." + name + "." + filter,
		"$JS.API.CONSUMER.INFO." + stream + "." + name,
		"$JS.API.CONSUMER.MSG.NEXT." + stream + "." + name,
		"$JS.ACK." + stream + "." + name + ".>",
	}}
}

// Admin may do everything in postern's account: streams are made with it.
func Admin() Permissions {
	return Permissions{Pub: []string{">"}, Sub: []string{">"}}
}

// read is what nats.go's jetstream package asks of the server to read one
// stream: look it up, last messages, durable and ordered (ephemeral) pull
// consumers. No consumer may be made through the older DURABLE.CREATE, and no
// stream changed.
//
// Subjects: https://docs.nats.io/reference/reference-protocols/nats_api_reference
func read(stream string) []string {
	return []string{
		"$JS.API.INFO",
		"$JS.API.STREAM.INFO." + stream,
		"$JS.API.STREAM.MSG.GET." + stream,
		"$JS.API.DIRECT.GET." + stream,
		"$JS.API.DIRECT.GET." + stream + ".>",
		"$JS.API.CONSUMER.CREATE." + stream + ".>",
		"$JS.API.CONSUMER.INFO." + stream + ".*",
		"$JS.API.CONSUMER.DELETE." + stream + ".*",
		"$JS.API.CONSUMER.MSG.NEXT." + stream + ".*",
		"$JS.ACK." + stream + ".>",
	}
}
