package journal_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
)

func ended(id string) events.Event {
	return events.Event{Data: &events.SessionEnded{SessionID: id, User: "alice", By: "alice", Reason: "logout"}}
}

func drop(i int) events.Event {
	return events.Event{Data: &events.RequestDropped{RequestID: fmt.Sprint(i), By: "alice"}}
}

func TestAppendedEventIsReadBackWhole(t *testing.T) {
	j := eventstest.Journal(t)
	e := ended("s.1 >*") // a name with everything that NATS subjects forbid
	e.CorrelationID, e.CausationID = "c1", "c2"
	seq, err := j.Append(t.Context(), e)
	if err != nil || seq != 1 {
		t.Fatalf("append: sequence %d, error %v", seq, err)
	}
	var got []journal.Entry
	for x, err := range j.Replay(t.Context(), events.Access) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, x)
	}
	if len(got) != 1 {
		t.Fatalf("%d entries", len(got))
	}
	x := got[0]
	if diff := cmp.Diff(e.Data, x.Data); diff != "" {
		t.Error(diff)
	}
	if x.ID == "" || x.Time.IsZero() || x.Source != j.Source() || x.Sequence != 1 || x.CorrelationID != "c1" || x.CausationID != "c2" {
		t.Errorf("meta %+v", x.Meta)
	}
	if x.Channel != "access.session.s%2E1%20%3E%2A" {
		t.Errorf("channel %s", x.Channel)
	}
}

func TestConcurrentAppendsAreAllStoredOnce(t *testing.T) {
	j := eventstest.Journal(t)
	const n = 2000
	var wg sync.WaitGroup
	seqs := make([]uint64, n)
	for i := range n {
		wg.Go(func() {
			seq, err := j.Append(t.Context(), drop(i))
			if err != nil {
				t.Error(err)
			}
			seqs[i] = seq
		})
	}
	wg.Wait()
	stored := map[string]uint64{}
	for e, err := range j.Replay(t.Context(), events.Access) {
		if err != nil {
			t.Fatal(err)
		}
		stored[e.Data.(*events.RequestDropped).RequestID] = e.Seq
		if e.CorrelationID != e.ID {
			t.Errorf("%s is all of its action, but is joined by %q", e.ID, e.CorrelationID)
		}
	}
	if len(stored) != n {
		t.Fatalf("%d of %d stored", len(stored), n)
	}
	for i, seq := range seqs {
		if stored[fmt.Sprint(i)] != seq {
			t.Fatalf("event %d is at %d, the append said %d", i, stored[fmt.Sprint(i)], seq)
		}
	}
}

// Each event is joined to those of its action, by its own id where it stands alone. There
// are too many of CloudTrail's records for that.
func TestAllHaveCorrelation(t *testing.T) {
	j := eventstest.Journal(t)
	for data, want := range map[events.Payload]string{
		&events.CloudTrailFileReceived{File: "f", Account: "123456789012", Region: "eu-west-1"}:                                                  "of io.postern.cloudtrail.file.received.v1",
		&events.CloudTrailRecordReceived{RecipientAccountID: "123456789012", EventID: "e", Region: "eu-west-1", EventSource: "s3.amazonaws.com"}: "",
	} {
		seq, err := j.Append(t.Context(), events.Event{Meta: events.Meta{ID: "of " + string(data.Type())}, Data: data})
		if err != nil {
			t.Fatal(err)
		}
		for e, err := range j.Replay(t.Context(), events.CloudTrail) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Seq == seq && e.CorrelationID != want {
				t.Errorf("%s is joined by %q, want %q", data.Type(), e.CorrelationID, want)
			}
		}
	}
}

