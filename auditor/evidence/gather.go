package evidence

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/events"
)

// MaxItems bounds the events of one bundle.
const MaxItems = 100_000

// ErrNothing says that there is no event on a subject.
var ErrNothing = errors.New("nothing is recorded about it")

// Disputed says that what the ledger has is not what was logged: no bundle can
// prove it.
type Disputed struct{ Err error }

func (d *Disputed) Error() string {
	return "the ledger is not what was logged: run postern audit verify: " + d.Err.Error()
}
func (d *Disputed) Unwrap() error { return d.Err }

// Gather finds the events on a subject in the ledger, still without proofs: the
// access requests, their reviews and resolution, the sessions that rest on them
// with the roles as they read then, the calls of those sessions, AWS's records
// of them, verdicts and findings; of a user, sign-ins and changes to the user
// too. Of a single call it finds what led to it and what became of it.
func Gather(ctx context.Context, conn driver.Conn, s Subject) ([]Item, error) {
	g := gathering{ctx: ctx, conn: conn, seen: map[string]bool{}, calls: map[call]bool{}}
	switch {
	case s.Request != "":
		g.request(s.Request)
	default:
		g.user(s.User, s.Since)
	}
	if g.err == nil && len(g.items) == 0 {
		g.err = ErrNothing
	}
	slices.SortFunc(g.items, func(a, b Item) int {
		return cmp.Or(cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Seq, b.Seq))
	})
	return g.items, g.err
}

type gathering struct {
	ctx   context.Context
	conn  driver.Conn
	items []Item
	seen  map[string]bool
	calls map[call]bool // whose events were gathered
	err   error
}

// ask returns the strings of one column.
func (g *gathering) ask(query string, args ...any) []string {
	if g.err != nil || ofNone(args) {
		return nil
	}
	rows, err := g.conn.Query(g.ctx, query, args...)
	if err != nil {
		g.err = fmt.Errorf("gather evidence: %w", err)
		return nil
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		if g.err = rows.Scan(&s); g.err != nil {
			return nil
		}
		out = append(out, s)
	}
	g.err = rows.Err()
	return out
}

// take adds the events that a condition is true of, and returns how many different
// correlation ids they have. What it says of raw comes after WHERE, here and in ask: of a
// condition in one, ClickHouse reads the raw of each row before it looks at the types.
func (g *gathering) take(condition string, args ...any) (correlations int) {
	if g.err != nil || ofNone(args) {
		return 0
	}
	rows, err := g.conn.Query(g.ctx, fmt.Sprintf(`SELECT stream, seq, channel, stored_at, correlation_id, raw FROM events PREWHERE %s ORDER BY stream, seq LIMIT %d`, condition, MaxItems+1), args...)
	if err != nil {
		g.err = fmt.Errorf("gather evidence: %w", err)
		return 0
	}
	defer rows.Close()
	different := map[string]bool{}
	for rows.Next() {
		var i Item
		var correlation, raw string
		if g.err = rows.Scan(&i.Stream, &i.Seq, &i.Subject, &i.StoredAt, &correlation, &raw); g.err != nil {
			return 0
		}
		different[correlation] = true
		i.Body = []byte(raw)
		if g.seen[i.name()] {
			continue
		}
		g.seen[i.name()] = true
		if g.items = append(g.items, i); len(g.items) > MaxItems {
			g.err = fmt.Errorf("there are more than %d events on it: ask for less", MaxItems)
			return 0
		}
	}
	g.err = rows.Err()
	return len(different)
}

// ofNone: what has to be in an empty list is not there.
func ofNone(args []any) bool {
	return slices.ContainsFunc(args, func(a any) bool { list, ok := a.([]string); return ok && len(list) == 0 })
}

