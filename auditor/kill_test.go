package auditor_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/auditor"
	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
)

// TestMain makes an auditor of this package's binary when a test runs it as a process
// that it can kill.
func TestMain(m *testing.M) {
	if os.Getenv("POSTERN_TEST_AUDITOR") == "" {
		os.Exit(run(m))
	}
	if err := childAuditor(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(m *testing.M) int {
	var err error
	if childDir, err = os.MkdirTemp("", "postern-auditor-"); err != nil {
		panic(err)
	}
	defer os.RemoveAll(childDir)
	return m.Run()
}

var childDir string

// childBinary builds this package's binary as auditors run, once: what kills do to one is
// seen without the race detector, in a third of the time.
var childBinary = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(childDir, "auditor.test")
	if out, err := exec.Command("go", "test", "-c", "-race=false", "-o", bin, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go test -c: %w\n%s", err, out)
	}
	return bin, nil
})

func childAuditor() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	debug.SetMemoryLimit(auditor.MemoryGoal)
	j, err := eventstest.FromEnv("/postern/auditor/child")
	if err != nil {
		return err
	}
	c := auditor.Config{Journal: j, ClickHouseDSN: os.Getenv("POSTERN_TEST_DSN"), Log: zerolog.Nop()}
	if d, err := time.ParseDuration(os.Getenv("POSTERN_TEST_TRAIL_DELAY")); err == nil {
		c.TrailDelay, c.Skew = d, 5*time.Second
	}
	if dir := os.Getenv("POSTERN_TEST_MIGRATIONS"); dir != "" {
		c.Migrations = os.DirFS(dir)
	}
	a, err := auditor.New(c)
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

// publish appends n requests, two events each, from many goroutines, and every
// tenth's CloudTrail record twice.
func publish(t testing.TB, j *journal.Journal, n int) {
	t.Helper()
	publishFrom(t, j, 0, n)
}

