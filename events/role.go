package events

// Role says what its holders may do. Field names in JSON are those of a
// Teleport role's YAML, so that such files keep their meaning.
type Role struct {
	Name        string            `json:"name"`
	Description string            `json:"description,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Options     RoleOptions       `json:"options,omitzero"`
	Allow       RoleConditions    `json:"allow,omitzero"`
	Deny        RoleConditions    `json:"deny,omitzero"`
}

// RoleOptions bound the sessions of a role's holders.
type RoleOptions struct {
	// MaxSessionTTL in seconds; the shortest among a user's roles wins; 0
	// means the cluster's default.
	MaxSessionTTL int64 `json:"max_session_ttl_seconds,omitempty"`
	// RequireSessionMFA asks for a second factor at the start of every session
	// that the role allows.
	RequireSessionMFA bool `json:"require_session_mfa,omitempty"`
	// RealCredentials are the kinds of credentials that work without postern and
	// that holders may be handed; see the Credential constants.
	RealCredentials []string `json:"real_credentials,omitempty"`
	// DryRun lets pass what the role's AWS actions, resources and regions
	// refuse, and records it.
	DryRun bool `json:"dry_run,omitempty"`
	// RateLimits bound the requests of sessions that the role allows.
	RateLimits []RateLimit `json:"rate_limits,omitempty"`
	// Lock says what becomes of the holders' sessions at a proxy that has not heard
	// from the ACCESS stream, so that a lock may have been placed: LockStrict
	// refuses, LockBestEffort goes on by what was known. Of several roles, one that
	// is strict wins; where none says, the proxy's configuration does.
	Lock string `json:"lock,omitempty"`
}

// Values of RoleOptions.Lock, as in Teleport's roles.
const (
	LockStrict     = "strict"
	LockBestEffort = "best_effort"
)

// Kinds of credentials that work without postern. All but CredentialExport and
// CredentialAssumeRole are signatures good for 15 minutes and one purpose.
const (
	CredentialEKS        = "eks_token"
	CredentialRDS        = "rds_token"
	CredentialCodeCommit = "codecommit"
	CredentialURL        = "presigned_url"
	CredentialAssumeRole = "assume_role"
	CredentialExport     = "export"
)

// CredentialKinds lists them.
func CredentialKinds() []string {
	return []string{CredentialEKS, CredentialRDS, CredentialCodeCommit, CredentialURL, CredentialAssumeRole, CredentialExport}
}

// RateLimit is a bound that all proxies keep together.
type RateLimit struct {
	// Role names the role in a session; it is empty in the role itself.
	Role string `json:"role,omitempty"`
	// Per is "user" for each of the role's holders or "role" for all together.
	Per string `json:"per"`
	// Rate is in requests per second, 1 or more.
	Rate int `json:"rate"`
	// Burst is how many may come at once, 1 or more.
	Burst int `json:"burst"`
}

// RoleConditions is one side, allow or deny, of a role. Deny wins.
type RoleConditions struct {
	// AppLabels selects apps: every key must match one of its values; "*": ["*"]
	// selects all apps. Values are literal, globs ("prod-*") or ^regexps$.
	AppLabels map[string][]string `json:"app_labels,omitempty"`
	// AWSRoleARNs are the IAM roles that may be assumed, literal, "*" or
	// templates such as "{{internal.aws_role_arns}}".
	AWSRoleARNs []string `json:"aws_role_arns,omitempty"`
	// AWSActions are IAM actions with wildcards ("s3:Get*") or access levels
	// ("@Read", "s3:@Write"). On the allow side, empty means all.
	AWSActions []string `json:"aws_actions,omitempty"`
	// AWSResources are ARNs with wildcards. On the allow side, empty means all.
	AWSResources []string `json:"aws_resources,omitempty"`
	// AWSRegions are region names with wildcards. On the allow side, empty means all.
	AWSRegions []string `json:"aws_regions,omitempty"`
	// ApproveActions are IAM actions, as AWSActions, of which every single call
	// waits for somebody's approval. On the allow side only.
	ApproveActions []string `json:"approve_actions,omitempty"`
	// Request is what holders may ask for.
	Request *RequestConditions `json:"request,omitempty"`
	// ReviewRequests is what holders may approve and deny.
	ReviewRequests *ReviewConditions `json:"review_requests,omitempty"`
	// Rules give access to postern's own resources (kubectl-like):
	// resources: [role, user, app, access_list, lock, request, session, audit],
	// verbs: [list, read, create, update, delete].
	Rules []ResourceRule `json:"rules,omitempty"`
}

// RequestConditions says which roles and resources may be asked for.
type RequestConditions struct {
	Roles              []string    `json:"roles,omitempty"`
	SearchAsRoles      []string    `json:"search_as_roles,omitempty"`
	SuggestedReviewers []string    `json:"suggested_reviewers,omitempty"`
	Thresholds         []Threshold `json:"thresholds,omitempty"`
	// MaxDuration in seconds of the access that results; 0 means the default.
	MaxDuration int64 `json:"max_duration_seconds,omitempty"`
	// ReasonRequired refuses requests that give no reason.
	ReasonRequired bool `json:"reason_required,omitempty"`
	// BreakGlassRoles may be had at once, with a reason, and reviewed afterwards.
	BreakGlassRoles []string `json:"break_glass_roles,omitempty"`
	// AutoApprove are rules that approve a request as it is made.
	AutoApprove []AutoApproval `json:"auto_approve,omitempty"`
}

// AutoApproval is a rule that approves requests for Roles, with nobody asked,
// where its condition holds and its schedule is open.
type AutoApproval struct {
	Name  string   `json:"name"`
	Roles []string `json:"roles"`
	// Where is a predicate on user.name, user.roles, user.traits, request.roles
	// and request.reason: contains(user.traits["on_call"], "payments").
	Where    string    `json:"where,omitempty"`
	Schedule *Schedule `json:"schedule,omitempty"`
	// MaxDuration in seconds of the access that it grants; longer requests wait
	// for people; 0 means any.
	MaxDuration int64 `json:"max_duration_seconds,omitempty"`
}

// Schedule is weekly windows in an IANA time zone; "" is UTC.
type Schedule struct {
	TimeZone string   `json:"time_zone,omitempty"`
	Windows  []Window `json:"windows"`
}

// Window is open on Days ("mon", "tuesday"; none means all) from Start until End,
// "HH:MM"; an End not later than Start is on the day after.
type Window struct {
	Days  []string `json:"days,omitempty"`
	Start string   `json:"start"`
	End   string   `json:"end"`
}

// Threshold is how many approvals grant and how many denials refuse a request.
type Threshold struct {
	Name string `json:"name,omitempty"`
	// Filter is a predicate on reviewer.roles, reviewer.traits, review.reason,
	// request.roles and request.reason; reviews that it refuses do not count.
	Filter  string `json:"filter,omitempty"`
	Approve int    `json:"approve"`
	Deny    int    `json:"deny"`
}

// ReviewConditions says which requests may be reviewed.
type ReviewConditions struct {
	Roles          []string `json:"roles,omitempty"`
	PreviewAsRoles []string `json:"preview_as_roles,omitempty"`
	Where          string   `json:"where,omitempty"`
}

// ResourceRule is access to postern's own resources.
type ResourceRule struct {
	Resources []string `json:"resources"`
	Verbs     []string `json:"verbs"`
	// AWSAccounts narrows reading the audit trail to what happened in these AWS
	// accounts; empty means all. On the allow side only.
	AWSAccounts []string `json:"aws_accounts,omitempty"`
}
