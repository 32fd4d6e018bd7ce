package auditor

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
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
