package events

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Type is a CloudEvents type, "io.postern.<aggregate>.<verb>.v<version>".
type Type string

// SchemaURI names the JSON Schema of the type's payload; package schemas
// carries the schema under the last part of it.
func (t Type) SchemaURI() string { return schemas + t.SchemaFile() }

// SchemaFile is the name of the type's JSON Schema in package schemas:
// "session.started.v1.json".
func (t Type) SchemaFile() string {
	return strings.TrimPrefix(string(t), typePrefix) + schemaSuffix
}

const (
	schemas      = "https://postern.io/schemas/events/"
	schemaSuffix = ".json"
	typePrefix   = "io.postern."
)

// The event types of this version, by stream and aggregate.
const (
	TypeUserCreated         Type = "io.postern.user.created.v1"
	TypeUserUpdated         Type = "io.postern.user.updated.v1"
	TypeUserDeleted         Type = "io.postern.user.deleted.v1"
	TypeUserPasswordChanged Type = "io.postern.user.password_changed.v1"
	TypeUserForgotten       Type = "io.postern.user.forgotten.v1"

	TypeSigninSucceeded Type = "io.postern.signin.succeeded.v1"
	TypeSigninFailed    Type = "io.postern.signin.failed.v1"
	TypeSigninRevoked   Type = "io.postern.signin.revoked.v1"

	TypeCredentialInvited       Type = "io.postern.credential.invited.v1"
	TypeCredentialEnrolled      Type = "io.postern.credential.enrolled.v1"
	TypeCredentialFactorAdded   Type = "io.postern.credential.factor_added.v1"
	TypeCredentialFactorRemoved Type = "io.postern.credential.factor_removed.v1"
	TypeCredentialFactorUsed    Type = "io.postern.credential.factor_used.v1"

	TypeConnectorCreated Type = "io.postern.connector.created.v1"
	TypeConnectorUpdated Type = "io.postern.connector.updated.v1"
	TypeConnectorDeleted Type = "io.postern.connector.deleted.v1"

	TypeClusterSettingsUpdated Type = "io.postern.cluster_settings.updated.v1"

	TypeRoleCreated Type = "io.postern.role.created.v1"
	TypeRoleUpdated Type = "io.postern.role.updated.v1"
	TypeRoleDeleted Type = "io.postern.role.deleted.v1"

	TypeAppCreated Type = "io.postern.app.created.v1"
	TypeAppUpdated Type = "io.postern.app.updated.v1"
	TypeAppDeleted Type = "io.postern.app.deleted.v1"

	TypeAccessListCreated       Type = "io.postern.access_list.created.v1"
	TypeAccessListUpdated       Type = "io.postern.access_list.updated.v1"
	TypeAccessListDeleted       Type = "io.postern.access_list.deleted.v1"
	TypeAccessListMemberAdded   Type = "io.postern.access_list.member_added.v1"
	TypeAccessListMemberRemoved Type = "io.postern.access_list.member_removed.v1"
	TypeAccessListReviewed      Type = "io.postern.access_list.reviewed.v1"
	TypeAccessListReviewDue     Type = "io.postern.access_list.review_due.v1"
	TypeAccessListSuspended     Type = "io.postern.access_list.suspended.v1"

	TypeRequestCreated  Type = "io.postern.request.created.v1"
	TypeRequestReviewed Type = "io.postern.request.reviewed.v1"
	TypeRequestApproved Type = "io.postern.request.approved.v1"
	TypeRequestDenied   Type = "io.postern.request.denied.v1"
	TypeRequestExpired  Type = "io.postern.request.expired.v1"
	TypeRequestDropped  Type = "io.postern.request.dropped.v1"
	TypeRequestPromoted Type = "io.postern.request.promoted.v1"

	TypeSessionStarted Type = "io.postern.session.started.v1"
	TypeSessionEnded   Type = "io.postern.session.ended.v1"

	TypeLockPlaced   Type = "io.postern.lock.placed.v1"
	TypeLockLifted   Type = "io.postern.lock.lifted.v1"
	TypeLockExpired  Type = "io.postern.lock.expired.v1"
	TypeKeyPublished Type = "io.postern.key.published.v1"

	TypeHistoryAttested Type = "io.postern.history.attested.v1"

	TypeTokenCreated Type = "io.postern.token.created.v1"
	TypeTokenUpdated Type = "io.postern.token.updated.v1"
	TypeTokenDeleted Type = "io.postern.token.deleted.v1"
	TypeTokenUsed    Type = "io.postern.token.used.v1"
	TypeAgentRenewed Type = "io.postern.agent.renewed.v1"
	TypeCARotated    Type = "io.postern.ca.rotated.v1"

	TypeProxyAnnounced Type = "io.postern.proxy.announced.v1"
	TypeProxyWithdrawn Type = "io.postern.proxy.withdrawn.v1"

	TypeConsumerCreated       Type = "io.postern.consumer.created.v1"
	TypeConsumerDeleted       Type = "io.postern.consumer.deleted.v1"
	TypeConsumerSecretRotated Type = "io.postern.consumer.secret_rotated.v1"
	TypeConsumerEventSetAside Type = "io.postern.consumer.event_set_aside.v1"
	TypeConsumerEventReplayed Type = "io.postern.consumer.event_replayed.v1"
	TypeConsumerSuspended     Type = "io.postern.consumer.suspended.v1"
	TypeConsumerResumed       Type = "io.postern.consumer.resumed.v1"

	TypeConsumerStreamConfigured Type = "io.postern.consumer.stream_configured.v1"
	TypeConsumerStreamDeleted    Type = "io.postern.consumer.stream_deleted.v1"
	TypeConsumerSubjectRemoved   Type = "io.postern.consumer.subject_removed.v1"
	TypeConsumerSubjectAdded     Type = "io.postern.consumer.subject_added.v1"

	TypeAuditTokenCreated Type = "io.postern.audit_token.created.v1"
	TypeAuditTokenDeleted Type = "io.postern.audit_token.deleted.v1"

	TypeAWSRequestAdmitted  Type = "io.postern.aws.request.admitted.v1"
	TypeAWSRequestCompleted Type = "io.postern.aws.request.completed.v1"
	TypeAWSRequestDenied    Type = "io.postern.aws.request.denied.v1"
	TypeAWSRequestFailed    Type = "io.postern.aws.request.failed.v1"

	TypeAWSCredentialsIssued Type = "io.postern.aws.credentials.issued.v1"
	TypeAWSConsoleOpened     Type = "io.postern.aws.console.opened.v1"
	TypeAWSLockApplied       Type = "io.postern.aws.lock.applied.v1"
	TypeAWSLockLifted        Type = "io.postern.aws.lock.lifted.v1"
	TypeAWSLockFailed        Type = "io.postern.aws.lock.failed.v1"
	TypeAWSTokenIssued       Type = "io.postern.aws.token.issued.v1"

	TypeAWSCallHeld     Type = "io.postern.aws.call.held.v1"
	TypeAWSCallReleased Type = "io.postern.aws.call.released.v1"

	TypeAWSTunnelOpened Type = "io.postern.aws.tunnel.opened.v1"
	TypeAWSTunnelClosed Type = "io.postern.aws.tunnel.closed.v1"

	TypeCloudTrailRecordReceived  Type = "io.postern.cloudtrail.record.received.v1"
	TypeCloudTrailFileRejected    Type = "io.postern.cloudtrail.file.rejected.v1"
	TypeCloudTrailFileReceived    Type = "io.postern.cloudtrail.file.received.v1"
	TypeCloudTrailMessageRejected Type = "io.postern.cloudtrail.message.rejected.v1"
	TypeCloudTrailLetterReplayed  Type = "io.postern.cloudtrail.letter.replayed.v1"
	TypeCloudTrailDigestChecked   Type = "io.postern.cloudtrail.digest.checked.v1"
	TypeCloudTrailTrailObserved   Type = "io.postern.cloudtrail.trail.observed.v1"

	TypeVerdictReached  Type = "io.postern.verdict.reached.v1"
	TypeFindingOpened   Type = "io.postern.finding.opened.v1"
	TypeFindingResolved Type = "io.postern.finding.resolved.v1"

	TypeLogOpened       Type = "io.postern.log.opened.v1"
	TypeLogCheckpointed Type = "io.postern.log.checkpointed.v1"

	TypeRetentionSet Type = "io.postern.retention.set.v1"
)

