package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/posternhq/postern/auditor/client"
)

// ingested is what `postern audit ingest` reports.
type ingested struct {
	Files    int   `json:"files"`
	Rejected int   `json:"rejected"`
	Records  int64 `json:"records"`
}

// ingest sends CloudTrail files to the auditor, one after the other. A file
// that it rejects is told of and does not stop the others.
func (c *cli) ingest(cmd *cobra.Command, a *client.Client, args []string) error {
	var total ingested
	tty := isTerminal(c.stderr)
	one := func(path string) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		got, err := a.Ingest(cmd.Context(), path, f, func(p client.Ingested) {
			if tty {
				fmt.Fprintf(c.stderr, "\r\033[K%d files, %d records: %s", total.Files, total.Records+int64(p.Records), filepath.Base(path))
			}
		})
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		total.Files++
		total.Records += int64(got.Records)
		if got.Rejected != "" {
			total.Rejected++
			c.say("%s: set aside: %s", path, got.Rejected)
		}
		return nil
	}
	for _, root := range args {
		if strings.HasPrefix(root, "s3://") {
			return errors.New("s3:// is not read yet: fetch the files (aws s3 sync) and give their folder")
		}
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() || path != root && !strings.HasSuffix(path, ".json.gz") && !strings.HasSuffix(path, ".json") {
				return nil
			}
			return one(path)
		})
		if err != nil {
			return err
		}
	}
	if tty {
		fmt.Fprint(c.stderr, "\r\033[K")
	}
	if err := c.print(total, func(w *tabwriter.Writer) {
		fmt.Fprintf(w, "%d files, %d records, %d files set aside\n", total.Files, total.Records, total.Rejected)
	}); err != nil {
		return err
	}
	if total.Rejected > 0 {
		return fmt.Errorf("%d of %d files were set aside", total.Rejected, total.Files)
	}
	return nil
}
