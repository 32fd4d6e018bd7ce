package evidence_test

import (
	"bytes"
	"encoding/json"
	"iter"
	"os"
	"slices"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/auditor/evidence"
	"github.com/posternhq/postern/auditor/tlog"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/ocsf"
)

var storedAt = time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC)

// bodies are messages that a stream can hold, not all of them JSON.
var bodies = []string{`{"id":"a","x":"<&>\u003c"}`, `{"id" : "b"}`, "no JSON\xff", "{\"id\":\n\"c\"}", `{"id":"d","n":1.50}`}

func delivered(i int) evidence.Delivered {
	return evidence.Delivered{Stream: "AUDIT", Seq: uint64(i + 1), Subject: "audit.x", StoredAt: storedAt, Event: json.RawMessage(bodies[i])}
}

// logged is what the log says of bodies.
func logged(yield func(tlog.Leaf, error) bool) {
	for i, b := range bodies {
		if !yield(tlog.Leaf{Stream: "AUDIT", Seq: uint64(i + 1), Hash: tlog.HashOf("audit.x", storedAt, []byte(b))}, nil) {
			return
		}
	}
}

func TestDelivery(t *testing.T) {
	fault := func(kind string, first, last uint64) evidence.Fault {
		return evidence.Fault{Stream: "AUDIT", First: first, Last: last, Place: "delivery", Kind: kind}
	}
	changed := delivered(2)
	changed.Subject = "audit.y"
	for _, c := range []struct {
		name string
		got  []evidence.Delivered
		all  bool
		want []evidence.Fault
	}{
		{"everything", []evidence.Delivered{delivered(0), delivered(1), delivered(2), delivered(3), delivered(4)}, true, nil},
		{"out of order and again", []evidence.Delivered{delivered(4), delivered(2), delivered(1), delivered(3), delivered(0), delivered(2)}, true, nil},
		{"not yet the last", []evidence.Delivered{delivered(0), delivered(1)}, true, nil},
		{"one dropped", []evidence.Delivered{delivered(0), delivered(2)}, true, []evidence.Fault{fault("missing", 2, 2)}},
		{"the first dropped", []evidence.Delivered{delivered(2)}, true, []evidence.Fault{fault("missing", 1, 2)}},
		{"a part was to come", []evidence.Delivered{delivered(0), delivered(2)}, false, nil},
		{"another subject", []evidence.Delivered{delivered(0), delivered(1), changed}, true, []evidence.Fault{fault("changed", 3, 3)}},
		{"another subject of a part", []evidence.Delivered{delivered(0), changed}, false, []evidence.Fault{fault("changed", 3, 3)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var file bytes.Buffer
			for _, d := range c.got {
				line, err := d.Line()
				if err != nil {
					t.Fatal(err)
				}
				file.Write(line)
			}
			got, err := evidence.ReadDelivery(&file, "")
			if err != nil {
				t.Fatal(err)
			}
			faults, err := got.Compare(iter.Seq2[tlog.Leaf, error](logged), c.all)
			if d := cmp.Diff(c.want, faults); d != "" || err != nil {
				t.Errorf("faults (-want +got), %v:\n%s", err, d)
			}
		})
	}
}

// What the filter does not fit is a fault, however true it is.
func TestDeliveryOfAnotherFilter(t *testing.T) {
	var file bytes.Buffer
	for i, subject := range []string{"audit.completed.1.s3.GetObject", "audit.completed.2.s3.GetObject", "audit.denied.1.s3.GetObject"} {
		d := delivered(i)
		d.Subject = subject
		line, err := d.Line()
		if err != nil {
			t.Fatal(err)
		}
		file.Write(line)
	}
	for filter, want := range map[string][]uint64{"": nil, "audit.>": nil, "audit.completed.>": {3}, "audit.*.1.>": {2}, "audit.complete.>": {1, 2, 3}} {
		got, err := evidence.ReadDelivery(bytes.NewReader(file.Bytes()), filter)
		if err != nil {
			t.Fatal(err)
		}
		var seqs []uint64
		for _, f := range got.Unfit() {
			seqs = append(seqs, f.First)
		}
		if d := cmp.Diff(want, seqs); d != "" {
			t.Errorf("%q (-want +got):\n%s", filter, d)
		}
	}
}

