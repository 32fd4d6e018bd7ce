package evidence_test

import (
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/posternhq/postern/auditor/evidence"
	"github.com/posternhq/postern/auditor/tlog"
)

// account reads "1 2 3x 3 4!": sequences, those with a letter having another
// hash, those with ! an error of the log's.
func account(s string) iter.Seq2[tlog.Leaf, error] {
	return func(yield func(tlog.Leaf, error) bool) {
		for word := range strings.FieldsSeq(s) {
			l := tlog.Leaf{Stream: "AUDIT"}
			var mark string
			_, _ = fmt.Sscanf(word, "%d%s", &l.Seq, &mark)
			l.Hash = tlog.Hash{byte(l.Seq)}
			var err error
			switch {
			case mark == "!":
				err = errors.New("bad leaf")
			case mark == "fork":
				err = tlog.ErrFork
			case mark != "":
				l.Hash[1] = mark[0]
			}
			if !yield(l, err) {
				return
			}
		}
	}
}

func TestCompare(t *testing.T) {
	for _, c := range []struct{ name, log, stream, rows, want string }{
		{"whole", "1 2 3 4", "1 2 3 4", "1 2 3 4", ""},
		{"nothing anywhere", "", "", "", "1–4: missing in the log|1–4: missing in the stream|1–4: missing in the clickhouse"},
		{"row changed", "1 2 3 4", "1 2 3 4", "1 2x 3 4", "2: changed in the clickhouse"},
		{"rows changed", "1 2 3 4", "1 2 3 4", "1x 2x 3 4x", "1–2: changed in the clickhouse|4: changed in the clickhouse"},
		{"row dropped", "1 2 3 4", "1 2 3 4", "1 3 4", "2: missing in the clickhouse"},
		{"rows truncated", "1 2 3 4", "1 2 3 4", "1 2", "3–4: missing in the clickhouse"},
		{"row doubled", "1 2 3 4", "1 2 3 4", "1 2 2 3 4", "2: doubled in the clickhouse: 2 rows"},
		{"row inserted beside", "1 2 3 4", "1 2 3 4", "1 2 2x 3 4", "2: doubled in the clickhouse: 2 rows|2: changed in the clickhouse"},
		{"message changed", "1 2 3 4", "1 2x 3 4", "1 2 3 4", "2: changed in the stream"},
		{"message dropped", "1 2 3 4", "1 3 4", "1 2 3 4", "2: missing in the stream"},
		{"stream cut", "1 2 3 4", "1 2", "1 2 3 4", "3–4: missing in the stream"},
		{"message and row changed alike", "1 2 3 4", "1 2x 3 4", "1 2x 3 4", "2: changed in the stream|2: changed in the clickhouse"},
		{"message and row changed apart", "1 2 3 4", "1 2x 3 4", "1 2y 3 4", "2: changed in the stream|2: changed in the clickhouse"},
		{"log forged", "1 2x 3 4 4fork", "1 2 3 4", "1 2 3 4", "2: changed in the log|4: fork in the log: the log was another one: it does not lead to this checkpoint"},
		{"log's leaf is none", "1 2! 3 4", "1 2 3 4", "1 2 3 4", "2: leaf in the log: bad leaf|2: missing in the log"},
		{"log behind", "1 2", "1 2 3 4", "1 2 3 4", "3–4: missing in the log"},
		{"log behind and a row changed", "1 2", "1 2 3 4", "1 2 3 4x", "3–4: missing in the log|4: changed in the clickhouse"},
		{"log ahead", "1 2 3 4 5 6", "1 2 3 4", "1 2 3 4", ""},
	} {
		faults, _, err := evidence.Compare("AUDIT", 0, 4, 0, account(c.log), account(c.stream), account(c.rows), nil)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range faults {
			got = append(got, strings.TrimPrefix(f.String(), "AUDIT "))
		}
		if g := strings.Join(got, "|"); g != c.want {
			t.Errorf("%s: %s, want %s", c.name, g, c.want)
		}
	}
	broken := func(yield func(tlog.Leaf, error) bool) { yield(tlog.Leaf{}, errors.New("gone")) }
	if _, _, err := evidence.Compare("AUDIT", 0, 4, 0, account("1 2 3 4"), broken, account("1 2 3 4"), nil); err == nil {
		t.Error("an account that can't be read passes for an empty one")
	}
}
