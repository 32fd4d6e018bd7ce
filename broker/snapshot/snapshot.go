// Package snapshot keeps a stream's events that still matter in a file, so that
// a start need neither read those that do not nor verify any. It is not the state but a shorter
// stream that folds to the same state: what a version makes of events stays in
// one place, the fold.
//
// A file belongs to the program that wrote it: another build may know fields of
// events that this one leaves out, and reads the stream itself instead. Equal
// events give equal bytes.
package snapshot

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// format changes when files of before cannot be read any more.
const format = "postern access snapshot 1"

// perBlock is how many events are checked and decoded together.
const perBlock = 1024

// End is where in the stream a snapshot ends.
type End struct {
	// Seq is the first event that it does not hold, Digest the SHA-256 of that
	// event as it stands in the stream.
	Seq    uint64
	Digest []byte
	// Events counts those that are kept.
	Events uint64
}

// The file is a sequence of blocks (RFC 8742), each with the SHA-256 of its body:
// a header, the events, and End.
type (
	block struct {
		_    struct{} `cbor:",toarray"`
		Sum  []byte
		Body []byte
	}
	header struct {
		Format  string
		Program []byte
	}
	// An event; one that was passed over, because nobody who may had decided it,
	// has no Type, and its channel as ID.
	record struct {
		_                                  struct{} `cbor:",toarray"`
		Seq                                uint64
		Type                               events.Type
		ID, Source, Correlation, Causation string
		Time                               time.Time
		Sequence                           uint64
		Data                               cbor.RawMessage
	}
)

func modes() (cbor.EncMode, cbor.DecMode, error) {
	opts := cbor.CoreDetEncOptions()
	opts.Time = cbor.TimeRFC3339NanoUTC
	enc, err := opts.EncMode()
	if err != nil {
		return nil, nil, err
	}
	dec, err := cbor.DecOptions{MaxArrayElements: 1 << 20, MaxMapPairs: 1 << 20}.DecMode()
	return enc, dec, err
}

// Writer writes one file.
type Writer struct {
	w       io.Writer
	enc     cbor.EncMode
	pending []record
	count   uint64
}

// NewWriter begins a file of a program.
func NewWriter(w io.Writer, program []byte) (*Writer, error) {
	enc, _, err := modes()
	if err != nil {
		return nil, err
	}
	out := &Writer{w: w, enc: enc}
	return out, out.block(header{format, program})
}

func (w *Writer) block(v any) error {
	body, err := w.enc.Marshal(v)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	b, err := w.enc.Marshal(block{Sum: sum[:], Body: body})
	if err == nil {
		_, err = w.w.Write(b)
	}
	return err
}

// Add keeps an event, the next in the order of the stream. One without data
// was passed over: that it stands there is kept.
func (w *Writer) Add(e journal.Entry) error {
	r := record{Seq: e.Seq, ID: e.Channel}
	if e.Data != nil {
		data, err := w.enc.Marshal(e.Data)
		if err != nil {
			return fmt.Errorf("snapshot: event %d: %w", e.Seq, err)
		}
		r = record{Seq: e.Seq, Type: e.Data.Type(), ID: e.ID, Source: e.Source, Correlation: e.CorrelationID,
			Causation: e.CausationID, Time: e.Time, Sequence: e.Sequence, Data: data}
	}
	w.pending = append(w.pending, r)
	w.count++
	if len(w.pending) < perBlock {
		return nil
	}
	return w.flush()
}

func (w *Writer) flush() error {
	if len(w.pending) == 0 {
		return nil
	}
	err := w.block(w.pending)
	w.pending = w.pending[:0]
	return err
}

// Count is how many events were kept.
func (w *Writer) Count() uint64 { return w.count }

// Close ends the file: it holds what matters before an event of the stream.
func (w *Writer) Close(seq uint64, digest []byte) error {
	if err := w.flush(); err != nil {
		return err
	}
	return w.block(End{Seq: seq, Digest: digest, Events: w.count})
}

