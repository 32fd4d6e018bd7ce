package events

import "time"

// AccessList gives roles and traits to its members, who are kept by its owners
// and looked through again and again. Field names are Teleport's.
type AccessList struct {
	Name        string            `json:"name"`
	Title       string            `json:"title,omitempty"`
	Description string            `json:"description,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	// Owners change the members and review the list.
	Owners []ListOwner `json:"owners"`
	// MembershipRequires and OwnershipRequires are what members and owners need,
	// by their own roles and traits, at the moment of use.
	MembershipRequires ListRequires `json:"membership_requires,omitzero"`
	OwnershipRequires  ListRequires `json:"ownership_requires,omitzero"`
	// Grants is what members get.
	Grants ListGrants `json:"grants,omitzero"`
	Audit  ListAudit  `json:"audit"`
}

// ListOwner is a user or, of Kind "list", whoever is a member of that list.
type ListOwner struct {
	Name        string `json:"name"`
	Kind        string `json:"membership_kind"`
	Description string `json:"description,omitempty"`
}

// ListRequires asks for all of the roles and, for every trait, for all of its values.
type ListRequires struct {
	Roles  []string            `json:"roles,omitempty"`
	Traits map[string][]string `json:"traits,omitempty"`
}

// ListGrants is what a list gives.
type ListGrants struct {
	Roles  []string            `json:"roles,omitempty"`
	Traits map[string][]string `json:"traits,omitempty"`
}

// ListAudit is the recurring review of a list.
type ListAudit struct {
	// NextAuditDate is when a review is due.
	NextAuditDate time.Time `json:"next_audit_date"`
	// Months from one review to the next, and the day of the month: 1, 15 or 31
	// (the last).
	Months     int `json:"frequency_months"`
	DayOfMonth int `json:"day_of_month"`
	// NotifyBefore is how long before the review it is announced, GracePeriod
	// how long after it the list still gives what it gives; in seconds.
	NotifyBefore int64 `json:"notify_before_seconds"`
	GracePeriod  int64 `json:"grace_period_seconds"`
}

// SuspendsAt is when the list stops to give anything, unless it is reviewed.
func (a ListAudit) SuspendsAt() time.Time {
	return a.NextAuditDate.Add(time.Duration(a.GracePeriod) * time.Second)
}

// ListMember names a member: a user or, of Kind "list", the members of a list.
type ListMember struct {
	Name string `json:"name"`
	Kind string `json:"membership_kind"`
}

// The kinds of owners and members.
const (
	KindUser = "user"
	KindList = "list"
)

// AccessListCreated says that a list exists from now on.
type AccessListCreated struct {
	AccessList
	By string `json:"by"`
}

// AccessListUpdated carries the whole list after a change, without its members.
type AccessListUpdated struct {
	AccessList
	By string `json:"by"`
}

// AccessListDeleted ends a list and every membership of it.
type AccessListDeleted struct {
	Name string `json:"name"`
	By   string `json:"by"`
}

// AccessListMemberAdded makes somebody a member, or changes until when.
type AccessListMemberAdded struct {
	List   string     `json:"access_list"`
	Member ListMember `json:"member"`
	// ExpiresAt is when the membership ends by itself; nil means never.
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	Reason    string     `json:"reason,omitempty"`
	// RequestID is the access request that was promoted to the membership.
	RequestID string `json:"request_id,omitempty"`
	By        string `json:"by"`
}

// AccessListMemberRemoved ends a membership.
type AccessListMemberRemoved struct {
	List   string     `json:"access_list"`
	Member ListMember `json:"member"`
	Reason string     `json:"reason,omitempty"`
	By     string     `json:"by"`
}

// AccessListReviewed says that an owner looked the members through: Removed
// went, all others stay until NextAuditDate.
type AccessListReviewed struct {
	List          string       `json:"access_list"`
	Notes         string       `json:"notes,omitempty"`
	Removed       []ListMember `json:"removed,omitempty"`
	NextAuditDate time.Time    `json:"next_audit_date"`
	By            string       `json:"by"`
}

// AccessListReviewDue announces that a review is due at DueAt, and that the
// list will be suspended at SuspendsAt without one.
type AccessListReviewDue struct {
	List       string    `json:"access_list"`
	Owners     []string  `json:"owners"`
	DueAt      time.Time `json:"due_at"`
	SuspendsAt time.Time `json:"suspends_at"`
}

// AccessListSuspended says that nobody reviewed the list in time: it gives
// nothing until somebody does.
type AccessListSuspended struct {
	List  string    `json:"access_list"`
	DueAt time.Time `json:"due_at"`
}

func listChannel(name string) string { return channel("access", "access_list", name) }
func listThing(name string) string   { return "access_list/" + name }

func (e *AccessListCreated) Channel() string       { return listChannel(e.Name) }
func (e *AccessListCreated) Thing() string         { return listThing(e.Name) }
func (e *AccessListUpdated) Channel() string       { return listChannel(e.Name) }
func (e *AccessListUpdated) Thing() string         { return listThing(e.Name) }
func (e *AccessListDeleted) Channel() string       { return listChannel(e.Name) }
func (e *AccessListDeleted) Thing() string         { return listThing(e.Name) }
func (e *AccessListMemberAdded) Channel() string   { return listChannel(e.List) }
func (e *AccessListMemberAdded) Thing() string     { return listThing(e.List) }
func (e *AccessListMemberRemoved) Channel() string { return listChannel(e.List) }
func (e *AccessListMemberRemoved) Thing() string   { return listThing(e.List) }
func (e *AccessListReviewed) Channel() string      { return listChannel(e.List) }
func (e *AccessListReviewed) Thing() string        { return listThing(e.List) }
func (e *AccessListReviewDue) Channel() string     { return listChannel(e.List) }
func (e *AccessListReviewDue) Thing() string       { return listThing(e.List) }
func (e *AccessListSuspended) Channel() string     { return listChannel(e.List) }
func (e *AccessListSuspended) Thing() string       { return listThing(e.List) }
