package journal

import "time"

// Known is the last sequence of a stream that was read here.
func (j *Journal) Known(stream string) uint64 { return j.conn.Load().known.of(stream).end() }

// Tell gives the journal a clock, before it is used.
func (j *Journal) Tell(now func() time.Time) { j.now = now }
