package snapshot_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/broker/snapshot"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

var program = []byte("this one")

// golden are the examples of every event type of the ACCESS stream.
func golden(t testing.TB) []journal.Entry {
	t.Helper()
	files, err := filepath.Glob("../../events/eventstest/golden/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	var out []journal.Entry
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		e, err := events.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if events.StreamOf(e.Data.Channel()) == events.Access {
			out = append(out, journal.Entry{Event: e, Stream: events.Access, Channel: e.Data.Channel()})
		}
	}
	return append(out, journal.Entry{Stream: events.Access, Channel: "access.lock.forged"})
}

func write(t testing.TB, es []journal.Entry, times int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := snapshot.NewWriter(&b, program)
	if err != nil {
		t.Fatal(err)
	}
	for i := range times * len(es) {
		e := es[i%len(es)]
		e.Seq = uint64(2*i + 1)
		if err := w.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(uint64(2*times*len(es)), []byte("digest")); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// What is read is what was written, event types all, over many blocks; and
// writing it again gives the same bytes.
func TestRoundTrip(t *testing.T) {
	es := golden(t)
	const times = 100
	file := write(t, es, times)
	i := 0
	end, err := snapshot.Read(bytes.NewReader(file), program, func(e journal.Entry) error {
		want := es[i%len(es)]
		want.Seq = uint64(2*i + 1)
		if d := cmp.Diff(want, e); d != "" {
			t.Fatalf("event %d, on %s (-written +read):\n%s", i, e.Channel, d)
		}
		i++
		return nil
	})
	if err != nil || i != times*len(es) {
		t.Fatal(i, err)
	}
	if want := (snapshot.End{Seq: uint64(2 * i), Digest: []byte("digest"), Events: uint64(i)}); !cmp.Equal(end, want) {
		t.Errorf("it ends at %+v, want %+v", end, want)
	}
	if !bytes.Equal(file, write(t, es, times)) {
		t.Error("written again it is another")
	}
}

// No file that is cut, changed or another program's is taken for whole.
func TestFaults(t *testing.T) {
	es := golden(t)
	file := write(t, es, 60)
	read := func(b []byte, program string) error {
		_, err := snapshot.Read(bytes.NewReader(b), []byte(program), func(journal.Entry) error { return nil })
		return err
	}
	if err := read(file, "another"); err == nil || !strings.Contains(err.Error(), "another build wrote it") {
		t.Errorf("of another program: %v", err)
	}
	for n := 0; n < len(file); n += 1 + len(file)/60 {
		if read(file[:n], "this one") == nil {
			t.Errorf("cut at %d of %d bytes it is taken for whole", n, len(file))
		}
		changed := bytes.Clone(file)
		changed[n] ^= 0x10
		if read(changed, "this one") == nil {
			t.Errorf("with byte %d of %d changed it is taken for whole", n, len(file))
		}
	}
	stop := errors.New("stop")
	if _, err := snapshot.Read(bytes.NewReader(file), program, func(journal.Entry) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("a visit's error: %v", err)
	}
}

// FuzzRead checks that no file breaks the reader.
func FuzzRead(f *testing.F) {
	file := write(f, golden(f)[:3], 1)
	f.Add(file)
	f.Add(file[:len(file)/2])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var last uint64
		_, _ = snapshot.Read(bytes.NewReader(b), program, func(e journal.Entry) error {
			if e.Channel == "" && e.Data != nil || e.Seq <= last {
				t.Fatalf("event %+v behind %d", e, last)
			}
			last = e.Seq
			return nil
		})
	})
}
