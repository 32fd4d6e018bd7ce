package evidence_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/auditor/evidence"
	"github.com/posternhq/postern/auditor/tlog"
	"github.com/posternhq/postern/events"
)

// packed makes a bundle of real events in real logs.
func packed(t testing.TB, key *tlog.Key, payloads ...events.Payload) ([]byte, *evidence.Bundle) {
	t.Helper()
	at := time.Date(2026, 3, 1, 12, 0, 0, 17, time.UTC)
	b := &evidence.Bundle{Subject: evidence.Subject{Request: "Q1"}, Made: at.Add(time.Hour)}
	leaves := map[string][]tlog.Leaf{}
	for i, p := range payloads {
		body, err := events.Encode(events.Event{Meta: events.Meta{ID: fmt.Sprint("id", i), Source: "/test", Time: at.Add(time.Duration(i) * time.Second)}, Data: p})
		if err != nil {
			t.Fatal(err)
		}
		stream := events.StreamOf(p.Channel())
		item := evidence.Item{Stream: stream, Seq: uint64(len(leaves[stream]) + 1), Subject: p.Channel(), StoredAt: at.Add(time.Duration(i) * time.Second), Body: body}
		leaves[stream] = append(leaves[stream], item.Leaf())
		b.Items = append(b.Items, item)
	}
	provers := map[string]*tlog.Prover{}
	for stream, ls := range leaves {
		dir := filepath.Join(t.TempDir(), stream)
		log, err := tlog.Open(t.Context(), tlog.Config{Dir: dir, Stream: stream, Key: key})
		if err != nil {
			t.Fatal(err)
		}
		if err := log.Append(t.Context(), ls); err != nil {
			t.Fatal(err)
		}
		var c tlog.Checkpoint
		for c.Size < uint64(len(ls)) {
			<-time.After(10 * time.Millisecond) // for the signature
			if c, err = key.Public().Latest(t.Context(), stream, tlog.Files(dir)); err != nil {
				t.Fatal(err)
			}
		}
		if provers[stream], err = tlog.NewProver(t.Context(), tlog.Files(dir), c); err != nil {
			t.Fatal(err)
		}
	}
	for i := range b.Items {
		var err error
		if b.Items[i].Proof, err = provers[b.Items[i].Stream].Prove(t.Context(), b.Items[i].Leaf()); err != nil {
			t.Fatal(err)
		}
	}
	out, err := b.Pack(key)
	if err != nil {
		t.Fatal(err)
	}
	return out, b
}

func story() []events.Payload {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	r := events.AWSRequest{RequestID: "R1", ReceivedAt: at, User: "alice", SessionID: "S1", Service: "s3", Operation: "GetObject", Method: "GET", Host: "h", Path: "/", Proxy: "p"}
	return []events.Payload{
		&events.RequestCreated{RequestID: "Q1", User: "alice", Roles: []string{"reader"}, Reason: "INC-1", TTL: 60, ExpiresAt: at, Thresholds: []events.Threshold{}},
		&events.RequestReviewed{RequestID: "Q1", Reviewer: "bob", Verdict: "approve"},
		&events.RequestApproved{RequestID: "Q1", User: "alice", AccessExpiresAt: at, Reviewers: []string{"bob"}},
		&events.SessionStarted{SessionID: "S1", User: "alice", App: "a", RequestIDs: []string{"Q1"}, StartedAt: at, ExpiresAt: at.Add(time.Hour)},
		&events.AWSRequestAdmitted{AWSRequest: r},
		&events.AWSRequestCompleted{AWSRequest: r, Status: 200, AWSRequestID: "AWS1"},
		&events.CloudTrailRecordReceived{RecipientAccountID: "1", EventID: "E1", Region: "r", EventSource: "s3.amazonaws.com", File: "f", Record: []byte(`{"eventName":"GetObject","requestID":"AWS1"}`)},
		&events.VerdictReached{RequestID: "R1", RecipientAccountID: "1", EventID: "E1", RequestAt: at, EventTime: at, Verdict: events.Matched, At: at},
		&events.SessionEnded{SessionID: "S1", User: "alice", By: "alice", Reason: "logout"},
	}
}

