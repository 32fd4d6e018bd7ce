package api

import "time"

// AccessList is an access list as one user sees it.
type AccessList struct {
	Name        string `json:"name"`
	Title       string `json:"title,omitempty"`
	Description string `json:"description,omitempty"`
	// State is "current", "review_due" (announced), "overdue" (in its grace
	// period) or "suspended": it gives nothing until it is reviewed.
	State string `json:"state"`
	// NextAuditDate is when a review is due, SuspendsAt when the list stops to
	// give anything without one.
	NextAuditDate time.Time    `json:"next_audit_date"`
	SuspendsAt    time.Time    `json:"suspends_at"`
	ReviewedAt    *time.Time   `json:"reviewed_at,omitempty"`
	ReviewedBy    string       `json:"reviewed_by,omitempty"`
	Owners        []ListMember `json:"owners"`
	// Roles and Traits are what members get.
	Roles  []string            `json:"roles,omitempty"`
	Traits map[string][]string `json:"traits,omitempty"`
	// Member and Owner say whether the caller is one, in effect.
	Member bool `json:"member,omitempty"`
	Owner  bool `json:"owner,omitempty"`
	// Members are shown to owners and to who may read access lists.
	Members []Membership `json:"members,omitempty"`
}

// ListMember is a user or, of kind "list", the members of an access list.
type ListMember struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
}

// Membership is one membership of a list.
type Membership struct {
	Name string `json:"name"`
	// Kind is "user" or "list".
	Kind      string     `json:"kind"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	Reason    string     `json:"reason,omitempty"`
	AddedBy   string     `json:"added_by"`
	AddedAt   time.Time  `json:"added_at"`
	// RequestID is the access request that was promoted to it.
	RequestID string `json:"request_id,omitempty"`
	// Without says why it gives nothing at the moment.
	Without string `json:"without,omitempty"`
}

// AddMember makes somebody a member of a list, or changes until when.
type AddMember struct {
	Name string `json:"name"`
	// Kind is "user" or "list".
	Kind string `json:"kind"`
	// TTL is how long the membership lasts, such as "90d"; empty means until it
	// is ended.
	TTL    string `json:"ttl,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// ReviewList says that the caller looked a list through.
type ReviewList struct {
	// Remove are the members that go; all others stay.
	Remove []ListMember `json:"remove,omitempty"`
	Notes  string       `json:"notes,omitempty"`
}

// PromoteRequest answers an access request with a membership.
type PromoteRequest struct {
	AccessList string `json:"access_list"`
	// TTL is how long the membership lasts; empty means until it is ended.
	TTL    string `json:"ttl,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// AccessLists answers a question for access lists.
type AccessLists struct {
	AccessLists []AccessList `json:"access_lists"`
}
