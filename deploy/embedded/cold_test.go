package embedded_test

import (
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
	embeddedtest.Run(t, with(&cold))
}
