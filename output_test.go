package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"go.yaml.in/yaml/v3"

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

// YAML is of all that JSON is, whatever characters somebody has put into it.
func TestYAMLOfAnyJSON(t *testing.T) {
	type all struct {
		Text  string          `json:"text" yaml:"text"`
		Raw   json.RawMessage `json:"raw" yaml:"-"`
		List  []any           `json:"list" yaml:"list"`
		Empty []string        `json:"empty" yaml:"empty"`
	}
	v := all{Text: "a\x00\x1b\u007f\u009b\u2028\u202e\ufeff\ufffe\uffff\U0001f600é: #", Raw: json.RawMessage(`{"z":"\ud83d\ude00","a":[]}`),
		List: []any{"1", "true", "null", "", 1, 1.5, 1e21, true, nil, map[string]any{}, "two\nlines"}, Empty: []string{}}
	var out bytes.Buffer
	if err := (&cli{stdout: &out, format: "yaml"}).print(v, nil); err != nil {
		t.Fatal(err)
	}
	var got struct {
		all `yaml:",inline"`
		Raw yaml.Node `yaml:"raw"`
	}
	err := yaml.Unmarshal(out.Bytes(), &got)
	if err != nil || got.Text != v.Text || fmt.Sprint(got.List) != fmt.Sprint(v.List) || got.Empty == nil || len(got.Empty) > 0 ||
		got.Raw.Content[0].Value != "z" || got.Raw.Content[1].Value != "\U0001f600" {
		t.Errorf("%+v, %v of\n%s", got, err, out.String())
	}
}
