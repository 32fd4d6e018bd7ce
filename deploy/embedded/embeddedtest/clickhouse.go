package embeddedtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/embedded"
)

// ClickHouse makes a new database for the test and returns the address of it
// for the owner; ReaderDSN gives the reader's. The server is shared by all tests
// of the process and ends with it; the database is dropped when the test ends.
// Without the library the test is skipped.
func ClickHouse(t testing.TB) (ownerDSN string) {
	t.Helper()
	Lib(t)
	c, err := sharedClickHouse()
	if err != nil {
		t.Fatal(err)
	}
	database := embedded.Database + "_test_" + strings.ToLower(rand.Text())
	conn := Open(t, c.DSN(embedded.Owner))
	if err := conn.Exec(t.Context(), "CREATE DATABASE "+database); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Exec(context.Background(), "DROP DATABASE IF EXISTS "+database+" SYNC"); err != nil {
			t.Error(err)
		}
	})
	return inDatabase(t, c.DSN(embedded.Owner), database)
}

// ReaderDSN is the read-only user's address of a database from [ClickHouse].
func ReaderDSN(t testing.TB, ownerDSN string) string {
	t.Helper()
	c, err := sharedClickHouse()
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(ownerDSN)
	if err != nil {
		t.Fatal(err)
	}
	return inDatabase(t, c.DSN(embedded.Reader), strings.TrimPrefix(u.Path, "/"))
}

func inDatabase(t testing.TB, dsn, database string) string {
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + database
	return u.String()
}

// Open connects until the test ends.
func Open(t testing.TB, dsn string) clickhouse.Conn {
	t.Helper()
	opts, err := clickhouse.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := clickhouse.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// StartClickHouse runs a server of its own for the test, for what can't share
// one: it is killed, filled or reconfigured by edit, which may be nil.
func StartClickHouse(t testing.TB, edit func(*embedded.ClickHouseConfig)) *embedded.ClickHouse {
	t.Helper()
	c := NewClickHouse(t, edit)
	Run(t, c)
	return c
}

// NewClickHouse is StartClickHouse without the start.
func NewClickHouse(t testing.TB, edit func(*embedded.ClickHouseConfig)) *embedded.ClickHouse {
	t.Helper()
	cfg := embedded.ClickHouseConfig{
		Dir: t.TempDir(), Lib: Lib(t), Command: []string{Engine(t)},
		MaxMemory: 2 << 30, LazySync: true, Log: logger(t),
	}
	if edit != nil {
		edit(&cfg)
	}
	c, err := embedded.NewClickHouse(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Lib is the path of the ClickHouse library. Without it the test is skipped.
func Lib(t testing.TB) string {
	t.Helper()
	lib, err := embedded.FindLib("")
	if err != nil {
		t.Skip("needs ClickHouse: ", err)
	}
	return lib
}

// Engine is the path of the engine's program, see the enginecmd directory.
func Engine(t testing.TB) string {
	t.Helper()
	path, err := engineProgram()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// engineProgram is built once for each process. The copy kept under .cache saves linking it again.
var engineProgram = sync.OnceValues(func() (string, error) {
	const pkg = "github.com/posternhq/postern/deploy/embedded/embeddedtest/enginecmd"
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/posternhq/postern").Output()
	if err != nil {
		return "", fmt.Errorf("find the source tree: %w", err)
	}
	dir := filepath.Join(strings.TrimSpace(string(root)), ".cache", "engine")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "clickhouse-engine")
	unlock, err := lock(filepath.Join(dir, "lock")) // packages are tested side by side
	if err != nil {
		return "", err
	}
	defer unlock()
	if out, err := exec.Command("go", "build", "-race=false", "-o", path, pkg).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the engine: %w: %s", err, out)
	}
	return path, nil
})

// sharedClickHouse lives as long as the process: the lifeline then ends the
// engine, and the engine removes its directory.
var sharedClickHouse = sync.OnceValues(func() (*embedded.ClickHouse, error) {
	lib, err := embedded.FindLib("")
	if err != nil {
		return nil, err
	}
	program, err := engineProgram()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "postern-clickhouse-*")
	if err != nil {
		return nil, err
	}
	c, err := embedded.NewClickHouse(embedded.ClickHouseConfig{
		Dir: dir, Lib: lib, Command: []string{program},
		MaxMemory: 2 << 30, LazySync: true,
		Env: []string{"POSTERN_ENGINE_REMOVE=" + dir},
		Log: zerolog.New(io.Discard),
	})
	if err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Run(context.Background()) }()
	select {
	case <-c.Ready():
		return c, nil
	case err := <-ended:
		return nil, err
	}
})
