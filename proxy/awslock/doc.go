// Package awslock takes locks to AWS. What a lock stops at the proxy may go on
// elsewhere: a console that is open, credentials that were exported. So the IAM
// roles of locked sessions get an inline policy, [PolicyName], that denies
// everything to the locked sessions' credentials, told by source identity or
// session name and by having been issued before the lock
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_revoke-sessions.html).
// It goes when the last lock goes. Other policies are never looked at.
//
// Every proxy does that, by what it knows, again and again until AWS agrees;
// equal knowledge makes an equal policy, so that it does not matter who is first.
// What was done is an event, once.
package awslock
