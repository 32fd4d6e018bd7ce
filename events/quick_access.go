package events

// The events of ACCESS of which a long history is made, read the quick way: see
// quickFields.

func (e *SessionStarted) field(name []byte, s *scanner) bool {
	switch string(name) {
	case "session_id":
		return s.text(&e.SessionID)
	case "user":
		return s.text(&e.User)
	case "roles":
		return structs(s, &e.Roles)
	case "app":
		return s.text(&e.App)
	case "app_labels":
		return s.labels(&e.AppLabels)
	case "request_ids":
		return s.texts(&e.RequestIDs)
	case "access_lists":
		return s.texts(&e.AccessLists)
	case "aws_role_arn":
		return s.text(&e.AWSRoleARN)
	case "account":
		return s.text(&e.Account)
	case "partition":
		return s.text(&e.Partition)
	case "region":
		return s.text(&e.Region)
	case "role_session_name":
		return s.text(&e.RoleSessionName)
	case "source_identity":
		return s.text(&e.SourceIdentity)
	case "session_tags":
		return s.labels(&e.SessionTags)
	case "external_id":
		return s.text(&e.ExternalID)
	case "permissions":
		return structs(s, &e.Permissions)
	case "requestable_roles":
		return s.texts(&e.Requestable)
	case "real_credentials":
		return s.texts(&e.RealCredentials)
	case "rate_limits":
		return structs(s, &e.RateLimits)
	case "requestable_permissions":
		return structs(s, &e.Offers)
	case "started_at":
		return s.time(&e.StartedAt)
	case "expires_at":
		return s.time(&e.ExpiresAt)
	case "client_addr":
		return s.text(&e.ClientAddr)
	case "certificate_serial":
		return s.text(&e.Certificate)
	case "second_factor_event":
		return s.text(&e.SecondFactor)
	case "device":
		return s.text(&e.Device)
	case "other_roles":
		return s.texts(&e.OtherRoles)
	case "lock_mode":
		return s.text(&e.LockMode)
	}
	return false
}

func (r *RoleRef) field(name []byte, s *scanner) bool {
	switch string(name) {
	case "name":
		return s.text(&r.Name)
	case "revision":
		return number(s, &r.Revision)
	}
	return false
}

func (p *Permission) field(name []byte, s *scanner) bool {
	switch string(name) {
	case "role":
		return s.text(&p.Role)
	case "effect":
		return s.text(&p.Effect)
	case "actions":
		return s.texts(&p.Actions)
	case "resources":
		return s.texts(&p.Resources)
	case "regions":
		return s.texts(&p.Regions)
	case "dry_run":
		return s.flag(&p.DryRun)
	case "approval":
		return s.flag(&p.Approval)
	}
	return false
}

func (r *RateLimit) field(name []byte, s *scanner) bool {
	switch string(name) {
	case "role":
		return s.text(&r.Role)
	case "per":
		return s.text(&r.Per)
	case "rate":
		return number(s, &r.Rate)
	case "burst":
		return number(s, &r.Burst)
	}
	return false
}

func (e *SessionEnded) field(name []byte, s *scanner) bool {
	switch string(name) {
	case "session_id":
		return s.text(&e.SessionID)
	case "user":
		return s.text(&e.User)
	case "by":
		return s.text(&e.By)
	case "reason":
		return s.text(&e.Reason)
	}
	return false
}

func (e *SigninSucceeded) field(name []byte, s *scanner) bool {
	switch string(name) {
	case "user":
		return s.text(&e.User)
	case "method":
		return s.text(&e.Method)
	case "connector":
		return s.text(&e.Connector)
	case "second_factor":
		return s.text(&e.SecondFactor)
	case "client_addr":
		return s.text(&e.ClientAddr)
	case "certificate_serial":
		return s.text(&e.CertificateSerial)
	case "expires_at":
		return s.time(&e.ExpiresAt)
	case "device":
		return s.text(&e.Device)
	case "device_name":
		return s.text(&e.DeviceName)
	}
	return false
}

func (e *SigninFailed) field(name []byte, s *scanner) bool {
	switch string(name) {
	case "user":
		return s.text(&e.User)
	case "method":
		return s.text(&e.Method)
	case "connector":
		return s.text(&e.Connector)
	case "client_addr":
		return s.text(&e.ClientAddr)
	case "reason":
		return s.text(&e.Reason)
	case "device":
		return s.text(&e.Device)
	}
	return false
}

func (e *CredentialFactorUsed) field(name []byte, s *scanner) bool {
	switch string(name) {
	case "user":
		return s.text(&e.User)
	case "factor_id":
		return s.text(&e.FactorID)
	case "counter":
		return number(s, &e.Counter)
	case "challenge_id":
		return s.text(&e.ChallengeID)
	case "purpose":
		return s.text(&e.Purpose)
	case "client_addr":
		return s.text(&e.ClientAddr)
	}
	return false
}

