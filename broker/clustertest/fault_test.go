package clustertest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// fault is something that goes wrong, and how it is put right.
type fault struct {
	name       string
	begin, end func()
}

// trouble draws one fault after another until ctx ends. Each is put right before
// the next one of its kind, so that two of three are well.
func (w *world) trouble(ctx context.Context, rng *rand.Rand, faults []fault) {
	wait := func(least, spread time.Duration) {
		select {
		case <-time.After(least + time.Duration(rng.Int64N(int64(spread)))):
		case <-ctx.Done():
		}
	}
	for {
		wait(500*time.Millisecond, time.Second)
		if ctx.Err() != nil {
			return
		}
		f := pick(rng, faults)
		begun := time.Now()
		f.begin()
		wait(time.Second, 6*time.Second)
		f.end()
		w.t.Logf("%s for %s", f.name, time.Since(begun).Round(time.Millisecond))
	}
}

func (w *world) nodeFaults() (out []fault) {
	for i, p := range w.procs {
		out = append(out,
			fault{"kill node " + p.name, p.kill, p.start},
			fault{"pause node " + p.name, p.pause, p.resume},
			fault{"cut node " + p.name + " off", func() { w.part(i, (*link).cut) }, func() { w.part(i, (*link).mend) }},
			fault{"freeze the links of node " + p.name, func() { w.part(i, (*link).freeze) }, func() { w.part(i, (*link).thaw) }},
		)
	}
	return out
}

func (w *world) brokerFaults(gates []*gate) (out []fault) {
	each := func(links []*link, do func(*link)) func() {
		return func() {
			for _, l := range links {
				do(l)
			}
		}
	}
	for i, p := range w.brokers {
		out = append(out,
			fault{"kill broker " + p.name, p.kill, func() { p.start(); w.ready(p) }},
			fault{"pause broker " + p.name, p.pause, p.resume},
			fault{"cut broker " + p.name + " off", each(w.links[i], (*link).cut), each(w.links[i], (*link).mend)},
			fault{"freeze the links of broker " + p.name, each(w.links[i], (*link).freeze), each(w.links[i], (*link).thaw)},
		)
	}
	for _, g := range gates {
		out = append(out,
			fault{fmt.Sprintf("cut proxy %s off", g.name), each(g.links, (*link).cut), each(g.links, (*link).mend)},
			fault{fmt.Sprintf("freeze the links of proxy %s", g.name), each(g.links, (*link).freeze), each(g.links, (*link).thaw)},
		)
	}
	return out
}
