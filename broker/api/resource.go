package api

import "encoding/json"

// ResourceResult says what became of one document of a resource file.
type ResourceResult struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Verb is "created", "updated" or "unchanged".
	Verb     string `json:"verb"`
	Revision uint64 `json:"revision"`
}

// ResourcesApplied answers a resource file.
type ResourcesApplied struct {
	Resources []ResourceResult `json:"resources"`
	// Warnings name what was accepted and has no effect, with file and line.
	Warnings []string `json:"warnings,omitempty"`
}

// Resources answers a read: the same documents as YAML files hold, as JSON. With
// "Accept: application/yaml" the broker sends them as YAML instead.
type Resources struct {
	Resources []json.RawMessage `json:"resources"`
}

// Password sets a user's password.
type Password struct {
	Password string `json:"password"`
}