// request gathers about a request of either kind.
func (g *gathering) request(id string) {
	if len(g.ask(`SELECT 'x' FROM events WHERE stream = 'ACCESS' AND signature IN ('', 'valid') AND thing = ? LIMIT 1`, "request/"+id)) > 0 {
		g.sessions(g.ask(`SELECT JSONExtractString(raw, 'data', 'session_id') FROM events PREWHERE stream = 'ACCESS' AND signature IN ('', 'valid') AND type LIKE 'io.postern.session.started.%' WHERE has(JSONExtract(raw, 'data', 'request_ids', 'Array(String)'), ?)`, id))
		g.take(`stream = 'ACCESS' AND signature IN ('', 'valid') AND thing = ?`, "request/"+id)
		// One of a single call is no session's. It was asked for when the call was held.
		const since = ` >= (SELECT min(stored_at) - INTERVAL 1 DAY FROM events WHERE stream = 'ACCESS' AND thing = ?)`
		g.callsWhere(`request_id IN (?)`, slices.Concat(
			g.ask(`SELECT DISTINCT request_id FROM request_rows WHERE received_at`+since+` AND has(access_request_ids, ?)`, "request/"+id, id),
			g.ask(`SELECT DISTINCT correlation_id FROM events PREWHERE stored_at`+since+` AND `+held+` WHERE JSONExtractString(raw, 'data', 'access_request_id') = ?`, "request/"+id, id)))
		return
	}
	var calls []string // rows need no merging to find them: each has the key
	for _, q := range []string{
		`SELECT request_id FROM request_rows WHERE request_id = ? LIMIT 1`,
		`SELECT request_id FROM request_rows WHERE aws_request_id = ? LIMIT 1`,
		`SELECT postern_request_id FROM cloudtrail_rows WHERE event_id = ? AND verdict IN ('matched', 'mismatched') AND postern_request_id != '' LIMIT 1`,
	} {
		if len(calls) == 0 {
			calls = g.ask(q, id)
		}
	}
	sessions := g.ask(`SELECT DISTINCT session_id FROM request_rows WHERE request_id IN (?) AND session_id != ''`, calls)
	g.basis(sessions)
	g.callsWhere(`request_id IN (?)`, calls)
	g.records(epoch, g.ask(`SELECT DISTINCT concat('cloudtrail/', recipient_account_id, '/', event_id) FROM cloudtrail_rows WHERE event_id = ?`, id))
}

// user gathers about a person.
func (g *gathering) user(name string, since time.Time) {
	if since.IsZero() {
		since = time.Unix(0, 0)
	}
	at := clickhouse.DateNamed("since", since, clickhouse.NanoSeconds)
	who := clickhouse.Named("user", name)
	mine := ` AND stored_at >= @since WHERE JSONExtractString(raw, 'data', 'user') = @user`
	g.sessions(g.ask(`SELECT JSONExtractString(raw, 'data', 'session_id') FROM events PREWHERE stream = 'ACCESS' AND signature IN ('', 'valid') AND type LIKE 'io.postern.session.started.%'`+mine, at, who))
	for _, id := range g.ask(`SELECT JSONExtractString(raw, 'data', 'request_id') FROM events PREWHERE stream = 'ACCESS' AND signature IN ('', 'valid') AND type LIKE 'io.postern.request.created.%'`+mine, at, who) {
		g.take(`stream = 'ACCESS' AND signature IN ('', 'valid') AND thing = ?`, "request/"+id)
	}
	g.take(`stream = 'ACCESS' AND signature IN ('', 'valid') AND stored_at >= @since AND thing = concat('user/', @user)`, at, who)
	g.callsWhere(`received_at >= @since AND user = @user`, at, who)
	g.take(given+mine, at, who) // in sessions that began before, too
	g.around(since, at, who)
	g.take(`stream = 'FINDINGS' AND type LIKE 'io.postern.finding.%'`+mine, at, who)
}

// around gathers AWS's records of a person's calls that no request of postern's made: in
// consoles, with keys and links that they were given, by services in their name, and those
// that went around postern.
func (g *gathering) around(since time.Time, at, user any) {
	const key = `event_time, recipient_account_id, event_id`
	for _, column := range []string{"federated_user", "lent_to"} { // an index each
		things := g.ask(`SELECT concat('cloudtrail/', recipient_account_id, '/', event_id) FROM cloudtrail WHERE event_time >= @since
			AND (`+key+`) IN (SELECT `+key+` FROM cloudtrail_rows WHERE event_time >= @since AND `+column+` = @user)
			AND if(lent_to != '', lent_to, federated_user) = @user AND verdict IN ('bypass', 'console', 'exported', 'forwarded', 'token') ORDER BY `+key, at, user)
		for part := range slices.Chunk(things, 1000) {
			g.records(since.Add(-skew), part)
		}
	}
}

