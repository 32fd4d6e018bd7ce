package auditor

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
)

// Every route is described, and nothing else is: with the token, where one will do, and with
// the formats, where there are others than JSON.
func TestOpenAPIRoutes(t *testing.T) {
	var doc struct {
		Paths map[string]map[string]struct {
			Parameters []struct {
				Name string `json:"name"`
				Ref  string `json:"$ref"`
			} `json:"parameters"`
			Security []map[string]any `json:"security"`
		} `json:"paths"`
		Components struct {
			Parameters map[string]struct {
				Name string `json:"name"`
			} `json:"parameters"`
		} `json:"components"`
	}
	if err := json.Unmarshal(openAPI, &doc); err != nil {
		t.Fatal(err)
	}
	type route struct{ token, rows bool }
	described := map[string]route{}
	for path, methods := range doc.Paths {
		for method, o := range methods {
			r := route{token: slices.ContainsFunc(o.Security, func(s map[string]any) bool { return s["token"] != nil })}
			for _, p := range o.Parameters {
				if p.Ref != "" {
					p.Name = doc.Components.Parameters[p.Ref[strings.LastIndexByte(p.Ref, '/')+1:]].Name
				}
				r.rows = r.rows || p.Name == "format"
			}
			described[strings.ToUpper(method)+" "+path] = r
		}
	}
	served := map[string]route{}
	add := func(pattern string, to power, rows bool) {
		pattern = strings.ReplaceAll(pattern, "...}", "}")
		served[pattern] = route{token: reader{token: true}.may(to) == nil, rows: rows}
	}
	a := &Auditor{}
	for _, q := range a.questions() {
		add(q.pattern, q.to, q.rows)
	}
	for _, s := range a.streams() {
		add(s.pattern, s.to, s.pattern == "GET /v1/audit/events") // CloudEvents or OCSF
	}
	if !maps.Equal(described, served) {
		t.Errorf("openapi.json describes\n%v,\nand there is\n%v", described, served)
	}
}
