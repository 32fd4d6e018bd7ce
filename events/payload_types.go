package events

// Every payload names its type; see Payload.

func (*UserCreated) Type() Type         { return TypeUserCreated }
func (*UserUpdated) Type() Type         { return TypeUserUpdated }
func (*UserDeleted) Type() Type         { return TypeUserDeleted }
func (*UserPasswordChanged) Type() Type { return TypeUserPasswordChanged }

func (*SigninSucceeded) Type() Type { return TypeSigninSucceeded }
func (*SigninFailed) Type() Type    { return TypeSigninFailed }

func (*CredentialInvited) Type() Type       { return TypeCredentialInvited }
func (*CredentialEnrolled) Type() Type      { return TypeCredentialEnrolled }
func (*CredentialFactorAdded) Type() Type   { return TypeCredentialFactorAdded }
func (*CredentialFactorRemoved) Type() Type { return TypeCredentialFactorRemoved }
func (*CredentialFactorUsed) Type() Type    { return TypeCredentialFactorUsed }
func (*SigninRevoked) Type() Type           { return TypeSigninRevoked }
func (*ConnectorCreated) Type() Type        { return TypeConnectorCreated }
func (*ConnectorUpdated) Type() Type        { return TypeConnectorUpdated }
func (*ConnectorDeleted) Type() Type        { return TypeConnectorDeleted }
func (*ClusterSettingsUpdated) Type() Type  { return TypeClusterSettingsUpdated }

func (*RoleCreated) Type() Type { return TypeRoleCreated }
func (*RoleUpdated) Type() Type { return TypeRoleUpdated }
func (*RoleDeleted) Type() Type { return TypeRoleDeleted }

func (*AppCreated) Type() Type { return TypeAppCreated }
func (*AppUpdated) Type() Type { return TypeAppUpdated }
func (*AppDeleted) Type() Type { return TypeAppDeleted }

func (*AccessListCreated) Type() Type       { return TypeAccessListCreated }
func (*AccessListUpdated) Type() Type       { return TypeAccessListUpdated }
func (*AccessListDeleted) Type() Type       { return TypeAccessListDeleted }
func (*AccessListMemberAdded) Type() Type   { return TypeAccessListMemberAdded }
func (*AccessListMemberRemoved) Type() Type { return TypeAccessListMemberRemoved }
func (*AccessListReviewed) Type() Type      { return TypeAccessListReviewed }
func (*AccessListReviewDue) Type() Type     { return TypeAccessListReviewDue }
func (*AccessListSuspended) Type() Type     { return TypeAccessListSuspended }

func (*RequestCreated) Type() Type  { return TypeRequestCreated }
func (*RequestReviewed) Type() Type { return TypeRequestReviewed }
func (*RequestApproved) Type() Type { return TypeRequestApproved }
func (*RequestDenied) Type() Type   { return TypeRequestDenied }
func (*RequestExpired) Type() Type  { return TypeRequestExpired }
func (*RequestDropped) Type() Type  { return TypeRequestDropped }
func (*RequestPromoted) Type() Type { return TypeRequestPromoted }

func (*SessionStarted) Type() Type { return TypeSessionStarted }
func (*SessionEnded) Type() Type   { return TypeSessionEnded }

func (*LockPlaced) Type() Type   { return TypeLockPlaced }
func (*LockLifted) Type() Type   { return TypeLockLifted }
func (*LockExpired) Type() Type  { return TypeLockExpired }
func (*KeyPublished) Type() Type { return TypeKeyPublished }

func (*HistoryAttested) Type() Type { return TypeHistoryAttested }

func (*AWSRequestAdmitted) Type() Type  { return TypeAWSRequestAdmitted }
func (*AWSRequestCompleted) Type() Type { return TypeAWSRequestCompleted }
func (*AWSRequestDenied) Type() Type    { return TypeAWSRequestDenied }
func (*AWSRequestFailed) Type() Type    { return TypeAWSRequestFailed }

func (*AWSCredentialsIssued) Type() Type { return TypeAWSCredentialsIssued }
func (*AWSConsoleOpened) Type() Type     { return TypeAWSConsoleOpened }
func (*AWSLockApplied) Type() Type       { return TypeAWSLockApplied }
func (*AWSLockLifted) Type() Type        { return TypeAWSLockLifted }
func (*AWSLockFailed) Type() Type        { return TypeAWSLockFailed }
func (*AWSTokenIssued) Type() Type       { return TypeAWSTokenIssued }

func (*CloudTrailRecordReceived) Type() Type  { return TypeCloudTrailRecordReceived }
func (*CloudTrailFileRejected) Type() Type    { return TypeCloudTrailFileRejected }
func (*CloudTrailFileReceived) Type() Type    { return TypeCloudTrailFileReceived }
func (*CloudTrailMessageRejected) Type() Type { return TypeCloudTrailMessageRejected }
func (*CloudTrailLetterReplayed) Type() Type  { return TypeCloudTrailLetterReplayed }
func (*CloudTrailDigestChecked) Type() Type   { return TypeCloudTrailDigestChecked }
func (*CloudTrailTrailObserved) Type() Type   { return TypeCloudTrailTrailObserved }
func (*AWSCallHeld) Type() Type               { return TypeAWSCallHeld }
func (*AWSCallReleased) Type() Type           { return TypeAWSCallReleased }

func (*VerdictReached) Type() Type  { return TypeVerdictReached }
func (*FindingOpened) Type() Type   { return TypeFindingOpened }
func (*FindingResolved) Type() Type { return TypeFindingResolved }

func (*LogOpened) Type() Type       { return TypeLogOpened }
func (*LogCheckpointed) Type() Type { return TypeLogCheckpointed }

func (*RetentionSet) Type() Type { return TypeRetentionSet }
