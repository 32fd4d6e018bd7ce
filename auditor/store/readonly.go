package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// ErrReaderWrites says that the user by whom people ask may write.
var ErrReaderWrites = errors.New("the user of clickhouse.reader_dsn may write")

// CheckReadOnly wraps ErrReaderWrites if conn is of a user who may write the ledger.
func CheckReadOnly(ctx context.Context, conn driver.Conn) error {
	// It writes nothing, and is refused to who may write nothing.
	err := conn.Exec(ctx, `INSERT INTO events (stream) SELECT stream FROM events WHERE 0`)
	e, ok := errors.AsType[*clickhouse.Exception](err)
	switch {
	case err == nil:
		return ErrReaderWrites
	case ok && (e.Code == codeAccessDenied || e.Code == codeReadOnly):
		return nil
	default:
		return fmt.Errorf("ask whether the reader may write: %w", err)
	}
}
