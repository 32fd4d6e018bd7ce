package events_test

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/schemas"
)

type asyncAPI struct {
	Channels map[string]struct {
		Address    string
		Parameters map[string]any
		Messages   map[string]any
		Stream     string `yaml:"x-postern-stream"`
	}
	Operations map[string]struct {
		Action  string
		Channel struct {
			Ref string `yaml:"$ref"`
		}
		Messages []struct {
			Ref string `yaml:"$ref"`
		}
	}
	Components struct {
		Messages map[string]struct {
			Payload struct {
				AllOf []struct {
					Ref        string `yaml:"$ref"`
					Properties struct {
						Type, DataSchema struct{ Const string }
						Data             struct {
							Ref string `yaml:"$ref"`
						}
					}
				} `yaml:"allOf"`
			}
		}
	}
}

// Every type has its message, and exactly one channel, whose address is the one
// that the example travels on.
func TestAsyncAPI(t *testing.T) {
	var doc asyncAPI
	if err := yaml.Unmarshal(schemas.AsyncAPI(), &doc); err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, typ := range events.Types() {
		known[string(typ)] = true
		m, ok := doc.Components.Messages[string(typ)]
		if !ok || len(m.Payload.AllOf) != 2 {
			t.Errorf("%s has no message", typ)
			continue
		}
		own := m.Payload.AllOf[1].Properties
		if own.Type.Const != string(typ) || own.Data.Ref != "events/"+typ.SchemaFile() || own.DataSchema.Const != typ.SchemaURI() {
			t.Errorf("%s: message says %+v", typ, own)
		}
		e, err := events.Decode(golden(t, typ))
		if err != nil {
			t.Fatal(err)
		}
		in := 0
		for name, ch := range doc.Channels {
			if _, ok := ch.Messages[string(typ)]; !ok {
				continue
			}
			in++
			if !matches(ch.Address, e.Data.Channel(), ch.Parameters) {
				t.Errorf("%s travels on %s, channel %s is %s", typ, e.Data.Channel(), name, ch.Address)
			}
			if got := events.StreamOf(e.Data.Channel()); got != ch.Stream {
				t.Errorf("%s is in stream %s, channel %s says %s", typ, got, name, ch.Stream)
			}
			sent := false
			for _, op := range doc.Operations {
				if op.Action == "send" && op.Channel.Ref == "#/channels/"+name {
					for _, m := range op.Messages {
						sent = sent || strings.HasSuffix(m.Ref, "/messages/"+string(typ))
					}
				}
			}
			if !sent {
				t.Errorf("no operation sends %s", typ)
			}
		}
		if in != 1 {
			t.Errorf("%s is in %d channels", typ, in)
		}
	}
	for name := range doc.Components.Messages {
		if !known[name] {
			t.Errorf("message %s belongs to no type", name)
		}
	}
}

// matches tells whether a subject is an instance of an address, whose
// parameters each stand for one token.
func matches(address, subject string, params map[string]any) bool {
	a, s := strings.Split(address, "."), strings.Split(subject, ".")
	if len(a) != len(s) {
		return false
	}
	for i := range a {
		if name, ok := strings.CutPrefix(a[i], "{"); ok {
			if _, ok := params[strings.TrimSuffix(name, "}")]; !ok || s[i] == "" {
				return false
			}
		} else if a[i] != s[i] {
			return false
		}
	}
	return true
}