func newKey(t testing.TB) *tlog.Key {
	t.Helper()
	k, err := tlog.LoadKey(filepath.Join(t.TempDir(), "key"), "example.com/postern")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestBundle(t *testing.T) {
	key := newKey(t)
	file, made := packed(t, key, story()...)
	b, err := evidence.Open(file, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	again, err := b.Pack(key)
	if err != nil || !bytes.Equal(again, file) || len(b.Items) != len(made.Items) {
		t.Errorf("packed again it is another one, %v", err)
	}
	s, err := b.Summary()
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintln(s.Events, s.AccessRequests[0].State, s.AccessRequests[0].Reviews[0].Reviewer, s.Sessions[0].SessionID, !s.Sessions[0].EndedAt.IsZero(),
		s.Calls[0].Outcome, s.Calls[0].Status, s.Calls[0].Verdict, s.Calls[0].Record, s.Records[0].EventName, len(s.Others))
	if want := "map[ACCESS:5 AUDIT:2 CLOUDTRAIL:1 FINDINGS:1] approved bob S1 true completed 200 matched E1 GetObject 0\n"; got != want {
		t.Errorf("report:\n%s, want\n%s", got, want)
	}
	if _, err := evidence.Open(file, newKey(t).Public()); err == nil {
		t.Error("a stranger's bundle was taken")
	}
	// What the holder of the key itself packs wrongly does not pass either.
	for what, spoil := range map[string]func(*evidence.Bundle){
		"another body": func(b *evidence.Bundle) {
			b.Items[1].Body = bytes.Replace(b.Items[1].Body, []byte("bob"), []byte("eve"), 1)
		},
		"another time":       func(b *evidence.Bundle) { b.Items[1].StoredAt = b.Items[1].StoredAt.Add(1) },
		"another subject":    func(b *evidence.Bundle) { b.Items[1].Subject = "access.request.Q2" },
		"another sequence":   func(b *evidence.Bundle) { b.Items[4].Seq, b.Items[4].Proof.Seq = 2, 2; b.Items = b.Items[:5] },
		"another stream":     func(b *evidence.Bundle) { b.Items[7].Stream = events.CloudTrail; b.Items = b.Items[7:8] },
		"a proof of another": func(b *evidence.Bundle) { b.Items[1].Proof.Path = b.Items[2].Proof.Path },
		"a checkpoint of none": func(b *evidence.Bundle) {
			b.Items[1].Proof.Note = bytes.Replace(b.Items[1].Proof.Note, []byte("\n5\n"), []byte("\n6\n"), 1)
		},
	} {
		other, err := evidence.Open(file, key.Public())
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(other.Items, func(x, y evidence.Item) int { return x.StoredAt.Compare(y.StoredAt) })
		spoil(other)
		spoiled, err := other.Pack(key)
		if err != nil {
			t.Fatal(what, err)
		}
		if _, err := evidence.Open(spoiled, key.Public()); err == nil {
			t.Errorf("%s: the bundle passes", what)
		}
	}
}

// Bundles are opened years after they were made. testdata/bundles has one of each
// summaryVersion, with its key: where the one of this version fails, what is told of events
// has changed, and summaryVersion has to. POSTERN_BUNDLES=DIR writes one there.
func TestReleasedBundles(t *testing.T) {
	if dir := os.Getenv("POSTERN_BUNDLES"); dir != "" {
		key := newKey(t)
		file, b := packed(t, key, story()...)
		s, err := b.Summary()
		name := filepath.Join(dir, fmt.Sprintf("v%d", s.Version))
		if err := errors.Join(err, os.WriteFile(name+".zip", file, 0o644), os.WriteFile(name+".key", []byte(key.Public()), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob("testdata/bundles/*.zip")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		file, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		key, err := os.ReadFile(strings.TrimSuffix(name, "zip") + "key")
		if err != nil {
			t.Fatal(err)
		}
		b, err := evidence.Open(file, tlog.PublicKey(key))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		s, err := b.Summary()
		if err != nil {
			t.Fatal(err)
		}
		if told := strings.HasSuffix(name, fmt.Sprintf("v%d.zip", s.Version)); told != (b.OtherReport == 0) || len(s.Calls) != 1 || s.Calls[0].Verdict != events.Matched {
			t.Errorf("%s: report of version %d, %+v", name, b.OtherReport, s)
		}
	}
}

// No byte of a bundle can be changed, none added and none taken away.
func TestEveryByteCounts(t *testing.T) {
	key := newKey(t)
	file, _ := packed(t, key, story()[:3]...)
	for i := range file {
		for _, bit := range []byte{0x01, 0x20, 0x80} {
			file[i] ^= bit
			if _, err := evidence.Open(file, key.Public()); err == nil {
				t.Errorf("byte %d of %d: bit %#x changed and the bundle passes", i, len(file), bit)
			}
			file[i] ^= bit
		}
		if i%16 == 0 {
			if _, err := evidence.Open(file[:i], key.Public()); err == nil {
				t.Errorf("cut to %d bytes the bundle passes", i)
			}
		}
	}
	for _, more := range [][]byte{append([]byte{0}, file...), append(bytes.Clone(file), 0)} {
		if _, err := evidence.Open(more, key.Public()); err == nil {
			t.Error("with a byte more the bundle passes")
		}
	}
	if _, err := evidence.Open(file, key.Public()); err != nil {
		t.Error(err)
	}
}

func FuzzOpen(f *testing.F) {
	key := newKey(f)
	file, _ := packed(f, key, story()[:2]...)
	f.Add(file)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := evidence.Open(b, key.Public()); err == nil && !bytes.Equal(b, file) {
			t.Error("a bundle that nobody packed passes")
		}
	})
}

func TestKept(t *testing.T) {
	key, dir := newKey(t), t.TempDir()
	_, b := packed(t, key, story()...)
	cs, err := b.Checkpoints(key.Public())
	if err != nil || len(cs) != 4 {
		t.Fatalf("%d checkpoints, %v", len(cs), err)
	}
	keep := tlog.KeepDir(dir)
	for range 2 {
		if err := keep(t.Context(), cs); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("not a checkpoint"), 0o600); err != nil {
		t.Fatal(err)
	}
	kept, err := key.Public().Kept(dir, events.Streams())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(len(cs), len(kept)); diff != "" {
		t.Error(diff)
	}
	if _, err := newKey(t).Public().Kept(dir, events.Streams()); err == nil || !strings.Contains(err.Error(), "no checkpoint of") {
		t.Errorf("a stranger's checkpoints: %v", err)
	}
}

// A zip file whose many files are the same bytes takes no more memory than it has.
func TestBundleOfOneFileManyTimes(t *testing.T) {
	const size, times = 1 << 20, 500
	content := make([]byte, size)
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	add := func(name string, content []byte) {
		t.Helper()
		w, err := z.CreateRaw(&zip.FileHeader{Name: name, Method: zip.Store, CRC32: crc32.ChecksumIEEE(content), CompressedSize64: uint64(len(content)), UncompressedSize64: uint64(len(content))})
		if err == nil {
			_, err = w.Write(content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	add("0000", content)
	for i := 1; i < times; i++ {
		add(fmt.Sprintf("%04d", i), nil)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	// In the directory all of them have the sums, sizes and place of the first.
	file := out.Bytes()
	entry := []byte("PK\x01\x02")
	first := bytes.Index(file, entry)
	for at := first; ; {
		next := bytes.Index(file[at+1:], entry)
		if next < 0 {
			break
		}
		at += 1 + next
		copy(file[at+16:at+28], file[first+16:first+28])
		copy(file[at+42:at+46], file[first+42:first+46])
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := evidence.Open(file, newKey(t).Public())
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; err == nil || took > 50*size {
		t.Errorf("of %d bytes %d were made: %v", len(file), took, err)
	}
}
