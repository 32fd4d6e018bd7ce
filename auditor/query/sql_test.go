package query_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
)

// Whatever ClickHouse answers is written as JSON, or refused to the one who asked.
func TestSQLAnswers(t *testing.T) {
	_, dsn := tables(t)
	sql := query.NewSQL(embeddedtest.Open(t, embeddedtest.ReaderDSN(t, dsn)), query.Limits{})
	for _, x := range []struct{ statement, want string }{
		{"SELECT nan, 1.5, -inf", `["NaN",1.5,"-Inf"]`},
		{"SELECT [nan, 1.5]", `[["NaN",1.5]]`},
		{"SELECT map('a', nan)", `[{"a":"NaN"}]`},
		{"SELECT tuple(nan, 'x', 1)", `[["NaN","x",1]]`},
		{"SELECT [tuple(1, [inf])]", `[[[1,["+Inf"]]]]`},
		{"SELECT map(1, 'a', 2, 'b')", `[{"1":"a","2":"b"}]`},
		{"SELECT map(toDate('2026-03-01'), 1)", `[{"2026-03-01T00:00:00Z":1}]`},
		{"SELECT toInt128(-1), toUInt256(2), [toInt256(3)]", `["-1","2",["3"]]`},
		{"SELECT toUInt64(18446744073709551615), toUInt8(1), [toUInt8(1), 2]", `[18446744073709551615,1,[1,2]]`},
		{"SELECT NULL, toNullable(1), [NULL, 1], CAST([], 'Array(String)')", `[null,1,[null,1],[]]`},
		{"SELECT toUUID('11111111-1111-1111-1111-111111111111'), toIPv4('192.0.2.1'), toDecimal64(1.5, 2)", `["11111111-1111-1111-1111-111111111111","192.0.2.1","1.5"]`},
		{"SELECT toDateTime64('2026-03-01 12:00:00.5', 3, 'UTC'), true, CAST('a' AS Enum8('a' = 1))", `["2026-03-01T12:00:00.5Z",true,"a"]`},
		{`SELECT '{"a":{"b":1},"c":[1,2]}'::JSON`, `[{"a":{"b":1},"c":[1,2]}]`},
		{"SELECT 'a FORMAT JSON' AS format, `format` LIKE '%x' -- FORMAT JSON", `["a FORMAT JSON",0]`},
		{"SELECT 'x' AS format ORDER BY format DESC", `["x"]`},
		{"SELECT 'x' AS FORMAT ORDER BY FORMAT DESC", `["x"]`},
		{"SELECT $$a FORMAT CSV$$", `["a FORMAT CSV"]`},
		{"SELECT 'it''s FORMAT CSV' AS `INTO OUTFILE ``x`", `["it's FORMAT CSV"]`},
		{"SELECT format('{}{}', 'a', 'b')", `["ab"]`},
	} {
		a, err := sql.Run(t.Context(), x.statement)
		if err != nil {
			t.Errorf("%s: %v", x.statement, err)
			continue
		}
		if b, err := json.Marshal(a.Rows[0]); err != nil || string(b) != x.want {
			t.Errorf("%s: %s, %v, want %s", x.statement, b, err, x.want)
		}
	}
	var refused *query.SQLError
	if _, err := sql.Run(t.Context(), "SELECT map(tuple(1), 1)"); !errors.As(err, &refused) || !strings.Contains(refused.Message, "toString") {
		t.Errorf("a key that is no text: %v", err)
	}
	// The connection is as good as before.
	if _, err := sql.Run(t.Context(), "SELECT 1"); err != nil {
		t.Error(err)
	}
	var bad *query.BadInput
	for _, statement := range []string{"SELECT 1 FORMAT JSON", "SELECT 1 format JSONEachRow;", "SELECT 1 INTO OUTFILE '/tmp/x'", "SELECT 1 FORMAT CSV SETTINGS max_threads = 1",
		"SELECT 1 SETTINGS max_threads = 1 FORMAT TSKV", "SELECT 1 FORMAT /* x */ `Form`", "SELECT 1 INTO OUTFILE 'x' TRUNCATE", "EXPLAIN SELECT 1 FORMAT CSV"} {
		if _, err := sql.Run(t.Context(), statement); !errors.As(err, &bad) || !strings.Contains(bad.Reason, "--format") {
			t.Errorf("%s: %v", statement, err)
		}
	}
}

// As files have it, text is as it reads, of whatever type.
func TestSQLAsFile(t *testing.T) {
	_, dsn := tables(t)
	sql := query.NewSQL(embeddedtest.Open(t, embeddedtest.ReaderDSN(t, dsn)), query.Limits{})
	a, err := sql.Run(t.Context(), `SELECT toUUID('11111111-1111-1111-1111-111111111111') AS u, toIPv4('192.0.2.1') AS v4, toIPv6('2001:db8::1') AS v6, toDecimal64(1.5, 2) AS d,
		toInt128(-1) AS n, map(toUUID('11111111-1111-1111-1111-111111111111'), 1) AS m, ['a'] AS l, NULL AS x`)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := a.WriteCSV(&b); err != nil {
		t.Fatal(err)
	}
	const want = "u,v4,v6,d,n,m,l,x\r\n" +
		`11111111-1111-1111-1111-111111111111,192.0.2.1,2001:db8::1,1.5,-1,"{""11111111-1111-1111-1111-111111111111"":1}","[""a""]",` + "\r\n"
	if b.String() != want {
		t.Errorf("%s, want %s", b.String(), want)
	}
}
