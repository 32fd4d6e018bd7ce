package auditor

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/posternhq/postern/events"
)

// readers are the roles, users, locks and tokens of ACCESS that decide who may ask, as
// far as the ledger has them. What no broker decided counts for nothing.
type readers struct {
	mu     sync.Mutex
	most   time.Duration // that a look takes; zero is lookTime
	at     time.Time     // of the last look
	err    error         // of the last look
	after  uint64        // the ledger is read beyond this sequence
	roles  map[string]*events.Role
	tokens map[string]*events.AuditTokenCreated
	locks  map[string]*events.LockPlaced
	users  map[string]*holder
	// revoked are the sign-ins that were, by the serial of the certificate.
	revoked map[string]*events.SigninRevoked
}

// holder is a user as the event of a sequence leaves them; since is when they were made.
type holder struct {
	seq               uint64
	since             time.Time
	roles             []string
	disabled, deleted bool
}

// readersEvery is how old the last look may be: how long a token that was
// deleted works on, besides the time that it takes to store events.
const readersEvery = time.Second

// lookTime bounds a look: a store that hangs answers nobody, and all are told.
const lookTime = 30 * time.Second

// with looks at the state, which is brought up to date first if it is old. Who waited for a
// look that failed is told what the first was.
func (rs *readers) with(ctx context.Context, a *Auditor, look func(*readers) error) error {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if time.Since(rs.at) >= readersEvery {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cmp.Or(rs.most, lookTime)) // for others, too
		defer cancel()
		rs.err = rs.update(ctx, a)
		rs.at = time.Now()
	}
	if rs.err != nil {
		return fmt.Errorf("find out who may ask: %w", rs.err)
	}
	return look(rs)
}

// update folds what the ledger has beyond the last look. Below the floor nothing
// will be added; what is above is folded again the next time, in order.
func (rs *readers) update(ctx context.Context, a *Auditor) error {
	if rs.roles == nil {
		rs.roles, rs.tokens, rs.locks = map[string]*events.Role{}, map[string]*events.AuditTokenCreated{}, map[string]*events.LockPlaced{}
		rs.users, rs.revoked = map[string]*holder{}, map[string]*events.SigninRevoked{}
	}
	floor := a.Floor(events.Access)
	const genuine = `SELECT seq, raw FROM events WHERE stream = 'ACCESS' AND seq > ? AND signature IN ('', 'valid') AND `
	for _, which := range []string{
		`(match(type, '^io\\.postern\\.(role|lock|audit_token)\\.') OR type IN ('io.postern.user.created.v1', 'io.postern.user.deleted.v1', 'io.postern.signin.revoked.v1')) ORDER BY seq`,
		// Every sign-in at an identity provider is one: the last of each user is enough.
		`type = 'io.postern.user.updated.v1' ORDER BY seq DESC LIMIT 1 BY channel`,
	} {
		rows, err := a.store.Conn().Query(ctx, genuine+which, rs.after)
		if err != nil {
			return err
		}
		for rows.Next() {
			var seq uint64
			var raw string
			if err := rows.Scan(&seq, &raw); err != nil {
				return errors.Join(err, rows.Close())
			}
			if e, err := events.Decode([]byte(raw)); err == nil { // else of another version, and none that this one knows to grant by
				rs.fold(seq, e)
			}
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return err
		}
	}
	maps.DeleteFunc(rs.revoked, func(_ string, d *events.SigninRevoked) bool { return !time.Now().Before(d.ExpiresAt) })
	rs.after = max(rs.after, floor)
	return nil
}

