package events

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// encoded are the golden events as Encode writes them.
func encoded(t testing.TB) [][]byte {
	files, err := filepath.Glob("eventstest/golden/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden events: %v", err)
	}
	var out [][]byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		e, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if b, err = Encode(e); err != nil {
			t.Fatal(err)
		}
		out = append(out, b)
	}
	return out
}

func TestQuickDecodeReadsWhatEncodeWrites(t *testing.T) {
	for _, b := range encoded(t) {
		if _, _, _, ok := quickDecode(b); !ok {
			t.Errorf("left to the SDK: %s", b)
		}
	}
}

// FuzzQuickDecode: what the quick way accepts, the SDK reads the same.
func FuzzQuickDecode(f *testing.F) {
	for _, b := range encoded(f) {
		f.Add(b)
	}
	f.Add([]byte(`{"specversion":"1.0","id":"1","id":"2","source":"/s","type":"x","data":{}}`))
	f.Add([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"x","time":"2026-01-02T03:04:05+01:00","datacontenttype":"application/json","sequence":"07","data":{"a":"}\"]"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, typ, data, ok := quickDecode(b)
		if !ok || !json.Valid(b) {
			return // not JSON: the data's decoder says so
		}
		want, wantType, wantData, err := sdkDecode(b)
		if err != nil {
			t.Fatalf("the SDK refuses %s: %v", b, err)
		}
		var x, y bytes.Buffer
		if err := json.Compact(&x, data); err != nil {
			t.Fatal(err)
		}
		if err := json.Compact(&y, wantData); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, e); diff != "" || typ != wantType || x.String() != y.String() {
			t.Fatalf("%s\nSDK (-), quick (+): %s\ntypes %s, %s\ndata %s\n%s", b, diff, wantType, typ, y.String(), x.String())
		}
	})
}

// The payloads of which there are many are read the quick way.
func TestQuickPayloadReadsWhatEncodeWrites(t *testing.T) {
	quick := 0
	for _, b := range encoded(t) {
		_, typ, data, _ := quickDecode(b)
		p, err := typ.New()
		if err != nil {
			t.Fatal(err)
		}
		q, ok := p.(quickFields)
		if !ok || bytes.Contains(data, []byte(`"dry_run"`)) || bytes.Contains(data, []byte(`"parameters"`)) {
			continue
		}
		if before, _, ok := bytes.Cut(data, []byte(`,"raw":`)); ok { // of files that are not compact, as AWS's are
			data = append(before, '}')
		}
		if quick++; !quickPayload(data, "", q) {
			t.Errorf("left to encoding/json: %s", data)
		}
	}
	if quick < 16 {
		t.Errorf("%d of the golden events were read the quick way", quick)
	}
}

// FuzzQuickPayload: what the quick way accepts, encoding/json reads the same.
func FuzzQuickPayload(f *testing.F) {
	for _, b := range encoded(f) {
		_, typ, data, _ := quickDecode(b)
		f.Add(string(typ), data)
	}
	for typ, list := range map[Type][]string{
		TypeSessionStarted: {`{"roles":[{"name":"a","revision":1}],"roles":[{"name":"b"}]}`, `{"app_labels":{"a":"b","a":"c"},"app_labels":{"d":"e"}}`, `{"app_labels":{}}`,
			`{"roles":[{"revision":1000000000000000000}]}`, `{"roles":[]}`, `{"roles":[null]}`, `{"permissions":[{"dry_run":true,"actions":["*",]}]}`, `{"rate_limits":[{"rate":1,"Rate":2}]}`},
		TypeUserUpdated:              {`{"traits":{"a":["b"],"a":[]},"expires_at":"2026-01-02T03:04:05Z","expires_at":"2027-01-02T03:04:05Z"}`, `{"disabled":truefalse}`, `{"disabled":True}`},
		TypeLockPlaced:               {`{"target":{"kind":"user"},"target":{"name":"a"}}`, `{"target":{},"lock_id":"\u0041"}`},
		TypeCloudTrailRecordReceived: {`{"record":{"a":[1,]}}`, `{"record":{"a":"\\u00zz"}}`, `{"record":[]}`, `{"record":{"a":1},"record":{"b":{}}}`, `{"record":{}x}`, `{"position":-1}`},
		TypeVerdictReached:           {`{"at":"2026-01-02T03:04:05.000000001Z","verdict":"matched","verdict":"missing"}`},
		TypeRequestReviewed:          {`{"thresholds":[0,1],"thresholds":[2]}`, `{"thresholds":[-1]}`},
	} {
		for _, data := range list {
			f.Add(string(typ), []byte(data))
		}
	}
	for _, data := range []string{`{}`, `{"status":-0}`, `{"status":007}`, `{"status":1e2}`, `{"User":"x"}`, `{"user":"a","user":"b"}`, `{"resources":["a",]}`, `{"resources":[]}`,
		`{"received_at":"2026-01-02T03:04:05+01:00"}`, `{"received_at":"2026-01-02T24:04:05Z"}`, `{"user":null}`, `{"role":"x"} `} {
		f.Add(string(TypeAWSRequestCompleted), []byte(data))
	}
	f.Fuzz(func(t *testing.T, typ string, data []byte) {
		got, err := Type(typ).New()
		if err != nil {
			return
		}
		q, ok := got.(quickFields)
		if !ok || !quickPayload(data, "", q) {
			return
		}
		if shared, err := DecodePayload(Type(typ), data, string(data)); err != nil || !cmp.Equal(shared, got) {
			t.Fatalf("%s\nwith texts shared: %v, %+v", data, err, shared)
		}
		want, _ := Type(typ).New()
		if err := json.Unmarshal(data, want); err != nil {
			t.Fatalf("encoding/json refuses %s: %v", data, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s\nencoding/json (-), quick (+): %s", data, diff)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	event, err := os.ReadFile("eventstest/golden/" + string(TypeAWSRequestCompleted) + ".json")
	if err != nil {
		b.Fatal(err)
	}
	e, err := Decode(event)
	if err != nil {
		b.Fatal(err)
	}
	if event, err = Encode(e); err != nil {
		b.Fatal(err)
	}
	for name, decode := range map[string]func([]byte) (Event, Type, []byte, error){
		"ours": func(b []byte) (Event, Type, []byte, error) { e, t, d, _ := quickDecode(b); return e, t, d, nil },
		"SDK":  sdkDecode,
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(event)))
			for b.Loop() {
				_, typ, data, err := decode(event)
				if err == nil {
					_, err = DecodePayload(typ, data, "")
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
