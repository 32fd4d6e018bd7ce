package main

import (
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// What `postern config init` writes has every key that there is, in its place, commented out
// or not.
func TestTemplateHasEveryKey(t *testing.T) {
	all := regexp.MustCompile(`(?m)^( *)# ( *(?:- \{?)?[a-z0-9_]+:)`).ReplaceAllString(configTemplate, "$1$2")
	d := yaml.NewDecoder(strings.NewReader(all))
	d.KnownFields(true)
	if err := d.Decode(new(Config)); err != nil {
		t.Fatalf("%v, in\n%s", err, all)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(all), &doc); err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	showKeys(doc.Content[0], "", shown)
	known := map[string]bool{}
	knowKeys(reflect.TypeFor[Config](), "", known)
	for _, key := range slices.Sorted(maps.Keys(known)) {
		if !shown[key] {
			t.Errorf("deploy/postern.yaml has no %s", key)
		}
	}
}

func showKeys(n *yaml.Node, path string, into map[string]bool) {
	for i, child := range n.Content {
		switch {
		case n.Kind == yaml.SequenceNode:
			showKeys(child, path, into)
		case n.Kind == yaml.MappingNode && i%2 == 1:
			key := strings.TrimPrefix(path+"."+n.Content[i-1].Value, ".")
			into[key] = true
			showKeys(child, key, into)
		}
	}
}

func knowKeys(typ reflect.Type, path string, into map[string]bool) {
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct {
		return
	}
	for f := range typ.Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); name != "" {
			key := strings.TrimPrefix(path+"."+name, ".")
			into[key] = true
			knowKeys(f.Type, key, into)
		}
	}
}