func (rs *readers) fold(seq uint64, e events.Event) {
	switch d := e.Data.(type) {
	case *events.RoleCreated:
		rs.roles[d.Name] = &d.Role
	case *events.RoleUpdated:
		rs.roles[d.Name] = &d.Role
	case *events.RoleDeleted:
		delete(rs.roles, d.Name)
	case *events.LockPlaced:
		rs.locks[d.LockID] = d
	case *events.LockLifted:
		delete(rs.locks, d.LockID)
	case *events.AuditTokenCreated:
		rs.tokens[d.Name] = d
	case *events.AuditTokenDeleted:
		delete(rs.tokens, d.Name)
	case *events.UserCreated:
		rs.users[d.Name] = &holder{seq: seq, since: e.Time, roles: d.Roles, disabled: d.Disabled}
	case *events.UserUpdated:
		u := rs.users[d.Name]
		if u == nil {
			u = &holder{}
		}
		if u.seq < seq {
			rs.users[d.Name] = &holder{seq: seq, since: u.since, roles: d.Roles, disabled: d.Disabled}
		}
	case *events.UserDeleted:
		rs.users[d.Name] = &holder{seq: seq, deleted: true}
	case *events.SigninRevoked:
		rs.revoked[d.CertificateSerial] = d
	}
}

// dated is how long before it is issued a certificate begins, and how far the clocks of
// brokers may be apart.
const dated = time.Minute + 5*time.Second

// holds are the roles of a certificate that its user still has: connections outlive
// certificates, and certificates those whom they name. What the ledger has not heard of yet,
// such as a user who was just made, is as the certificate says.
func (rs *readers) holds(c *x509.Certificate, now time.Time) ([]string, error) {
	name := c.Subject.CommonName
	if now.After(c.NotAfter) {
		return nil, unauthorized("your certificate expired at %s: sign in with `postern login`", c.NotAfter.UTC().Format(time.RFC3339))
	}
	if d := rs.revoked[c.SerialNumber.Text(16)]; d != nil {
		return nil, unauthorized("this sign-in was revoked by %s: sign in with `postern login`", d.By)
	}
	u := rs.users[name]
	switch {
	case u == nil:
		return c.Subject.Organization, nil
	case u.deleted:
		return nil, forbidden("there is no user %s any more", name)
	case u.disabled:
		return nil, forbidden("user %s is disabled", name)
	case c.NotBefore.Add(dated).Before(u.since):
		return nil, unauthorized("the certificate is of an earlier user of this name: sign in with `postern login`")
	}
	return slices.DeleteFunc(slices.Clone(c.Subject.Organization), func(role string) bool { return !slices.Contains(u.roles, role) }), nil
}

// scope is what holders of roles may see together, nil for all accounts: what the
// rules of the roles say that allow to read the audit trail; a role that the
// configuration names and that has no such rule of its own sees everything.
func (rs *readers) scope(user string, roles, everything []string) ([]string, error) {
	var accounts []string
	all, any := false, false
	for _, name := range roles {
		var rules []events.ResourceRule
		if r := rs.roles[name]; r != nil {
			if slices.ContainsFunc(r.Deny.Rules, readsAudit) {
				return nil, forbidden("role %s denies user %s to read the audit trail", name, user)
			}
			for _, rule := range r.Allow.Rules {
				if readsAudit(rule) {
					rules = append(rules, rule)
				}
			}
		}
		if len(rules) == 0 && slices.Contains(everything, name) {
			rules = []events.ResourceRule{{}}
		}
		for _, rule := range rules {
			any = true
			all = all || len(rule.AWSAccounts) == 0
			accounts = append(accounts, rule.AWSAccounts...)
		}
	}
	switch {
	case !any:
		return nil, forbidden("user %s holds none of the roles that may read the audit trail: those with a rule for it (resources: [audit], verbs: [read]), and %s; roles by access lists and requests do not count here", user, strings.Join(everything, ", "))
	case all:
		return nil, nil
	}
	slices.Sort(accounts)
	return slices.Compact(accounts), nil
}

func readsAudit(r events.ResourceRule) bool {
	has := func(list []string, v string) bool { return slices.Contains(list, "*") || slices.Contains(list, v) }
	return has(r.Resources, "audit") && has(r.Verbs, "read")
}
