package evidence

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/posternhq/postern/auditor/tlog"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/ocsf"
)

// Delivered is an event as a consumer got it: what `postern consumers read
// --format=record` prints a line of, with all that the log's leaf is made of.
type Delivered struct {
	Stream   string    `json:"stream"`
	Seq      uint64    `json:"sequence"`
	Subject  string    `json:"subject"`
	StoredAt time.Time `json:"stored_at"`
	// Event is the message byte for byte, if it is JSON on one line; else it is in Raw.
	Event json.RawMessage `json:"event,omitempty"`
	Raw   []byte          `json:"raw,omitempty"`
}

// DeliveredOf is raw as it stands at a place.
func DeliveredOf(p events.Place, raw []byte) Delivered {
	return Delivered{Stream: p.Stream, Seq: p.Sequence, Subject: p.Subject, StoredAt: p.StoredAt, Event: raw}
}

// Line is the event as one line of text, without changing a byte of its body.
func (d Delivered) Line() ([]byte, error) {
	body := d.Event
	d.Event = nil
	if !json.Valid(body) || bytes.ContainsAny(body, "\r\n") || len(bytes.TrimSpace(body)) != len(body) {
		d.Raw, body = body, nil
	}
	head, err := json.Marshal(d)
	if err != nil || body == nil {
		return append(head, '\n'), err
	}
	line := append(head[:len(head)-1], `,"event":`...)
	return append(append(line, body...), "}\n"...), nil
}

// Place is where the event stands.
func (d Delivered) Place() events.Place {
	return events.Place{Stream: d.Stream, Sequence: d.Seq, Subject: d.Subject, StoredAt: d.StoredAt}
}

// Body is the message byte for byte.
func (d Delivered) Body() []byte {
	if d.Event == nil {
		return d.Raw
	}
	return d.Event
}

// hash is what the log's leaf holds of it.
func (d Delivered) hash() tlog.Hash { return tlog.HashOf(d.Subject, d.StoredAt, d.Body()) }

// Delivery is what a consumer got of one stream. The zero value is empty.
type Delivery struct {
	Stream      string
	First, Last uint64
	// FirstAt is when the first was stored.
	FirstAt time.Time
	hashes  map[uint64]tlog.Hash
	filter  string
	// unfit are the subjects of those that the filter does not fit.
	unfit map[uint64]string
	// told are the events that came in the words of OCSF, until Rederive has seen that
	// they are what postern makes of the logged event.
	told map[uint64]json.RawMessage
}

// ReadDelivery reads lines of Delivered, or bodies of what a webhook was sent, one
// a line and as they came: CloudEvents or OCSF events that tell their place
// (events.Placed, ocsf.ConvertAt), or arrays of them. Any order will do; what came more
// than once must have come alike. filter, a NATS subject with wildcards, is what was to
// come; "" is all of the stream.
func ReadDelivery(r io.Reader, filter string) (*Delivery, error) {
	out := &Delivery{filter: filter, hashes: map[uint64]tlog.Hash{}, unfit: map[uint64]string{}, told: map[uint64]json.RawMessage{}}
	in := bufio.NewReader(r)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if err == io.EOF && len(line) == 0 {
			break
		} else if err != nil && err != io.EOF {
			return nil, err
		}
		if err := out.read(bytes.TrimSpace(line)); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if len(out.hashes) == 0 {
		return nil, errors.New("there is no event in it")
	}
	return out, nil
}

// read adds what is on one line.
func (o *Delivery) read(line []byte) error {
	if len(line) > 0 && line[0] == '[' {
		var batch []json.RawMessage
		err := json.Unmarshal(line, &batch)
		for i := 0; err == nil && i < len(batch); i++ {
			err = o.read(batch[i])
		}
		return err
	}
	if raw, p, ok := events.Unplaced(line); ok {
		d := DeliveredOf(p, raw)
		return o.place(d, d.hash())
	}
	if p, text, ok := ocsf.PlaceOf(line); ok {
		h, err := tlog.ParseHash(text)
		if err != nil {
			return err
		}
		if had, again := o.told[p.Sequence]; again && !sameJSON(had, line) {
			return fmt.Errorf("sequence %d came twice, with different content", p.Sequence)
		}
		if err := o.place(DeliveredOf(p, nil), h); err != nil {
			return err
		}
		o.told[p.Sequence] = bytes.Clone(line)
		return nil
	}
	var d Delivered
	if err := json.Unmarshal(line, &d); err != nil {
		return err
	}
	return o.place(d, d.hash())
}

