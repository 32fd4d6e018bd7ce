package proxy

import "sync"

// gate counts what is under way and, once closed, lets nothing more begin.
type gate struct {
	mu      sync.Mutex // so that nothing begins while close waits
	closed  bool
	running sync.WaitGroup
}

// enter tells whether another one may begin; if so, leave is owed.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.running.Add(1)
	}
	return !g.closed
}

func (g *gate) leave() { g.running.Done() }

// close returns when all that began has ended.
func (g *gate) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.running.Wait()
}
