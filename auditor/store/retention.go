package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/posternhq/postern/events"
)

// Retention is for how long rows are kept; 0 is for good. Of the ledger only AUDIT
// and CLOUDTRAIL ever go: ACCESS is the state of who may do what, FINDINGS is what
// was found. The other tables are as small as these two.
type Retention struct {
	// Events is counted from an event's storage, Requests from when a call or
	// tunnel began, CloudTrail from a record's time.
	Events, Requests, CloudTrail time.Duration
}

// Shorter keeps every kind for as long as that of the two which keeps it less long.
func (r Retention) Shorter(than Retention) Retention {
	least := func(a, b time.Duration) time.Duration {
		if a == 0 || b > 0 && b < a {
			return b
		}
		return a
	}
	return Retention{least(r.Events, than.Events), least(r.Requests, than.Requests), least(r.CloudTrail, than.CloudTrail)}
}

// Tiers sends old rows to another volume of a storage policy of the server
// (https://clickhouse.com/docs/engines/table-engines/mergetree-family/mergetree#table_engine-mergetree-multiple-volumes).
// Without a policy they stay where they are.
type Tiers struct {
	Policy, Volume string
	// After is the age from which rows go there, counted as in Retention.
	After time.Duration
}

// ErrTiers says that the server has no place as Tiers wants it.
var ErrTiers = errors.New("is not a storage policy of the server with such a volume, beside all volumes of the policy that tables have")

// Horizons are times before which rows may be gone on purpose, counted as in
// Retention; zero where all are kept.
type Horizons struct {
	Events     time.Time `json:"events,omitzero"`
	Requests   time.Time `json:"requests,omitzero"`
	CloudTrail time.Time `json:"cloudtrail,omitzero"`
}

// Unexplained is the time before which what would explain a record may be gone.
func (h Horizons) Unexplained() time.Time {
	if h.Requests.After(h.CloudTrail) {
		return h.Requests
	}
	return h.CloudTrail
}

// of is the time before which rows of a derived table can't be held against the
// ledger: they, or events that they are made of, may be gone.
func (h Horizons) of(table string) time.Time {
	var at time.Time
	switch table {
	case "request_rows", "tunnel_rows":
		at = h.Requests
	case "cloudtrail_rows":
		at = h.CloudTrail
	}
	if !h.Events.IsZero() {
		if e := h.Events.Add(rederiveMargin); e.After(at) {
			return e
		}
	}
	return at
}

// EventsGo tells whether a stream's rows of the ledger ever go.
func EventsGo(stream string) bool { return stream == events.Audit || stream == events.CloudTrail }

// RetentionSet is a retention that is in force since a time.
type RetentionSet struct {
	Since time.Time
	Retention
}

// HorizonsOf follow from what was in force, in its order, up to a time: a horizon
// never goes back, however long rows are kept afterwards.
func HorizonsOf(set []RetentionSet, now time.Time) (h Horizons) {
	for i, s := range set {
		until := now
		if i+1 < len(set) {
			until = set[i+1].Since
		}
		for _, kind := range []struct {
			at   *time.Time
			keep time.Duration
		}{{&h.Events, s.Events}, {&h.Requests, s.Requests}, {&h.CloudTrail, s.CloudTrail}} {
			if at := until.Add(-kind.keep); kind.keep > 0 && at.After(*kind.at) {
				*kind.at = at
			}
		}
	}
	return h
}

// expirySlack is how much later than said ClickHouse lets rows go, so that neither
// a clock nor the time that a verification takes makes one vanish before its horizon.
const expirySlack = time.Hour

// expiring is a table whose rows may go or move by age.
type expiring struct {
	table, at string
	keep      time.Duration
	// only is SQL that is true of rows that may go.
	only string
}

func (r Retention) tables() []expiring {
	return []expiring{
		{"events", "stored_at", r.Events, "stream IN ('" + events.Audit + "', '" + events.CloudTrail + "')"},
		{"request_rows", "received_at", r.Requests, ""},
		{"tunnel_rows", "opened_at", r.Requests, ""},
		{"cloudtrail_rows", "event_time", r.CloudTrail, "toUnixTimestamp(event_time) > 0"}, // one without a time is of no age
	}
}

// ttl is a table's TTL as ClickHouse writes it; empty for none.
func (e expiring) ttl(t Tiers) string {
	after := func(d time.Duration) string {
		return fmt.Sprintf("toDateTime(%s) + toIntervalSecond(%d)", e.at, int64(d.Seconds()))
	}
	var parts []string
	if t.Policy != "" {
		parts = append(parts, after(t.After)+" TO VOLUME '"+t.Volume+"'")
	}
	if e.keep > 0 {
		goes := after(e.keep + expirySlack)
		if e.only != "" {
			goes += " WHERE " + e.only
		}
		parts = append(parts, goes)
	}
	return strings.Join(parts, ", ")
}

// Retain makes tables keep their rows as configured, which changes nothing where
// they do. It is no migration, because a configuration may change back. Say that it
// does first: see HorizonsOf.
func (s *Store) Retain(ctx context.Context, r Retention, t Tiers) error {
	if err := s.checkTiers(ctx, t); err != nil {
		return err
	}
	if r.Events > 0 { // what is gone must be known to have been there
		for _, stream := range events.Streams() {
			if _, err := s.readStored(ctx, stream); err != nil {
				return err
			}
		}
	}
	on := dialect{cluster: s.cluster}.OnCluster()
	for _, e := range r.tables() {
		var engine, policy string
		if err := s.tables.QueryRow(ctx, `SELECT engine_full, storage_policy FROM system.tables WHERE database = ? AND name = ?`, s.tablesDatabase(), e.table).Scan(&engine, &policy); err != nil {
			return fmt.Errorf("retention of %s: %w", e.table, err)
		}
		var alter []string
		if t.Policy != "" && policy != t.Policy {
			alter = append(alter, "MODIFY SETTING storage_policy = '"+t.Policy+"'")
		}
		switch want, has := e.ttl(t), ttlOf(engine); {
		case want == has:
		case want == "":
			alter = append(alter, "REMOVE TTL")
		default:
			// Rows that are there get their ends written down, and merges let them go: a
			// month of them is written anew at most once a day.
			alter = append(alter, "MODIFY SETTING materialize_ttl_recalculate_only = 1, merge_with_ttl_timeout = 86400", "MODIFY TTL "+want)
		}
		for _, a := range alter {
			if err := s.onAll(ctx, "ALTER TABLE "+e.table+" "+on+" "+a); err != nil {
				return fmt.Errorf("retention of %s: %w", e.table, err)
			}
		}
	}
	return nil
}

// ttlOf is the TTL in a table's engine as ClickHouse writes it.
func ttlOf(engine string) string {
	_, ttl, ok := strings.Cut(engine, " TTL ")
	if !ok {
		return ""
	}
	if i := strings.LastIndex(ttl, " SETTINGS "); i >= 0 {
		ttl = ttl[:i]
	}
	return ttl
}

func (s *Store) checkTiers(ctx context.Context, t Tiers) error {
	if t.Policy == "" {
		return nil
	}
	var volumes uint64
	err := s.tables.QueryRow(ctx, `SELECT count() FROM system.storage_policies WHERE policy_name = ? AND volume_name = ?`, t.Policy, t.Volume).Scan(&volumes)
	if err != nil {
		return fmt.Errorf("storage policies: %w", err)
	}
	if volumes == 0 {
		return fmt.Errorf("tiers: policy %s, volume %s: %w", t.Policy, t.Volume, ErrTiers)
	}
	return nil
}
