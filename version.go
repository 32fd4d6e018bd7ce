package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// buildInfo is what the Go toolchain knows of this program.
type buildInfo struct {
	Version string `json:"version"`
	// Revision is the commit, Modified whether there was more than it says. Both are
	// absent where it was not built in a checkout.
	Revision string `json:"revision,omitempty"`
	Time     string `json:"time,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func thisBuild() buildInfo {
	b := buildInfo{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; v != "" {
		b.Version = v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

func (c *cli) version() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Which build of postern this is", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return c.printVersion() },
	}
}

func (c *cli) printVersion() error {
	b := thisBuild()
	return c.print(b, func(w *tabwriter.Writer) {
		fmt.Fprintf(w, "postern %s (%s, %s)\n", b.Version, b.Go, b.Platform)
		if b.Revision != "" {
			modified := ""
			if b.Modified {
				modified = ", modified"
			}
			fmt.Fprintf(w, "commit %s of %s%s\n", b.Revision, b.Time, modified)
		}
	})
}
