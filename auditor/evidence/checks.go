package evidence

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

//go:embed sql/*.sql
var checks embed.FS

// Check is a question to the ledger alone that has no answer when all is well.
// Its parameters are since, and expired: before it rows may be gone on purpose.
// Both are of DateTime64(9).
type Check struct {
	Name string
	SQL  string
}

// Checks are the questions that ship, for anybody to ask.
func Checks() ([]Check, error) {
	names, err := fs.Glob(checks, "sql/*.sql") // sorted
	if err != nil {
		return nil, err
	}
	var out []Check
	for _, name := range names {
		b, err := checks.ReadFile(name)
		if err != nil {
			return nil, err
		}
		out = append(out, Check{strings.TrimSuffix(strings.TrimPrefix(name, "sql/"), ".sql"), string(b)})
	}
	return out, nil
}

// RunChecks asks them all. A zero time is the beginning.
func RunChecks(ctx context.Context, conn driver.Conn, since, expired time.Time) ([]Fault, error) {
	all, err := Checks()
	if err != nil {
		return nil, err
	}
	parameters := clickhouse.Parameters{}
	for name, at := range map[string]time.Time{"since": since, "expired": expired} {
		if at.IsZero() {
			at = time.Unix(0, 0)
		}
		parameters[name] = at.UTC().Format("2006-01-02 15:04:05.999999999")
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithParameters(parameters))
	faults := []Fault{}
	for _, c := range all {
		rows, err := conn.Query(ctx, c.SQL)
		if err != nil {
			return nil, fmt.Errorf("check %s: %w", c.Name, err)
		}
		defer rows.Close()
		for rows.Next() {
			f := Fault{Place: InLedger}
			if err := rows.Scan(&f.Stream, &f.First, &f.Last, &f.Kind, &f.Detail); err != nil {
				return nil, fmt.Errorf("check %s: %w", c.Name, err)
			}
			faults = append(faults, f)
		}
		if err := rows.Err(); err != nil {
			return nil, fmt.Errorf("check %s: %w", c.Name, err)
		}
	}
	return faults, nil
}
