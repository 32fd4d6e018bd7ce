package embedded

import "slices"

// Permissions are the subjects that credentials may publish to and subscribe
// to, with NATS wildcards. Nothing else is allowed. The private inbox
// ([InboxPrefix]) is always added.
//
// They bound whom a server answers, not what it can be made to do: nats-server
// checks neither the reply subject of a request nor the deliver subject of a
// push consumer. Whoever may read a stream can so have its messages copied, and
// API answers written, to any subject of the account. Hence [Consumer] lives in
// an account of its own, and what stands in ACCESS is to be believed for the
// broker's signature, not for its place.
type Permissions struct {
	Pub, Sub []string

	in account // nothing: postern's own, which holds the streams
}

// account is one of the embedded server's.
type account int

const (
	ownAccount     account = iota
	outsideAccount         // without streams
	sealedAccount          // the brokers' alone
)

// Broker may record decisions and read them back, and read of the audit trail
// which calls wait for their approval.
func Broker() Permissions {
	return Permissions{Pub: slices.Concat([]string{"access.>"}, read("ACCESS"), work("AUDIT", "broker-held", "audit.held.>"))}
}

// Proxy may record what it did, follow the decisions, leave for other proxies
// and find what they handed out, which is sealed, and tell one another what counts
// against rate limits, sealed too. It can't read the audit trail, its own part included.
func Proxy() Permissions {
	return Permissions{
		Pub: slices.Concat([]string{"audit.>", "$KV.postern_issued.*", "$JS.API.STREAM.MSG.GET.KV_postern_issued", "postern.rates"}, read("ACCESS")),
		Sub: []string{"postern.rates"},
	}
}

// Auditor may read everything, and record AWS's account of it and findings.
func Auditor() Permissions {
	return Permissions{Pub: slices.Concat([]string{"cloudtrail.>", "findings.>"},
		read("ACCESS"), read("AUDIT"), read("CLOUDTRAIL"), read("FINDINGS"))}
}

// Consumers may make and end durable consumers of all streams, and see how far
// they are.
func Consumers() Permissions {
	var p Permissions
	for _, stream := range []string{"ACCESS", "AUDIT", "CLOUDTRAIL", "FINDINGS"} {
		p.Pub = append(p.Pub, "$JS.API.CONSUMER.CREATE."+stream+".>", "$JS.API.CONSUMER.INFO."+stream+".*", "$JS.API.CONSUMER.DELETE."+stream+".*")
	}
	return p
}

// Push may read all streams and set durable consumers back: it is for what
// brokers send to endpoints.
func Push() Permissions {
	var p Permissions
	for _, stream := range []string{"ACCESS", "AUDIT", "CLOUDTRAIL", "FINDINGS"} {
		p.Pub = append(append(p.Pub, read(stream)...), "$JS.API.CONSUMER.RESET."+stream+".*")
	}
	return p
}

// Consumer may read one stream through the durable pull consumer called name,
// and nothing else. The broker makes that consumer, with the filter, and ends
// the access by deleting it: the holder can do neither.
//
// STREAM.INFO is withheld because it lists the subjects of the whole stream, and
// with them users, accounts and operations that the filter leaves out.
//
// The name is pinned because MSG.NEXT on another's consumer would read past the
// filter and take that consumer's messages away. Making consumers is withheld
// because of the deliver subject, see [Permissions].
func Consumer(name, stream string) Permissions {
	return Permissions{in: outsideAccount, Pub: []string{
		"$JS.API.INFO",
		"$JS.API.CONSUMER.INFO." + stream + "." + name,
		"$JS.API.CONSUMER.MSG.NEXT." + stream + "." + name,
		"$JS.ACK." + stream + "." + name + ".>",
	}}
}

// outsideSubjects are the services that the account of outside consumers
// imports: the most that any [Consumer] may ask.
func outsideSubjects() []string { return Consumer("*", "*").Pub }

// Admin may do everything in postern's account: streams are made with it.
func Admin() Permissions {
	return Permissions{Pub: []string{">"}, Sub: []string{">"}}
}

// Sealed may do everything in the account that holds the brokers' sealed values
// and nothing else. It is an account of its own because whoever may read a
// stream can have messages written to any subject of that stream's account.
func Sealed() Permissions {
	return Permissions{in: sealedAccount, Pub: []string{">"}, Sub: []string{">"}}
}

// work is what it takes to read those messages of a stream that match a filter,
// through one durable pull consumer.
func work(stream, durable, filter string) []string {
	return []string{
		"$JS.API.CONSUMER.CREATE." + stream + "." + durable + "." + filter,
		"$JS.API.CONSUMER.INFO." + stream + "." + durable,
		"$JS.API.CONSUMER.MSG.NEXT." + stream + "." + durable,
		"$JS.ACK." + stream + "." + durable + ".>",
	}
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
