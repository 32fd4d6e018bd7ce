package events_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest/datatest"
	"github.com/posternhq/postern/schemas"
)

// golden is the example event of a type.
func golden(t *testing.T, typ events.Type) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("eventstest", "golden", string(typ)+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// value reads JSON, numbers as they are written.
func value(t *testing.T, b []byte) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// schema compiles the schema of a type's payload.
func schema(t *testing.T, typ events.Type) *jsonschema.Schema {
	t.Helper()
	b, err := schemas.Event(typ.SchemaFile())
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(typ.SchemaURI(), value(t, b)); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(typ.SchemaURI())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestGolden(t *testing.T) {
	for _, typ := range events.Types() {
		t.Run(string(typ), func(t *testing.T) {
			b := golden(t, typ)
			e, err := events.Decode(b)
			if err != nil {
				t.Fatal(err)
			}
			if e.Data.Type() != typ || e.ID == "" || e.CorrelationID == "" || e.CausationID == "" || e.Sequence == 0 {
				t.Errorf("decoded to %+v", e.Meta)
			}
			again, err := events.Encode(e)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(value(t, b), value(t, again)); diff != "" {
				t.Errorf("read and written again (-golden +got):\n%s", diff)
			}
		})
	}
}

// The example validates, has every property once, and what is left out, added
// or of another kind does not validate.
func TestGoldenAgainstSchema(t *testing.T) {
	for _, typ := range events.Types() {
		t.Run(string(typ), func(t *testing.T) {
			s := schema(t, typ)
			data := value(t, golden(t, typ)).(map[string]any)["data"].(map[string]any)
			if err := s.Validate(data); err != nil {
				t.Fatal(err)
			}
			for name := range s.Properties {
				if _, ok := data[name]; !ok {
					t.Errorf("the example has no %s", name)
				}
			}
			broken := func(change func(map[string]any)) map[string]any {
				m := make(map[string]any, len(data))
				for k, v := range data {
					m[k] = v
				}
				change(m)
				return m
			}
			if s.Validate(broken(func(m map[string]any) { m["password"] = "x" })) == nil {
				t.Error("a property more is accepted")
			}
			for _, name := range s.Required {
				if s.Validate(broken(func(m map[string]any) { delete(m, name) })) == nil {
					t.Errorf("accepted without %s", name)
				}
			}
			for name := range data {
				if s.Validate(broken(func(m map[string]any) { m[name] = []any{map[string]any{"x": "y"}} })) == nil {
					t.Errorf("%s may be anything", name)
				}
			}
		})
	}
}

func TestGoldenIsCloudEvent(t *testing.T) {
	b, err := os.ReadFile(datatest.File(t, "data/cloudevents/cloudevents.json"))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("cloudevents.json", value(t, b)); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("cloudevents.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range events.Types() {
		e, err := events.Decode(golden(t, typ))
		if err != nil {
			t.Fatal(err)
		}
		b, err := events.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(value(t, b)); err != nil {
			t.Errorf("%s: %v", typ, err)
		}
	}
}

// There is nothing beside what the types name.
func TestNoStrays(t *testing.T) {
	known, example := map[string]bool{}, map[string]bool{}
	for _, typ := range events.Types() {
		known[typ.SchemaFile()], example[string(typ)+".json"] = true, true
	}
	names, err := schemas.Events()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if !known[n] {
			t.Errorf("schema %s belongs to no type", n)
		}
	}
	files, err := os.ReadDir(filepath.Join("eventstest", "golden"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !example[f.Name()] {
			t.Errorf("example %s belongs to no type", f.Name())
		}
	}
}

// FuzzDecode: whatever decodes encodes, to an event that decodes to the same.
func FuzzDecode(f *testing.F) {
	for _, typ := range events.Types() {
		b, err := os.ReadFile(filepath.Join("eventstest", "golden", string(typ)+".json"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := events.Decode(b)
		if err != nil {
			return
		}
		out, err := events.Encode(e)
		if err != nil {
			t.Fatalf("decoded, yet not encoded: %v", err)
		}
		again, err := events.Decode(out)
		if err != nil {
			t.Fatalf("encoded, yet not decoded: %v\n%s", err, out)
		}
		first, err := json.Marshal(e.Data)
		if err != nil {
			t.Fatal(err)
		}
		second, err := json.Marshal(again.Data)
		if err != nil || !bytes.Equal(first, second) {
			t.Errorf("%s became %s, error %v", first, second, err)
		}
	})
}
