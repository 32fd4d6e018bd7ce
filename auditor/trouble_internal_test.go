package auditor

import (
	"errors"
	"testing"
)

func TestTroubleIsSaidOnce(t *testing.T) {
	var said trouble
	for _, c := range []struct {
		err  string
		news bool
	}{
		{"write tile/000.p/1571230697755: no space left on device", true},
		{"write tile/000.p/1622518061186: no space left on device", false},
		{"write tile/000.p/1622518061186: read-only file system", true},
	} {
		if got := said.news(errors.New(c.err)); got != c.news {
			t.Errorf("%s: %v", c.err, got)
		}
	}
}
