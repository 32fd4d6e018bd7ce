// Package awsreq tells from an HTTP request alone what it asks of AWS: partition,
// region, service, API operation, IAM action with its access level, and the ARNs
// it names.
//
// It is pure: a [Table] is built once from the tables in tables/, which are
// generated from public descriptions of AWS, and answers from then on without
// allocating. It never guesses: what it cannot tell for sure stays empty, and
// where a request can be read in two ways ([Request.Ambiguous]) it says so
// instead of choosing, because the choice would be the sender's.
package awsreq

//go:generate go run ./internal/gen -data ../../../shared/data
