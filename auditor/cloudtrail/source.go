package cloudtrail

import "io"

// source is what a file is read from. It keeps the error that broke reading off, such as
// a lost connection's (net/http's io.ErrUnexpectedEOF among them) or a disk's: after that
// nothing can be said of the file, which is read again.
type source struct {
	io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// unread says that a file could not be read, which is no fault of the others'.
type unread struct{ error }

func (u unread) Unwrap() error { return u.error }
