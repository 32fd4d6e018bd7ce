package embedded_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
)

// A cold volume can't be taken out of the configuration, or put elsewhere, while
// tables need it.
func TestColdVolumeStays(t *testing.T) {
	dir, cold := t.TempDir(), embedded.Cold{Policy: "tiered", Volume: "cold", Path: t.TempDir()}
	with := func(at *embedded.Cold) *embedded.ClickHouse {
		return embeddedtest.NewClickHouse(t, func(c *embedded.ClickHouseConfig) { c.Dir, c.Cold = dir, at })
	}
	stop := embeddedtest.Run(t, with(&cold))
	stop()
	elsewhere := cold
	elsewhere.Path = t.TempDir()
	for name, at := range map[string]*embedded.Cold{"without": nil, "elsewhere": &elsewhere} {
		err := with(at).Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), cold.Path) || !strings.Contains(err.Error(), filepath.Join(dir, "cold.json")) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A disk that is not mounted: without it the tables would seem to have lost rows.
	away := filepath.Join(t.TempDir(), "away")
	if err := os.Rename(cold.Path, away); err != nil {
		t.Fatal(err)
	}
	if err := with(&cold).Run(t.Context()); err == nil || !strings.Contains(err.Error(), cold.Path+", is not there: mount its disk") {
		t.Errorf("not mounted: %v", err)
	}
	if err := os.Rename(away, cold.Path); err != nil {
		t.Fatal(err)
	}
	embeddedtest.Run(t, with(&cold))
}