func TestOneDuplicateDoesNotSpoilItsCommit(t *testing.T) {
	j := eventstest.Journal(t)
	first := drop(0)
	first.ID = "same"
	if _, err := j.Append(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			e := drop(i)
			if i%10 == 0 {
				e = first
			}
			if _, err := j.Append(t.Context(), e); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	last, err := j.Last(t.Context(), events.Access)
	if err != nil || last != 181 {
		t.Fatalf("last sequence %d, error %v; want 181 events", last, err)
	}
}

// What nobody waits for goes with what somebody waits for, or by itself.
func TestAppendLater(t *testing.T) {
	j := eventstest.Journal(t)
	const never = time.Hour
	told := make(chan error, 700)
	then := func(err error) { told <- err }
	stored := func(n int) {
		t.Helper()
		for range n {
			select {
			case err := <-told:
				if err != nil {
					t.Fatal(err)
				}
			case <-time.After(time.Minute):
				t.Fatal("nothing became of an event")
			}
		}
	}
	for i := range 3 {
		j.AppendLater(drop(i), never, then)
	}
	if _, err := j.Append(t.Context(), drop(3)); err != nil {
		t.Fatal(err)
	}
	if len(told) != 0 {
		t.Error("an event that was waited for waited for others")
	}
	if last, failed, err := j.AppendAll(t.Context(), drop(4), drop(5), drop(6), drop(7)); err != nil || last < 5 {
		t.Fatal(last, failed, err)
	}
	stored(3)
	j.AppendLater(drop(8), time.Millisecond, then)
	stored(1)
	for i := range 500 {
		j.AppendLater(drop(9+i), never, then)
	}
	stored(500)
	j.AppendLater(events.Event{}, never, then)
	if err := <-told; err == nil {
		t.Error("an event without data was stored")
	}
	last, err := j.Last(t.Context(), events.Access)
	if err != nil || last != 509 {
		t.Errorf("%d events are stored, error %v; want 509", last, err)
	}
}

func TestAppendAllGivesBackWhatFailed(t *testing.T) {
	j := eventstest.Journal(t)
	var all []events.Event
	for i := range 700 { // more than one commit takes
		e := drop(i)
		e.ID = fmt.Sprint("id", i)
		all = append(all, e)
	}
	bad := events.Event{Meta: events.Meta{ID: "year"}, Data: &events.SessionStarted{SessionID: "S", ExpiresAt: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}}
	elsewhere := events.Event{Meta: events.Meta{ID: "elsewhere"}, Data: &events.AWSRequestFailed{}}
	for range 2 { // again: nothing is stored twice
		last, failed, err := j.AppendAll(t.Context(), append([]events.Event{all[0], bad, elsewhere}, all[1:]...)...)
		if err == nil || len(failed) != 2 || failed[0].ID != bad.ID || failed[1].ID != elsewhere.ID {
			t.Fatalf("gave back %v, error %v", failed, err)
		}
		if last != uint64(len(all)) {
			t.Fatalf("the last is %d", last)
		}
	}
	var got []string
	for e, err := range j.Replay(t.Context(), events.Access) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Data.(*events.RequestDropped).RequestID)
	}
	if len(got) != len(all) || got[0] != "0" || got[len(got)-1] != "699" {
		t.Errorf("%d events stored, %d wanted", len(got), len(all))
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, failed, err := j.AppendAll(ended, drop(0), drop(1)); !errors.Is(err, context.Canceled) || len(failed) != 2 {
		t.Errorf("nobody waits: gave back %d, error %v", len(failed), err)
	}
}

