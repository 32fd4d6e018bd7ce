package auditor

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/events"
)

// reader is who asks, and what they may see.
type reader struct {
	name string
	// accounts narrows what they see; nil is everything.
	accounts []string
	// token: they showed a token, which can only ask.
	token bool
}

// power is what a question takes.
type power int

const (
	asks     power = iota // the answer is narrowed to the reader's accounts
	posts                 // the same, for people alone
	asksAll               // the answer tells of all accounts
	operates              // something changes: for people who see everything
)

type readerKey struct{}

// readerOf is who sent a request that only let pass.
func readerOf(r *http.Request) reader {
	who, _ := r.Context().Value(readerKey{}).(reader)
	return who
}

// only lets pass who may.
func (a *Auditor) only(to power, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := a.whoAsks(r)
		if err == nil {
			err = who.may(to)
		}
		if err == nil && who.accounts != nil && a.narrow.Load() == nil {
			err = errNoScope // fail closed
		}
		if err != nil {
			if refused, ok := errors.AsType[*refusal](err); ok && refused.status == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", `Bearer realm="postern auditor"`)
			}
			a.reply(w, nil, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), readerKey{}, who)))
	})
}

// whileMay is the context of an answer that takes as long as it takes: it ends once who
// sent the request may no longer ask. While that can't be found out it goes on.
func (a *Auditor) whileMay(r *http.Request, to power) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(r.Context())
	go func() {
		for sleep(ctx, readersEvery) {
			who, err := a.whoAsks(r)
			if err == nil {
				err = who.may(to)
			}
			if refused, ok := errors.AsType[*refusal](err); ok {
				a.c.Log.Info().Str("reader", readerOf(r).name).Str("reason", refused.reason).Msg("an answer breaks off: its reader may not ask any more")
				cancel()
			}
		}
	}()
	return ctx, cancel
}

func (who reader) may(to power) error {
	switch {
	case who.token && (to == posts || to == operates):
		return forbidden("%s can only ask, by GET", who.name)
	case who.accounts != nil && (to == asksAll || to == operates):
		return forbidden("%s sees AWS accounts %s alone, and this is about all", who.name, strings.Join(who.accounts, ", "))
	}
	return nil
}

var errNoScope = errors.New("clickhouse is not set up for readers of some AWS accounts: set clickhouse.scoped_dsn (`postern config clickhouse` prints what the server needs); the auditor's log says what is wrong")

// askerOf asks as who sent a request, of whom only knows that they can be heeded.
func (a *Auditor) askerOf(r *http.Request) *query.Asker {
	who := readerOf(r)
	if who.accounts == nil {
		return a.asker
	}
	return a.asker.Within(store.Scoped(*a.narrow.Load(), who.accounts))
}

// runSQL runs people's own SQL as who sent a request.
func (a *Auditor) runSQL(r *http.Request, statement string) (any, error) {
	if a.sql == nil {
		return nil, errNoReader
	}
	who := readerOf(r)
	if who.accounts == nil {
		return a.sql.Run(r.Context(), statement)
	}
	return query.NewSQL(store.Scoped(*a.narrow.Load(), who.accounts), query.Limits{Plain: true}).Run(r.Context(), statement)
}

