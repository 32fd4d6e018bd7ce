package ocsf

import "slices"

// Activities of Authentication, and of what gives and takes privileges.
const (
	logon, logoff  = 1, 2
	assign, revoke = 1, 2
)

func (e *event) authentication(what string, f *facts) {
	e.ClassUID, e.ActivityID, e.StatusID = authentication, logon, 1
	e.User = &user{Name: orUnknown(f.User)}
	e.Service = &named{Name: "postern"}
	e.Session = &session{UID: f.CertificateSerial, ExpirationTime: millis(f.ExpiresAt)}
	if f.ClientAddr != "" {
		e.SrcEndpoint = endpointOf(f.ClientAddr, "")
	}
	switch what {
	case "signin.failed":
		e.StatusID, e.SeverityID, e.StatusDetail, e.Session = 2, 2, f.Reason, nil
	case "signin.revoked", "session.ended":
		e.ActivityID = logoff
		e.Session = &session{UID: f.SessionID, ExpirationReason: f.Reason}
		if f.SessionID == "" {
			e.Session.UID = f.CertificateSerial
		}
		if f.By != "" {
			e.Actor = &actor{User: &user{Name: f.By}}
		}
		return
	}
	mfa := f.SecondFactor != ""
	e.IsMFA = &mfa
	switch f.Method {
	case "oidc":
		e.AuthProtocolID = 4
	case "saml":
		e.AuthProtocolID = 5
	default:
		e.AuthProtocolID, e.AuthProtocol = other, f.Method
	}
	if f.Connector != "" {
		e.Service.UID = f.Connector
	}
}

func (e *event) sessionStarted(f *facts) {
	e.ClassUID, e.ActivityID, e.StatusID = authorizeSession, assign, 1
	e.User = &user{Name: orUnknown(f.User)}
	e.Session = &session{UID: f.SessionID, CreatedTime: millis(f.StartedAt), ExpirationTime: millis(f.ExpiresAt), Issuer: f.AWSRoleARN, CredentialUID: f.CertificateSerial}
	e.Privileges = privileges(f)
	e.DstEndpoint = &endpoint{Name: orUnknown(f.App)}
	if f.ClientAddr != "" {
		e.SrcEndpoint = endpointOf(f.ClientAddr, "")
	}
}

func (e *event) userAccess(what string, f *facts) {
	e.ClassUID, e.ActivityID, e.StatusID = userAccessManagement, assign, 1
	e.User = &user{Name: f.User}
	for _, name := range []string{f.Member.Name, f.Name} {
		if e.User.Name == "" {
			e.User.Name = name
		}
	}
	e.User.Name = orUnknown(e.User.Name)
	e.Privileges = privileges(f)
	switch what {
	case "user.updated", "request.created":
		e.ActivityID = other
	case "user.deleted", "access_list.member_removed":
		e.ActivityID = revoke
	}
	if f.By != "" {
		e.Actor = &actor{User: &user{Name: f.By}}
	}
	e.StatusDetail = f.Reason
}

// privileges is never empty: OCSF wants to hear of one.
func privileges(f *facts) []string {
	p := slices.Concat([]string(f.Roles), []string(f.Resources), []string(f.Accounts))
	if f.AWSRoleARN != "" {
		p = append(p, f.AWSRoleARN)
	}
	if f.AccessList != "" {
		p = append(p, "access_list/"+f.AccessList)
	}
	if len(p) == 0 {
		p = []string{"none"}
	}
	return p
}

func (e *event) finding(what string, f *facts, subject string) {
	const opened, changed, closed = 1, 2, 3
	e.ClassUID, e.ActivityID, e.StatusID, e.IsAlert = detectionFinding, opened, 1, true
	e.FindingInfo = &findingInfo{UID: f.FindingID, Title: f.Summary, Types: []string{f.Kind}, CreatedTime: e.Time}
	e.Message = f.Summary
	switch what {
	case "finding.resolved":
		const resolved = 4
		e.ActivityID, e.StatusID, e.IsAlert, e.Message = closed, resolved, false, f.Reason
		e.FindingInfo.CreatedTime = 0
	case "verdict.reached":
		e.ActivityID, e.IsAlert = changed, false
		e.FindingInfo = &findingInfo{UID: orUnknown(subject), Title: "reconciliation: " + f.Verdict, Types: []string{"verdict"}}
	}
	if n := slices.Index([]string{"", "", "low", "medium", "high", "critical"}, f.Severity); n > 1 {
		e.SeverityID = n
	}
	if f.User != "" {
		e.Actor = &actor{User: &user{Name: f.User}}
	}
	for _, r := range []relatedEvent{{f.RequestID, "aws-request"}, {f.EventID, "cloudtrail"}} {
		if r.UID != "" {
			e.FindingInfo.RelatedEvents = append(e.FindingInfo.RelatedEvents, r)
		}
	}
}
