package access

import (
	"errors"
	"fmt"

	"github.com/posternhq/postern/broker/policy"
)

// Code is the kind of a refusal.
type Code string

// The kinds of refusals.
const (
	Invalid  Code = "invalid"        // the command makes no sense
	Denied   Code = "denied"         // the roles do not allow it
	Locked   Code = "locked"         // a lock stands against it
	NotFound Code = "not_found"      // what it is about does not exist
	Exists   Code = "already_exists" // what it would make exists already
	Conflict Code = "conflict"       // the state of things forbids it
	NoFactor Code = "second_factor"  // a second factor is asked for
)

// Error is a refusal: it names the cause and, where there is one, the command
// that mends it.
type Error struct {
	Code    Code
	Message string
	Details []string
	Next    string
	// Roles would mend a denial if they were asked for; RequestID is a request for
	// one of them that waits already.
	Roles     []string
	RequestID string
}

func (e *Error) Error() string { return e.Message }

func refuse(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// denied makes a policy's refusal a refusal.
func denied(err error) *Error {
	var r *policy.Refusal
	if errors.As(err, &r) {
		return &Error{Code: Denied, Message: r.Reason}
	}
	return &Error{Code: Denied, Message: err.Error()}
}
