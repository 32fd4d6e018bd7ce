package cloudtrail

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// What a crash has left of the files by which it is known how far one was costs reading
// again, and no auditor's start.
func TestMemoryCutOff(t *testing.T) {
	good := `{"us-east-1":"2026-03-01T12:00:00Z"}`
	for name, x := range map[string]struct {
		content string
		said    bool
	}{
		"empty": {"", true}, "cut off": {good[:20], true}, "zeros": {strings.Repeat("\x00", 40), true}, "null": {"null", false},
		"another form": {`{"us-east-1":7}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir, said := t.TempDir(), bytes.Buffer{}
			l := NewLookup(&Intake{log: zerolog.New(&said)}, nil, dir)
			if err := os.WriteFile(l.memory, []byte(x.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := l.load(); err != nil || len(l.upTo) != 0 {
				t.Errorf("%v, %v", l.upTo, err)
			}
			if got := strings.Contains(said.String(), l.memory); got != x.said {
				t.Errorf("said: %s", said.String())
			}
			at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
			if err := l.save("us-east-1", at.Unix()); err != nil {
				t.Fatal(err)
			}
			again := NewLookup(l.in, nil, dir)
			if err := again.load(); err != nil || !again.upTo["us-east-1"].Equal(at) {
				t.Errorf("saved and read: %v, %v", again.upTo, err)
			}
		})
	}

	dir, said := t.TempDir(), bytes.Buffer{}
	w := NewWatcher(NewIngester(nil, zerolog.New(&said)), nil, dir)
	known := "7\t9\t\"/logs/a.json\"\n"
	if err := os.WriteFile(filepath.Join(dir, "cloudtrail-files.tsv"), []byte(known+strings.Repeat("\x00", 100_000)+known), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.load(); err != nil || w.seen["/logs/a.json"] != (mark{7, 9}) || !strings.Contains(said.String(), w.memory) {
		t.Errorf("%v, %v, %s", w.seen, err, said.String())
	}
}
