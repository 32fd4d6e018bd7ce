package embedded_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
)

// A disk that is full while the engine makes its query log leaves an empty definition, with
// which it would never start again.
func TestClickHouseStartsWithoutItsLog(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "data", "store", "5cc", "5cc00000-0000-4000-8000-000000000001", "query_log.sql")
	if err := os.MkdirAll(filepath.Dir(log), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(log, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := embeddedtest.StartClickHouse(t, func(cfg *embedded.ClickHouseConfig) { cfg.Dir, cfg.Log = dir, zerolog.Nop() })
	mustExec(t, embeddedtest.Open(t, c.DSN(embedded.Owner)), "SELECT 1")
}
