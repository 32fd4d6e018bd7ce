package simaws

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

func countFiles(t *testing.T, dir string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
			if !strings.HasSuffix(path, ".json.gz") {
				t.Errorf("a watcher would see %s", path)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func testRecord(account, region string) trailRecord {
	return trailRecord{EventName: "GetObject", RecipientAccountID: account, AWSRegion: region}
}

// TestTrailDelay: records wait for the delay, are delivered together, and one
// file holds one account and region.
func TestTrailDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		tr, err := openTrail(filepath.Join(dir, "trail"), filepath.Join(dir, "tmp"), 2*time.Second, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); tr.run(ctx, zerolog.Nop()) }()
		tr.take(testRecord(testAccount, "us-east-1"), false, "", true)
		tr.take(testRecord(testAccount, "us-east-1"), false, "", true)
		tr.take(testRecord(testAccount, "eu-west-1"), false, "", true)
		tr.take(testRecord(otherAccount, "us-east-1"), false, "", true)
		time.Sleep(2*time.Second - time.Nanosecond) // of the bubble's clock
		synctest.Wait()
		if n := countFiles(t, tr.dir); n != 0 {
			t.Errorf("%d files before their time", n)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if n := countFiles(t, tr.dir); n != 3 {
			t.Errorf("%d files, want 3", n)
		}
		tr.take(testRecord(testAccount, "us-east-1"), false, "", true)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := countFiles(t, tr.dir); n != 4 {
			t.Errorf("%d files, want 4", n)
		}
		// A steady stream makes a file every quarter of the delay, not a file a
		// record.
		for range 1000 {
			tr.take(testRecord(testAccount, "us-east-1"), false, "", true)
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if n := countFiles(t, tr.dir); n < 4+10 || n > 4+22 {
			t.Errorf("%d files for a stream of ten seconds, want about 20", n-4)
		}
		cancel()
		<-done
	})
}

// TestTrailFailure: what cannot be delivered is kept.
func TestTrailFailure(t *testing.T) {
	f := newSim(t, nil)
	f.trail.take(testRecord(testAccount, "us-east-1"), false, "", true)
	block := filepath.Join(f.TrailDir(), "AWSLogs")
	if err := os.WriteFile(block, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Flush(); err == nil {
		t.Fatal("delivered into a file")
	}
	if err := os.Remove(block); err != nil {
		t.Fatal(err)
	}
	if got := len(f.records(t)); got != 1 {
		t.Errorf("%d records, want 1", got)
	}
}