// place notes what came where.
func (o *Delivery) place(d Delivered, h tlog.Hash) error {
	switch {
	case d.Seq == 0 || d.Stream == "":
		return errors.New("no stream and sequence: postern consumers read --format=record prints them, and webhooks are sent CloudEvents that end with them, and OCSF events with both in metadata")
	case o.Stream != "" && d.Stream != o.Stream:
		return fmt.Errorf("event of %s among those of %s", d.Stream, o.Stream)
	}
	o.Stream = d.Stream
	if had, again := o.hashes[d.Seq]; again && had != h {
		return fmt.Errorf("sequence %d came twice, with different content", d.Seq)
	}
	o.hashes[d.Seq] = h
	if o.filter != "" && !events.Matches(o.filter, d.Subject) {
		o.unfit[d.Seq] = d.Subject
	}
	if o.First == 0 || d.Seq < o.First {
		o.First, o.FirstAt = d.Seq, d.StoredAt
	}
	o.Last = max(o.Last, d.Seq)
	return nil
}

// Events is how many there are.
func (o *Delivery) Events() int { return len(o.hashes) }

// Has tells whether the event of a sequence is there.
func (o *Delivery) Has(seq uint64) bool { _, ok := o.hashes[seq]; return ok }

// Unfit are those that the filter does not fit: they came for another one, so what that
// one lets through says nothing of whether these are all.
func (o *Delivery) Unfit() (faults []Fault) {
	for _, seq := range slices.Sorted(maps.Keys(o.unfit)) {
		faults = append(faults, Fault{Stream: o.Stream, First: seq, Last: seq, Place: "delivery", Kind: "not of the filter", Detail: fmt.Sprintf("subject %q", o.unfit[seq])})
	}
	return faults
}

// Told is how many came in the words of OCSF and are not known to be postern's.
func (o *Delivery) Told() int { return len(o.told) }

// Rederive makes OCSF of an event as the stream has it, and holds what came against it.
// It proves the rest of what a leaf's hash does not: d counts only if it is what came to
// stand at the sequence, by the hash that Compare holds against the log.
func (o *Delivery) Rederive(d Delivered) *Fault {
	came, there := o.told[d.Seq]
	if !there || d.hash() != o.hashes[d.Seq] {
		return nil // another event, then
	}
	delete(o.told, d.Seq)
	p, _, _ := ocsf.PlaceOf(came)
	if made, err := ocsf.ConvertAt(d.Body(), p); err == nil && sameJSON(made, came) {
		return nil
	}
	return &Fault{Stream: o.Stream, First: d.Seq, Last: d.Seq, Place: "delivery", Kind: "changed"}
}

// Unproved are those that came in the words of OCSF and whose event was not seen: where
// they stand and their hash are all that is known of them.
func (o *Delivery) Unproved() (faults []Fault) {
	for _, seq := range slices.Sorted(maps.Keys(o.told)) {
		faults = append(faults, Fault{Stream: o.Stream, First: seq, Last: seq, Place: "delivery", Kind: "not derived from the logged event"})
	}
	return faults
}

// sameJSON compares what is said, and not the order of members or white space. A member
// that is there twice, of which readers choose either, is a difference.
func sameJSON(a, b []byte) bool {
	read := func(b []byte) (v any, tokens int, err error) {
		d := json.NewDecoder(bytes.NewReader(b))
		for err == nil {
			_, err = d.Token()
			tokens++
		}
		d = json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		err = d.Decode(&v)
		return v, tokens, err
	}
	x, n, err := read(a)
	y, m, err2 := read(b)
	return err == nil && err2 == nil && n == m && reflect.DeepEqual(x, y)
}

// Compare holds what was delivered against the leaves of the stream's log, as
// [tlog.Walk] yields them from the sequence to begin with. Changed and forged
// events are faults; so are missing ones where all of the stream was to come.
// The error is of the log itself.
func (o *Delivery) Compare(leaves iter.Seq2[tlog.Leaf, error], all bool) (faults []Fault, err error) {
	for leaf, err := range leaves {
		if err != nil {
			return faults, err
		}
		var kind string
		switch got, there := o.hashes[leaf.Seq]; {
		case leaf.Seq > o.Last || !there && !all || there && got == leaf.Hash:
			continue // the walk goes on to the checkpoint, which makes the leaves true
		case there:
			kind = "changed"
		default:
			kind = "missing"
		}
		if n := len(faults) - 1; n >= 0 && faults[n].Kind == kind && faults[n].Last == leaf.Seq-1 {
			faults[n].Last = leaf.Seq
			continue
		}
		faults = append(faults, Fault{Stream: leaf.Stream, First: leaf.Seq, Last: leaf.Seq, Place: "delivery", Kind: kind})
	}
	return faults, nil
}
