package simaws

import (
	"io"
	"os"
)

// segmentReader reads length bytes of an object from offset, opening one data
// file at a time, so that an object of ten thousand parts needs one descriptor.
type segmentReader struct {
	b      *bucket
	segs   []segment
	skip   int64
	left   int64
	file   *os.File
	inFile int64
}

func (b *bucket) reader(o *object, offset, length int64) *segmentReader {
	return &segmentReader{b: b, segs: o.Segments, skip: offset, left: length}
}

func (r *segmentReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	for r.file == nil || r.inFile == 0 {
		if err := r.advance(); err != nil {
			return 0, err
		}
	}
	n, err := r.file.Read(p[:min(int64(len(p)), r.left, r.inFile)])
	r.left -= int64(n)
	r.inFile -= int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// advance opens the segment that the next byte is in.
func (r *segmentReader) advance() error {
	r.Close()
	for len(r.segs) > 0 && r.skip >= r.segs[0].Size {
		r.skip -= r.segs[0].Size
		r.segs = r.segs[1:]
	}
	if len(r.segs) == 0 {
		return io.ErrUnexpectedEOF
	}
	f, err := os.Open(r.b.dataFile(r.segs[0].File))
	if err != nil {
		return err
	}
	if _, err := f.Seek(r.skip, io.SeekStart); err != nil {
		f.Close()
		return err
	}
	r.file, r.inFile, r.skip = f, r.segs[0].Size-r.skip, 0
	r.segs = r.segs[1:]
	return nil
}

func (r *segmentReader) Close() {
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
}