// readers are the roles, users, locks and tokens of ACCESS that decide who may ask, as
// far as the ledger has them. What no broker decided counts for nothing.
type readers struct {
	mu     sync.Mutex
	at     time.Time // of the last look
	after  uint64    // the ledger is read beyond this sequence
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

// refusal says why somebody may not ask, with the status for it.
type refusal struct {
	status int
	reason string
}

func (r *refusal) Error() string { return r.reason }

func unauthorized(format string, args ...any) error {
	return &refusal{http.StatusUnauthorized, fmt.Sprintf(format, args...)}
}

func forbidden(format string, args ...any) error {
	return &refusal{http.StatusForbidden, fmt.Sprintf(format, args...)}
}

// whoAsks finds out who sent a request: the holder of a token, else of a
// certificate that TLS verified, whose Organization holds the user's roles.
func (a *Auditor) whoAsks(r *http.Request) (reader, error) {
	if shown, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return a.tokenHolder(r.Context(), shown)
	}
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 || len(r.TLS.PeerCertificates) == 0 {
		return reader{}, unauthorized("no verified client certificate and no token: sign in with `postern login`, or send Authorization: Bearer TOKEN of `postern audit tokens add`")
	}
	c := r.TLS.PeerCertificates[0]
	who := reader{name: c.Subject.CommonName}
	err := a.readers.with(r.Context(), a, func(rs *readers) (err error) {
		now := time.Now()
		roles, err := rs.holds(c, now)
		if err != nil {
			return err
		}
		targets := []events.LockTarget{{Kind: "user", Name: who.name}}
		if id := c.Subject.SerialNumber; id != "" {
			targets = append(targets, events.LockTarget{Kind: "device", Name: id})
		}
		for _, role := range roles {
			targets = append(targets, events.LockTarget{Kind: "role", Name: role})
		}
		for _, l := range rs.locks {
			if slices.Contains(targets, l.Target) && (l.ExpiresAt == nil || now.Before(*l.ExpiresAt)) {
				return forbidden("%s %s is locked: %s", l.Target.Kind, l.Target.Name, l.Message)
			}
		}
		who.accounts, err = rs.scope(who.name, roles, a.c.ReaderRoles)
		return err
	})
	return who, err
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
		return nil, forbidden("user %s holds none of the roles that may read the audit trail: those with a rule for it (resources: [audit], verbs: [read]), and %s", user, strings.Join(everything, ", "))
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

// tokenHolder knows a token, which names itself: pat.NAME.SECRET. Of a token
// that was just made, the ledger may learn in this very moment.
func (a *Auditor) tokenHolder(ctx context.Context, shown string) (reader, error) {
	_, rest, ok := strings.Cut(shown, "pat.")
	name, _, named := strings.Cut(rest, ".")
	if !ok || !named || len(shown) > 256 {
		return reader{}, unauthorized("this is no token of `postern audit tokens add`")
	}
	sum := sha256.Sum256([]byte(shown))
	hash := hex.EncodeToString(sum[:])
	who := reader{name: "token " + name, token: true}
	look := func(rs *readers) error {
		t := rs.tokens[name]
		switch {
		case t == nil || subtle.ConstantTimeCompare([]byte(t.SHA256), []byte(hash)) != 1:
			return unauthorized("this token is not known: it was deleted, or never made (postern audit tokens ls)")
		case !time.Now().Before(t.ExpiresAt):
			return unauthorized("token %s expired at %s: make another with `postern audit tokens add`", name, t.ExpiresAt.UTC().Format(time.RFC3339))
		}
		who.accounts = t.AWSAccounts
		return nil
	}
	err := a.readers.with(ctx, a, look)
	for range 3 {
		if err == nil || !sleep(ctx, readersEvery/2) {
			break
		}
		err = a.readers.with(ctx, a, look)
	}
	return who, err
}

// with looks at the state, which is brought up to date first if it is old.
func (rs *readers) with(ctx context.Context, a *Auditor, look func(*readers) error) error {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if time.Since(rs.at) >= readersEvery {
		if err := rs.update(ctx, a); err != nil {
			return fmt.Errorf("find out who may ask: %w", err)
		}
		rs.at = time.Now()
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

// openScope sets the store up for readers of some accounts. Until that works they
// are refused, and nobody else is held up.
func (a *Auditor) openScope(ctx context.Context) error {
	if a.scope == nil {
		return nil
	}
	said := ""
	for {
		err := a.store.MigrateScope(ctx)
		if err == nil {
			err = a.store.CheckReader(ctx, a.scope)
		}
		if err == nil {
			a.narrow.Store(&a.scope)
			return nil
		}
		if text := err.Error(); text != said && ctx.Err() == nil {
			a.c.Log.Error().Err(err).Msg("readers of some aws accounts are refused until this is mended")
			said = text
		}
		if !sleep(ctx, 10*time.Second) {
			return nil
		}
	}
}
