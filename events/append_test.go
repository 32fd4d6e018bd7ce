package events

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

// appenders are the payloads that write their own JSON, empty.
func appenders(t testing.TB) []appender {
	var out []appender
	for _, typ := range Types() {
		p, err := typ.New()
		if err != nil {
			t.Fatal(err)
		}
		if a, ok := p.(appender); ok {
			out = append(out, a)
		}
	}
	if len(out) == 0 {
		t.Fatal("no payload writes its own JSON")
	}
	return out
}

// fields calls f with every field of the struct v, those of embedded ones included.
func fields(v reflect.Value, f func(name string, field reflect.Value)) {
	for i := range v.NumField() {
		if sf := v.Type().Field(i); sf.Anonymous {
			fields(v.Field(i), f)
		} else {
			f(sf.Name, v.Field(i))
		}
	}
}

// set fills a field with s and n, in the way of its type.
func set(t testing.TB, name string, f reflect.Value, s string, n int64) {
	switch p := f.Addr().Interface().(type) {
	case *string:
		*p = s
	case *[]string:
		*p = []string{s, "", s}
	case *int:
		*p = int(n)
	case *int64:
		*p = n
	case *time.Time:
		*p = time.Unix(n%(1<<33), n).In(time.FixedZone("", int(n%(24*3600))/60*60))
	case **DryRun:
		*p = &DryRun{Rule: s, Reason: s}
	case *json.RawMessage:
		*p, _ = json.Marshal(map[string]string{s: s})
	default:
		t.Fatalf("%s: what is a %T?", name, p)
	}
}

func same(t *testing.T, at string, a appender) {
	t.Helper()
	want, err := json.Marshal(a)
	if err != nil {
		t.Fatalf("%s: %v", at, err)
	}
	got, err := a.appendJSON([]byte("{"))
	if err != nil || string(got) != "{"+string(want) {
		t.Errorf("%s, error %v:\n got %s\nwant {%s", at, err, got, want)
	}
}

// Every field alone, with what needs an escape and what does not.
func TestAppendIsMarshal(t *testing.T) {
	for _, a := range appenders(t) {
		v := reflect.ValueOf(a).Elem()
		same(t, v.Type().Name()+", empty", a)
		fields(v, func(name string, f reflect.Value) {
			for _, s := range []string{"plain", `"\<>&`, "\x00\t\x7fé\u2028\xff", "%"} {
				set(t, name, f, s, int64(len(s))*1_234_567_891)
				same(t, v.Type().Name()+"."+name, a)
			}
			f.SetZero()
		})
	}
}

func FuzzAppendIsMarshal(f *testing.F) {
	f.Add("plain", "é\"", int64(1_700_000_000_000_000_001), uint64(0b1011))
	f.Add("\u2028", "\xff<", int64(-1), ^uint64(0))
	f.Fuzz(func(t *testing.T, s, other string, n int64, which uint64) {
		for _, a := range appenders(t) {
			i := 0
			fields(reflect.ValueOf(a).Elem(), func(name string, f reflect.Value) {
				if which>>(i%64)&1 == 1 {
					set(t, name, f, s, n)
				} else if i%3 == 0 {
					set(t, name, f, other, n>>1)
				}
				i++
			})
			if _, err := json.Marshal(a); err != nil {
				if b, err := a.appendJSON(nil); err == nil {
					t.Fatalf("written, where encoding/json refuses: %s", b)
				}
				continue
			}
			same(t, "all at once", a)
		}
	})
}
