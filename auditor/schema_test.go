package auditor_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/posternhq/postern/events"
)

// syncBuffer is what several processes say.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// earlierSchema makes an auditor of an earlier version: it lacks the last migration.
func earlierSchema(t *testing.T) (env string) {
	t.Helper()
	files, err := filepath.Glob("store/migrations/*.sql")
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "migrations"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, f := range files[:len(files)-1] {
		text, err := os.ReadFile(f)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "migrations", filepath.Base(f)), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return "POSTERN_TEST_MIGRATIONS=" + dir
}

// The schema changes in the middle of a stream, whatever the auditor of the earlier
// version does: no row is lost or doubled, and that one writes no more.
func TestSchemaChanges(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		old  func(t *testing.T, cmd *exec.Cmd) // what becomes of it before the newer one comes
		runs bool
	}{
		{"killed", func(t *testing.T, cmd *exec.Cmd) { _ = cmd.Process.Kill(); _ = cmd.Wait() }, false},
		{"stopped and going on", func(t *testing.T, cmd *exec.Cmd) { _ = cmd.Process.Signal(syscall.SIGSTOP) }, true},
		{"running", func(*testing.T, *exec.Cmd) {}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newApart(t)
			earlier := earlierSchema(t)
			const requests = 3_000
			old := w.run(earlier)
			done := make(chan struct{})
			go func() {
				defer close(done)
				publish(t, w.j, requests)
			}()
			w.until("some is stored", func() bool { return w.stored(events.Audit) >= 1_000 })
			before := w.count(`SELECT toUInt64(max(version)) FROM migrations`)
			c.old(t, old)
			w.run()
			w.until("the tables are changed", func() bool { return w.count(`SELECT toUInt64(max(version)) FROM migrations`) > before })
			<-done
			if c.runs {
				_ = old.Process.Signal(syscall.SIGCONT)
				_ = old.Wait()
				if code := old.ProcessState.ExitCode(); code != 1 {
					t.Errorf("the earlier auditor ended with %d", code)
				}
			}
			w.check(requests)
			again := w.run(earlier)
			_ = again.Wait()
			if code := again.ProcessState.ExitCode(); code != 1 {
				t.Errorf("the earlier auditor, started once more, ended with %d", code)
			}
			want := 1
			if c.runs {
				want++
			}
			if got := strings.Count(w.stderr.String(), "newer version of postern"); got != want {
				t.Errorf("%d refusals, want %d:\n%s", got, want, w.stderr.String())
			}
		})
	}
}
