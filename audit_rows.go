package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/posternhq/postern/auditor/client"
	"github.com/posternhq/postern/auditor/query"
)

func (c *cli) auditSQL() *cobra.Command {
	return &cobra.Command{
		Use: "sql 'SELECT …'", Short: "Read-only SQL; tables requests, tunnels, cloudtrail, sessions, findings, access_requests, locks, trails, trail_files, trail_digests, dead_letters", Args: cobra.ExactArgs(1), Annotations: knows(rowFormats),
		Long: "Read-only SQL. --format=json prints one object a row; csv and parquet are known, too.",
		RunE: c.withAuditor(func(cmd *cobra.Command, a *client.Client, args []string) error {
			t, err := a.SQL(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.printTable(t)
		}),
	}
}

// printTable writes the answer to SQL; as JSON, one object a row.
func (c *cli) printTable(t *query.Table) error {
	if t.Truncated {
		c.say("warning: there are more rows than the limit")
	}
	if c.format == "json" {
		for _, row := range t.Rows {
			m := make(map[string]any, len(row))
			for i, v := range row {
				m[t.Columns[i].Name] = v
			}
			if err := writeJSON(c.data(), m); err != nil {
				return err
			}
		}
		return nil
	}
	return c.printRows(t, func() *query.Table { return t }, "", func(w *tabwriter.Writer) {
		names := make([]string, len(t.Columns))
		for i, col := range t.Columns {
			names[i] = col.Name
		}
		fmt.Fprintln(w, strings.Join(names, "\t"))
		for _, row := range t.Rows {
			cells := make([]string, len(row))
			for i, v := range row {
				cells[i] = oneLine(cell(v))
			}
			fmt.Fprintln(w, strings.Join(cells, "\t"))
		}
	})
}

// printRows is print, with the formats for rows besides; more is the cursor of
// what comes next, which files have no place for.
func (c *cli) printRows(v any, table func() *query.Table, more string, text func(w *tabwriter.Writer)) error {
	write := (*query.Table).WriteCSV
	switch c.format {
	default:
		return c.print(v, text)
	case "csv":
	case "parquet":
		if isTerminal(c.stdout) {
			return usageError{errors.New("--format=parquet: a terminal can't show it: > FILE")}
		}
		write = (*query.Table).WriteParquet
	}
	if more != "" {
		c.say("more: --cursor %s", more)
	}
	return write(table(), c.data())
}

func cell(v any) string {
	switch v := v.(type) {
	case nil:
		return "-"
	case string:
		return v
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
