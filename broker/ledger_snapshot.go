package broker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/snapshot"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

const (
	// A snapshot is written anew when so many events, and so large a part of
	// what it holds, have come since: starts stay short, and what is written
	// stays in proportion to what comes.
	snapshotMin  = 5_000
	snapshotPart = 100
	// snapshotEvery is how often that is looked at.
	snapshotEvery = time.Minute
	// restoreGC is GOGC while a snapshot is read. Nearly all that is read is kept, so
	// that the heap comes to little more than it does in the end anyway, and looking for
	// garbage on the way finds none.
	restoreGC = 400
)

// restore takes the state from the snapshot, if there is a good one. It leaves
// the ledger in front of the event that the snapshot knows by its digest alone:
// the stream must have that one next.
func (l *ledger) restore(last uint64) {
	if l.snapshots == "" {
		return
	}
	defer debug.SetGCPercent(debug.SetGCPercent(restoreGC))
	state, refused := access.NewState(), map[uint64]bool{}
	end, err := l.readSnapshot(func(e journal.Entry) error {
		if e.Data == nil {
			state.Skip(e.Channel, e.Seq)
			refused[e.Seq] = true
		} else {
			state.Apply(e.Event, e.Seq)
		}
		return nil
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err == nil && end.Seq > last:
		err = fmt.Errorf("it ends at event %d and the stream at %d: it is of another stream", end.Seq, last)
	}
	if err != nil {
		l.log.Warn().Err(err).Str("file", l.snapshots).Msg("the snapshot is left out; reading the whole stream")
		return
	}
	state.Forget(l.now().Add(-remember))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state, l.refused, l.seq, l.snapshot = state, refused, end.Seq-1, end
}

func (l *ledger) readSnapshot(visit func(journal.Entry) error) (snapshot.End, error) {
	program, err := programDigest()
	if err != nil {
		return snapshot.End{}, err
	}
	f, err := os.Open(l.snapshots)
	if err != nil {
		return snapshot.End{}, err
	}
	defer f.Close()
	return snapshot.Read(f, program, l.snapshotKey, visit)
}

// foreign reports whether the stream goes on with another event than the
// snapshot that the state came from. Then the state is empty again.
func (l *ledger) foreign(seq uint64, raw []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.checked || l.snapshot.Seq == 0 {
		return false
	}
	l.checked = true
	if sum := sha256.Sum256(raw); seq == l.snapshot.Seq && bytes.Equal(sum[:], l.snapshot.Digest) {
		return false
	}
	l.log.Warn().Uint64("seq", seq).Str("file", l.snapshots).Msg("the snapshot is of another stream and is left out; reading the whole stream")
	l.state, l.refused, l.seq, l.snapshot = access.NewState(), map[uint64]bool{}, 0, snapshot.End{}
	return true
}

// keepSnapshots writes snapshots until ctx ends. Where one cannot be written
// the next start is slow, no more.
func (l *ledger) keepSnapshots(ctx context.Context) error {
	if l.snapshots == "" {
		return nil
	}
	tick := time.NewTicker(snapshotEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		l.mu.RLock()
		due := l.seq-l.snapshot.Seq >= max(snapshotMin, l.snapshot.Events/snapshotPart) && l.unread == nil
		l.mu.RUnlock()
		if !due {
			continue
		}
		if err := l.writeSnapshot(ctx); err != nil && ctx.Err() == nil {
			l.log.Warn().Err(err).Msg("no snapshot was written")
		}
	}
}

// writeSnapshot writes what matters of the last snapshot and of the events
// since, in the memory of one event.
func (l *ledger) writeSnapshot(ctx context.Context) (err error) {
	program, err := programDigest()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(l.snapshots+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err == nil {
			err = os.Rename(f.Name(), l.snapshots)
		}
	}()
	w, err := snapshot.NewWriter(f, program, l.snapshotKey)
	if err != nil {
		return err
	}
	keep := func(e journal.Entry) error {
		l.mu.RLock()
		if l.refused[e.Seq] {
			e.Data = nil
		}
		matters := e.Data == nil || l.state.Matters(e.Event, e.Seq, l.now())
		l.mu.RUnlock()
		if !matters {
			return nil
		}
		return w.Add(e)
	}
	l.mu.RLock()
	before, target := l.snapshot, l.seq
	l.mu.RUnlock()
	if before.Seq > 0 {
		end, err := l.readSnapshot(keep)
		if err == nil && !end.Same(before) { // what came between the two would be in neither
			err = fmt.Errorf("%s ends at event %d, and the last one that was written at %d", l.snapshots, end.Seq, before.Seq)
		}
		if err != nil {
			l.mu.Lock()
			l.snapshot = snapshot.End{} // the next one is made of the whole stream
			l.mu.Unlock()
			return err
		}
	}
	for e, err := range l.journal.Follow(ctx, events.Access, max(before.Seq, 1)-1) {
		if err == nil && e.Seq < target {
			err = keep(e)
		}
		if err != nil {
			return err
		}
		if e.Seq < target {
			continue
		}
		sum := sha256.Sum256(e.Raw)
		if err := errors.Join(w.Close(target, sum[:]), f.Sync()); err != nil {
			return err
		}
		l.mu.Lock()
		l.snapshot, l.checked = snapshot.End{Seq: target, Digest: sum[:], Events: w.Count()}, true
		l.mu.Unlock()
		return nil
	}
	return ctx.Err()
}

// programDigest is the SHA-256 of this program: a snapshot is for the build
// that wrote it.
func programDigest() ([]byte, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}
