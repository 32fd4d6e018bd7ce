package proxy

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Every endpoint is described, with its need of a sign-in, and nothing else is; the
// schemas have the fields of the Go types.
func TestOpenAPI(t *testing.T) {
	text, err := openAPI()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]struct {
			Security  *[]any
			Responses map[string]any
		}
		Components struct {
			Schemas map[string]struct {
				Required   []string
				Properties map[string]any
			}
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	described, served := map[string]bool{}, map[string]bool{}
	for path, ops := range doc.Paths {
		for method, op := range ops {
			described[strings.ToUpper(method)+" "+path] = op.Security != nil && len(*op.Security) == 0
			if op.Responses["200"] == nil || op.Responses["default"] == nil {
				t.Errorf("%s %s: answers are not described", method, path)
			}
		}
	}
	for path, e := range (&Proxy{}).endpoints() {
		served[path] = e.open
	}
	if d := cmp.Diff(served, described); d != "" {
		t.Errorf("endpoints and whether they are open (-served +described):\n%s", d)
	}
	for name, v := range map[string]any{
		"ConsoleRequest": consoleRequest{}, "ConsoleAnswer": consoleAnswer{}, "TokenRequest": tokenRequest{},
		"TokenAnswer": tokenAnswer{}, "ExportRequest": exportRequest{}, "ExportAnswer": exportAnswer{},
	} {
		var fields, required []string
		for f := range reflect.TypeOf(v).Fields() {
			field, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if fields = append(fields, field); options == "" {
				required = append(required, field)
			}
		}
		slices.Sort(fields)
		s := doc.Components.Schemas[name]
		if d := cmp.Diff(fields, slices.Sorted(maps.Keys(s.Properties))); d != "" {
			t.Errorf("%s: fields (-Go +openapi):\n%s", name, d)
		}
		if d := cmp.Diff(required, s.Required); d != "" {
			t.Errorf("%s: required (-Go +openapi):\n%s", name, d)
		}
	}
}
