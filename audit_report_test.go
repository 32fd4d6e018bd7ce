package main

import (
	"bytes"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/posternhq/postern/auditor/evidence"
	"github.com/posternhq/postern/auditor/tlog"
)

// Two witnesses that saw one checkpoint have not seen two.
func TestEachCheckpointIsWitnessed(t *testing.T) {
	cs := []tlog.Checkpoint{{Stream: "ACCESS", Size: 5, Note: []byte("a")}, {Stream: "AUDIT", Size: 9, Note: []byte("b")}}
	seen := map[string]bool{}
	for _, witness := range []string{"w1", "w2"} {
		if err := saw(cs, []tlog.Checkpoint{{Stream: "ACCESS", Size: 4}, cs[0], cs[0], {Stream: "AUDIT", Size: 8}}, witness, seen); err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) != 1 {
		t.Errorf("%d of 2 checkpoints are witnessed, want 1", len(seen))
	}
	if err := saw(cs, []tlog.Checkpoint{{Stream: "AUDIT", Size: 9, Root: tlog.Hash{1}}}, "w3", seen); err == nil || !strings.Contains(err.Error(), "witness w3") {
		t.Errorf("of a witness of another log: %v", err)
	}
}

// A finding that was resolved is not shown as if it were open.
func TestReportTellsWhatWasResolved(t *testing.T) {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	printSummary(w, &evidence.Summary{Findings: []evidence.Finding{{Kind: "missing", Severity: "medium", Summary: "late", OpenedAt: at, ResolvedAt: at}, {Kind: "bypass", Severity: "critical", Summary: "around", OpenedAt: at}}})
	_ = w.Flush()
	for _, want := range []string{"missing medium, resolved 2026-03-01 12:00:00Z: late", "bypass critical: around"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