// sessions gathers sessions whole: what they rest on and all of their calls.
func (g *gathering) sessions(ids []string) {
	g.basis(ids)
	g.callsWhere(`session_id IN (?)`, ids)
	g.take(given+` WHERE JSONExtractString(raw, 'data', 'session_id') IN (?)`, ids)
}

// given is true of what users were given beside their calls: credentials, consoles, links
// and tokens that work without postern, tunnels.
const given = `stream = 'AUDIT' AND match(type, '^io\\.postern\\.aws\\.(credentials|console|token|tunnel)\\.')`

// held is true of calls that waited until somebody approved them.
const held = `stream = 'AUDIT' AND type LIKE 'io.postern.aws.call.held.%'`

// basis gathers sessions with what they rest on: access requests, roles, the app
// and the user.
func (g *gathering) basis(ids []string) {
	started := `FROM events WHERE stream = 'ACCESS' AND signature IN ('', 'valid') AND type LIKE 'io.postern.session.started.%' AND thing IN (?)`
	things := prefixed("session/", ids)
	g.take(`stream = 'ACCESS' AND signature IN ('', 'valid') AND thing IN (?)`, things)
	requests := g.ask(`SELECT DISTINCT arrayJoin(JSONExtract(raw, 'data', 'request_ids', 'Array(String)')) `+started, things)
	g.take(`stream = 'ACCESS' AND signature IN ('', 'valid') AND thing IN (?)`, prefixed("request/", requests))
	roles := g.ask(`SELECT DISTINCT concat('role/', JSONExtractString(role, 'name'), ' ', JSONExtractRaw(role, 'revision')) FROM (SELECT arrayJoin(JSONExtractArrayRaw(raw, 'data', 'roles')) AS role `+started+`)`, things)
	g.take(`stream = 'ACCESS' AND signature IN ('', 'valid') AND thing LIKE 'role/%' AND concat(thing, ' ', toString(sequence)) IN (?)`, roles)
}

// call is a request and when it came, by its proxy's clock.
type call struct {
	At time.Time `ch:"received_at"`
	ID string    `ch:"request_id"`
}

// find returns the calls that a condition on their rows is true of and that were not
// gathered yet, the oldest first.
func (g *gathering) find(condition string, args ...any) (out []call) {
	if g.err != nil || ofNone(args) {
		return nil
	}
	var found []call
	if err := g.conn.Select(g.ctx, &found, `SELECT DISTINCT received_at, request_id FROM request_rows WHERE `+condition+` ORDER BY received_at, request_id`, args...); err != nil {
		g.err = fmt.Errorf("gather evidence: %w", err)
	}
	for _, c := range found {
		if !g.calls[c] {
			g.calls[c] = true
			out = append(out, c)
		}
	}
	return out
}

// epoch is before everything.
var epoch = time.Unix(0, 0)

// skew is how far clocks may be apart in what is looked for first.
const skew = 24 * time.Hour

