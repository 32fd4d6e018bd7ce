package main

import (
	"strings"
	"testing"

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
