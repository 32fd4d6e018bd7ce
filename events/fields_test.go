package events_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/posternhq/postern/events"
)

// Payload structs and schemas agree in both directions: names, kinds, and what
// may be absent.
func TestFieldsAgreeWithSchema(t *testing.T) {
	for _, typ := range events.Types() {
		p, err := typ.New()
		if err != nil {
			t.Fatal(err)
		}
		agree(t, string(typ), reflect.TypeOf(p).Elem(), schema(t, typ))
	}
}

func agree(t *testing.T, at string, typ reflect.Type, s *jsonschema.Schema) {
	t.Helper()
	for s.Ref != nil {
		s = s.Ref
	}
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	var want string
	switch {
	case typ == reflect.TypeFor[time.Time]():
		want = "string"
		if s.Format == nil || s.Format.Name != "date-time" {
			t.Errorf("%s is a time and the schema does not say so", at)
		}
	case typ == reflect.TypeFor[json.RawMessage]():
		want = "object"
	default:
		switch typ.Kind() {
		case reflect.String:
			want = "string"
		case reflect.Bool:
			want = "boolean"
		case reflect.Int, reflect.Int64, reflect.Uint64:
			want = "integer"
		case reflect.Slice:
			want = "array"
			items, ok := s.Items2020, s.Items2020 != nil
			if !ok {
				t.Errorf("%s: no items", at)
				return
			}
			agree(t, at+"[]", typ.Elem(), items)
		case reflect.Map:
			want = "object"
			values, ok := s.AdditionalProperties.(*jsonschema.Schema)
			if !ok {
				t.Errorf("%s: no additionalProperties", at)
				return
			}
			agree(t, at+"{}", typ.Elem(), values)
		case reflect.Struct:
			want = "object"
			agreeStruct(t, at, typ, s)
		default:
			t.Fatalf("%s: kind %s is not thought of", at, typ.Kind())
		}
	}
	if s.Types == nil || !slices.Equal(s.Types.ToStrings(), []string{want}) {
		t.Errorf("%s: schema says %v, Go %s", at, s.Types, want)
	}
}

func agreeStruct(t *testing.T, at string, typ reflect.Type, s *jsonschema.Schema) {
	t.Helper()
	fields := map[string]bool{}
	for _, f := range reflect.VisibleFields(typ) {
		if f.Anonymous {
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			t.Errorf("%s.%s has no JSON name", at, f.Name)
			continue
		}
		fields[name] = true
		prop, ok := s.Properties[name]
		if !ok {
			t.Errorf("%s.%s is not in the schema", at, name)
			continue
		}
		optional := strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
		if required := slices.Contains(s.Required, name); required == optional {
			t.Errorf("%s.%s: required in the schema %t, optional in Go %t", at, name, required, optional)
		}
		agree(t, at+"."+name, f.Type, prop)
	}
	for name := range s.Properties {
		if !fields[name] {
			t.Errorf("%s: the schema has %s, Go has not", at, name)
		}
	}
}
