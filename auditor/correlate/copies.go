package correlate

import "time"

// spilledCopy is a record that waits in the store alone, for what the caller's own
// account gets of the event.
type spilledCopy struct {
	due time.Time
	seq uint64 // its place in CLOUDTRAIL
}

// hold keeps waiting copies, and the requests that they wait for, in memory: the newest
// of them, as many as open requests. Of the others their places are known.
func (s *State) hold(copies []*record, c Clock) []*record {
	over := len(copies) - s.c.Open
	held := copies[:0]
	for _, rec := range copies {
		req := s.requestOf(rec)
		if over > 0 && rec.Seq > 0 && req.place >= 0 { // who is overdue needs it now
			over--
			s.copies = append(s.copies, spilledCopy{c.Now.Add(s.c.TrailDelay + s.c.Skew), rec.Seq})
			s.drop(rec)
			if req.in == nil { // it may be spilled, too
				s.enqueue(req)
			}
			continue
		}
		s.dequeue(req)
		held = append(held, rec)
	}
	return held
}

// copiesDue are the places of copies that have waited for long enough: their requests
// are judged by now, or will be when the copies are there.
func (s *State) copiesDue(c Clock) []uint64 {
	var out []uint64
	for _, x := range s.copies {
		if len(out) == atOnce || x.due.After(c.Now) {
			break
		}
		out = append(out, x.seq)
	}
	return out
}

// unspillCopies takes what a store has for the first n copies.
func (s *State) unspillCopies(n int, found []Record) {
	s.copies = s.copies[n:]
	s.behind = s.behind || n == atOnce
	for _, r := range found {
		s.addRecord(r, s.now)
	}
}
