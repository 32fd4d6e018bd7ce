package sigv4

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"testing/iotest"
)

func TestHashBody(t *testing.T) {
	for _, n := range []int{0, 1, spillAt - 1, spillAt, spillAt + 1, 3*spillAt + 7} {
		dir := t.TempDir()
		want := bytes.Repeat([]byte("postern!"), n/8+1)[:n]
		b, err := HashBody(bytes.NewReader(want), dir)
		if err != nil {
			t.Fatal(err)
		}
		if b.Hash != hexSum(want) || b.Size != int64(n) {
			t.Errorf("%d bytes: %s, size %d", n, b.Hash, b.Size)
		}
		if (b.file != nil) != (n >= spillAt) {
			t.Errorf("%d bytes: in a file: %v", n, b.file != nil)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%d bytes: a name is left in the directory: %v %v", n, left, err)
		}
		for range 2 {
			if _, err := b.Seek(0, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes: read back differs: %v", n, err)
			}
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestHashBodyFails(t *testing.T) {
	boom := errors.New("boom")
	for _, n := range []int{10, 2 * spillAt} {
		dir := t.TempDir()
		_, err := HashBody(io.MultiReader(bytes.NewReader(make([]byte, n)), iotest.ErrReader(boom)), dir)
		if !errors.Is(err, boom) {
			t.Errorf("after %d bytes: %v", n, err)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("after %d bytes: %v is left", n, left)
		}
	}
	if _, err := HashBody(bytes.NewReader(make([]byte, 2*spillAt)), "/does/not/exist"); err == nil {
		t.Error("no directory to spill to, and no error")
	}
}