func (e *RequestCreated) field(name []byte, s *scanner) bool {
	switch string(name) {
	case "request_id":
		return s.text(&e.RequestID)
	case "user":
		return s.text(&e.User)
	case "roles":
		return s.texts(&e.Roles)
	case "resources":
		return s.texts(&e.Resources)
	case "reason":
		return s.text(&e.Reason)
	case "ttl_seconds":
		return number(s, &e.TTL)
	case "expires_at":
		return s.time(&e.ExpiresAt)
	case "thresholds":
		return structs(s, &e.Thresholds)
	case "suggested_reviewers":
		return s.texts(&e.Reviewers)
	case "starts_at":
		return s.moment(&e.StartsAt)
	case "break_glass":
		return s.flag(&e.BreakGlass)
	}
	return false
}

func (t *Threshold) field(name []byte, s *scanner) bool {
	switch string(name) {
	case "name":
		return s.text(&t.Name)
	case "filter":
		return s.text(&t.Filter)
	case "approve":
		return number(s, &t.Approve)
	case "deny":
		return number(s, &t.Deny)
	}
	return false
}

func (e *RequestReviewed) field(name []byte, s *scanner) bool {
	switch string(name) {
	case "request_id":
		return s.text(&e.RequestID)
	case "reviewer":
		return s.text(&e.Reviewer)
	case "verdict":
		return s.text(&e.Verdict)
	case "reason":
		return s.text(&e.Reason)
	case "thresholds":
		return s.numbers(&e.Thresholds)
	}
	return false
}

func (e *RequestApproved) field(name []byte, s *scanner) bool {
	switch string(name) {
	case "request_id":
		return s.text(&e.RequestID)
	case "user":
		return s.text(&e.User)
	case "roles":
		return s.texts(&e.Roles)
	case "resources":
		return s.texts(&e.Resources)
	case "access_expires_at":
		return s.time(&e.AccessExpiresAt)
	case "reviewers":
		return s.texts(&e.Reviewers)
	case "threshold":
		return s.text(&e.Threshold)
	case "access_starts_at":
		return s.moment(&e.AccessStartsAt)
	case "rule":
		return s.text(&e.Rule)
	case "break_glass":
		return s.flag(&e.BreakGlass)
	}
	return false
}

func (e *RequestExpired) field(name []byte, s *scanner) bool {
	switch string(name) {
	case "request_id":
		return s.text(&e.RequestID)
	case "user":
		return s.text(&e.User)
	}
	return false
}

func (u *User) member(name []byte, s *scanner) bool {
	switch string(name) {
	case "name":
		return s.text(&u.Name)
	case "roles":
		return s.texts(&u.Roles)
	case "traits":
		return s.traits(&u.Traits)
	case "disabled":
		return s.flag(&u.Disabled)
	case "connector":
		return s.text(&u.Connector)
	case "expires_at":
		return s.moment(&u.ExpiresAt)
	case "signin_id":
		return s.text(&u.SigninID)
	}
	return false
}

func (e *UserCreated) field(name []byte, s *scanner) bool {
	if string(name) == "by" {
		return s.text(&e.By)
	}
	return e.User.member(name, s)
}

func (e *UserUpdated) field(name []byte, s *scanner) bool {
	if string(name) == "by" {
		return s.text(&e.By)
	}
	return e.User.member(name, s)
}

func (e *LockPlaced) field(name []byte, s *scanner) bool {
	switch string(name) {
	case "lock_id":
		return s.text(&e.LockID)
	case "target":
		return s.fields(&e.Target)
	case "message":
		return s.text(&e.Message)
	case "by":
		return s.text(&e.By)
	case "expires_at":
		return s.moment(&e.ExpiresAt)
	}
	return false
}

func (t *LockTarget) field(name []byte, s *scanner) bool {
	switch string(name) {
	case "kind":
		return s.text(&t.Kind)
	case "name":
		return s.text(&t.Name)
	}
	return false
}

func (e *LockLifted) field(name []byte, s *scanner) bool {
	switch string(name) {
	case "lock_id":
		return s.text(&e.LockID)
	case "by":
		return s.text(&e.By)
	}
	return false
}

func (e *AgentRenewed) field(name []byte, s *scanner) bool {
	switch string(name) {
	case "kind":
		return s.text(&e.Kind)
	case "agent":
		return s.text(&e.Agent)
	case "client_addr":
		return s.text(&e.ClientAddr)
	case "certificate_serial":
		return s.text(&e.CertificateSerial)
	case "expires_at":
		return s.time(&e.ExpiresAt)
	}
	return false
}
