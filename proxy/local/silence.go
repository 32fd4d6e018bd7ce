package local

import (
	"net"
	"sync"
	"time"
)

// A connection to a proxy whose machine has vanished ends when nothing that was sent to it
// has been acknowledged for silenceStep * maxSilent, or, where nothing is under way, when
// that many probes have come to nothing. TCP by itself repeats what it has sent for a quarter
// of an hour, and how long a call may wait for its answer nobody knows. An end that is there
// and takes nothing for now, as while a call is held, is not silent.
const (
	silenceStep = 5 * time.Second
	maxSilent   = 9
)

var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 3 * silenceStep, Interval: silenceStep, Count: maxSilent - 3}

// pulse tells when this machine has slept. Pools count time as it passes for processes.
type pulse struct {
	mu   sync.Mutex
	wall time.Time
	up   time.Duration
}

// slept says whether more time has passed in the world, since it was asked last, than in
// this process, up being how long that has run: connections that were left alone meanwhile
// are forgotten by the other end, or by what is in between.
func (p *pulse) slept(wall time.Time, up time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	wall = wall.Round(0)
	missed := wall.Sub(p.wall) - (up - p.up)
	first := p.wall.IsZero()
	p.wall, p.up = wall, up
	return !first && missed > silenceStep*maxSilent
}
