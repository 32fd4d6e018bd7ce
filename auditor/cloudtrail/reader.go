package cloudtrail

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxRecord bounds one record. CloudTrail's own limit is 256 KB, 1 MB for
// large events; a file that goes far beyond it is not one of CloudTrail's.
const maxRecord = 4 << 20

// Read calls each for every record of a log file, gzipped or plain, in order,
// holding one record in memory. The bytes are valid during the call only.
//
// An error of each ends it and is returned as it is; every other error is a
// *FileError and says what is wrong with the file.
func Read(r io.Reader, each func(position int, record []byte) error) error {
	b := bufio.NewReaderSize(r, 64<<10)
	magic, err := b.Peek(2)
	if err != nil {
		return &FileError{Reason: "file is empty or cut off"}
	}
	var plain io.Reader = b
	if magic[0] == 0x1f && magic[1] == 0x8b {
		// gzip.Reader joins the members of a multi-member file and refuses
		// anything after them that is no member.
		z, err := gzip.NewReader(b)
		if err != nil {
			return &FileError{Reason: "gzip: " + err.Error()}
		}
		plain = z
	}
	return readRecords(&bounded{r: plain}, each)
}

// FileError says what is wrong with a file.
type FileError struct {
	// Records read before the place that is wrong.
	Records int
	Reason  string
}

func (e *FileError) Error() string { return fmt.Sprintf("after %d records: %s", e.Records, e.Reason) }

func readRecords(in *bounded, each func(int, []byte) error) error {
	d := json.NewDecoder(in)
	n := 0
	fail := func(err error) error {
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
			err = errors.New("file is cut off")
		case errors.Is(err, gzip.ErrHeader):
			err = errors.New("bytes after the end of the gzip data")
		case errors.Is(err, gzip.ErrChecksum):
			err = errors.New("gzip checksum does not match")
		}
		return &FileError{Records: n, Reason: err.Error()}
	}
	if t, err := d.Token(); err != nil {
		return fail(err)
	} else if t != json.Delim('{') {
		return fail(fmt.Errorf("starts with %v, not with an object", t))
	}
	seen := false
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return fail(err)
		}
		if key != "Records" {
			var skipped json.RawMessage
			if err := d.Decode(&skipped); err != nil {
				return fail(err)
			}
			continue
		}
		if seen {
			return fail(errors.New("has Records twice"))
		}
		seen = true
		if t, err := d.Token(); err != nil {
			return fail(err)
		} else if t != json.Delim('[') {
			return fail(errors.New("its Records is not a list"))
		}
		for d.More() {
			in.limit = d.InputOffset() + maxRecord
			var record json.RawMessage
			if err := d.Decode(&record); err != nil {
				return fail(err)
			}
			if err := each(n, record); err != nil {
				if errors.Is(err, ErrNotRecord) {
					return fail(fmt.Errorf("record %d: %w", n, err))
				}
				return err
			}
			n++
		}
		in.limit = d.InputOffset() + maxRecord
		if _, err := d.Token(); err != nil { // the list's end
			return fail(err)
		}
	}
	if _, err := d.Token(); err != nil { // the object's end
		return fail(err)
	}
	if !seen {
		return fail(errors.New("has no Records"))
	}
	in.limit = d.InputOffset() + maxRecord
	if t, err := d.Token(); !errors.Is(err, io.EOF) {
		if err == nil {
			err = fmt.Errorf("has %v after its end", t)
		}
		if errors.Is(err, io.ErrUnexpectedEOF) { // a member's trailer, or another one's header
			err = errors.New("file is cut off, or has bytes after its end")
		}
		return fail(err)
	}
	return nil
}

// bounded refuses to read on when the decoder would have to hold more than one
// record may be long.
type bounded struct {
	r     io.Reader
	read  int64
	limit int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.limit == 0 {
		b.limit = maxRecord
	}
	if b.read > b.limit+1<<20 {
		return 0, fmt.Errorf("a record is longer than %d bytes", maxRecord)
	}
	n, err := b.r.Read(p)
	b.read += int64(n)
	return n, err
}
