package snapshot_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/broker/snapshot"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

var program, key = []byte("this one"), []byte("a key")

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
	w, err := snapshot.NewWriter(&b, program, key)
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
	end, err := snapshot.Read(bytes.NewReader(file), program, key, func(e journal.Entry) error {
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
		_, err := snapshot.Read(bytes.NewReader(b), []byte(program), key, func(journal.Entry) error { return nil })
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
	if _, err := snapshot.Read(bytes.NewReader(file), program, key, func(journal.Entry) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("a visit's error: %v", err)
	}
}

// Who has the file and not the key makes nothing of it but what was written.
func TestAuthentic(t *testing.T) {
	file := write(t, golden(t), 120)
	pass := func(journal.Entry) error { return nil }
	if _, err := snapshot.Read(bytes.NewReader(file), program, []byte("another key"), pass); err == nil {
		t.Error("good under another key")
	}
	var blocks [][]byte
	for rest := file; len(rest) > 0; {
		var raw cbor.RawMessage
		var err error
		if rest, err = cbor.UnmarshalFirst(rest, &raw); err != nil {
			t.Fatal(err)
		}
		blocks = append(blocks, raw)
	}
	if len(blocks) < 5 {
		t.Fatalf("%d blocks", len(blocks))
	}
	for name, of := range map[string][]int{"one missing": {0, 1, 3}, "one twice": {0, 1, 1, 2, 3}, "two in another order": {0, 2, 1, 3}, "no head": {1, 2, 3}} {
		var b []byte
		for _, i := range of {
			b = append(b, blocks[i]...)
		}
		for _, block := range blocks[4:] {
			b = append(b, block...)
		}
		if _, err := snapshot.Read(bytes.NewReader(b), program, key, pass); err == nil {
			t.Errorf("%s: good", name)
		}
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
		_, _ = snapshot.Read(bytes.NewReader(b), program, key, func(e journal.Entry) error {
			if e.Channel == "" && e.Data != nil || e.Seq <= last {
				t.Fatalf("event %+v behind %d", e, last)
			}
			last = e.Seq
			return nil
		})
	})
}
