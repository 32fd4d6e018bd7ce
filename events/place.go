package events

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// Place is where an event stands in a stream: with its bytes, all that the
// stream's transparency log is made of.
type Place struct {
	Stream string
	// Sequence in the stream, from 1.
	Sequence uint64
	// Subject is the NATS subject.
	Subject  string
	StoredAt time.Time
}

// Hash is what the stream's transparency log holds of an event: SHA-256 over its
// subject, a line feed, the time at which the stream took it in nanoseconds since 1970 in
// decimal, a line feed, and its bytes.
func (p Place) Hash(raw []byte) [sha256.Size]byte {
	b := make([]byte, 0, len(p.Subject)+22+len(raw))
	b = append(b, p.Subject...)
	b = append(b, '\n')
	b = strconv.AppendInt(b, p.StoredAt.UnixNano(), 10)
	b = append(b, '\n')
	return sha256.Sum256(append(b, raw...))
}

// Line returns a message as one line of JSON that ends with a line feed, whatever it is:
// JSON without the white space between its tokens, anything else as
//
//	{"sequence":42,"stream":"AUDIT","undecodable":"…"}
func (p Place) Line(raw []byte) []byte {
	var line bytes.Buffer
	if json.Compact(&line, raw) != nil { // still evidence
		line.Reset()
		b, _ := json.Marshal(map[string]any{"stream": p.Stream, "sequence": p.Sequence, "undecodable": string(raw)}) // these can't fail
		line.Write(b)
	}
	line.WriteByte('\n')
	return line.Bytes()
}

// Placed returns a CloudEvent with its place as the last of its extension
// attributes:
//
//	{…,"stream":"AUDIT","streamsequence":"00000000000000000042","streamsubject":"…","streamtime":"…"}
//
// raw is its structured JSON form, of which no byte changes but the last.
func Placed(raw []byte, p Place) ([]byte, error) {
	n := len(raw) - 1
	if n < 2 || raw[0] != '{' || raw[n] != '}' || !json.Valid(raw) {
		return nil, fmt.Errorf("sequence %d of %s is no CloudEvent: not a JSON object", p.Sequence, p.Stream)
	}
	subject, err := json.Marshal(p.Subject)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(append(make([]byte, 0, n+160+len(subject)), raw[:n]...), `,"stream":%q,"streamsequence":%q,"streamsubject":%s,"streamtime":%q}`,
		p.Stream, FormatSequence(p.Sequence), subject, p.StoredAt.UTC().Format(time.RFC3339Nano)), nil
}

var placeForm = regexp.MustCompile(`^,"stream":"([A-Z]+)","streamsequence":"([0-9]{20})","streamsubject":("(?:[^"\\]|\\.)*"),"streamtime":"([^"\\]+)"\}$`)

// Unplaced is the inverse of Placed: the event as it stands in the stream, byte
// for byte, and where. It is false for anything that Placed did not make.
func Unplaced(body []byte) (raw []byte, p Place, ok bool) {
	at := bytes.LastIndex(body, []byte(`,"stream":"`))
	if at < 0 {
		return nil, p, false
	}
	m := placeForm.FindSubmatch(body[at:])
	if m == nil {
		return nil, p, false
	}
	var err error
	if p.Sequence, err = strconv.ParseUint(string(m[2]), 10, 64); err == nil {
		err = json.Unmarshal(m[3], &p.Subject)
	}
	if err == nil {
		p.StoredAt, err = time.Parse(time.RFC3339Nano, string(m[4]))
	}
	p.Stream = string(m[1])
	return append(bytes.Clone(body[:at]), '}'), p, err == nil
}