// Types lists every event type of this version.
func Types() []Type {
	return []Type{
		TypeUserCreated, TypeUserUpdated, TypeUserDeleted, TypeUserPasswordChanged, TypeUserForgotten,
		TypeSigninSucceeded, TypeSigninFailed, TypeSigninRevoked,
		TypeCredentialInvited, TypeCredentialEnrolled, TypeCredentialFactorAdded, TypeCredentialFactorRemoved, TypeCredentialFactorUsed,
		TypeConnectorCreated, TypeConnectorUpdated, TypeConnectorDeleted, TypeClusterSettingsUpdated,
		TypeRoleCreated, TypeRoleUpdated, TypeRoleDeleted,
		TypeAppCreated, TypeAppUpdated, TypeAppDeleted,
		TypeAccessListCreated, TypeAccessListUpdated, TypeAccessListDeleted, TypeAccessListMemberAdded, TypeAccessListMemberRemoved,
		TypeAccessListReviewed, TypeAccessListReviewDue, TypeAccessListSuspended,
		TypeRequestCreated, TypeRequestReviewed, TypeRequestApproved, TypeRequestDenied, TypeRequestExpired, TypeRequestDropped, TypeRequestPromoted,
		TypeSessionStarted, TypeSessionEnded,
		TypeLockPlaced, TypeLockLifted, TypeLockExpired, TypeKeyPublished, TypeHistoryAttested,
		TypeTokenCreated, TypeTokenUpdated, TypeTokenDeleted, TypeTokenUsed,
		TypeAgentRenewed, TypeCARotated, TypeProxyAnnounced, TypeProxyWithdrawn,
		TypeConsumerCreated, TypeConsumerDeleted, TypeConsumerSecretRotated, TypeConsumerEventSetAside, TypeConsumerEventReplayed, TypeConsumerSuspended, TypeConsumerResumed,
		TypeConsumerStreamConfigured, TypeConsumerStreamDeleted, TypeConsumerSubjectRemoved, TypeConsumerSubjectAdded,
		TypeAuditTokenCreated, TypeAuditTokenDeleted,
		TypeAWSRequestAdmitted, TypeAWSRequestCompleted, TypeAWSRequestDenied, TypeAWSRequestFailed,
		TypeAWSCredentialsIssued, TypeAWSConsoleOpened, TypeAWSLockApplied, TypeAWSLockLifted, TypeAWSLockFailed, TypeAWSTokenIssued,
		TypeAWSCallHeld, TypeAWSCallReleased,
		TypeAWSTunnelOpened, TypeAWSTunnelClosed,
		TypeCloudTrailRecordReceived, TypeCloudTrailFileRejected,
		TypeCloudTrailFileReceived, TypeCloudTrailMessageRejected, TypeCloudTrailLetterReplayed, TypeCloudTrailDigestChecked, TypeCloudTrailTrailObserved,
		TypeVerdictReached, TypeFindingOpened, TypeFindingResolved,
		TypeLogOpened, TypeLogCheckpointed,
		TypeRetentionSet,
	}
}

