// Package snapshot keeps a stream's events that still matter in a file, so that
// a start need neither read those that do not nor verify any. It is not the state but a shorter
// stream that folds to the same state: what a version makes of events stays in
// one place, the fold.
//
// A file is authentic: every block carries a code that takes a key, which only
// brokers have, so that who can write to the broker's disk can take a snapshot away
// and put an earlier one back, which costs the next start some time, and no more.
//
// A file belongs to the program that wrote it: another build may know fields of
// events that this one leaves out, and reads the stream itself instead. Equal
// events give equal bytes.
package snapshot

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"runtime"

	"github.com/fxamacker/cbor/v2"

	"github.com/posternhq/postern/events/journal"
)

// format changes when files of before cannot be read any more.
const format = "postern access snapshot 4"

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

// Same tells whether two ends are of one file.
func (e End) Same(o End) bool {
	return e.Seq == o.Seq && e.Events == o.Events && bytes.Equal(e.Digest, o.Digest)
}

// The file is a sequence of blocks (RFC 8742), each with the HMAC-SHA256 (RFC 2104) of
// its number in the file (8 bytes, big-endian) and its body: a header, events (see
// appendEntry), and End.
type (
	block struct {
		_    struct{} `cbor:",toarray"`
		Code []byte
		Body []byte
	}
	header struct {
		Format  string
		Program []byte
	}
)

// codes makes the codes of a file's blocks, in order.
type codes struct {
	mac  hash.Hash
	next uint64
}

func newCodes(key []byte) *codes { return &codes{mac: hmac.New(sha256.New, key)} }

func (c *codes) of(body []byte) []byte {
	c.mac.Reset()
	c.mac.Write(binary.BigEndian.AppendUint64(nil, c.next))
	c.mac.Write(body)
	c.next++
	return c.mac.Sum(nil)
}

func modes() (cbor.EncMode, cbor.DecMode, error) {
	enc, err := cbor.CoreDetEncOptions().EncMode()
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
	codes   *codes
	pending []byte // a block of entries
	count   uint64
}

// NewWriter begins a file of a program, under a key.
func NewWriter(w io.Writer, program, key []byte) (*Writer, error) {
	enc, _, err := modes()
	if err != nil {
		return nil, err
	}
	out := &Writer{w: w, enc: enc, codes: newCodes(key)}
	return out, out.block(header{format, program})
}

func (w *Writer) block(v any) error {
	body, err := w.enc.Marshal(v)
	if err != nil {
		return err
	}
	return w.body(body)
}

func (w *Writer) body(body []byte) error {
	b, err := w.enc.Marshal(block{Code: w.codes.of(body), Body: body})
	if err == nil {
		_, err = w.w.Write(b)
	}
	return err
}

// Add keeps an event, the next in the order of the stream. One without data
// was passed over: that it stands there is kept.
func (w *Writer) Add(e journal.Entry) error {
	if len(w.pending) == 0 {
		w.pending = append(w.pending, entries)
	}
	var err error
	if w.pending, err = appendEntry(w.pending, e); err != nil {
		return fmt.Errorf("snapshot: event %d: %w", e.Seq, err)
	}
	if w.count++; w.count%perBlock > 0 {
		return nil
	}
	return w.flush()
}

func (w *Writer) flush() error {
	if len(w.pending) == 0 {
		return nil
	}
	err := w.body(w.pending)
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
func Read(r io.Reader, program, key []byte, visit func(journal.Entry) error) (End, error) {
	_, dec, err := modes()
	if err != nil {
		return End{}, err
	}
	blocks, codes := dec.NewDecoder(r), newCodes(key)
	var head header
	if body, err := next(blocks, codes); err != nil {
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
			body, err := next(blocks, codes)
			last := err != nil || len(body) == 0 || body[0] != entries
			go func() {
				if err != nil {
					result <- decoded{err: err}
					return
				}
				if last {
					result <- readEnd(dec, body)
				} else {
					result <- readEntries(body)
				}
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
func next(blocks *cbor.Decoder, codes *codes) ([]byte, error) {
	var b block
	if err := blocks.Decode(&b); err != nil {
		return nil, fmt.Errorf("%w: %w", errFormat, err)
	}
	if !hmac.Equal(codes.of(b.Body), b.Code) {
		return nil, fmt.Errorf("%w: a block is not what was written, or the seal key is another", errFormat)
	}
	return b.Body, nil
}

func readEnd(dec cbor.DecMode, body []byte) decoded {
	var end End
	if err := dec.Unmarshal(body, &end); err != nil {
		return decoded{err: fmt.Errorf("%w: %w", errFormat, err)}
	}
	return decoded{end: &end}
}
