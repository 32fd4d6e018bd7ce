package cloudtrail

import "strings"

// Identity is a record's userIdentity.
type Identity struct {
	Type        string
	PrincipalID string
	ARN         string
	AccountID   string
	AccessKeyID string
	UserName    string
	InvokedBy   string
	Session     Session
	OnBehalfOf  Behalf
}

// Session is its sessionContext.
type Session struct {
	SourceIdentity string
	Issuer         Issuer
}

// Issuer is its sessionContext.sessionIssuer.
type Issuer struct {
	Type     string
	ARN      string
	UserName string
}

// Behalf is its onBehalfOf.
type Behalf struct{ UserID string }

// RoleSession takes an assumed role's identity apart:
// arn:PARTITION:sts::ACCOUNT:assumed-role/ROLE/SESSION, where ROLE is the
// role's name without its path. ok is false for every other kind of ARN.
func (i *Identity) RoleSession() (account, role, session string, ok bool) {
	service, account, resource, ok := splitARN(i.ARN)
	kind, rest, _ := strings.Cut(resource, "/")
	role, session, _ = strings.Cut(rest, "/")
	if !ok || service != "sts" || kind != "assumed-role" || role == "" || session == "" {
		return "", "", "", false
	}
	return account, role, session, true
}

// splitARN reads arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE.
func splitARN(arn string) (service, account, resource string, ok bool) {
	rest, ok := strings.CutPrefix(arn, "arn:")
	_, rest, _ = strings.Cut(rest, ":")
	service, rest, _ = strings.Cut(rest, ":")
	_, rest, _ = strings.Cut(rest, ":")
	account, resource, found := strings.Cut(rest, ":")
	return service, account, resource, ok && found
}

// RoleARN is the ARN of the IAM role behind an assumed role, with its path.
func (i *Identity) RoleARN() string {
	if i.Session.Issuer.Type == "Role" {
		return i.Session.Issuer.ARN
	}
	return ""
}

// User resolves the name of the person or program behind an identity, and says
// by which rule:
//
//	source_identity    sessionContext.sourceIdentity, on any type: set once at the
//	                   first AssumeRole and unchanged through role chaining
//	role_session_name  AssumedRole: the last part of the assumed-role ARN
//	principal_id       AssumedRole, FederatedUser, AWSAccount, Role, Unknown, without
//	                   such an ARN: principalId after its first colon (AROA…:session)
//	user_name          IAMUser, SAMLUser, WebIdentityUser, Directory, Role, Unknown: userName
//	arn                IAMUser without userName: the last part of user/PATH/NAME;
//	                   FederatedUser: what follows federated-user/
//	root               Root: "root", whatever alias userName gives
//	on_behalf_of       IdentityCenterUser: onBehalfOf.userId
//	invoked_by         AWSService, AWSAccount without a principalId, or no type at
//	                   all: the service that acted
//
// Names are always cut at the separators that AWS documents and compared
// whole; nothing is found by searching inside a string.
func (i *Identity) User() (name, rule string) {
	if s := i.Session.SourceIdentity; s != "" {
		return s, "source_identity"
	}
	switch i.Type {
	case "AssumedRole":
		if _, _, s, ok := i.RoleSession(); ok {
			return s, "role_session_name"
		}
	case "Root":
		return "root", "root"
	case "IdentityCenterUser":
		if i.OnBehalfOf.UserID != "" {
			return i.OnBehalfOf.UserID, "on_behalf_of"
		}
	case "FederatedUser":
		if s := afterARN(i.ARN, "federated-user"); s != "" {
			return s, "arn"
		}
	case "AWSService", "":
		if i.InvokedBy != "" && i.UserName == "" {
			return i.InvokedBy, "invoked_by"
		}
	}
	switch i.Type {
	case "AssumedRole", "FederatedUser", "AWSAccount":
		if _, s, ok := strings.Cut(i.PrincipalID, ":"); ok && s != "" {
			return s, "principal_id"
		}
	}
	if i.UserName != "" {
		return i.UserName, "user_name"
	}
	if s := afterARN(i.ARN, "user"); s != "" {
		return s[strings.LastIndexByte(s, '/')+1:], "arn"
	}
	if _, s, ok := strings.Cut(i.PrincipalID, ":"); ok && s != "" {
		return s, "principal_id"
	}
	if i.Type == "AWSAccount" && i.InvokedBy != "" {
		return i.InvokedBy, "invoked_by"
	}
	return "", ""
}

// afterARN returns what follows KIND/ in an ARN's resource part.
func afterARN(arn, kind string) string {
	if _, _, resource, ok := splitARN(arn); ok {
		if k, rest, ok := strings.Cut(resource, "/"); ok && k == kind {
			return rest
		}
	}
	return ""
}