// New returns a pointer to an empty payload of type t.
// The error wraps ErrUnknownType.
func (t Type) New() (Payload, error) {
	switch t {
	case TypeUserCreated:
		return &UserCreated{}, nil
	case TypeUserUpdated:
		return &UserUpdated{}, nil
	case TypeUserDeleted:
		return &UserDeleted{}, nil
	case TypeUserForgotten:
		return &UserForgotten{}, nil
	case TypeUserPasswordChanged:
		return &UserPasswordChanged{}, nil
	case TypeSigninSucceeded:
		return &SigninSucceeded{}, nil
	case TypeSigninFailed:
		return &SigninFailed{}, nil
	case TypeCredentialInvited:
		return &CredentialInvited{}, nil
	case TypeCredentialEnrolled:
		return &CredentialEnrolled{}, nil
	case TypeCredentialFactorAdded:
		return &CredentialFactorAdded{}, nil
	case TypeCredentialFactorRemoved:
		return &CredentialFactorRemoved{}, nil
	case TypeCredentialFactorUsed:
		return &CredentialFactorUsed{}, nil
	case TypeSigninRevoked:
		return &SigninRevoked{}, nil
	case TypeConnectorCreated:
		return &ConnectorCreated{}, nil
	case TypeConnectorUpdated:
		return &ConnectorUpdated{}, nil
	case TypeConnectorDeleted:
		return &ConnectorDeleted{}, nil
	case TypeClusterSettingsUpdated:
		return &ClusterSettingsUpdated{}, nil
	case TypeRoleCreated:
		return &RoleCreated{}, nil
	case TypeRoleUpdated:
		return &RoleUpdated{}, nil
	case TypeRoleDeleted:
		return &RoleDeleted{}, nil
	case TypeAppCreated:
		return &AppCreated{}, nil
	case TypeAppUpdated:
		return &AppUpdated{}, nil
	case TypeAppDeleted:
		return &AppDeleted{}, nil
	case TypeAccessListCreated:
		return &AccessListCreated{}, nil
	case TypeAccessListUpdated:
		return &AccessListUpdated{}, nil
	case TypeAccessListDeleted:
		return &AccessListDeleted{}, nil
	case TypeAccessListMemberAdded:
		return &AccessListMemberAdded{}, nil
	case TypeAccessListMemberRemoved:
		return &AccessListMemberRemoved{}, nil
	case TypeAccessListReviewed:
		return &AccessListReviewed{}, nil
	case TypeAccessListReviewDue:
		return &AccessListReviewDue{}, nil
	case TypeAccessListSuspended:
		return &AccessListSuspended{}, nil
	case TypeRequestCreated:
		return &RequestCreated{}, nil
	case TypeRequestReviewed:
		return &RequestReviewed{}, nil
	case TypeRequestApproved:
		return &RequestApproved{}, nil
	case TypeRequestDenied:
		return &RequestDenied{}, nil
	case TypeRequestExpired:
		return &RequestExpired{}, nil
	case TypeRequestDropped:
		return &RequestDropped{}, nil
	case TypeRequestPromoted:
		return &RequestPromoted{}, nil
	case TypeSessionStarted:
		return &SessionStarted{}, nil
	case TypeSessionEnded:
		return &SessionEnded{}, nil
	case TypeLockPlaced:
		return &LockPlaced{}, nil
	case TypeLockLifted:
		return &LockLifted{}, nil
	case TypeLockExpired:
		return &LockExpired{}, nil
	case TypeTokenCreated:
		return &TokenCreated{}, nil
	case TypeTokenUpdated:
		return &TokenUpdated{}, nil
	case TypeTokenDeleted:
		return &TokenDeleted{}, nil
	case TypeConsumerCreated:
		return &ConsumerCreated{}, nil
	case TypeConsumerDeleted:
		return &ConsumerDeleted{}, nil
	case TypeConsumerSecretRotated:
		return &ConsumerSecretRotated{}, nil
	case TypeConsumerEventSetAside:
		return &ConsumerEventSetAside{}, nil
	case TypeConsumerEventReplayed:
		return &ConsumerEventReplayed{}, nil
	case TypeConsumerSuspended:
		return &ConsumerSuspended{}, nil
	case TypeConsumerResumed:
		return &ConsumerResumed{}, nil
	case TypeConsumerStreamConfigured:
		return &ConsumerStreamConfigured{}, nil
	case TypeConsumerStreamDeleted:
		return &ConsumerStreamDeleted{}, nil
	case TypeConsumerSubjectRemoved:
		return &ConsumerSubjectRemoved{}, nil
	case TypeConsumerSubjectAdded:
		return &ConsumerSubjectAdded{}, nil
	case TypeAuditTokenCreated:
		return &AuditTokenCreated{}, nil
	case TypeAuditTokenDeleted:
		return &AuditTokenDeleted{}, nil
	case TypeTokenUsed:
		return &TokenUsed{}, nil
	case TypeAgentRenewed:
		return &AgentRenewed{}, nil
	case TypeCARotated:
		return &CARotated{}, nil
	case TypeProxyAnnounced:
		return &ProxyAnnounced{}, nil
	case TypeProxyWithdrawn:
		return &ProxyWithdrawn{}, nil
	case TypeKeyPublished:
		return &KeyPublished{}, nil
	case TypeHistoryAttested:
		return &HistoryAttested{}, nil
	case TypeAWSRequestAdmitted:
		return &AWSRequestAdmitted{}, nil
	case TypeAWSRequestCompleted:
		return &AWSRequestCompleted{}, nil
	case TypeAWSRequestDenied:
		return &AWSRequestDenied{}, nil
	case TypeAWSRequestFailed:
		return &AWSRequestFailed{}, nil
	case TypeAWSCredentialsIssued:
		return &AWSCredentialsIssued{}, nil
	case TypeAWSConsoleOpened:
		return &AWSConsoleOpened{}, nil
	case TypeAWSLockApplied:
		return &AWSLockApplied{}, nil
	case TypeAWSLockLifted:
		return &AWSLockLifted{}, nil
	case TypeAWSLockFailed:
		return &AWSLockFailed{}, nil
	case TypeAWSTokenIssued:
		return &AWSTokenIssued{}, nil
	case TypeAWSCallHeld:
		return &AWSCallHeld{}, nil
	case TypeAWSCallReleased:
		return &AWSCallReleased{}, nil
	case TypeAWSTunnelOpened:
		return &AWSTunnelOpened{}, nil
	case TypeAWSTunnelClosed:
		return &AWSTunnelClosed{}, nil
	case TypeCloudTrailRecordReceived:
		return &CloudTrailRecordReceived{}, nil
	case TypeCloudTrailFileRejected:
		return &CloudTrailFileRejected{}, nil
	case TypeCloudTrailFileReceived:
		return &CloudTrailFileReceived{}, nil
	case TypeCloudTrailMessageRejected:
		return &CloudTrailMessageRejected{}, nil
	case TypeCloudTrailLetterReplayed:
		return &CloudTrailLetterReplayed{}, nil
	case TypeCloudTrailDigestChecked:
		return &CloudTrailDigestChecked{}, nil
	case TypeCloudTrailTrailObserved:
		return &CloudTrailTrailObserved{}, nil
	case TypeVerdictReached:
		return &VerdictReached{}, nil
	case TypeFindingOpened:
		return &FindingOpened{}, nil
	case TypeFindingResolved:
		return &FindingResolved{}, nil
	case TypeLogOpened:
		return &LogOpened{}, nil
	case TypeLogCheckpointed:
		return &LogCheckpointed{}, nil
	case TypeRetentionSet:
		return &RetentionSet{}, nil
	}
	return nil, fmt.Errorf("%w %q", ErrUnknownType, string(t))
}

// DecodePayload reads the data of an event of a type. shared is data once more, so that
// texts of the payload can be parts of it, or empty. The error wraps ErrUnknownType
// where the type is none of this version.
func DecodePayload(t Type, data []byte, shared string) (Payload, error) {
	p, err := t.New()
	if err != nil {
		return nil, err
	}
	if q, ok := p.(quickFields); ok {
		if quickPayload(data, shared, q) {
			return p, nil
		}
		if p, err = t.New(); err != nil { // without what was read half-way
			return nil, err
		}
	}
	if err := json.Unmarshal(data, p); err != nil {
		return nil, fmt.Errorf("data of %s: %w", t, err)
	}
	return p, nil
}
