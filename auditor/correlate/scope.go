package correlate

import (
	"slices"
	"strings"
	"time"

	"github.com/posternhq/postern/events"
)

// scope knows what postern lends: under which identities, with which keys.
type scope struct {
	skew time.Duration
	// identities and sources say who had the name, "" where several had: names that AWS
	// takes only changed are nobody else's.
	identities map[Identity]string
	sources    map[string]string
	roles      map[Identity]struct{} // without a session
	roleIDs    map[string]string     // ARNs by AROA…
	keys       map[string]Credential
	tokens     map[string][]Token        // by access key
	given      map[Identity][]Credential // to people: their console sessions and keys
}

func newScope(skew time.Duration) scope {
	return scope{
		skew:       skew,
		identities: map[Identity]string{},
		sources:    map[string]string{},
		roles:      map[Identity]struct{}{},
		roleIDs:    map[string]string{},
		keys:       map[string]Credential{},
		tokens:     map[string][]Token{},
		given:      map[Identity][]Credential{},
	}
}

func (s *scope) identity(i Identity, sourceIdentity, user string) {
	if i.Role != "" && i.Session != "" {
		had(s.identities, i, user)
		s.roles[Identity{Account: i.Account, Role: i.Role}] = struct{}{}
	}
	if sourceIdentity != "" {
		had(s.sources, sourceIdentity, user)
	}
}

// role learns AWS's own name of a role. It changes where a role is made anew.
func (s *scope) role(id, arn string) {
	if id == "" {
		return
	}
	if _, known := s.roleIDs[id]; known || roleName(arn) == "" || len(s.roleIDs) >= shareAtMost {
		return
	}
	s.roleIDs[strings.Clone(id)] = arn
}

// name completes what a record says of its role by AWS's own name of that.
func (s *scope) name(r *Record) {
	if r.RoleName != "" || r.RoleID == "" {
		return
	}
	if arn := s.roleIDs[r.RoleID]; arn != "" && agree(r.IdentityAccount, roleAccount(arn)) {
		r.RoleARN, r.RoleName = arn, roleName(arn)
	}
}

// had notes that a user had a name.
func had[K comparable](names map[K]string, name K, user string) {
	if before, ok := names[name]; ok && before != user {
		user = ""
	}
	names[name] = user
}

// userOf says whose call a record is about, and what tells where the record itself
// names somebody else.
func (s *scope) userOf(r *Record) (user, rule string) {
	switch c := s.keys[r.AccessKeyID]; {
	case r.AccessKeyID != "" && c.User != "":
		user, rule = c.User, "access_key"
	case r.SourceIdentity != "": // which nobody can change who has a session
		user, rule = s.sources[r.SourceIdentity], "source_identity"
	case r.SessionName != "":
		user, rule = s.identities[Identity{r.IdentityAccount, r.RoleName, r.SessionName}], "role_session_name"
	}
	if user == "" || user == r.User {
		return r.User, ""
	}
	return user, rule
}

func (s *scope) credential(c Credential) {
	i := Identity{roleAccount(c.RoleARN), roleName(c.RoleARN), c.SessionName}
	s.identity(i, c.SourceIdentity, c.User)
	s.role(c.RoleID, c.RoleARN)
	if c.AccessKeyID != "" {
		if old, ok := s.keys[c.AccessKeyID]; ok && !old.PassedOn {
			c.Console = c.Console || old.Console
			c.HandedOut = c.HandedOut || old.HandedOut
		}
		s.keys[c.AccessKeyID] = c
	}
	if !c.Console && !c.HandedOut {
		return
	}
	for k, have := range s.given[i] {
		if have.AccessKeyID == c.AccessKeyID && have.ExpiresAt.Equal(c.ExpiresAt) {
			s.given[i][k].Console, s.given[i][k].HandedOut = c.Console || have.Console, c.HandedOut || have.HandedOut
			return
		}
	}
	s.given[i] = append(s.given[i], c)
}

