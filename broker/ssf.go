package broker

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/sealed"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// keysPath is where receivers find the keys that sign Security Event Tokens.
const keysPath = "/v1/ssf/jwks"

// getSSFConfiguration is the transmitter's metadata (OpenID SSF 1.0, section 7.1).
func (b *Broker) getSSFConfiguration(*call) (any, error) {
	return map[string]any{
		"spec_version":               "1_0",
		"issuer":                     b.origin(),
		"jwks_uri":                   b.origin() + keysPath,
		"delivery_methods_supported": []string{events.DeliverPush, events.DeliverPoll},
		"configuration_endpoint":     b.origin() + streamPath,
		"status_endpoint":            b.origin() + statusPath,
		"add_subject_endpoint":       b.origin() + addSubjectPath,
		"remove_subject_endpoint":    b.origin() + removeSubjectPath,
		"verification_endpoint":      b.origin() + verifyPath,
		// A bearer token (RFC 6750), which the operator hands out.
		"authorization_schemes": []map[string]string{{"spec_urn": "urn:ietf:rfc:6750"}},
		"default_subjects":      "ALL",
	}, nil
}

// getSSFKeys are the keys of all receivers' streams (RFC 7517).
func (b *Broker) getSSFKeys(c *call) (any, error) {
	var names []string
	b.ledger.read(func(s *access.State, _ time.Time) {
		for _, name := range slices.Sorted(maps.Keys(s.Consumers)) {
			if k := s.Consumers[name]; k != nil && k.Signaled() {
				names = append(names, name)
			}
		}
	})
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, name := range names {
		s, err := b.vault.Secrets(c.Context(), name)
		if errors.Is(err, sealed.ErrNotFound) {
			continue
		} else if err != nil {
			return nil, unreachable(err)
		}
		keys, err := s.PublicKeys(b.now())
		if err != nil {
			return nil, err
		}
		set.Keys = append(set.Keys, keys...)
	}
	return set, nil
}

// signals is what the state adds to events that are to be signals.
type signals struct{ b *Broker }

func (s signals) Issuer() string { return s.b.origin() }

// reachTimeout bounds the wait for the state to be where the sender is.
const reachTimeout = 5 * time.Second

func (s signals) Genuine(ctx context.Context, e journal.Entry) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	l := s.b.ledger
	if err := l.reach(ctx, e.Seq); err != nil {
		return false, err
	}
	l.mu.RLock()
	refused := l.refused[e.Seq]
	l.mu.RUnlock()
	return !refused && l.keys().Verify(e.Channel, e.StoredAt, e.Event, e.Raw) == nil, nil
}

func (s signals) Earlier(ctx context.Context, channel string, before uint64) (out []events.Payload, err error) {
	for e, err := range s.b.cfg.Journal.Replay(ctx, events.Access, channel) {
		if err != nil && e.Seq == 0 {
			return nil, err
		}
		if e.Seq >= before {
			break
		}
		if genuine, err := s.Genuine(ctx, e); err != nil {
			return nil, err
		} else if genuine && e.Data != nil {
			out = append(out, e.Data)
		}
	}
	return out, nil
}

func (s signals) Barred(user string, at uint64) (barred bool) {
	s.b.ledger.read(func(st *access.State, _ time.Time) { barred = access.Barred(st, user, at) })
	return barred
}

func (s signals) Stopped(e journal.Entry, target events.LockTarget) (out []events.SessionStarted) {
	s.b.ledger.read(func(st *access.State, _ time.Time) {
		for _, x := range st.Stopped(target, e.Seq, e.Time) {
			out = append(out, *x.SessionStarted)
		}
	})
	return out
}

// removed tells whether a stream's receiver wanted to hear nothing of a user. The state
// has all that stands before the event that is sent.
func (s signals) removed(name, streamID string) func(string, uint64) bool {
	return func(user string, at uint64) (removed bool) {
		s.b.ledger.read(func(st *access.State, _ time.Time) {
			if k, err := st.Stream(name, streamID); err == nil {
				removed = k.Signals.LeavesOut(user, at)
			}
		})
		return removed
	}
}

// Email is the first value of the trait that holds a user's addresses. Who was deleted had
// one, too: by it alone a receiver may know whose sessions are to end.
func (s signals) Email(ctx context.Context, user string, before uint64) (mail string, err error) {
	known := false
	s.b.ledger.read(func(st *access.State, _ time.Time) {
		if u := st.Users[user]; u != nil && u.CreatedSeq <= before {
			mail, known = emailOf(&u.User), true
		}
	})
	if known {
		return mail, nil
	}
	was, err := s.Earlier(ctx, (&events.UserDeleted{Name: user}).Channel(), before)
	for _, p := range was {
		switch d := p.(type) {
		case *events.UserCreated:
			mail = emailOf(&d.User)
		case *events.UserUpdated:
			mail = emailOf(&d.User)
		}
	}
	return mail, err
}

func emailOf(u *events.User) (mail string) {
	for _, trait := range []string{"email", "mail", "emails"} {
		if v := u.Traits[trait]; len(v) > 0 {
			mail = cmp.Or(mail, v[0])
		}
	}
	return mail
}
