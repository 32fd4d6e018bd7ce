package client

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
)

// query makes a query string of names and values; empty values are left out.
func query(pairs ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

func resourcePath(kind, name string) string {
	path := "/v1/resources/" + url.PathEscape(kind)
	if name != "" {
		path += "/" + segment(name)
	}
	return path
}

// segment is a name as one segment of a path. Dots alone would mean another path: there may
// be users of old who are called so.
func segment(name string) string {
	if name == "." || name == ".." {
		return strings.ReplaceAll(name, ".", "%2E")
	}
	return url.PathEscape(name)
}

func unmarshal(answer []byte, out any) error {
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("answer of the broker: %w", err)
	}
	return nil
}
