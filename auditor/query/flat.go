package query

import (
	"reflect"
	"strings"
	"time"
)

// Flat makes a table of a list of structs: a column for each field, by its JSON
// name; those of a struct within have its name before theirs.
func Flat[T any](list []T) *Table {
	t := &Table{Rows: make([][]any, len(list))}
	columns(reflect.TypeFor[T](), "", &t.Columns)
	for i := range list {
		t.Rows[i] = cells(reflect.ValueOf(&list[i]).Elem(), reflect.TypeFor[T](), make([]any, 0, len(t.Columns)))
	}
	return t
}

func columns(typ reflect.Type, prefix string, into *[]Column) {
	for f := range typ.Fields() {
		name := fieldName(f)
		switch within := inner(f.Type); {
		case name == "":
		case within != nil:
			columns(within, prefix+name+"_", into)
		default:
			*into = append(*into, Column{prefix + name, columnType(f.Type)})
		}
	}
}

// cells appends the fields of v, which is not valid where there is no struct.
func cells(v reflect.Value, typ reflect.Type, into []any) []any {
	for f := range typ.Fields() {
		if fieldName(f) == "" {
			continue
		}
		var x reflect.Value
		if v.IsValid() {
			x = v.FieldByIndex(f.Index)
		}
		if x.IsValid() && x.Kind() == reflect.Pointer {
			x = x.Elem()
		}
		switch within := inner(f.Type); {
		case within != nil:
			into = cells(x, within, into)
		case !x.IsValid():
			into = append(into, nil)
		case x.Kind() == reflect.Slice && x.IsNil(): // JSON, which it came by, may leave out an empty list
			into = append(into, reflect.MakeSlice(x.Type(), 0, 0).Interface())
		default:
			into = append(into, x.Interface())
		}
	}
	return into
}

// fieldName is "" for what JSON doesn't have either, and for raw JSON.
func fieldName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	if name == "-" || f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Uint8 {
		return ""
	}
	return name
}

// inner is the struct that a field has fields of.
func inner(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t == reflect.TypeFor[time.Time]() {
		return nil
	}
	return t
}

func columnType(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[time.Time]():
		return "DateTime64(6, 'UTC')"
	case t.Kind() == reflect.Slice:
		return "Array(String)"
	case t.Kind() == reflect.String:
		return "String"
	case t.Kind() == reflect.Bool:
		return "Bool"
	case t.Kind() == reflect.Float32, t.Kind() == reflect.Float64:
		return "Float64"
	case t.Kind() >= reflect.Uint:
		return "UInt64"
	}
	return "Int64"
}
