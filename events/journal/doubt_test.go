package journal

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// What a node that was behind long ago says does not count against another today.
func TestDoubtIsUnbroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &knownStream{}
		doubt := func(want error) {
			t.Helper()
			if err := k.doubt(true, "it ends"); !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
		}
		doubt(ErrBehind)
		time.Sleep(time.Hour)
		for range doubtFor / heartbeat {
			doubt(ErrBehind)
			time.Sleep(heartbeat)
		}
		doubt(ErrBehind)
		k.sure(tip{})
		time.Sleep(heartbeat)
		for range doubtFor/heartbeat + 1 {
			doubt(ErrBehind)
			time.Sleep(heartbeat)
		}
		doubt(ErrWentBack)
	})
}

// All of what is acknowledged at once is behind what was read, and what was found is not
// forgotten for what is read later.
func TestKnownStream(t *testing.T) {
	k := &knownStream{}
	k.took(&Entry{Seq: 8})
	if err := k.stored(8, 9, 2, "", nil); !errors.Is(err, ErrWentBack) {
		t.Errorf("events 8 and 9 after 8: %v", err)
	}
	if err := k.stored(8, 10, 2, "", nil); err != nil {
		t.Errorf("events 9 and 10 after 8: %v", err)
	}
	k.sure(tip{seq: 8})
	k.took(&Entry{Seq: 9})
	k.took(&Entry{Seq: 11})
	var seqs []uint64
	for _, tip := range k.tips() {
		seqs = append(seqs, tip.seq)
	}
	if len(seqs) != 2 || seqs[0] != 11 || seqs[1] != 8 {
		t.Errorf("it is compared at %v", seqs)
	}

	k = &knownStream{}
	k.took(&Entry{Seq: 8})
	if err := k.stored(8, 9, 1, "", nil); err != nil {
		t.Error(err)
	}
	k.sure(tip{seq: 9})
	k.took(&Entry{Seq: 10})
	if tips := k.tips(); len(tips) != 2 || tips[1].seq != 9 {
		t.Errorf("what was found is forgotten: %v", tips)
	}
}
