package proxy

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// upgrades tells whether the client asks for a WebSocket (RFC 6455, section
// 4.1): those of Amazon Transcribe, AWS IoT and others, whose opening request is
// signed, as a rule in its query. What is said on it is the client's and AWS's
// affair; postern counts its bytes and can cut it.
func (c *call) upgrades() bool {
	return c.r.Header.Get("Upgrade") != ""
}

// upgradeable refuses what HTTP/1.1 has no use for.
func (c *call) upgradeable() bool {
	r := c.r
	return r.Method == http.MethodGet && r.ProtoMajor == 1 && r.ContentLength == 0 &&
		strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// switched carries what follows AWS's "101 Switching Protocols" until one side
// has closed the connection, which a WebSocket does after both have said so, or
// the call is cut.
func (f *flight) switched() error {
	aws, ok := f.answer.Body.(io.ReadWriteCloser)
	if !ok {
		return errors.New("AWS switched protocols on a connection that cannot be written to")
	}
	client, buffered, err := http.NewResponseController(f.w).Hijack()
	if err != nil {
		return errClient
	}
	defer client.Close()
	_ = client.SetDeadline(time.Time{}) // the server's own, for a request's head
	ctx, cancel := context.WithCancelCause(f.ctx)
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { abort(client); _ = aws.Close() })()

	h := endToEnd(f.answer.Header)
	h["Connection"], h["Upgrade"] = []string{"Upgrade"}, f.answer.Header["Upgrade"]
	head := bufio.NewWriter(client)
	fmt.Fprintf(head, "HTTP/1.1 %03d %s\r\n", f.answer.StatusCode, http.StatusText(f.answer.StatusCode))
	_ = h.Write(head) // a bufio.Writer keeps its error for Flush
	_, _ = io.WriteString(head, "\r\n")
	if head.Flush() != nil {
		return errClient
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		// What the client sent along with its request, nothing as a rule, was read.
		up := io.MultiReader(io.LimitReader(buffered, int64(buffered.Reader.Buffered())), client)
		read, write := f.pump(aws, up, func(n int) { f.body.passed.Add(int64(n)) })
		if read != nil {
			read = errClient
		}
		cancel(cmp.Or(read, write, errOver))
	})
	wg.Go(func() {
		read, write := f.pump(client, aws, func(n int) { f.written += int64(n) })
		if write != nil {
			write = errClient
		}
		cancel(cmp.Or(read, write, errOver))
	})
	wg.Wait()
	if err := context.Cause(ctx); err != errOver {
		return err
	}
	return nil
}

// pump copies until src ends or one of the two fails, and counts every piece.
func (f *flight) pump(dst io.Writer, src io.Reader, count func(int)) (read, write error) {
	buf := f.p.buffers.Get().(*[]byte)
	defer f.p.buffers.Put(buf)
	for {
		n, err := src.Read(*buf)
		if n > 0 {
			n, werr := dst.Write((*buf)[:n])
			count(n)
			if werr != nil {
				return nil, werr
			}
		}
		switch {
		case err == io.EOF:
			return nil, nil
		case err != nil:
			return err, nil
		}
	}
}