// token adds a signature, once.
func (s *scope) token(t Token) {
	for _, have := range s.tokens[t.AccessKeyID] {
		if have.RequestID == t.RequestID {
			return
		}
	}
	s.tokens[t.AccessKeyID] = append(s.tokens[t.AccessKeyID], t)
}

// tokenOf finds the signature that a record's call was made with.
func (s *scope) tokenOf(r *Record) (Token, bool) {
	if r.AccessKeyID == "" {
		return s.tokenOfIdentity(r)
	}
	return s.tokenOfKey(r, r.AccessKeyID)
}

func (s *scope) tokenOfKey(r *Record, key string) (Token, bool) {
	for _, t := range s.tokens[key] {
		if !r.EventTime.Before(t.IssuedAt.Add(-s.skew)) && !r.EventTime.After(t.ExpiresAt.Add(s.skew)) && t.allows(r) {
			return t, true
		}
	}
	return Token{}, false
}

// tokenOfIdentity finds it where the record does not have the key.
func (s *scope) tokenOfIdentity(r *Record) (Token, bool) {
	of := Identity{r.IdentityAccount, r.RoleName, r.SessionName}
	for key := range s.tokens {
		c := s.keys[key]
		if of.Session == "" || of != IdentityOf(c.RoleARN, c.SessionName) {
			continue
		}
		if t, ok := s.tokenOfKey(r, key); ok {
			return t, true
		}
	}
	return Token{}, false
}

// allows says whether a call is what was signed. Records of S3 always name the
// resource, others need not. RDS keeps no record of sign-ins by IAM.
func (t *Token) allows(r *Record) bool {
	switch t.Kind {
	case events.CredentialEKS:
		return r.EventSource == "sts.amazonaws.com" && r.EventName == "GetCallerIdentity"
	case events.CredentialCodeCommit:
		return r.EventSource == "codecommit.amazonaws.com" && (r.EventName == "GitPull" || r.EventName == "GitPush")
	}
	return SameService(t.Service, t.SigningName, r.EventSource) && SameName(t.Service, t.Operation, r.EventSource, r.EventName) &&
		(len(t.Resources) == 0 || len(r.Resources) == 0 && t.Service != "s3" || slices.ContainsFunc(t.Resources, func(arn string) bool { return slices.Contains(r.Resources, arn) }))
}

// knows says whether a record is about a role, an identity, a source identity or
// a key of ours, by whole names only.
func (s *scope) knows(r *Record) bool {
	_, role := s.roles[Identity{Account: r.IdentityAccount, Role: r.RoleName}]
	return role || s.lent(r)
}

// lent is knows without those that nobody but their role makes ours.
func (s *scope) lent(r *Record) bool {
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
	return s.live(r, func(c *Credential) bool { return c.Console })
}

// handedOut finds credentials that somebody held, by which a record may be that does not
// have the key.
func (s *scope) handedOut(r *Record) (Credential, bool) {
	if r.AccessKeyID != "" || r.SessionName == "" {
		return Credential{}, false
	}
	return s.live(r, func(*Credential) bool { return true })
}

// live finds credentials that somebody was given of a record's identity at its time.
func (s *scope) live(r *Record, fits func(*Credential) bool) (Credential, bool) {
	for _, c := range s.given[Identity{r.IdentityAccount, r.RoleName, r.SessionName}] {
		from, to := c.IssuedAt.Add(-s.skew), c.ExpiresAt.Add(s.skew)
		if !r.EventTime.Before(from) && !r.EventTime.After(to) && fits(&c) {
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
	for k, list := range s.tokens {
		if list = slices.DeleteFunc(list, func(x Token) bool { return x.ExpiresAt.Before(t) }); len(list) == 0 {
			delete(s.tokens, k)
		} else {
			s.tokens[k] = list
		}
	}
	for i, list := range s.given {
		kept := list[:0]
		for _, c := range list {
			if !c.ExpiresAt.Before(t) {
				kept = append(kept, c)
			}
		}
		if len(kept) == 0 {
			delete(s.given, i)
		} else {
			s.given[i] = kept
		}
	}
}
