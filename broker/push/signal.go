package push

import (
	"context"
	"fmt"
	"strings"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// Types of security events: CAEP 1.0 (https://openid.net/specs/openid-caep-1_0-final.html)
// and RISC 1.0 (https://openid.net/specs/openid-risc-1_0-final.html).
const (
	sessionRevoked   = "https://schemas.openid.net/secevent/caep/event-type/session-revoked"
	credentialChange = "https://schemas.openid.net/secevent/caep/event-type/credential-change"
	accountDisabled  = "https://schemas.openid.net/secevent/risc/event-type/account-disabled"
	accountEnabled   = "https://schemas.openid.net/secevent/risc/event-type/account-enabled"
	accountPurged    = "https://schemas.openid.net/secevent/risc/event-type/account-purged"
	verification     = "https://schemas.openid.net/secevent/ssf/event-type/verification"
	streamUpdated    = "https://schemas.openid.net/secevent/ssf/event-type/stream-updated"
)

// Signals is what the state of the broker adds to events that are to be signals.
type Signals interface {
	// Issuer is the transmitter's, such as "https://postern.example.com:3080".
	Issuer() string
	// Genuine tells whether a broker decided an event.
	Genuine(context.Context, journal.Entry) (bool, error)
	// Earlier are the genuine events of a channel before a sequence of ACCESS.
	Earlier(ctx context.Context, channel string, before uint64) ([]events.Payload, error)
	// Barred tells whether a user is disabled or gone, or was locked when the event of a
	// sequence came to stand.
	Barred(user string, at uint64) bool
	// Stopped are the sessions that a lock stopped, by the event that placed it.
	Stopped(journal.Entry, events.LockTarget) []events.SessionStarted
	// Email of a user, of one who is gone the last before a sequence of ACCESS; "" where none
	// is known.
	Email(ctx context.Context, user string, before uint64) (string, error)
}

// signal is one security event of a decision.
type signal struct {
	kind, user string
	// session is of a user's session, or sign-in; "" is all of the user.
	session string
	by      string
	reason  string
	extra   map[string]any
}

// signals are what a decision tells receivers, in order; most tell nothing.
func signals(ctx context.Context, e journal.Entry, from Signals) ([]signal, error) {
	switch d := e.Data.(type) {
	case *events.LockPlaced:
		if d.Target.Kind == "user" {
			return []signal{{kind: sessionRevoked, user: d.Target.Name, by: d.By, reason: d.Message}, {kind: accountDisabled, user: d.Target.Name, by: d.By}}, nil
		}
		var out []signal
		for _, x := range from.Stopped(e, d.Target) {
			out = append(out, signal{kind: sessionRevoked, user: x.User, session: x.SessionID, by: d.By, reason: d.Message})
		}
		if len(out) == 0 && d.Target.Kind == "session" { // whose user is not known any more
			out = []signal{{kind: sessionRevoked, session: d.Target.Name, by: d.By, reason: d.Message}}
		}
		return out, nil
	case *events.LockLifted:
		before, err := from.Earlier(ctx, e.Channel, e.Seq)
		if err != nil {
			return nil, err
		}
		for _, p := range before {
			if l, ok := p.(*events.LockPlaced); ok && l.Target.Kind == "user" && !from.Barred(l.Target.Name, e.Seq) {
				return []signal{{kind: accountEnabled, user: l.Target.Name, by: d.By}}, nil
			}
		}
	case *events.LockExpired:
		// RISC's account-enabled takes back what account-disabled said when the lock was
		// placed; CAEP has nothing for it: its session-established tells of a sign-in.
		if d.Target.Kind == "user" && !from.Barred(d.Target.Name, e.Seq) {
			return []signal{{kind: accountEnabled, user: d.Target.Name, by: d.By}}, nil
		}
	case *events.SigninRevoked:
		return []signal{{kind: sessionRevoked, user: d.User, session: d.CertificateSerial, by: d.By, reason: "the sign-in was revoked"}}, nil
	case *events.SessionEnded:
		if d.By != d.User { // who ends their own has logged out
			return []signal{{kind: sessionRevoked, user: d.User, session: d.SessionID, by: d.By, reason: d.Reason}}, nil
		}
	case *events.UserUpdated:
		return disabled(ctx, e, d, from)
	case *events.UserDeleted:
		return []signal{{kind: sessionRevoked, user: d.Name, by: d.By, reason: "the user was deleted"}, {kind: accountPurged, user: d.Name, by: d.By}}, nil
	case *events.UserPasswordChanged:
		return []signal{changed(d.Name, d.By, "password", "update")}, nil
	case *events.CredentialEnrolled:
		return []signal{changed(d.User, d.User, "password", "update")}, nil
	case *events.CredentialFactorAdded:
		return []signal{changed(d.User, d.By, credentialType(d.Factor), "create")}, nil
	case *events.CredentialFactorRemoved:
		before, err := from.Earlier(ctx, e.Channel, e.Seq)
		if err != nil {
			return nil, err
		}
		return []signal{changed(d.User, d.By, removedType(before, d.FactorID), "revoke")}, nil
	}
	return nil, nil
}

// disabled compares a user with what they were.
func disabled(ctx context.Context, e journal.Entry, d *events.UserUpdated, from Signals) ([]signal, error) {
	before, err := from.Earlier(ctx, e.Channel, e.Seq)
	if err != nil {
		return nil, err
	}
	was := false
	for _, p := range before {
		switch u := p.(type) {
		case *events.UserCreated:
			was = u.Disabled
		case *events.UserUpdated:
			was = u.Disabled
		}
	}
	switch {
	case d.Disabled && !was:
		return []signal{{kind: sessionRevoked, user: d.Name, by: d.By, reason: "the user was disabled"}, {kind: accountDisabled, user: d.Name, by: d.By}}, nil
	case was && !d.Disabled && !from.Barred(d.Name, e.Seq):
		return []signal{{kind: accountEnabled, user: d.Name, by: d.By}}, nil
	}
	return nil, nil
}

func changed(user, by, credential, change string) signal {
	return signal{kind: credentialChange, user: user, by: by, extra: map[string]any{"credential_type": credential, "change_type": change}}
}

// credentialType is in the words of CAEP, section 3.3.1.
func credentialType(f events.Factor) string {
	if f.PublicKey != nil {
		return "fido2-roaming"
	}
	return "app"
}

func removedType(before []events.Payload, id string) string {
	kind := "app"
	for _, p := range before {
		var fs []events.Factor
		switch d := p.(type) {
		case *events.CredentialEnrolled:
			fs = d.Factors
		case *events.CredentialFactorAdded:
			fs = []events.Factor{d.Factor}
		}
		for _, f := range fs {
			if f.ID == id {
				kind = credentialType(f)
			}
		}
	}
	return kind
}

// subject identifies whom a signal is about (RFC 9493, SSF 1.0 section 3).
func (s signal) subject(ctx context.Context, p events.Push, from Signals, at uint64) (map[string]any, error) {
	user := map[string]any{"format": "iss_sub", "iss": from.Issuer(), "sub": s.user}
	if p.Subject == "email" && s.user != "" {
		mail, err := from.Email(ctx, s.user, at)
		if err != nil {
			return nil, err
		}
		if mail != "" {
			user = map[string]any{"format": "email", "email": mail}
		} else if strings.Contains(s.user, "@") {
			user = map[string]any{"format": "email", "email": s.user}
		}
	}
	session := map[string]any{"format": "opaque", "id": s.session}
	switch {
	case s.session == "":
		return user, nil
	case s.user == "":
		return map[string]any{"format": "complex", "session": session}, nil
	}
	return map[string]any{"format": "complex", "user": user, "session": session}, nil
}

// claims are those of the event itself.
func (s signal) claims(e journal.Entry) map[string]any {
	out := map[string]any{}
	for k, v := range s.extra {
		out[k] = v
	}
	if strings.Contains(s.kind, "/risc/") {
		return out
	}
	out["event_timestamp"] = e.Time.Unix()
	switch s.by {
	case s.user:
		out["initiating_entity"] = "user"
	case "postern":
		out["initiating_entity"] = "policy"
	default:
		out["initiating_entity"] = "admin"
	}
	if s.reason != "" {
		out["reason_admin"] = map[string]any{"en": s.reason}
	}
	return out
}

// id is the same whenever the event is told: of the sessions that a lock stopped, some may be
// over the next time, and not be told any more.
func (s signal) id(e journal.Entry, i int) string {
	if s.session != "" {
		return e.ID + "-" + s.session
	}
	return fmt.Sprintf("%s-%d", e.ID, i)
}
