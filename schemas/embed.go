// Package schemas carries the contract with streaming consumers: the JSON
// Schema of every event's payload and the AsyncAPI description of the streams.
// It imports nothing of postern's; that the schemas agree with package events is
// shown by tests there.
package schemas

import (
	"embed"
	"fmt"
)

//go:embed events/*.json
var files embed.FS

//go:embed asyncapi.yaml
var asyncAPI string

// Event gives the JSON Schema (2020-12) of one event type's payload. name is what
// events.Type.SchemaFile gives: "session.started.v1.json". The error wraps
// fs.ErrNotExist.
func Event(name string) ([]byte, error) {
	b, err := files.ReadFile("events/" + name)
	if err != nil {
		return nil, fmt.Errorf("schema of event %q: %w", name, err)
	}
	return b, nil
}

// Events lists the names of all event schemas.
func Events() ([]string, error) {
	entries, err := files.ReadDir("events")
	if err != nil {
		return nil, fmt.Errorf("schemas of events: %w", err)
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// AsyncAPI gives the AsyncAPI 3.0 description of the streams, in YAML. Its
// references to payload schemas are relative: "events/NAME".
func AsyncAPI() []byte { return []byte(asyncAPI) }
