package api

import "strings"

// Error is how the broker says no.
type Error struct {
	// Status is the HTTP status.
	Status int `json:"-"`
	// Code is one word for programs: see the Code constants.
	Code string `json:"code"`
	// Message names the cause.
	Message string `json:"message"`
	// Details are further lines, such as every fault of a resource file.
	Details []string `json:"details,omitempty"`
	// Next is a command that mends it, where there is one.
	Next string `json:"next,omitempty"`
	// RequestableRoles would mend a denial if they were asked for; RequestID is a
	// request for one of them that waits already.
	RequestableRoles []string `json:"requestable_roles,omitempty"`
	RequestID        string   `json:"request_id,omitempty"`
	// RetryAfter is the header of that name, in seconds; 0 for none.
	RetryAfter int `json:"-"`
}

// ErrorBody wraps an Error in an answer.
type ErrorBody struct {
	Error *Error `json:"error"`
}

// The codes of errors.
const (
	CodeInvalid         = "invalid"
	CodeUnauthenticated = "unauthenticated"
	CodeDenied          = "denied"
	CodeLocked          = "locked"
	CodeNotFound        = "not_found"
	CodeExists          = "already_exists"
	CodeConflict        = "conflict"
	CodeTooLarge        = "too_large"
	CodeThrottled       = "throttled"
	CodeUnavailable     = "unavailable"
	CodeInternal        = "internal"
	// CodeNoFactor asks for a second factor; the details name the kinds at hand.
	CodeNoFactor = "second_factor"
	// CodePending asks to try again later: the person has not signed in yet.
	CodePending = "pending"
)

// Error returns the message, its details and the next step.
func (e *Error) Error() string {
	var s strings.Builder
	s.WriteString(e.Message)
	for _, d := range e.Details {
		s.WriteString("\n  ")
		s.WriteString(d)
	}
	if e.Next != "" {
		s.WriteString("\ntry: ")
		s.WriteString(e.Next)
	}
	return s.String()
}
