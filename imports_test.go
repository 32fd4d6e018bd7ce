package main

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/posternhq/postern/"

// TestImportDirections holds the rooms apart (docs/architecture.md): what a room
// may import of this module, besides its own packages.
func TestImportDirections(t *testing.T) {
	rooms := map[string][]string{
		"events":          {},
		"events/ocsf":     {"events"},
		"events/journal":  {"events", "events/signed"},
		"schemas":         {},
		"broker":          {"events", "events/journal", "events/ocsf", "events/signed", "events/trouble"},
		"proxy":           {"events", "events/journal", "events/signed", "events/trouble"},
		"auditor":         {"events", "events/journal", "events/ocsf", "events/signed", "events/trouble"},
		"deploy/embedded": {},
		"deploy/simaws":   {},
	}
	pure := []string{"events/ocsf", "broker/access", "broker/policy", "proxy/grants", "proxy/awsreq", "auditor/correlate"}

	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,Standard", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		path, inModule := strings.CutPrefix(p.ImportPath, module)
		if !inModule || strings.HasPrefix(path, "events/eventstest") || strings.HasSuffix(path, "test") {
			continue // package main and what only tests import may cross rooms
		}
		room := roomOf(path, rooms)
		if room == "" {
			t.Errorf("%s is in no room: add it to docs/architecture.md and here", path)
			continue
		}
		checked++
		for _, i := range p.Imports {
			ours, inModule := strings.CutPrefix(i, module)
			switch {
			case inModule && roomOf(ours, rooms) != room && !slices.Contains(rooms[room], ours):
				t.Errorf("%s imports %s: %s may import %v and itself", path, ours, room, rooms[room])
			case slices.Contains(pure, path) && inModule && ours != "events" && !strings.HasPrefix(ours, path+"/") && !slices.Contains(pure, ours):
				t.Errorf("%s is pure and imports %s", path, ours)
			case slices.Contains(pure, path) && !inModule && strings.Contains(strings.Split(i, "/")[0], "."):
				t.Errorf("%s is pure and imports %s", path, i)
			case room == "events" && !inModule && strings.Contains(strings.Split(i, "/")[0], ".") && !strings.HasPrefix(i, "github.com/cloudevents/sdk-go/"):
				t.Errorf("events imports %s: the standard library and the CloudEvents SDK only", i)
			case strings.HasPrefix(i, "github.com/nats-io/nats.go/jetstream") && room != "events/journal" && room != "deploy/embedded":
				t.Errorf("%s imports %s: journal is the only JetStream code", path, i)
			}
		}
	}
	if checked < 10 {
		t.Fatalf("only %d packages were checked", checked)
	}
}

// roomOf returns the longest room that holds a package.
func roomOf(path string, rooms map[string][]string) string {
	best := ""
	for r := range rooms {
		if (path == r || strings.HasPrefix(path, r+"/")) && len(r) > len(best) {
			best = r
		}
	}
	return best
}
