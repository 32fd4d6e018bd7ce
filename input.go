package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// password reads one line without showing it, or from stdin where that is no
// terminal. It is never an argument: those can be seen by others.
func (c *cli) password(prompt string) (string, error) {
	if f, ok := c.stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		shown, err := term.GetState(int(f.Fd()))
		if err != nil {
			return "", err
		}
		fmt.Fprint(c.stderr, prompt)
		b, err := orSignal(c.ctx, func() ([]byte, error) { return term.ReadPassword(int(f.Fd())) })
		if c.ctx.Err() != nil { // it is still read, and what is typed not shown
			err = errors.Join(err, term.Restore(int(f.Fd()), shown))
		}
		fmt.Fprintln(c.stderr)
		return string(b), err
	}
	line, err := c.line()
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", errors.New("nothing to read on stdin: a password, or a code")
	}
	return line, nil
}

// line reads one line from stdin. What follows is there for the next.
func (c *cli) line() (string, error) {
	if c.lines == nil {
		c.lines = bufio.NewReader(io.LimitReader(c.stdin, 16<<10))
	}
	return orSignal(c.ctx, func() (string, error) { return c.lines.ReadString('\n') })
}

func isTerminal(r any) bool {
	f, ok := r.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
