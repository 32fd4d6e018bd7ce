package query

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"
)

// WriteCSV writes the table with a heading (RFC 4180): NULL is empty, lists are JSON, and
// text that a spreadsheet would run has an apostrophe before it.
func (t *Table) WriteCSV(w io.Writer) error {
	out := csv.NewWriter(w)
	out.UseCRLF = true
	record := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		record[i] = c.Name
	}
	if err := out.Write(record); err != nil {
		return err
	}
	for _, row := range t.Rows {
		for i, v := range row {
			if record[i] = text(v); formula(record[i]) {
				record[i] = "'" + record[i]
			}
		}
		if err := out.Write(record); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// formula says whether spreadsheets may take text for more than text: what users send, such
// as the name of their client, stands in these files
// (https://owasp.org/www-community/attacks/CSV_Injection).
func formula(s string) bool {
	if len(s) < 2 || !strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return false
	}
	_, err := strconv.ParseFloat(s, 64)
	return err != nil
}

// text is a cell as people read it.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	var s string
	if b[0] == '"' && json.Unmarshal(b, &s) == nil { // a UUID, an address, a decimal number
		return s
	}
	return string(b)
}

// WriteParquet writes the table as one Parquet file: whole numbers of up to 64
// bits, floats, booleans and points in time (microseconds, UTC) as such, all else
// as text, lists as JSON. Every column is optional. Of two columns with one name
// the second is called name_2.
func (t *Table) WriteParquet(w io.Writer) error {
	group := ordered{Group: parquet.Group{}}
	for _, c := range t.Columns {
		name := c.Name
		for n := 2; group.Group[name] != nil; n++ {
			name = c.Name + "_" + strconv.Itoa(n)
		}
		group.Group[name] = parquet.Optional(leaf(c.Type))
		group.names = append(group.names, name)
	}
	out := parquet.NewWriter(w, parquet.NewSchema("rows", group), parquet.Compression(&parquet.Zstd))
	row := make(parquet.Row, len(t.Columns))
	for n, values := range t.Rows {
		for i, v := range values {
			p, err := value(t.Columns[i].Type, v)
			if err != nil {
				return fmt.Errorf("row %d, column %s: %w", n+1, t.Columns[i].Name, err)
			}
			defined := 1
			if p.IsNull() {
				defined = 0
			}
			row[i] = p.Level(0, defined, i)
		}
		if _, err := out.WriteRows([]parquet.Row{row}); err != nil {
			return err
		}
	}
	return out.Close()
}

// ordered keeps columns in the order of the question.
type ordered struct {
	parquet.Group
	names []string
}

func (o ordered) Fields() []parquet.Field {
	by := map[string]parquet.Field{}
	for _, f := range o.Group.Fields() {
		by[f.Name()] = f
	}
	out := make([]parquet.Field, len(o.names))
	for i, name := range o.names {
		out[i] = by[name]
	}
	return out
}

// plainType is a ClickHouse type without what wraps it.
func plainType(typ string) string {
	for {
		within, ok := strings.CutPrefix(typ, "Nullable(")
		if !ok {
			if within, ok = strings.CutPrefix(typ, "LowCardinality("); !ok {
				break
			}
		}
		typ = strings.TrimSuffix(within, ")")
	}
	name, _, _ := strings.Cut(typ, "(")
	return name
}

func leaf(typ string) parquet.Node {
	switch plainType(typ) {
	case "Int8", "Int16", "Int32", "Int64":
		return parquet.Int(64)
	case "UInt8", "UInt16", "UInt32", "UInt64":
		return parquet.Uint(64)
	case "Float32", "Float64":
		return parquet.Leaf(parquet.DoubleType)
	case "Bool":
		return parquet.Leaf(parquet.BooleanType)
	case "DateTime", "DateTime64":
		return parquet.Timestamp(parquet.Microsecond)
	}
	return parquet.String()
}

// value takes a cell as it comes out of ClickHouse or out of JSON.
func value(typ string, v any) (parquet.Value, error) {
	if v == nil {
		return parquet.NullValue(), nil
	}
	s := text(v)
	switch plainType(typ) {
	case "Int8", "Int16", "Int32", "Int64":
		n, err := strconv.ParseInt(s, 10, 64)
		return parquet.Int64Value(n), err
	case "UInt8", "UInt16", "UInt32", "UInt64":
		n, err := strconv.ParseUint(s, 10, 64)
		return parquet.Int64Value(int64(n)), err
	case "Float32", "Float64":
		n, err := strconv.ParseFloat(s, 64)
		return parquet.DoubleValue(n), err
	case "Bool":
		b, err := strconv.ParseBool(s)
		return parquet.BooleanValue(b), err
	case "DateTime", "DateTime64":
		at, err := time.Parse(time.RFC3339Nano, s)
		return parquet.Int64Value(at.UnixMicro()), err
	}
	return parquet.ByteArrayValue([]byte(s)), nil
}
