package awsreq

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	smithy "github.com/aws/smithy-go/encoding/cbor"
)

func alarms(t *testing.T, tab *Table, body []byte) Request {
	in := request(t, tab, "POST https://monitoring.us-east-1.amazonaws.com/service/GraniteServiceVersion20100801/operation/DeleteAlarms",
		http.Header{"Smithy-Protocol": {"rpc-v2-cbor"}, "Content-Type": {"application/cbor"}}, string(body))
	return tab.Recognize(in)
}

// TestCBOR: CloudWatch by Smithy RPC v2, as AWS's SDK for Go encodes it.
func TestCBOR(t *testing.T) {
	tab := newTable(t)
	list := func(names ...string) []byte {
		l := smithy.List{}
		for _, n := range names {
			l = append(l, smithy.String(n))
		}
		return smithy.Encode(smithy.Map{"AlarmNames": l, "Other": smithy.Map{"x": smithy.List{smithy.Uint(1 << 40), smithy.Float64(1), &smithy.Tag{ID: 1, Value: smithy.Uint(3)}, smithy.Slice("bytes"), &smithy.Nil{}, smithy.Bool(true)}}})
	}
	const alarm = "arn:aws:cloudwatch:us-east-1:" + account + ":alarm:"
	if r := alarms(t, tab, list("a", "b")); strings.Join(r.Resources, " ") != alarm+"a "+alarm+"b" || r.Ambiguous {
		t.Errorf("%v, ambiguous %v", r.Resources, r.Ambiguous)
	}
	long := strings.Repeat("n", 300)
	if r := alarms(t, tab, list(long)); strings.Join(r.Resources, " ") != alarm+long {
		t.Errorf("%v", r.Resources)
	}
	// Open-ended map, list and text, as other encoders write them.
	open := []byte("\xbf\x6aAlarmNames\x9f\x7f\x61a\x61b\xff\xff\xff")
	if r := alarms(t, tab, open); strings.Join(r.Resources, " ") != alarm+"ab" {
		t.Errorf("%v", r.Resources)
	}
	// A tag hides nothing: readers in Java pass over those that they don't know.
	for _, body := range []string{"\xa1\x6aAlarmNames\x82\x61a\xc6\x61b", "\xa1\x6aAlarmNames\xc6\x82\xc1\xd8\x2a\x61a\x61b"} {
		if r := alarms(t, tab, []byte(body)); strings.Join(r.Resources, " ") != alarm+"a "+alarm+"b" || r.Ambiguous {
			t.Errorf("tagged: %v, ambiguous %v", r.Resources, r.Ambiguous)
		}
	}
	for name, body := range map[string][]byte{
		"twice":    []byte("\xa2\x6aAlarmNames\x81\x61a\x6aAlarmNames\x81\x61b"),
		"cut":      list("a")[:8],
		"more":     append(list("a"), list("b")...),
		"no map":   []byte("\x81\x61a"),
		"endless":  []byte(strings.Repeat("\x9f", 1000)),
		"tags":     []byte("\xa1\x61x" + strings.Repeat("\xc1", 1000)),
		"overlong": []byte("\xa1\x7b\xff\xff\xff\xff\xff\xff\xff\xff"),
	} {
		if r := alarms(t, tab, body); !r.Ambiguous || len(r.Resources) > 0 {
			t.Errorf("%s: %v, ambiguous %v", name, r.Resources, r.Ambiguous)
		}
	}
}

// FuzzCBOR: whatever both this reader and the SDK's take for CBOR, they read alike.
func FuzzCBOR(f *testing.F) {
	f.Add([]byte("\xa1\x6aAlarmNames\x82\x61a\x61b"))
	f.Add([]byte("\xbf\x6aAlarmNames\x9f\x7f\x61a\x61b\xff\xff\xff"))
	f.Add([]byte("\xa2\x61x\xc1\x03\x61y\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\xa1\x6aAlarmNames\xc6\x82\x61a\xc6\x61b"))
	bare := func(v smithy.Value) smithy.Value {
		for {
			tag, ok := v.(*smithy.Tag)
			if !ok {
				return v
			}
			v = tag.Value
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p := params{o: &operation{members: "AlarmNames"}, seen: map[string]bool{}}
		p.addCBOR(body)
		if len(p.list) > 0 && len(body) == 0 {
			t.Error("something of nothing")
		}
		v, err := smithy.Decode(body)
		m, ok := v.(smithy.Map)
		if err != nil || !ok || p.doubt != "" {
			return
		}
		var want []string
		switch x := bare(m["AlarmNames"]).(type) {
		case smithy.String:
			want = []string{string(x)}
		case smithy.List:
			for _, e := range x {
				if s, ok := bare(e).(smithy.String); ok {
					want = append(want, string(s))
				}
			}
		}
		want = slices.DeleteFunc(want, func(s string) bool { return s == "" })
		var got []string
		for _, e := range p.list {
			got = append(got, e.value)
		}
		if !slices.Equal(got, want) && len(got) < maxParams {
			t.Errorf("%x is read as %q, by the SDK as %q", body, got, want)
		}
	})
}