func TestAppendIfIsDecidedOnce(t *testing.T) {
	nc := eventstest.Connect(t)
	const rivals = 16
	var won, lost atomic.Int32
	var wg sync.WaitGroup
	for range rivals {
		j := eventstest.Open(t, nc)
		wg.Go(func() {
			_, err := j.AppendIf(t.Context(), 0, ended("s1"), ended("s1"))
			switch {
			case err == nil:
				won.Add(1)
			case errors.Is(err, journal.ErrConflict):
				lost.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || lost.Load() != rivals-1 {
		t.Fatalf("%d won, %d lost", won.Load(), lost.Load())
	}
	j := eventstest.Open(t, nc)
	seq, err := j.AppendIf(t.Context(), 2, ended("s1"))
	if err != nil || seq != 3 {
		t.Fatalf("sequence %d, error %v", seq, err)
	}
	if _, err := j.AppendIf(t.Context(), 0, ended("s1"), drop(1)); err == nil {
		t.Fatal("events of two channels in one append")
	}
}

func TestFollowNeitherSkipsNorRepeats(t *testing.T) {
	nc := eventstest.Connect(t)
	j := eventstest.Open(t, nc)
	const n = 500
	for i := range n / 2 {
		if _, err := j.Append(t.Context(), drop(i)); err != nil {
			t.Fatal(err)
		}
	}
	go func() {
		for i := n / 2; i < n; i++ {
			if _, err := j.Append(context.WithoutCancel(t.Context()), drop(i)); err != nil {
				return
			}
			if i == n*3/4 {
				_ = nc.ForceReconnect()
			}
		}
	}()
	next := uint64(11)
	for e, err := range j.Follow(t.Context(), events.Access, 10) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Seq != next {
			t.Fatalf("sequence %d in place of %d", e.Seq, next)
		}
		if next++; next > n {
			break
		}
	}
}

func TestFiltersAndEmptyStreams(t *testing.T) {
	j := eventstest.Journal(t)
	for range j.Replay(t.Context(), events.Audit) {
		t.Fatal("an entry in an empty stream")
	}
	for i := range 10 {
		if _, err := j.Append(t.Context(), drop(i)); err != nil {
			t.Fatal(err)
		}
	}
	for range j.Replay(t.Context(), events.Access, "access.lock.>") {
		t.Fatal("an entry past the filter")
	}
	var ids []string
	for e, err := range j.Replay(t.Context(), events.Access, "access.request.3", "access.request.7") {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, e.Data.(*events.RequestDropped).RequestID)
	}
	if diff := cmp.Diff([]string{"3", "7"}, ids); diff != "" {
		t.Error(diff)
	}
	for _, err := range j.Replay(t.Context(), "NO_SUCH") {
		if err == nil {
			t.Fatal("a stream that isn't there was read")
		}
	}
}

func TestUndecodableEventsComeWithTheirBytes(t *testing.T) {
	nc := eventstest.Connect(t)
	j := eventstest.Open(t, nc)
	js, _ := jetstream.New(nc)
	unknown := `{"specversion":"1.0","id":"x","source":"/s","type":"io.postern.later.invented.v9","data":{}}`
	for _, body := range []string{unknown, "no event at all"} {
		if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "access.later.x", Data: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := j.Append(t.Context(), drop(1)); err != nil {
		t.Fatal(err)
	}
	var errs []error
	for e, err := range j.Replay(t.Context(), events.Access) {
		if len(e.Raw) == 0 || e.Seq == 0 {
			t.Errorf("entry without its bytes: %+v", e)
		}
		errs = append(errs, err)
	}
	if len(errs) != 3 || !errors.Is(errs[0], events.ErrUnknownType) || errs[1] == nil || errs[2] != nil {
		t.Errorf("errors %v", errs)
	}
}

func TestStreamsDenyDeletion(t *testing.T) {
	nc := eventstest.Connect(t)
	j := eventstest.Open(t, nc)
	if _, err := j.Append(t.Context(), drop(1)); err != nil {
		t.Fatal(err)
	}
	js, _ := jetstream.New(nc)
	s, err := js.Stream(t.Context(), events.Access)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context()); err == nil {
		t.Error("purged")
	}
	if err := s.DeleteMsg(t.Context(), 1); err == nil {
		t.Error("deleted")
	}
}

func TestBatchesComeAgainUntilTaken(t *testing.T) {
	j := eventstest.Journal(t)
	const n = 1000
	for i := range n {
		if _, err := j.Append(t.Context(), drop(i)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var taken []uint64
	var failed [2]uint64 // range of the batch that was refused once
	err := j.Batches(ctx, journal.BatchConfig{Stream: events.Access, Durable: "sink", After: 5, MaxEntries: 100}, func(_ context.Context, es []journal.Entry) error {
		r := [2]uint64{es[0].Seq, es[len(es)-1].Seq}
		if failed[0] == 0 {
			failed = r
			return errors.New("not now")
		}
		if len(taken) == 0 && r != failed {
			t.Errorf("refused %v, came again as %v", failed, r)
		}
		for _, e := range es {
			taken = append(taken, e.Seq)
		}
		if es[len(es)-1].Seq == n {
			cancel()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(taken) != n-5 || taken[0] != 6 {
		t.Fatalf("%d taken from %d on", len(taken), taken[0])
	}
	// A new process at an earlier position gets everything after it, at once.
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	first := uint64(0)
	_ = j.Batches(ctx, journal.BatchConfig{Stream: events.Access, Durable: "sink", After: 500}, func(_ context.Context, es []journal.Entry) error {
		first = es[0].Seq
		cancel()
		return nil
	})
	if first != 501 {
		t.Fatalf("went on at %d", first)
	}
}

func TestBeforeFindsATime(t *testing.T) {
	j := eventstest.Journal(t)
	var middle time.Time
	for i := range 10 {
		if i == 6 {
			middle = time.Now()
		}
		if _, err := j.Append(t.Context(), drop(i)); err != nil {
			t.Fatal(err)
		}
	}
	for at, want := range map[time.Time]uint64{middle: 6, {}: 0, time.Now().Add(time.Hour): 10} {
		if got, err := j.Before(t.Context(), events.Access, at); err != nil || got != want {
			t.Errorf("before %v: sequence %d, error %v; want %d", at, got, err, want)
		}
	}
}
