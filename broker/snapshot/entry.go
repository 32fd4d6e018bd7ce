package snapshot

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// entries is the first byte of a block of events, which no CBOR text begins with
// (RFC 8949, section 3: the values 28 to 30 are reserved).
const entries = 0x1c

// appendEntry writes an entry: its length and, in it, the numbers and texts of which
// readEntry takes it together. Texts stand behind their length, numbers are varints
// of encoding/binary. A start reads as many as there are events, and so they are in
// no format for any reader.
func appendEntry(b []byte, e journal.Entry) ([]byte, error) {
	in := binary.AppendUvarint(nil, e.Seq)
	text := func(s string) { in = append(binary.AppendUvarint(in, uint64(len(s))), s...) }
	if e.Data == nil {
		text("") // no type: it was passed over
		text(e.Channel)
	} else {
		data, err := json.Marshal(e.Data)
		if err != nil {
			return b, err
		}
		text(string(e.Data.Type()))
		text(string(data))
		text(e.ID)
		text(e.Source)
		text(e.CorrelationID)
		text(e.CausationID)
		in = binary.AppendVarint(in, e.Time.Unix())
		in = binary.AppendUvarint(in, uint64(e.Time.Nanosecond()))
		in = binary.AppendUvarint(in, e.Sequence)
	}
	return append(binary.AppendUvarint(b, uint64(len(in))), in...), nil
}

// errEntry wraps what can only be where the file was made of something else.
var errEntry = errors.New("not an entry")

// readEntries takes a block of events apart.
func readEntries(body []byte) (d decoded) {
	body = body[1:]
	d.entries = make([]journal.Entry, 0, perBlock)
	for len(body) > 0 {
		n, size := binary.Uvarint(body)
		if size <= 0 || n > uint64(len(body)-size) {
			return decoded{err: fmt.Errorf("%w: %w", errFormat, errEntry)}
		}
		e, err := readEntry(body[size : size+int(n)])
		if err != nil {
			return decoded{err: fmt.Errorf("%w: event %d: %w", errFormat, e.Seq, err)}
		}
		d.entries = append(d.entries, e)
		body = body[size+int(n):]
	}
	return d
}

// readEntry takes an entry apart. Its texts are parts of one.
func readEntry(b []byte) (journal.Entry, error) {
	r := reader{rest: string(b)}
	e := journal.Entry{Stream: events.Access, Seq: r.number()}
	typ, data := events.Type(r.text()), r.text()
	behind := len(b) - len(r.rest)
	if typ == "" {
		e.Channel = data
		return e, r.end()
	}
	e.ID, e.Source, e.CorrelationID, e.CausationID = r.text(), r.text(), r.text(), r.text()
	seconds := r.signed()
	e.Time = time.Unix(seconds, int64(r.number()%1e9)).UTC()
	e.Sequence = r.number()
	if err := r.end(); err != nil {
		return e, err
	}
	p, err := events.DecodePayload(typ, b[behind-len(data):behind], data)
	if err != nil {
		return e, err
	}
	e.Data, e.Channel = p, p.Channel()
	return e, nil
}

// reader reads what appendEntry wrote.
type reader struct {
	rest string
	bad  bool
}

func (r *reader) end() error {
	if r.bad || r.rest != "" {
		return errEntry
	}
	return nil
}

// number reads an unsigned varint.
func (r *reader) number() (n uint64) {
	for i := 0; i < len(r.rest) && i < binary.MaxVarintLen64; i++ {
		c := r.rest[i]
		n |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			r.rest = r.rest[i+1:]
			return n
		}
	}
	r.rest, r.bad = "", true
	return 0
}

// signed reads a signed varint.
func (r *reader) signed() int64 {
	n := r.number()
	return int64(n>>1) ^ -int64(n&1)
}

func (r *reader) text() string {
	n := r.number()
	if n > uint64(len(r.rest)) {
		r.rest, r.bad = "", true
		return ""
	}
	s := r.rest[:n]
	r.rest = r.rest[n:]
	return s
}
