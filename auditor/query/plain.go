package query

import (
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// scan reads a row in values fit for JSON. What the driver has no value for is the
// statement's to turn into text.
func scan(rows driver.Rows, types []driver.ColumnType) (row []any, err error) {
	at := 0
	fail := func(why any) error {
		if at < len(types) {
			return &SQLError{Message: fmt.Sprintf("column %s of type %s can't be shown: write toString(…) or toJSONString(…) of it (%v)", types[at].Name(), types[at].DatabaseTypeName(), why)}
		}
		return &SQLError{Message: fmt.Sprintf("the answer can't be shown: write toString(…) or toJSONString(…) of what is nested (%v)", why)}
	}
	defer func() { // of keys that Go can't have in a map
		if p := recover(); p != nil {
			row, err = nil, fail(p)
		}
	}()
	row = make([]any, len(types))
	for ; at < len(types); at++ {
		row[at] = reflect.New(types[at].ScanType()).Interface()
	}
	if err := rows.Scan(row...); err != nil {
		return nil, fail(err)
	}
	for at = range row {
		row[at] = plain(reflect.ValueOf(row[at]).Elem())
		if _, err := json.Marshal(row[at]); err != nil {
			return nil, fail(err)
		}
	}
	return row, nil
}

// plain makes a value fit for JSON: numbers that it does not have, such as NaN, and
// those beyond 64 bits are text; keys of maps are text.
func plain(v reflect.Value) any {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return nil
		}
		if n, ok := v.Interface().(*big.Int); ok {
			return n.String()
		}
		v = v.Elem()
	}
	if !v.IsValid() {
		return nil
	}
	switch x := v.Interface().(type) {
	case time.Time:
		return x
	case big.Int:
		return x.String()
	case interface{ NestedMap() map[string]any }: // JSON
		return plain(reflect.ValueOf(x.NestedMap()))
	case interface{ Any() any }: // Dynamic, Variant
		return plain(reflect.ValueOf(x.Any()))
	case json.Marshaler, fmt.Stringer:
		return x
	}
	if v.CanAddr() {
		switch x := v.Addr().Interface().(type) {
		case interface{ NestedMap() map[string]any }:
			return plain(reflect.ValueOf(x.NestedMap()))
		case interface{ Any() any }:
			return plain(reflect.ValueOf(x.Any()))
		}
	}
	switch v.Kind() {
	case reflect.Float32, reflect.Float64:
		if f := v.Float(); f != f || f-f != 0 {
			return strconv.FormatFloat(f, 'g', -1, 64)
		}
	case reflect.Slice, reflect.Array: // Array(UInt8) too, which JSON would make text of
		out := make([]any, v.Len())
		for i := range out {
			out[i] = plain(v.Index(i))
		}
		return out
	case reflect.Map:
		out := make(map[string]any, v.Len())
		for k, x := range v.Seq2() {
			out[text(plain(k))] = plain(x)
		}
		return out
	}
	return v.Interface()
}
