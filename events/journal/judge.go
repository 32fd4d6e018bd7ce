package journal

import (
	"runtime"
	"slices"
	"sort"
	"sync"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/signed"
)

// maxHeld bounds the entries that wait for an attestation of them.
const maxHeld = 2 * signed.MaxRun

// Verified is an entry that was verified.
type Verified struct {
	Entry
	// Unread is the error that Follow gives with the entry, Forged what
	// [signed.Keys.Verify] says of it.
	Unread, Forged error
	// Attested is whether a broker attests that it verified the signature, so that
	// nobody did here.
	Attested bool
	// Leaf is the entry in an attestation.
	Leaf signed.Leaf

	decoded, judged bool
}

// Judge tells which entries of ACCESS a broker decided. It gives each the verdict
// of [signed.Keys.Verify], and spares itself the work where a broker attests
// (io.postern.history.attested.v1) that it verified the very messages that stand
// here. An attestation counts for its signature and for what it says of messages
// that are here as it says; whatever else stands in the stream, a forged one
// included, has every entry that it may be about verified by itself. What others
// are verified by, keys and the CA's changes, always is.
//
// It is for one reader, who reads all of the stream from some entry on.
type Judge struct {
	keys *signed.Keys
	// recent are the last leaves that were seen, of held entries and of those before.
	recent []signed.Leaf
	held   []*Verified
	fresh  int // how many of the last held nobody has looked at
}

// NewJudge returns a judge by some keys, which learn from what is judged.
func NewJudge(keys *signed.Keys) *Judge { return &Judge{keys: keys} }

// Verify judges the next entries. When they were given before, they are judged anew.
func (g *Judge) Verify(entries []Entry) []Verified {
	vs := make([]Verified, len(entries))
	for i := range entries {
		vs[i] = Verified{Entry: entries[i], decoded: true}
	}
	g.hold(vs)
	g.take(false)
	return vs
}

// hold gives the judge the next entries, for take.
func (g *Judge) hold(vs []Verified) {
	for i := range vs {
		g.held = append(g.held, &vs[i])
	}
	g.fresh += len(vs)
}

// take judges what is held, in order. If more is on its way it holds back what an
// attestation may be about that has still to come.
func (g *Judge) take(more bool) []*Verified {
	fresh := g.held[len(g.held)-g.fresh:]
	g.fresh = 0
	parallel(len(fresh), func(i int) {
		v := fresh[i]
		if !v.decoded {
			v.Event, v.Unread = decode(v.Entry)
			v.decoded = true
		}
		v.Leaf = signed.NewLeaf(v.Channel, v.Seq, v.StoredAt, v.Raw)
	})
	g.remember(fresh)
	done := 0 // held entries up to here wait no more
	for _, v := range fresh {
		switch d := v.Data.(type) {
		case *events.KeyPublished, *events.CARotated:
			g.verify(v)
		case *events.HistoryAttested:
			if g.verify(v); v.Forged == nil && g.fits(d, v.Seq) {
				done = max(done, g.attested(d))
			}
		}
	}
	switch {
	case !more:
		done = len(g.held)
	case len(g.held)-done > maxHeld:
		done = len(g.held) - signed.MaxRun
	}
	out := g.held[:done:done]
	g.held = slices.Clone(g.held[done:])
	parallel(len(out), func(i int) { g.verify(out[i]) })
	return out
}

// verify looks at the signature, unless that was done.
func (g *Judge) verify(v *Verified) {
	switch {
	case v.judged:
		return
	case v.Attested:
		v.Forged = g.keys.VerifyAttested(v.Channel, v.StoredAt, v.Event, v.Raw)
	default:
		v.Forged = g.keys.Verify(v.Channel, v.StoredAt, v.Event, v.Raw)
	}
	v.judged = true
}

// remember keeps the leaves of entries.
func (g *Judge) remember(fresh []*Verified) {
	if len(fresh) == 0 {
		return
	}
	// What comes again takes its former place.
	g.recent = g.recent[:position(g.recent, fresh[0].Seq)]
	for _, v := range fresh {
		g.recent = append(g.recent, v.Leaf)
	}
	if keep := len(g.held) + signed.MaxRun; len(g.recent) > 2*keep {
		g.recent = slices.Clone(g.recent[len(g.recent)-keep:])
	}
}

// position is where in leaves, by sequence, seq stands or would stand.
func position(leaves []signed.Leaf, seq uint64) int {
	return sort.Search(len(leaves), func(i int) bool { return leaves[i].Seq >= seq })
}

// fits is whether a genuine attestation, which stands at seq, is about messages that
// are here, all of them and as they are.
func (g *Judge) fits(d *events.HistoryAttested, seq uint64) bool {
	if d.FirstSequence > d.LastSequence || d.LastSequence >= seq {
		return false
	}
	from, to := position(g.recent, d.FirstSequence), position(g.recent, d.LastSequence+1)
	return to-from <= signed.MaxRun && signed.Digest(g.recent[from:to]) == d.SHA256
}

// attested takes an attestation at its word, and returns how many of the held
// entries it is about or come before.
func (g *Judge) attested(d *events.HistoryAttested) int {
	n := len(g.held)
	from := sort.Search(n, func(i int) bool { return g.held[i].Seq >= d.FirstSequence })
	to := sort.Search(n, func(i int) bool { return g.held[i].Seq > d.LastSequence })
	refused := make(map[uint64]bool, len(d.Refused))
	for _, seq := range d.Refused {
		refused[seq] = true
	}
	for _, v := range g.held[from:to] {
		switch v.Data.(type) {
		case *events.KeyPublished, *events.CARotated:
			continue
		}
		if !v.judged && !refused[v.Seq] {
			v.Attested = true
		}
	}
	return to
}

// parallel calls do for 0 to n-1, on all processors where that is worth it.
func parallel(n int, do func(i int)) {
	const worth = 8
	parts := min(runtime.GOMAXPROCS(0), n/worth)
	if parts < 2 {
		for i := range n {
			do(i)
		}
		return
	}
	var group sync.WaitGroup
	for part := range parts {
		group.Go(func() {
			for i := part * n / parts; i < (part+1)*n/parts; i++ {
				do(i)
			}
		})
	}
	group.Wait()
}
