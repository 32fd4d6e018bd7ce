package cloudtrail

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/events/eventstest"
)

// A directory or a file that can't be read holds up none of the others, and is said once
// rather than every second.
func TestWatcherGoesOn(t *testing.T) {
	const unreadable = "/proc/self/mem" // a file whose first byte not even root gets
	if _, err := os.Stat(unreadable); err != nil {
		t.Skipf("no file that root can't read: %v", err)
	}
	dir := t.TempDir()
	for _, name := range []string{"a", "c"} {
		record := `{"Records":[{"eventVersion":"1.11","eventID":"` + name + `","eventTime":"2026-01-02T03:04:05Z","eventSource":"s3.amazonaws.com","eventName":"GetObject","awsRegion":"us-east-1","recipientAccountId":"123456789012"}]}`
		if err := os.WriteFile(filepath.Join(dir, name+".json"), []byte(record), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(unreadable, filepath.Join(dir, "b.json")); err != nil {
		t.Fatal(err)
	}
	absent := filepath.Join(dir, "absent")
	var said bytes.Buffer
	j := eventstest.Journal(t)
	w := NewWatcher(NewIngester(j, zerolog.New(&said)), []string{absent, dir}, t.TempDir())
	for i, want := range []int{2, 0} {
		n, err := w.Look(t.Context())
		if err == nil || !strings.Contains(err.Error(), absent) || !strings.Contains(err.Error(), "b.json") {
			t.Errorf("look %d: %v", i, err)
		}
		if n != want {
			t.Errorf("look %d: %d files, want %d", i, n, want)
		}
		w.say(err)
	}
	if n := strings.Count(said.String(), "\n"); n != 1 {
		t.Errorf("said %d times:\n%s", n, said.String())
	}
	c := &cloud{t: t, h: &streamHistory{j}}
	if records, files, rejected, _, _ := c.on(); records != 2 || files != 2 || rejected != 0 {
		t.Errorf("%d records, %d files, %d set aside", records, files, rejected)
	}
}
