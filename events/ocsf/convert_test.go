package ocsf_test

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest/datatest"
	"github.com/posternhq/postern/events/ocsf"
)

// classes compiles OCSF's own schemas by class id; without them the test is
// skipped.
func classes(t *testing.T) map[int]*jsonschema.Schema {
	t.Helper()
	out := map[int]*jsonschema.Schema{}
	for _, name := range datatest.Glob(t, "data/ocsf/*.schema.json.gz") {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(z)
		if err != nil {
			t.Fatal(err)
		}
		c := jsonschema.NewCompiler()
		if err := c.AddResource(name, v); err != nil {
			t.Fatal(err)
		}
		s, err := c.Compile(name)
		if err != nil {
			t.Fatal(err)
		}
		uid, err := v.(map[string]any)["x-class-uid"].(json.Number).Int64()
		if err != nil {
			t.Fatal(err)
		}
		out[int(uid)] = s
	}
	return out
}

func golden(t testing.TB, typ events.Type) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "eventstest", "golden", string(typ)+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// valid converts and checks against the class's schema.
func valid(schemas map[int]*jsonschema.Schema, event []byte) (class int, err error) {
	b, err := ocsf.Convert(event)
	if err != nil {
		return 0, err
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		return 0, err
	}
	uid, err := v.(map[string]any)["class_uid"].(json.Number).Int64()
	if err != nil {
		return 0, err
	}
	s, ok := schemas[int(uid)]
	if !ok {
		return 0, fmt.Errorf("class %d has no schema", uid)
	}
	if err := s.Validate(v); err != nil {
		return 0, fmt.Errorf("%w\n%s", err, b)
	}
	return int(uid), nil
}

// Every event there is makes a valid OCSF event, and all five classes are used.
func TestEveryEvent(t *testing.T) {
	schemas := classes(t)
	used := map[int]int{}
	for _, typ := range events.Types() {
		class, err := valid(schemas, golden(t, typ))
		if err != nil {
			t.Errorf("%s: %v", typ, err)
		}
		used[class]++
	}
	for class := range schemas {
		if used[class] == 0 {
			t.Errorf("no event is of class %d", class)
		}
	}
}

// So does one that says where it stands, and comes back from there.
func TestEveryEventAt(t *testing.T) {
	schemas := classes(t)
	p := events.Place{Stream: events.Access, Sequence: 42, Subject: "access.user.alice", StoredAt: time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC)}
	for _, typ := range events.Types() {
		raw := golden(t, typ)
		b, err := ocsf.ConvertAt(raw, p)
		if err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		uid, err := v.(map[string]any)["class_uid"].(json.Number).Int64()
		if err != nil {
			t.Fatal(err)
		}
		if err := schemas[int(uid)].Validate(v); err != nil {
			t.Errorf("%s: %v", typ, err)
		}
		var e struct{ ID string }
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatal(err)
		}
		want := p.Hash(raw)
		if got, hash, ok := ocsf.PlaceOf(b); !ok || got != p || hash != hex.EncodeToString(want[:]) {
			t.Errorf("%s: %+v %s %t", typ, got, hash, ok)
		}
		if plain, err := ocsf.Convert(raw); err != nil {
			t.Error(err)
		} else if _, _, ok := ocsf.PlaceOf(plain); ok {
			t.Errorf("%s: has a place without one", typ)
		}
	}
}

// What an event may leave out, it may leave out: each field in turn is taken away.
func TestEveryFieldMissing(t *testing.T) {
	schemas := classes(t)
	n := 0
	for _, typ := range events.Types() {
		var e map[string]any
		if err := json.Unmarshal(golden(t, typ), &e); err != nil {
			t.Fatal(err)
		}
		data := e["data"].(map[string]any)
		for _, field := range slices.Sorted(maps.Keys(data)) {
			if typ == events.TypeCloudTrailRecordReceived && field == "record" {
				continue // without one it is no record
			}
			less := maps.Clone(data)
			delete(less, field)
			e["data"] = less
			b, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := valid(schemas, b); err != nil {
				t.Errorf("%s without %s: %v", typ, field, err)
			}
			n++
		}
	}
	t.Logf("%d events", n)
}

