package journal

// Known is the last sequence of a stream that was read here.
func (j *Journal) Known(stream string) uint64 { return j.conn.Load().known.of(stream).end() }