// errFormat wraps every fault of a file.
var errFormat = errors.New("not a whole snapshot of this program")

// decoded is a block on its way from a reader to the fold.
type decoded struct {
	entries []journal.Entry
	end     *End
	err     error
}

// Read visits the events of a file, in order, and returns where it ends. Only
// when there is no error was all of it good: until then nothing may be made of
// what was visited. Blocks are decoded on all processors.
func Read(r io.Reader, program []byte, visit func(journal.Entry) error) (End, error) {
	_, dec, err := modes()
	if err != nil {
		return End{}, err
	}
	blocks := dec.NewDecoder(r)
	var head header
	if body, err := next(blocks); err != nil {
		return End{}, err
	} else if err := dec.Unmarshal(body, &head); err != nil || head.Format != format || !bytes.Equal(head.Program, program) {
		return End{}, fmt.Errorf("%w: another build wrote it", errFormat)
	}
	queue := make(chan chan decoded, 2*runtime.GOMAXPROCS(0))
	done := make(chan struct{})
	defer close(done)
	go func() {
		defer close(queue)
		for {
			result := make(chan decoded, 1)
			body, err := next(blocks)
			last := err != nil || len(body) > 0 && body[0]>>5 == 5 // a map: End
			go func() {
				if err != nil {
					result <- decoded{err: err}
					return
				}
				result <- decode(dec, body, last)
			}()
			select {
			case queue <- result:
			case <-done:
				return
			}
			if last {
				return
			}
		}
	}()
	var seq, count uint64
	for result := range queue {
		d := <-result
		switch {
		case d.err != nil:
			return End{}, d.err
		case d.end != nil:
			if d.end.Events != count || d.end.Seq < seq {
				return End{}, fmt.Errorf("%w: it holds %d events, not %d", errFormat, count, d.end.Events)
			}
			return *d.end, nil
		}
		for _, e := range d.entries {
			if e.Seq <= seq {
				return End{}, fmt.Errorf("%w: event %d stands behind %d", errFormat, e.Seq, seq)
			}
			seq = e.Seq
			if err := visit(e); err != nil {
				return End{}, err
			}
		}
		count += uint64(len(d.entries))
	}
	return End{}, fmt.Errorf("%w: it has no end", errFormat)
}

// next reads a block.
func next(blocks *cbor.Decoder) ([]byte, error) {
	var b block
	if err := blocks.Decode(&b); err != nil {
		return nil, fmt.Errorf("%w: %w", errFormat, err)
	}
	if sum := sha256.Sum256(b.Body); !bytes.Equal(sum[:], b.Sum) {
		return nil, fmt.Errorf("%w: a block is not what was written", errFormat)
	}
	return b.Body, nil
}

func decode(dec cbor.DecMode, body []byte, last bool) decoded {
	if last {
		var end End
		if err := dec.Unmarshal(body, &end); err != nil {
			return decoded{err: fmt.Errorf("%w: %w", errFormat, err)}
		}
		return decoded{end: &end}
	}
	var records []record
	if err := dec.Unmarshal(body, &records); err != nil {
		return decoded{err: fmt.Errorf("%w: %w", errFormat, err)}
	}
	d := decoded{entries: make([]journal.Entry, len(records))}
	for i, r := range records {
		d.entries[i] = journal.Entry{Stream: events.Access, Channel: r.ID, Seq: r.Seq}
		if r.Type == "" {
			continue
		}
		p, err := r.Type.New()
		if err == nil {
			err = dec.Unmarshal(r.Data, p)
		}
		if err != nil {
			return decoded{err: fmt.Errorf("%w: event %d: %w", errFormat, r.Seq, err)}
		}
		d.entries[i].Channel = p.Channel()
		d.entries[i].Event = events.Event{Data: p, Meta: events.Meta{ID: r.ID, Source: r.Source, CorrelationID: r.Correlation,
			CausationID: r.Causation, Time: r.Time, Sequence: r.Sequence}}
	}
	return d
}
