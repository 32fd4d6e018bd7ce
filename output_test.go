package main

import (
	"bytes"
	"testing"

	"github.com/posternhq/postern/auditor/query"
)

// TestJSONIsOneObjectOrNDJSON: what prints a list prints an object a line, none for none.
func TestJSONIsOneObjectOrNDJSON(t *testing.T) {
	type row struct {
		A int `json:"a"`
	}
	for want, v := range map[string]any{
		"{\"a\":1}\n":            row{1},
		"{\"a\":1}\n{\"a\":2}\n": []row{{1}, {2}},
		"":                       []*row{},
		"{\"f\":\"audit.>\"}\n":  map[string]string{"f": "audit.>"},
	} {
		var out bytes.Buffer
		if err := (&cli{stdout: &out, format: "json"}).print(v, nil); err != nil || out.String() != want {
			t.Errorf("%+v: got %q, %v; want %q", v, out.String(), err, want)
		}
	}
}

// Rows of SQL are JSON as all else that postern prints.
func TestSQLAsJSON(t *testing.T) {
	var out bytes.Buffer
	table := &query.Table{Columns: []query.Column{{Name: "filter"}}, Rows: [][]any{{"a<b> & c"}}}
	if err := (&cli{stdout: &out, format: "json"}).printTable(table); err != nil || out.String() != "{\"filter\":\"a<b> & c\"}\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}
