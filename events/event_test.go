package events_test

import (
	"bytes"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/events"
)

func TestUnknownType(t *testing.T) {
	b := bytes.Replace(golden(t, events.TypeSessionEnded), []byte("session.ended.v1\""), []byte("session.paused.v1\""), 1)
	e, err := events.Decode(b)
	if !errors.Is(err, events.ErrUnknownType) || !strings.Contains(err.Error(), "io.postern.session.paused.v1") {
		t.Errorf("error %v", err)
	}
	if e.Data != nil || e.ID == "" || e.Sequence == 0 {
		t.Errorf("event %+v: the meta data is to be kept, and no data made up", e)
	}
	if _, err := events.Type("io.postern.user.created.v2").New(); !errors.Is(err, events.ErrUnknownType) {
		t.Errorf("a version that does not exist: %v", err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	good := events.Event{
		Meta: events.Meta{ID: "1", Source: "/postern/broker/b", Time: time.Unix(0, 0)},
		Data: &events.UserDeleted{Name: "alice", By: "admin"},
	}
	if _, err := events.Encode(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*events.Event){
		"no id":     func(e *events.Event) { e.ID = "" },
		"no source": func(e *events.Event) { e.Source = "" },
		"no data":   func(e *events.Event) { e.Data = nil },
		"a year that RFC 3339 cannot say": func(e *events.Event) {
			e.Data = &events.SessionStarted{SessionID: "S", ExpiresAt: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}
		},
	} {
		e := good
		change(&e)
		if b, err := events.Encode(e); err == nil {
			t.Errorf("%s: encoded to %s", name, b)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	good := string(golden(t, events.TypeUserDeleted))
	for name, b := range map[string]string{
		"nothing":          "",
		"no object":        "[]",
		"cut off":          good[:len(good)/2],
		"no id":            strings.Replace(good, `"id"`, `"di"`, 1),
		"empty id":         strings.Replace(good, `"id": "`, `"id": "", "was": "`, 1),
		"another version":  strings.Replace(good, `"specversion": "1.0"`, `"specversion": "9.9"`, 1),
		"sequence of text": strings.Replace(good, `"sequence": "0`, `"sequence": "x`, 1),
		"data of text":     strings.Replace(good, `"data": {`, `"data": "x", "was": {`, 1),
		"field of another": strings.Replace(good, `"name": "alice"`, `"name": 5`, 1),
	} {
		if b == good {
			t.Fatalf("%s: nothing was changed", name)
		}
		if e, err := events.Decode([]byte(b)); err == nil {
			t.Errorf("%s: decoded to %+v", name, e)
		}
	}
}

func TestTypes(t *testing.T) {
	seen := map[events.Type]bool{}
	for _, typ := range events.Types() {
		if seen[typ] {
			t.Errorf("%s is listed twice", typ)
		}
		seen[typ] = true
		p, err := typ.New()
		if err != nil {
			t.Fatal(err)
		}
		if p.Type() != typ {
			t.Errorf("%s makes a %s", typ, p.Type())
		}
		if s := events.StreamOf(p.Channel()); s == "" {
			t.Errorf("%s travels on %s, which no stream captures", typ, p.Channel())
		}
	}
}

func TestStreams(t *testing.T) {
	got := map[string]string{}
	for _, s := range events.Streams() {
		got[s] = events.StreamSubjects(s)
	}
	want := map[string]string{"ACCESS": "access.>", "AUDIT": "audit.>", "CLOUDTRAIL": "cloudtrail.>", "FINDINGS": "findings.>"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("streams (-want +got):\n%s", diff)
	}
	if s := events.StreamOf("accessory.user.alice"); s != "" {
		t.Errorf("a foreign subject is in %s", s)
	}
}

func TestFormatSequence(t *testing.T) {
	if a, b := events.FormatSequence(9), events.FormatSequence(10); a >= b || len(a) != 20 {
		t.Errorf("%s, %s: text order is not number order", a, b)
	}
	if got := events.FormatSequence(1<<64 - 1); got != "18446744073709551615" {
		t.Errorf("the largest is %s", got)
	}
}

// FuzzToken: any text is one token of a subject, and two texts are never the
// same one, because the text can be read back.
func FuzzToken(f *testing.F) {
	for _, s := range []string{"", "%", "alice", "alice@example.com", "a.b", "*", ">", "a b\t\n", "ü", "\x00\xff", "a%2Eb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tok := events.Token(s)
		if tok == "" || strings.ContainsAny(tok, ".*> \t\r\n\f") {
			t.Fatalf("Token(%q) = %q is no token", s, tok)
		}
		for _, c := range []byte(tok) {
			if c <= ' ' || c > '~' {
				t.Fatalf("Token(%q) = %q is not plain ASCII", s, tok)
			}
		}
		if tok == "%" {
			if s != "" {
				t.Fatalf("Token(%q) is that of empty text", s)
			}
			return
		}
		back, err := url.PathUnescape(tok)
		if err != nil || back != s {
			t.Errorf("Token(%q) = %q reads back as %q, error %v", s, tok, back, err)
		}
	})
}