// The records of real trails.
func TestCloudTrailRecords(t *testing.T) {
	schemas := classes(t)
	n := 0
	err := filepath.WalkDir(datatest.File(t, "data/cloudtrail"), func(path string, _ os.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".gz" && filepath.Ext(path) != ".json" {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		var r io.Reader = f
		if filepath.Ext(path) == ".gz" {
			if r, err = gzip.NewReader(f); err != nil {
				return err
			}
		}
		var log struct{ Records []json.RawMessage }
		if json.NewDecoder(r).Decode(&log) != nil {
			return nil // no log file
		}
		for _, record := range log.Records {
			e, err := events.Encode(events.Event{
				Meta: events.Meta{ID: "1", Source: "/postern/auditor/a", Time: eventTime},
				Data: &events.CloudTrailRecordReceived{RecipientAccountID: "111122223333", EventID: "e", Region: "us-east-1", Record: record},
			})
			if err != nil {
				return err
			}
			if _, err := valid(schemas, e); err != nil {
				t.Errorf("%s: %v", path, err)
			}
			n++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if t.Logf("%d records", n); n < 1000 {
		t.Errorf("only %d records were found", n)
	}
}

// A record's time is read in each form that the auditor takes; where it can't be read, the
// event's own stands for it.
func TestRecordTimes(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		`"2026-03-01T12:00:00Z"`: at, `"2026-03-01T13:00:00+01:00"`: at, `"2026-03-01 12:00:00"`: at, `"2026-03-01 12:00:00Z"`: at, `"2026-03-01T12:00:00"`: at,
		`"1772366400"`: at, `1772366400`: at, `1772366400000`: at, `1.7723664e9`: at,
		`"yesterday"`: eventTime, `""`: eventTime, `null`: eventTime, `{"$date":1}`: eventTime, `"0001-01-01T00:00:00Z"`: eventTime, `"2026-13-01T12:00:00Z"`: eventTime,
	} {
		e, err := events.Encode(events.Event{
			Meta: events.Meta{ID: "1", Source: "/postern/auditor/a", Time: eventTime},
			Data: &events.CloudTrailRecordReceived{RecipientAccountID: "111122223333", EventID: "e", Region: "us-east-1", Record: json.RawMessage(`{"eventTime":` + text + `,"eventName":"GetObject"}`)},
		})
		if err != nil {
			t.Fatal(err)
		}
		b, err := ocsf.Convert(e)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var got struct {
			Time int64
			API  struct{ Operation string }
		}
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		if got.Time != want.UnixMilli() || got.API.Operation != "GetObject" {
			t.Errorf("%s: %+v, want %v", text, got, want)
		}
	}
}

var eventTime = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

func TestDenied(t *testing.T) {
	b, err := ocsf.Convert(golden(t, events.TypeAWSRequestDenied))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		ClassUID   int `json:"class_uid"`
		TypeUID    int `json:"type_uid"`
		ActivityID int `json:"activity_id"`
		ActionID   int `json:"action_id"`
		StatusID   int `json:"status_id"`
		Actor      struct {
			User struct{ Name string }
		}
		Unmapped struct{ User string }
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if got.ClassUID != 6003 || got.TypeUID != 600300+got.ActivityID || got.ActionID != 2 || got.StatusID != 2 || got.Actor.User.Name == "" || got.Actor.User.Name != got.Unmapped.User {
		t.Errorf("%s", b)
	}
}

func FuzzConvert(f *testing.F) {
	for _, typ := range events.Types() {
		f.Add(golden(f, typ))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if out, err := ocsf.Convert(b); err == nil && !json.Valid(out) {
			t.Errorf("%q", out)
		}
	})
}
