package cloudtrail

import (
	"bytes"
	"errors"
	"fmt"
)

// Others pass CloudTrail's records on one by one, a line each: what SIEMs and
// queries on trails export. Such a file is known by its first object, which is a
// record itself.

// firstKey is more than stands before the end of a log file's first key.
const firstKey = 256

// bare tells that the object to come does not begin with Records, as those that
// AWS writes do.
func (w *window) bare() bool {
	for len(w.buf)-w.at < firstKey && w.err == nil {
		if w.more() != nil {
			break
		}
	}
	rest := bytes.TrimLeft(w.buf[w.at+1:], " \t\r\n")
	return bytes.HasPrefix(rest, []byte(`"`)) && !bytes.HasPrefix(rest, []byte(`"Records"`))
}

// another tells that an object begins the line after this one.
func (w *window) another() bool {
	for {
		if _, next, ok := bytes.Cut(w.buf[w.at:], []byte("\n")); ok {
			if next = bytes.TrimLeft(next, " \t\r\n"); len(next) > 0 {
				return next[0] == '{'
			}
		}
		if w.more() != nil {
			return false
		}
	}
}

// skipLine goes on after the end of the line.
func (w *window) skipLine() error {
	for {
		if i := bytes.IndexByte(w.buf[w.at:], '\n'); i >= 0 {
			w.at += i + 1
			return nil
		}
		w.at = len(w.buf)
		if err := w.more(); err != nil {
			return err
		}
	}
}

// lines reads a file of records without what AWS puts around them. It is not done,
// and nothing is read, where the first object is no record. A line that is no
// record spoils no other; the error is about the first.
func (w *window) lines(n *int, each func(int, []byte, *Record) error) (done bool, err error) {
	for line := 1; ; line++ {
		if _, err := w.peek(); err == errShort && line > 1 {
			break
		} else if err != nil {
			return line > 1, err
		}
		raw, err := w.value(recordShape)
		if broken := errors.Is(err, errSyntax) || errors.Is(err, errDepth) || err == errShort; broken && w.another() {
			w.spoiled.add(fmt.Errorf("line %d: %s", line, err.Error())) // of this line, and not of the file
			if err := w.skipLine(); err != nil {
				return true, err
			}
			continue
		}
		if err != nil {
			if line == 1 {
				return false, nil // what is wrong with it, the reader of log files says
			}
			return true, err
		}
		r, err := w.scan.record(raw)
		if line == 1 && w.spoiled.n == 0 && (err != nil || r.EventName == "") {
			w.at -= len(raw)
			return false, nil
		}
		if err != nil {
			w.spoiled.add(fmt.Errorf("line %d: %w", line, err))
			continue
		}
		if err := each(*n, raw, r); err != nil {
			return true, eachError{err}
		}
		*n++
	}
	return true, w.spoiled.err("lines")
}
