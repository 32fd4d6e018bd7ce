package cloudtrail

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func agree(t *testing.T, b []byte) {
	t.Helper()
	got, err := Parse(b)
	if errors.Is(err, errDepth) {
		return
	}
	if err != nil && !errors.Is(err, ErrNotRecord) {
		t.Fatal(err)
	}
	want, ok := reference(b)
	if ok != (err == nil) {
		t.Fatalf("%q: %v, encoding/json takes it: %v", b, err, ok)
	}
	if !ok {
		return
	}
	if want.RecipientAccountID == "" {
		want.RecipientAccountID = want.Identity.AccountID
	}
	if want.EventID == "" {
		want.EventID = got.EventID
	}
	if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Record{})); d != "" {
		t.Fatalf("%q: %s", b, d)
	}
	if name, rule := got.Identity.User(); (name == "") != (rule == "") || got.EventID == "" {
		t.Fatalf("%q: %q by %q, id %q", b, name, rule, got.EventID)
	}
	// What received believes of a record: it travels as it is.
	if got.compact && !escapes(b) {
		if on, err := json.Marshal(json.RawMessage(b)); err != nil || string(on) != string(b) {
			t.Fatalf("%q would travel as %q, %v", b, on, err)
		}
	}
}

// The scanner reads what encoding/json reads, and refuses what it refuses.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"eventName":"A","userIdentity":{"type":"AssumedRole","arn":"arn:aws:sts::1:assumed-role/r/s"}}`,
		`{"eventName":"A","userIdentity":{"type":"Unknown","principalId":":"},"resources":[{}]}`,
		`{"eventName":"A","userIdentity":{"type":"a","sessionContext":{"sourceIdentity":"x"}},"userIdentity":{"type":7}}`,
		`{"eventN\u0061me":"\u00e9\ud83d\ude00\"\\\/\b","resources":[{"ARN":"a"},{"arn":"b","ARN":null},7,{"resourceName":"c"},[{"ARN":"d"}]],"resources":[{"ARN":"e"}]}`,
		`{"eventName":"é` + "\xff" + `","readOnly":"TRUE","managementEvent":true,"errorCode":{"a":[1,-0.5e+3,false,null]}}`,
		`{"eventName":"A","responseElements":{"credentials":{"accessKeyId":"ASIA"}},"errorMessage":-0}`,
		`{"eventName" : "A" }x`, `{"eventName":"A","x":01}`, `{"eventName":"A","x":tru}`, "{\"eventName\":\"A\n\"}", `{"eventName":"\u12g4"}`,
		`{"eventName":"A",}`, `{"eventName":"A","x":[1,]}`, `{,}`, `{"eventName":"A","x":1.}`, `{"eventName":"A","x":-}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(agree)
}

func TestRealRecords(t *testing.T) {
	for _, b := range realRecords(t) {
		agree(t, b)
	}
}