func TestDeliveryRefused(t *testing.T) {
	for name, file := range map[string]string{
		"empty":          "",
		"no JSON":        "x\n",
		"events alone":   `{"specversion":"1.0","id":"a"}` + "\n",
		"two streams":    `{"stream":"AUDIT","sequence":1}` + "\n" + `{"stream":"ACCESS","sequence":2}` + "\n",
		"two contents":   `{"stream":"AUDIT","sequence":1,"subject":"a"}` + "\n" + `{"stream":"AUDIT","sequence":1,"subject":"b"}` + "\n",
		"broken in line": `{"stream":"AUDIT","sequence":1`,
	} {
		if _, err := evidence.ReadDelivery(bytes.NewReader([]byte(file)), ""); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// OCSF events prove by their hashes that none is missing, and are held against what
// postern makes of the logged events.
func TestDeliveryOfOCSF(t *testing.T) {
	types := events.Types()[:6]
	var raws, lines [][]byte
	place := func(i int) events.Place {
		return events.Place{Stream: "ACCESS", Sequence: uint64(i + 1), Subject: "access.x." + string(types[i]), StoredAt: storedAt.Add(time.Duration(i))}
	}
	for i, typ := range types {
		raw, err := os.ReadFile("../../events/eventstest/golden/" + string(typ) + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, raw); err != nil {
			t.Fatal(err)
		}
		line, err := ocsf.ConvertAt(compact.Bytes(), place(i))
		if err != nil {
			t.Fatal(err)
		}
		raws, lines = append(raws, compact.Bytes()), append(lines, line)
	}
	logged := func(yield func(tlog.Leaf, error) bool) {
		for i, raw := range raws {
			if !yield(tlog.Leaf{Stream: "ACCESS", Seq: uint64(i + 1), Hash: place(i).Hash(raw)}, nil) {
				return
			}
		}
	}
	fault := func(kind string, seq uint64) evidence.Fault {
		return evidence.Fault{Stream: "ACCESS", First: seq, Last: seq, Place: "delivery", Kind: kind}
	}
	changed := func(line []byte, from, to string) []byte {
		if !bytes.Contains(line, []byte(from)) {
			t.Fatalf("no %s in %s", from, line)
		}
		return bytes.Replace(line, []byte(from), []byte(to), 1)
	}
	reordered := func(line []byte) []byte {
		var v map[string]any
		d := json.NewDecoder(bytes.NewReader(line))
		d.UseNumber()
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		out, err := json.Marshal(v)
		if err != nil || bytes.Equal(out, line) {
			t.Fatalf("%v: the order of members is the same", err)
		}
		return out
	}
	other, err := ocsf.ConvertAt(changed(raws[2], `"by":"`, `"by":"x`), place(2)) // a whole event that never was
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		got  [][]byte
		seen [][]byte
		want []evidence.Fault
	}{
		{"everything", lines, raws, nil},
		{"another order, and again", [][]byte{lines[5], lines[1], lines[0], reordered(lines[2]), lines[3], lines[4], lines[1]}, raws, nil},
		{"dropped", slices.Concat(lines[:2], lines[3:]), raws, []evidence.Fault{fault("missing", 3)}},
		{"changed", slices.Concat(lines[:2], [][]byte{changed(lines[2], `"severity_id":1`, `"severity_id":5`)}, lines[3:]), raws, []evidence.Fault{fault("changed", 3)}},
		{"a member twice", slices.Concat(lines[:2], [][]byte{changed(lines[2], `{`, `{"severity_id":5,`)}, lines[3:]), raws, []evidence.Fault{fault("changed", 3)}},
		{"a member more", slices.Concat(lines[:2], [][]byte{changed(lines[2], `{`, `{"status":"x",`)}, lines[3:]), raws, []evidence.Fault{fault("changed", 3)}},
		{"inserted in its place", slices.Concat(lines[:2], [][]byte{other}, lines[3:]), raws, []evidence.Fault{fault("changed", 3), fault("not derived from the logged event", 3)}},
		{"the stream says something else", lines, slices.Concat(raws[:2], [][]byte{changed(raws[2], `"by":"`, `"by":"x`)}, raws[3:]), []evidence.Fault{fault("not derived from the logged event", 3)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := evidence.ReadDelivery(bytes.NewReader(bytes.Join(c.got, []byte{'\n'})), "")
			if err != nil {
				t.Fatal(err)
			}
			faults, err := got.Compare(iter.Seq2[tlog.Leaf, error](logged), true)
			for i, raw := range c.seen {
				if f := got.Rederive(evidence.DeliveredOf(place(i), raw)); f != nil {
					faults = append(faults, *f)
				}
			}
			if d := cmp.Diff(c.want, append(faults, got.Unproved()...)); d != "" || err != nil {
				t.Errorf("faults (-want +got), %v:\n%s", err, d)
			}
		})
	}
	doubled := bytes.Join([][]byte{lines[2], changed(lines[2], `"severity_id":1`, `"severity_id":5`)}, []byte{'\n'})
	if _, err := evidence.ReadDelivery(bytes.NewReader(doubled), ""); err == nil {
		t.Error("twice, with different content: taken")
	}
	beyond := changed(lines[5], `"sequence":6`, `"sequence":7`)
	got, err := evidence.ReadDelivery(bytes.NewReader(beyond), "")
	if err != nil || got.Last != 7 {
		t.Errorf("%+v, %v", got, err) // the log is shorter: postern events verify says so
	}
}

// Whatever a stream holds comes back from its line as the log knows it.
func FuzzDeliveredLine(f *testing.F) {
	for _, b := range bodies {
		f.Add("audit.x", []byte(b))
	}
	f.Fuzz(func(t *testing.T, subject string, body []byte) {
		if !utf8.ValidString(subject) { // a subject is text
			t.Skip()
		}
		line, err := evidence.Delivered{Stream: "AUDIT", Seq: 1, Subject: subject, StoredAt: storedAt, Event: body}.Line()
		if err != nil {
			t.Fatal(err)
		}
		got, err := evidence.ReadDelivery(bytes.NewReader(line), "")
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		leaf := func(yield func(tlog.Leaf, error) bool) {
			yield(tlog.Leaf{Stream: "AUDIT", Seq: 1, Hash: tlog.HashOf(subject, storedAt, body)}, nil)
		}
		if faults, err := got.Compare(leaf, true); err != nil || len(faults) > 0 {
			t.Errorf("%q: %v, %v", line, faults, err)
		}
	})
}
