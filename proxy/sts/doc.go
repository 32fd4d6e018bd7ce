// Package sts is the sole holder of AWS credentials: those that postern itself
// runs with, found by the AWS SDK's default chain, and those of the roles that
// it assumes for sessions. No other package asks for either.
//
// Invariants:
//
//   - No credentials leave [Holder.Get] before the event that says they exist
//     (io.postern.aws.credentials.issued.v1) is on the stream.
//   - One session and one set of parameters is one call of AssumeRole, however
//     many requests wait for it.
//   - Credentials are never handed out beyond the session's end, though STS
//     gives none for less than 15 minutes.
//   - Secrets stay in memory and in what is sent to AWS: no error, event or log
//     has them.
package sts
