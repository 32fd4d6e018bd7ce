package api

import "time"

// CreateRequest asks for access.
type CreateRequest struct {
	Roles []string `json:"roles,omitempty"`
	// Resources are AWS role ARNs, or account ids for all AWS roles of an account.
	Resources []string `json:"resources,omitempty"`
	Reason    string   `json:"reason,omitempty"`
	// TTL is how long the access lasts from its approval or start, such as "2h".
	TTL string `json:"ttl,omitempty"`
	// PendingTTL is how long the request waits for a decision.
	PendingTTL string `json:"pending_ttl,omitempty"`
	// StartsAt is when the access begins at the earliest.
	StartsAt *time.Time `json:"starts_at,omitempty"`
	// SuggestedReviewers takes the place of those whom roles suggest.
	SuggestedReviewers []string `json:"suggested_reviewers,omitempty"`
	// BreakGlass takes the access at once, where a role allows it; a reason is
	// needed, and a review is owed afterwards.
	BreakGlass bool `json:"break_glass,omitempty"`
}

// RequestPreview is what a request would come to.
type RequestPreview struct {
	// Request has no id. Its state says whether it would wait or be approved at once.
	Request Request `json:"request"`
	// AWSRoles are those of the apps that it would add.
	AWSRoles []PreviewedRole `json:"aws_roles"`
	// Reviewers may decide on it now.
	Reviewers []string `json:"reviewers"`
}

// PreviewedRole is an AWS role that a request would add.
type PreviewedRole struct {
	App   string   `json:"app"`
	ARN   string   `json:"arn"`
	Roles []string `json:"roles"`
}

// Request is an access request.
type Request struct {
	ID        string   `json:"id"`
	User      string   `json:"user"`
	Roles     []string `json:"roles"`
	Resources []string `json:"resources,omitempty"`
	Reason    string   `json:"reason,omitempty"`
	// State is "pending", "approved", "denied", "expired", "dropped", "revoked" or
	// "promoted" to a membership of an access list.
	State      string    `json:"state"`
	CreatedAt  time.Time `json:"created_at"`
	ExpiresAt  time.Time `json:"expires_at"`
	TTLSeconds int64     `json:"ttl_seconds"`
	// StartsAt is when the access begins at the earliest, where not at once.
	StartsAt *time.Time `json:"starts_at,omitempty"`
	// AccessExpiresAt is set once approved.
	AccessExpiresAt *time.Time  `json:"access_expires_at,omitempty"`
	Thresholds      []Threshold `json:"thresholds"`
	// ThresholdSets are indexes of thresholds: one of each set has to be met. None
	// are one set of all.
	ThresholdSets [][]int `json:"threshold_sets,omitempty"`
	// Reviews hold the last one of each reviewer.
	Reviews            []Review `json:"reviews,omitempty"`
	SuggestedReviewers []string `json:"suggested_reviewers,omitempty"`
	// CanReview says whether the caller may review it now.
	CanReview bool `json:"can_review,omitempty"`
	// ApprovedByRule names the auto-approval rules that approved it.
	ApprovedByRule string `json:"approved_by_rule,omitempty"`
	BreakGlass     bool   `json:"break_glass,omitempty"`
	// ReviewOwed: the glass was broken, and nobody has reviewed it yet.
	ReviewOwed bool `json:"review_owed,omitempty"`
	// DroppedBy gave it up, or revoked it.
	DroppedBy  string `json:"dropped_by,omitempty"`
	DropReason string `json:"drop_reason,omitempty"`
	// Call is the one AWS call that it asks for, in place of roles.
	Call *HeldCall `json:"call,omitempty"`
}

// HeldCall is an AWS call that waits for its approval.
type HeldCall struct {
	SessionID  string   `json:"session_id"`
	Roles      []string `json:"roles"`
	Digest     string   `json:"digest"`
	App        string   `json:"app"`
	AWSRoleARN string   `json:"aws_role_arn"`
	Account    string   `json:"account,omitempty"`
	Region     string   `json:"region,omitempty"`
	Service    string   `json:"service,omitempty"`
	Operation  string   `json:"operation,omitempty"`
	Action     string   `json:"action,omitempty"`
	Also       []string `json:"also,omitempty"` // actions besides
	Resources  []string `json:"resources,omitempty"`
	Method     string   `json:"method"`
	Host       string   `json:"host"`
	Path       string   `json:"path"`
	Parameters string   `json:"parameters,omitempty"`
}

// Threshold is how many reviews decide; with a filter, of those alone that it
// lets count.
type Threshold struct {
	Name    string `json:"name,omitempty"`
	Filter  string `json:"filter,omitempty"`
	Approve int    `json:"approve"`
	Deny    int    `json:"deny"`
}

// Review is one person's verdict on a request.
type Review struct {
	Reviewer  string    `json:"reviewer"`
	Verdict   string    `json:"verdict"`
	Reason    string    `json:"reason,omitempty"`
	CreatedAt time.Time `json:"created_at"`
}

// CreateReview is a verdict: "approve" or "deny".
type CreateReview struct {
	Verdict string `json:"verdict"`
	Reason  string `json:"reason,omitempty"`
}

// RevokeRequest takes granted access back.
type RevokeRequest struct {
	Reason string `json:"reason,omitempty"`
}
