//go:build unix

package main

import (
	"io"
	"strings"
	"testing"

	"github.com/creack/pty"

	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/events"
)

// What somebody else wrote does not steer a terminal, in whatever format it is shown there;
// a file gets it as it is.
func TestDataOnTerminals(t *testing.T) {
	const evil = "a\x1b]0;x\a\u009b31m\u202eb"
	table := &query.Table{Columns: []query.Column{{Name: "reason"}}, Rows: [][]any{{evil}, {strings.Repeat("é", 5000)}}}
	for _, format := range []string{"json", "yaml", "csv", "events"} {
		write := func(c *cli) error {
			if c.format == "events" {
				out := &eventPrinter{c: c, line: func(_ events.Place, raw []byte) ([]byte, error) { return append(raw, '\n'), nil }}
				return out.print(events.Place{}, []byte(`{"reason":"`+strings.ReplaceAll(evil, "\x1b", "")+`"}`))
			}
			return c.printTable(table)
		}
		outside, terminal, err := pty.Open()
		if err != nil {
			t.Skipf("there are no pseudo terminals here: %v", err)
		}
		said := make(chan string, 1)
		go func() {
			b, _ := io.ReadAll(outside) // ends with an error once the terminal is closed
			said <- string(b)
		}()
		if err := write(&cli{stdout: terminal, stderr: io.Discard, format: format}); err != nil {
			t.Fatal(err)
		}
		terminal.Close()
		if got := <-said; strings.ContainsAny(got, "\x1b\a\u009b\u202e") || !strings.Contains(got, `\u202e`) || format != "events" && strings.Count(got, "é") != 5000 {
			t.Errorf("%s: %.200q", format, got)
		}
		outside.Close()
		var file strings.Builder
		if err := write(&cli{stdout: &file, stderr: io.Discard, format: format}); err != nil || format != "yaml" && !strings.Contains(file.String(), "\u009b31m\u202e") {
			t.Errorf("%s: %.200q, %v", format, file.String(), err)
		}
	}
}