// publishFrom is publish without the first of them.
func publishFrom(t testing.TB, j *journal.Journal, from, n int) {
	t.Helper()
	var next atomic.Int64
	next.Store(int64(from))
	var wg sync.WaitGroup
	now := time.Now().UTC()
	for range 128 {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				r := awsRequest(fmt.Sprintf("R%08d", i), "alice", now.Add(time.Duration(i)*time.Microsecond))
				ps := []events.Payload{&events.AWSRequestAdmitted{AWSRequest: r}, &events.AWSRequestCompleted{AWSRequest: r, Status: 200, AWSRequestID: fmt.Sprint("AWS", i)}}
				if i%10 == 0 {
					rec := trail(fmt.Sprint("E", i), fmt.Sprint("AWS", i), "alice", "ASIAOURS", "ListObjects", now)
					ps = append(ps, rec, rec)
				}
				for _, p := range ps {
					if _, err := j.Append(context.WithoutCancel(t.Context()), events.Event{Data: p}); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

// check waits until all is stored and judged, and counts.
func (w *world) check(n int) {
	t := w.t
	t.Helper()
	w.until("all is judged", func() bool {
		var matched uint64
		if w.conn.QueryRow(t.Context(), `SELECT count() FROM requests WHERE verdict = 'matched'`).Scan(&matched) != nil {
			return false
		}
		return matched == uint64((n+9)/10)
	})
	for _, stream := range []string{events.Access, events.Audit, events.CloudTrail, events.Findings} {
		last, err := w.j.Last(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		w.until(stream+" is stored", func() bool {
			var stored uint64
			return w.conn.QueryRow(t.Context(), `SELECT max(seq) FROM events WHERE stream = ?`, stream).Scan(&stored) == nil && stored >= last
		})
		w.exact(stream)
	}
	if got := w.count(`SELECT count() FROM requests`); got != uint64(n) {
		t.Errorf("%d requests, want %d", got, n)
	}
	if got := w.count(`SELECT count() FROM requests WHERE outcome = 'completed' AND status = 200`); got != uint64(n) {
		t.Errorf("%d completed requests, want %d", got, n)
	}
	if got := w.count(`SELECT count() FROM cloudtrail`); got != uint64((n+9)/10) {
		t.Errorf("%d records, want %d", got, (n+9)/10)
	}
	if got, distinct := w.count(`SELECT count() FROM events WHERE stream = 'FINDINGS'`), w.count(`SELECT uniqExact(event_id) FROM events WHERE stream = 'FINDINGS'`); got != distinct || got != uint64((n+9)/10) {
		t.Errorf("%d verdict events, %d of them different, want %d", got, distinct, (n+9)/10)
	}
}

// ClickHouse is killed, again and again, while rows go in.
func TestClickHouseKilled(t *testing.T) {
	dir := t.TempDir()
	ch := embeddedtest.StartClickHouse(t, func(c *embedded.ClickHouseConfig) { c.Dir, c.Log = dir, zerolog.Nop() })
	w := &world{t: t, dsn: ch.DSN(embedded.Owner)}
	w.nc = eventstest.Connect(t)
	w.j = eventstest.Open(t, w.nc)
	w.conn = embeddedtest.Open(t, w.dsn)
	w.start(func(c *auditor.Config) { c.Log = zerolog.Nop() })
	const n = 10_000
	done := make(chan struct{})
	go func() {
		defer close(done)
		publish(t, w.j, n)
	}()
	killed := map[int]bool{}
	for _, at := range []uint64{1_000, 6_000, 12_000} {
		w.until("more is stored", func() bool { return w.a.Floor(events.Audit) >= at })
		var pid int
		w.until("the engine runs", func() bool { pid = engineOf(t, dir); return pid != 0 && !killed[pid] })
		killed[pid] = true
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	<-done
	w.check(n)
}

// engineOf finds the child of this process that has a directory open.
func engineOf(t testing.TB, dir string) int {
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(tasks) == 0 {
		t.Skip("needs /proc/self/task/*/children to find the engine's process")
	}
	for _, task := range tasks {
		b, _ := os.ReadFile(task)
		for field := range strings.FieldsSeq(string(b)) {
			pid, _ := strconv.Atoi(field)
			cmdline, _ := os.ReadFile(filepath.Join("/proc", field, "cmdline"))
			environ, _ := os.ReadFile(filepath.Join("/proc", field, "environ"))
			cwd, _ := os.Readlink(filepath.Join("/proc", field, "cwd"))
			if strings.Contains(string(cmdline)+string(environ)+cwd, dir) {
				return pid
			}
		}
	}
	return 0
}

// The auditor is stopped in the middle of batches, and started again.
func TestAuditorStopped(t *testing.T) {
	w := newWorld(t, nil)
	const n = 8_000
	done := make(chan struct{})
	go func() {
		defer close(done)
		publish(t, w.j, n)
	}()
	for _, at := range []uint64{1, 4_000, 8_000, 12_000} {
		w.until("more is stored", func() bool { return w.a.Floor(events.Audit) >= at })
		w.stop()
		w.start(nil)
	}
	<-done
	w.check(n)
}

// apart is a world whose auditor is a process of its own.
type apart struct {
	*world
	env    []string
	stderr syncBuffer // of all processes
}

func newApart(t testing.TB) *apart {
	t.Helper()
	n := embeddedtest.StartNATS(t)
	creds, err := n.Mint("auditor", embedded.Auditor(), 0)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "creds")
	if err := os.WriteFile(path, creds, 0o600); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dsn: embeddedtest.ClickHouse(t)}
	w.nc = embeddedtest.Connect(t, n, "test", embedded.Admin())
	if err := journal.Setup(t.Context(), w.nc, journal.StreamsConfig{}); err != nil {
		t.Fatal(err)
	}
	if err := n.StageInMemory(); err != nil { // as where postern runs it
		t.Fatal(err)
	}
	w.j = eventstest.Open(t, w.nc)
	w.conn = embeddedtest.Open(t, w.dsn)
	return &apart{world: w, env: []string{"POSTERN_TEST_AUDITOR=1", "POSTERN_TEST_CREDS=" + path, "POSTERN_TEST_NATS=" + n.URL(), "POSTERN_TEST_DSN=" + w.dsn}}
}

// run starts the process, which is killed at the end of the test at the latest.
func (w *apart) run(env ...string) *exec.Cmd {
	w.t.Helper()
	bin, err := childBinary()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(bin)
	cmd.Env = slices.Concat(os.Environ(), w.env, env)
	cmd.Stderr = io.MultiWriter(os.Stderr, &w.stderr)
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return cmd
}

// stored counts the ledger's rows of a stream; 0 before there is a ledger.
func (w *apart) stored(stream string) uint64 {
	var rows uint64
	if w.conn.QueryRow(w.t.Context(), `SELECT count() FROM events WHERE stream = ?`, stream).Scan(&rows) != nil {
		return 0
	}
	return rows
}

// The auditor's process is killed in the middle of batches, again and again.
func TestAuditorKilled(t *testing.T) {
	w := newApart(t)
	const requests = 8_000
	done := make(chan struct{})
	go func() {
		defer close(done)
		publish(t, w.j, requests)
	}()
	for _, at := range []uint64{1, 3_000, 6_000, 9_000, 12_000} {
		child := w.run()
		w.until("more is stored", func() bool { return w.stored(events.Audit) >= at })
		_ = child.Process.Kill()
		_ = child.Wait()
	}
	<-done
	child := w.run()
	w.check(requests)
	_ = child.Process.Signal(os.Interrupt)
	var exit *exec.ExitError
	if err := child.Wait(); errors.As(err, &exit) {
		t.Errorf("the auditor ended with %v", err)
	}
}

// Tables that are made anew have no verdicts at first, and what was judged is not judged
// again: not even where the stream has forgotten the ids of what was said.
func TestTablesMadeAnew(t *testing.T) {
	t.Parallel()
	w := newApart(t)
	if err := journal.Setup(t.Context(), w.nc, journal.StreamsConfig{DuplicateWindow: 100 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	const requests = 10_000
	publish(t, w.j, requests)
	for range 2 {
		child := w.run()
		w.check(requests)
		_ = child.Process.Kill()
		_ = child.Wait()
		w.dsn = embeddedtest.ClickHouse(t)
		w.conn = embeddedtest.Open(t, w.dsn)
		w.env = append(w.env, "POSTERN_TEST_DSN="+w.dsn)
	}
}