// callsWhere gathers calls, by a condition on their rows, with AWS's records of them,
// verdicts and findings. Ids come in hundreds, which no index tells from all others: what is
// older than the first call is left out by its time.
func (g *gathering) callsWhere(condition string, args ...any) {
	for part := range slices.Chunk(g.find(condition, args...), 1000) {
		ids := make([]string, len(part))
		for i, c := range part {
			ids[i] = c.ID
		}
		from, to := part[0].At, part[len(part)-1].At
		since := from.Add(-skew)
		const events = ` AND stream = 'AUDIT' AND correlation_id IN (?)` // one index a statement: of two conditions, either, none is used
		if g.take(stored(since)+events, ids) < len(ids) {
			since = epoch // a proxy's clock was ahead
			g.take(stored(since)+events, ids)
		}
		for _, q := range []string{ // what single calls were approved, or refused, by
			`SELECT DISTINCT arrayJoin(access_request_ids) FROM request_rows WHERE received_at >= ` + store.Timestamp(from) + ` AND received_at <= ` + store.Timestamp(to) + ` AND request_id IN (?)`,
			`SELECT DISTINCT JSONExtractString(raw, 'data', 'access_request_id') FROM events WHERE ` + stored(since) + ` AND ` + held + ` AND correlation_id IN (?)`,
		} {
			g.take(`stream = 'ACCESS' AND signature IN ('', 'valid') AND thing IN (?)`, prefixed("request/", g.ask(q, ids)))
		}
		things := prefixed("aws-request/", ids)
		g.take(stored(since)+` AND stream = 'AUDIT' AND thing IN (?)`, things)
		g.take(stored(since)+` AND stream = 'AUDIT' AND type LIKE 'io.postern.aws.tunnel.%' WHERE JSONExtractString(raw, 'data', 'start_request_id') IN (?)`, ids)
		g.take(stored(since)+` AND stream = 'FINDINGS' AND thing IN (?)`, things)
		g.take(stored(since)+` AND stream = 'FINDINGS' AND type LIKE 'io.postern.finding.%' WHERE JSONExtractString(raw, 'data', 'request_id') IN (?)`, ids)
		g.records(since, g.ask(`SELECT DISTINCT if(splitByChar('\t', judged)[5] = '', concat('cloudtrail/', cloudtrail_account, '/', cloudtrail_event_id), concat('cloudtrail/', splitByChar('\t', judged)[4], '/', splitByChar('\t', judged)[5]))
			FROM request_rows WHERE received_at >= `+store.Timestamp(from)+` AND received_at <= `+store.Timestamp(to)+` AND request_id IN (?) AND cloudtrail_event_id != ''`, ids))
	}
}

// stored is true of events that were stored at a time or later.
func stored(since time.Time) string { return "stored_at >= " + store.Timestamp(since) }

// records gathers CloudTrail's records, stored from a time on, with the verdicts and
// findings on them, and with what is known of the files that they came from: their receipt,
// and the verdicts on the digest files that should vouch for them, by account, region and
// the time in a file's name.
func (g *gathering) records(since time.Time, things []string) {
	g.take(stored(since)+` AND stream = 'CLOUDTRAIL' AND thing IN (?)`, things)
	g.take(stored(since)+` AND stream = 'FINDINGS' AND thing IN (?)`, things)
	g.take(stored(since)+` AND stream = 'FINDINGS' AND type LIKE 'io.postern.finding.%' WHERE
		concat('cloudtrail/', JSONExtractString(raw, 'data', 'recipient_account_id'), '/', JSONExtractString(raw, 'data', 'event_id')) IN (?)`, things)
	files := g.filesOf(things)
	g.take(`stream = 'CLOUDTRAIL' AND thing IN (?)`, files)
	g.take(`stream = 'CLOUDTRAIL' AND type LIKE 'io.postern.cloudtrail.digest.checked.%' WHERE arrayExists(f ->
			JSONExtractString(raw, 'data', 'account') = f.1 AND JSONExtractString(raw, 'data', 'region') = f.2
			AND parseDateTimeBestEffortOrZero(JSONExtractString(raw, 'data', 'start_time')) <= f.3 + INTERVAL 1 HOUR
			AND parseDateTimeBestEffortOrZero(JSONExtractString(raw, 'data', 'end_time')) >= f.3,
		(SELECT groupArray((JSONExtractString(raw, 'data', 'account'), JSONExtractString(raw, 'data', 'region'),
			parseDateTimeOrZero(extract(thing, '_([0-9]{8}T[0-9]{4}Z)_'), '%Y%m%dT%H%iZ', 'UTC'))) FROM events
			WHERE stream = 'CLOUDTRAIL' AND type LIKE 'io.postern.cloudtrail.file.received.%' AND thing IN (?)))`, files)
}

// filesOf are the files that records came from, as these say that were gathered:
// ClickHouse can't read each record's JSON.
func (g *gathering) filesOf(things []string) []string {
	of := map[string]bool{}
	for _, thing := range things {
		of[thing] = true
	}
	files := map[string]bool{}
	for i := range g.items {
		if g.items[i].Stream != events.CloudTrail {
			continue
		}
		e, err := events.Decode(g.items[i].Body)
		if err != nil {
			continue
		}
		if d, ok := e.Data.(*events.CloudTrailRecordReceived); ok && of[d.Thing()] {
			files["file/"+d.File] = true
		}
	}
	return slices.Sorted(maps.Keys(files))
}

func prefixed(prefix string, ids []string) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = prefix + id
	}
	return out
}
