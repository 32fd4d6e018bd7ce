//go:build unix

package embedded

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/rs/zerolog"
)

// These tests are inside the package for the engine's process id, so they
// can't use embeddedtest and build the engine themselves.

func testConfig(t *testing.T) ClickHouseConfig {
	t.Helper()
	lib, err := FindLib("")
	if err != nil {
		t.Skip("needs ClickHouse: ", err)
	}
	program := filepath.Join(t.TempDir(), "engine")
	out, err := exec.Command("go", "build", "-race=false", "-o", program, "./embeddedtest/enginecmd").CombinedOutput()
	if err != nil {
		t.Fatalf("build the engine: %v: %s", err, out)
	}
	return ClickHouseConfig{Dir: t.TempDir(), Lib: lib, Command: []string{program}, MaxMemory: 2 << 30, Log: zerolog.New(io.Discard)}
}

// TestKilledEngineLosesNothing kills the engine again and again under a writer
// that repeats what wasn't acknowledged, as the auditor does: every batch is
// there once and whole.
func TestKilledEngineLosesNothing(t *testing.T) {
	const kills, rows = 3, 1000
	c, err := NewClickHouse(testConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer wg.Wait()
	defer cancel()
	pid := <-c.started
	address := c.DSN(Owner)
	opts, err := clickhouse.ParseDSN(address)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := clickhouse.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Exec(ctx, "CREATE TABLE t (batch UInt64, i UInt64) ENGINE = MergeTree ORDER BY (batch, i)"); err != nil {
		t.Fatal(err)
	}
	insert := func(batch uint64) error {
		ctx := clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"insert_deduplication_token": strconv.FormatUint(batch, 10)}))
		b, err := conn.PrepareBatch(ctx, "INSERT INTO t (batch, i)")
		if err != nil {
			return err
		}
		defer b.Close()
		for i := range uint64(rows) {
			if err := b.Append(batch, i); err != nil {
				return err
			}
		}
		return b.Send()
	}
	var batches uint64
	for range kills {
		// The writer goes on while the kill lands somewhere within its inserts.
		killed := make(chan struct{})
		begun := make(chan struct{})
		go func() {
			defer close(killed)
			<-begun
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}()
		for n := 0; ; n++ {
			if n == 5 {
				close(begun)
			}
			if err := insert(batches); err != nil {
				break // not acknowledged: the same batch again after the restart
			}
			batches++
		}
		<-killed
		pid = <-c.started
		if c.DSN(Owner) != address {
			t.Fatal("the address changed over the engine's restart")
		}
		for err := insert(batches); err != nil; err = insert(batches) {
			if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNREFUSED) {
				t.Fatal(err) // what remains is the pool's dead connections, one error each
			}
		}
		batches++
	}
	var whole, total uint64
	err = conn.QueryRow(ctx, "SELECT countIf(n = 1000 AND u = 1000), sum(n) FROM (SELECT batch, count() AS n, uniqExact(i) AS u FROM t GROUP BY batch)").Scan(&whole, &total)
	if err != nil {
		t.Fatal(err)
	}
	if whole != batches || total != batches*rows {
		t.Errorf("%d batches acknowledged, %d whole in the table, %d rows, want %d", batches, whole, total, batches*rows)
	}
	t.Logf("%d batches over %d kills", batches, kills)
}

// TestParentDeathEndsEngine runs the supervisor in a process of its own and
// kills that: the engine closes its tables and goes, and the directory is free.
func TestParentDeathEndsEngine(t *testing.T) {
	if dir := os.Getenv("POSTERN_TEST_PARENT"); dir != "" {
		superviseFor(dir)
		return
	}
	cfg := testConfig(t)
	parent := exec.Command(os.Args[0], "-test.run", "^TestParentDeathEndsEngine$")
	parent.Env = append(os.Environ(), "POSTERN_TEST_PARENT="+cfg.Dir, "POSTERN_TEST_LIB="+cfg.Lib, "POSTERN_TEST_ENGINE="+cfg.Command[0])
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	parent.Stderr = os.Stderr
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	// The next engine waits for the first one's lock, so it runs only if that one ended.
	c, err := NewClickHouse(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	select {
	case <-c.Ready():
	case err := <-ended:
		t.Fatalf("next engine: %v", err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) && !zombie(pid) {
		t.Errorf("the engine, process %d, is still there: %v", pid, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// superviseFor is the parent that is killed.
func superviseFor(dir string) {
	c, err := NewClickHouse(ClickHouseConfig{
		Dir: dir, Lib: os.Getenv("POSTERN_TEST_LIB"), Command: []string{os.Getenv("POSTERN_TEST_ENGINE")}, Log: zerolog.New(os.Stderr),
	})
	if err != nil {
		panic(err)
	}
	go func() {
		_, _ = os.Stdout.WriteString(strconv.Itoa(<-c.started) + "\n")
	}()
	panic(c.Run(context.Background()))
}

// zombie tells whether a process is over but for its new parent's wait.
func zombie(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(after, "Z")
}

// TestEngineInheritsNoEnvironment: ours may hold AWS credentials.
func TestEngineInheritsNoEnvironment(t *testing.T) {
	t.Setenv("AWS_SECRET_ACCESS_KEY", "not-for-the-engine")
	c, err := NewClickHouse(testConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	var pid int
	select {
	case pid = <-c.started:
	case err := <-ended:
		t.Fatal(err)
	}
	for _, file := range []string{"environ", "cmdline"} {
		data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), file))
		if err != nil {
			t.Skip("needs /proc: ", err)
		}
		for _, secret := range []string{"not-for-the-engine", c.passwords[Owner], c.passwords[Reader]} {
			if strings.Contains(string(data), secret) {
				t.Errorf("a secret stands in the engine's %s", file)
			}
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
