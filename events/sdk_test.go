package events_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/events"
)

// TestEncodeWritesWhatTheSDKWrites holds our encoder to the CloudEvents SDK.
func TestEncodeWritesWhatTheSDKWrites(t *testing.T) {
	files, err := filepath.Glob("eventstest/golden/*.json")
	if err != nil || len(files) < len(events.Types()) {
		t.Fatalf("%d golden events, error %v", len(files), err)
	}
	for _, f := range files {
		golden, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		e, err := events.Decode(golden)
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		ours, err := events.Encode(e)
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		var ce cloudevents.Event
		if err := json.Unmarshal(ours, &ce); err != nil {
			t.Fatalf("%s: the SDK can't read it: %v", f, err)
		}
		if err := ce.Validate(); err != nil {
			t.Fatalf("%s: the SDK says it is invalid: %v", f, err)
		}
		theirs, err := json.Marshal(ce)
		if err != nil {
			t.Fatal(err)
		}
		var a, b any
		if err := json.Unmarshal(ours, &a); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(theirs, &b); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(b, a); diff != "" {
			t.Errorf("%s: SDK (-), ours (+):\n%s", f, diff)
		}
	}
}
