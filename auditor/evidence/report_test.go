package evidence

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/posternhq/postern/auditor/tlog"
)

// The report of a bundle that another release made can't be compared with what this one
// tells; one that says to be of this one's rules, or of none, has to be what they say.
func TestReportOfAnotherRelease(t *testing.T) {
	key, err := tlog.LoadKey(filepath.Join(t.TempDir(), "key"), "example.com/postern")
	if err != nil {
		t.Fatal(err)
	}
	for report, want := range map[string]int{
		fmt.Sprintf(`{"version": %d, "more": 1}`, summaryVersion+1): summaryVersion + 1,
		fmt.Sprintf(`{"version": %d, "more": 1}`, summaryVersion):   -1,
		`{"subject": {}}`: -1, `{"version": -1}`: -1, `{"version": "2"}`: -1, `nothing`: -1, ``: -1,
	} {
		b := &Bundle{Subject: Subject{Request: "Q1"}, Made: time.Unix(1, 0).UTC()}
		files := map[string][]byte{readmeName: []byte(readme), reportName: []byte(report)}
		text, err := manifest(b, files)
		if err != nil {
			t.Fatal(err)
		}
		if files[manifestName], err = key.Sign(bundleKey, text); err != nil {
			t.Fatal(err)
		}
		file, err := zipped(files)
		if err != nil {
			t.Fatal(err)
		}
		switch got, err := Open(file, key.Public()); {
		case want < 0 && err == nil:
			t.Errorf("report %s passes", report)
		case want > 0 && (err != nil || got.OtherReport != want):
			t.Errorf("report %s: %+v, %v", report, got, err)
		}
	}
}
