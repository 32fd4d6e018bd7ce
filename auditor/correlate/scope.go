package correlate

import "time"

// scope knows what postern lends: under which identities, with which keys.
type scope struct {
	skew       time.Duration
	identities map[Identity]struct{}
	sources    map[string]struct{}
	keys       map[string]Credential
	consoles   map[Identity][]Credential
}

func newScope(skew time.Duration) scope {
	return scope{
		skew:       skew,
		identities: map[Identity]struct{}{},
		sources:    map[string]struct{}{},
		keys:       map[string]Credential{},
		consoles:   map[Identity][]Credential{},
	}
}

func (s *scope) identity(i Identity, sourceIdentity string) {
	if i.Role != "" && i.Session != "" {
		s.identities[i] = struct{}{}
	}
	if sourceIdentity != "" {
		s.sources[sourceIdentity] = struct{}{}
	}
}

func (s *scope) credential(c Credential) {
	i := Identity{roleAccount(c.RoleARN), roleName(c.RoleARN), c.SessionName}
	s.identity(i, c.SourceIdentity)
	if c.AccessKeyID != "" {
		if old, ok := s.keys[c.AccessKeyID]; ok && old.Console {
			c.Console = true
		}
		s.keys[c.AccessKeyID] = c
	}
	if !c.Console {
		return
	}
	for _, have := range s.consoles[i] {
		if have.AccessKeyID == c.AccessKeyID && have.ExpiresAt.Equal(c.ExpiresAt) {
			return
		}
	}
	s.consoles[i] = append(s.consoles[i], c)
}

// knows says whether a record is about an identity of ours, by whole names only.
func (s *scope) knows(r *Record) bool {
	if r.SourceIdentity != "" {
		if _, ok := s.sources[r.SourceIdentity]; ok {
			return true
		}
	}
	if _, ok := s.keys[r.AccessKeyID]; ok && r.AccessKeyID != "" {
		return true
	}
	_, ok := s.identities[Identity{r.IdentityAccount, r.RoleName, r.SessionName}]
	return ok && r.SessionName != ""
}

// console finds the console session of ours that a record is of.
func (s *scope) console(r *Record) (Credential, bool) {
	if c, ok := s.keys[r.AccessKeyID]; ok && c.Console && r.AccessKeyID != "" {
		return c, true
	}
	if !r.FromConsole && r.EventSource != "signin.amazonaws.com" {
		return Credential{}, false
	}
	for _, c := range s.consoles[Identity{r.IdentityAccount, r.RoleName, r.SessionName}] {
		from, to := c.IssuedAt.Add(-s.skew), c.ExpiresAt.Add(s.skew)
		if !r.EventTime.Before(from) && !r.EventTime.After(to) {
			return c, true
		}
	}
	return Credential{}, false
}

// forget drops keys and console sessions that ended before t. Identities stay:
// they are as many as there are users times roles.
func (s *scope) forget(t time.Time) {
	for k, c := range s.keys {
		if c.ExpiresAt.Before(t) {
			delete(s.keys, k)
		}
	}
	for i, list := range s.consoles {
		kept := list[:0]
		for _, c := range list {
			if !c.ExpiresAt.Before(t) {
				kept = append(kept, c)
			}
		}
		if len(kept) == 0 {
			delete(s.consoles, i)
		} else {
			s.consoles[i] = kept
		}
	}
}
