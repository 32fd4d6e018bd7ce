package schemas_test

import (
	"bytes"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/posternhq/postern/schemas"
)

// Every schema is valid JSON Schema 2020-12, stands alone under its own $id,
// and is strict: no property beyond those it describes.
func TestSchemas(t *testing.T) {
	names, err := schemas.Events()
	if err != nil || len(names) == 0 {
		t.Fatalf("%d schemas, error %v", len(names), err)
	}
	for _, name := range names {
		b, err := schemas.Event(name)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		c := jsonschema.NewCompiler()
		c.AssertFormat()
		id := "https://postern.io/schemas/events/" + name
		if got := doc.(map[string]any)["$id"]; got != id {
			t.Errorf("%s: $id is %v", name, got)
		}
		if err := c.AddResource(id, doc); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Compile(id); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		strict(t, name, doc)
	}
}

// strict checks every object with properties: closed, and each property told
// about.
func strict(t *testing.T, at string, doc any) {
	t.Helper()
	m, ok := doc.(map[string]any)
	if !ok {
		return
	}
	if props, ok := m["properties"].(map[string]any); ok {
		if m["additionalProperties"] != false || m["description"] == nil {
			t.Errorf("%s: open to other properties, or without a description", at)
		}
		for name, p := range props {
			d, _ := p.(map[string]any)["description"].(string)
			if d == "" {
				t.Errorf("%s: %s has no description", at, name)
			}
			for suffix, unit := range map[string]string{"_seconds": "seconds", "_us": "microseconds", "_bytes": "bytes"} {
				if strings.HasSuffix(name, suffix) && !strings.Contains(d, unit) {
					t.Errorf("%s: %s does not say its unit, %s", at, name, unit)
				}
			}
		}
	}
	for k, v := range m {
		strict(t, at+"/"+k, v)
	}
}

func TestUnknownSchema(t *testing.T) {
	if _, err := schemas.Event("nothing.v1.json"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

// Every reference of the AsyncAPI document leads somewhere.
func TestAsyncAPIReferences(t *testing.T) {
	var doc map[string]any
	if err := yaml.Unmarshal(schemas.AsyncAPI(), &doc); err != nil {
		t.Fatal(err)
	}
	if doc["asyncapi"] != "3.0.0" {
		t.Errorf("version %v", doc["asyncapi"])
	}
	refs := 0
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			for k, e := range v {
				ref, ok := e.(string)
				if k != "$ref" || !ok {
					walk(e)
					continue
				}
				refs++
				if name, ok := strings.CutPrefix(ref, "events/"); ok {
					if _, err := schemas.Event(name); err != nil {
						t.Error(err)
					}
					continue
				}
				var at any = doc
				for _, step := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
					m, _ := at.(map[string]any)
					at = m[step]
				}
				if at == nil {
					t.Errorf("%s leads nowhere", ref)
				}
			}
		}
	}
	walk(doc)
	if refs < 100 {
		t.Errorf("%d references only", refs)
	}
}
