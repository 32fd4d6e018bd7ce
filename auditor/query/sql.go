package query

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Limits bound one statement of people's own SQL.
type Limits struct {
	Time   time.Duration // 0 means 60 s
	Memory int64         // bytes; 0 means 1 GiB
	Rows   int           // of the answer; 0 means 100,000
	// Plain refuses EXPLAIN, whose estimates count rows that the answer may not tell of.
	Plain bool
}

// Table is the answer to SQL.
type Table struct {
	Columns []Column `json:"columns"`
	Rows    [][]any  `json:"rows"`
	// Truncated says that there are more rows than the limit.
	Truncated bool `json:"truncated,omitempty"`
}

// Column of a Table; Type is ClickHouse's.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// SQLError is a refusal of ClickHouse's, for the one who wrote the statement.
type SQLError struct {
	Message string `json:"message"`
	Code    int    `json:"code"`
	// Line and Column, from 1, are where the syntax went wrong; 0: not given.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
}

func (e *SQLError) Error() string { return e.Message }

// ErrNotReadOnly says that the reader's user could write, so nothing is run.
var ErrNotReadOnly = errors.New("the reader's clickhouse user may write: give it the setting readonly = 2 (or 1)")

// SQL runs statements of people's own on a connection whose user can only
// read; the user's own limits, set in ClickHouse, come on top of these.
type SQL struct {
	conn   driver.Conn
	limits Limits

	mu       sync.Mutex
	readonly uint64 // the user's setting; 0: not asked yet
}

// NewSQL returns a runner of statements.
func NewSQL(reader driver.Conn, l Limits) *SQL {
	if l.Time == 0 {
		l.Time = time.Minute
	}
	if l.Memory == 0 {
		l.Memory = 1 << 30
	}
	if l.Rows == 0 {
		l.Rows = 100_000
	}
	return &SQL{conn: reader, limits: l}
}

// Run runs one statement. What ClickHouse refuses comes as a *SQLError.
func (s *SQL) Run(ctx context.Context, statement string) (*Table, error) {
	statement = strings.TrimSpace(statement)
	if statement == "" {
		return nil, &BadInput{"query", "is empty"}
	}
	if s.limits.Plain && explain.MatchString(statement) {
		return nil, &BadInput{"query", "EXPLAIN is for those who see all AWS accounts: it counts what is in the others"}
	}
	ctx, cancel := context.WithTimeout(ctx, s.limits.Time+5*time.Second)
	defer cancel()
	readonly, err := s.mode(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.outside(ctx, statement); err != nil {
		return nil, err
	}
	if readonly == 2 { // the user may lower limits, though not lift readonly
		ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
			"max_execution_time":   int(s.limits.Time.Seconds()),
			"max_memory_usage":     s.limits.Memory,
			"max_result_rows":      s.limits.Rows + 1,
			"result_overflow_mode": "break",
		}))
	}
	rows, err := s.conn.Query(ctx, statement)
	if err != nil {
		return nil, sqlError(err)
	}
	defer rows.Close()
	t := &Table{Rows: [][]any{}}
	types := rows.ColumnTypes()
	for _, c := range types {
		t.Columns = append(t.Columns, Column{c.Name(), c.DatabaseTypeName()})
	}
	for rows.Next() {
		if len(t.Rows) == s.limits.Rows {
			t.Truncated = true
			break
		}
		row, err := scan(rows, types)
		if err != nil {
			return nil, err
		}
		t.Rows = append(t.Rows, row)
	}
	if err := rows.Err(); err != nil && !t.Truncated {
		return nil, sqlError(err)
	}
	return t, nil
}

// explain may also stand in a comment or in text: refusing that too is the price.
var explain = regexp.MustCompile(`(?i)\bexplain\b`)

// mode asks once how read-only the user is.
func (s *SQL) mode(ctx context.Context) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readonly != 0 {
		return s.readonly, nil
	}
	var text string
	if err := s.conn.QueryRow(ctx, `SELECT toString(getSetting('readonly'))`).Scan(&text); err != nil {
		return 0, fmt.Errorf("ask for the reader's rights: %w", err)
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("ask for the reader's rights: %w", err)
	}
	if n == 0 {
		return 0, ErrNotReadOnly
	}
	s.readonly = n
	return n, nil
}

// place finds where ClickHouse says that the syntax is wrong:
// "Syntax error: failed at position 8 (foo) (line 1, col 8): …".
var place = regexp.MustCompile(`\(line (\d+), col (\d+)\)`)

func sqlError(err error) error {
	var e *clickhouse.Exception
	if !errors.As(err, &e) {
		if errors.Is(err, context.DeadlineExceeded) {
			return &SQLError{Message: "the statement took too long", Code: 159}
		}
		if u := (*column.UnsupportedColumnTypeError)(nil); errors.As(err, &u) {
			return &SQLError{Message: u.Error() + ": write toString(…) or toJSONString(…) of it"}
		}
		return fmt.Errorf("run the statement: %w", err)
	}
	out := &SQLError{Message: e.Message, Code: int(e.Code)}
	if m := place.FindStringSubmatch(e.Message); m != nil {
		out.Line, _ = strconv.Atoi(m[1])
		out.Column, _ = strconv.Atoi(m[2])
	} else if regexp.MustCompile(`^Syntax error: failed at position (\d+)`).MatchString(e.Message) {
		m := regexp.MustCompile(`position (\d+)`).FindStringSubmatch(e.Message)
		out.Line = 1
		out.Column, _ = strconv.Atoi(m[1])
	}
	return out
}
