package correlate

import (
	"hash/maphash"
	"time"
)

// shorts are open requests in short: those that ended, have an AWS request id and are
// not held whole. They take a fifth of the memory, in a few pieces, so there can be
// many. The record of one brings it back; anything else is asked of the store, as if it
// were not here.
type shorts struct {
	seed   maphash.Seed
	places map[uint64]int // by the hash of the AWS request id
	blocks []*shortBlock  // the oldest first; nil where all are gone
	first  int            // the place of the first of the first block
	n      int
	each   int // how many a block has
	atMost int // how many blocks there are
}

// shortBlock is some of them. The oldest are forgotten by the block.
type shortBlock struct {
	all  []short
	text []byte
	left int
}

// shortsInBlock is how many a block has at most.
const shortsInBlock = 8192

type short struct {
	received int64 // Unix time in nanoseconds
	who      *caller
	what     *callee
	text     uint32 // where in the block's text its AWS request id stands, and then its own
	aws, own uint8  // how long they are
	gone     bool
}

func newShorts(atMost int) shorts {
	each := min(shortsInBlock, max(1, atMost/4))
	return shorts{seed: maphash.MakeSeed(), places: map[uint64]int{}, each: each, atMost: atMost / each}
}

// add holds a request, if it can, and forgets the oldest where there are too many.
func (s *shorts) add(r *request) {
	if y := r.ReceivedAt.Year(); s.atMost <= 0 || r.Outcome != Completed || r.AWSRequestID == "" || len(r.AWSRequestID) > 255 || len(r.ID) > 255 || y < 1970 || y > 2200 {
		return
	}
	hash := maphash.String(s.seed, r.AWSRequestID)
	if _, taken := s.places[hash]; taken {
		return
	}
	last := len(s.blocks) - 1
	if last < 0 || s.blocks[last] == nil || len(s.blocks[last].all) == s.each {
		if len(s.blocks) == s.atMost {
			s.forget()
		}
		s.blocks = append(s.blocks, &shortBlock{all: make([]short, 0, s.each)})
		last = len(s.blocks) - 1
	}
	b := s.blocks[last]
	s.places[hash] = s.first + last*s.each + len(b.all)
	b.all = append(b.all, short{r.ReceivedAt.UnixNano(), r.caller, r.callee, uint32(len(b.text)), uint8(len(r.AWSRequestID)), uint8(len(r.ID)), false})
	b.text = append(append(b.text, r.AWSRequestID...), r.ID...)
	b.left++
	s.n++
}

// forget lets the oldest block go.
func (s *shorts) forget() {
	if b := s.blocks[0]; b != nil {
		for i := range b.all {
			if x := &b.all[i]; !x.gone {
				delete(s.places, maphash.Bytes(s.seed, b.text[x.text:][:x.aws]))
			}
		}
		s.n -= b.left
	}
	s.blocks[0] = nil
	s.blocks = s.blocks[1:]
	s.first += s.each
}

// find looks for a request by its AWS request id.
func (s *shorts) find(awsRequestID string) (place int, found *short, id string) {
	if s.n == 0 {
		return 0, nil, ""
	}
	place, ok := s.places[maphash.String(s.seed, awsRequestID)]
	if !ok {
		return 0, nil, ""
	}
	b := s.blocks[(place-s.first)/s.each]
	x := &b.all[(place-s.first)%s.each]
	text := b.text[x.text:]
	if string(text[:x.aws]) != awsRequestID {
		return 0, nil, ""
	}
	return place, x, string(text[x.aws:][:x.own])
}

// remove takes out what find has found.
func (s *shorts) remove(place int, awsRequestID string) {
	at := (place - s.first) / s.each
	b := s.blocks[at]
	b.all[(place-s.first)%s.each].gone = true
	b.left--
	s.n--
	delete(s.places, maphash.String(s.seed, awsRequestID))
	if b.left > 0 || len(b.all) < s.each {
		return
	}
	s.blocks[at] = nil
	for len(s.blocks) > 0 && s.blocks[0] == nil {
		s.forget()
	}
}

// unshorten brings back the request that a record is of, to be its pair at once.
func (s *State) unshorten(rec *record) {
	place, x, id := s.shorts.find(rec.RequestID)
	if x == nil {
		return
	}
	r := &request{
		ID: id, AWSRequestID: rec.RequestID, ReceivedAt: time.Unix(0, x.received).UTC(), Outcome: Completed, caller: x.who, callee: x.what, place: -1,
	}
	if !guard(r, rec) || fit(r, rec) != fitsOwn {
		return
	}
	s.shorts.remove(place, rec.RequestID)
	if s.byID[id] == nil {
		s.addNew(r)
	}
}

// unshort forgets a request in short that is held whole from now on.
func (s *State) unshort(r *request) {
	if r.AWSRequestID == "" {
		return
	}
	if place, x, id := s.shorts.find(r.AWSRequestID); x != nil && id == r.ID {
		s.shorts.remove(place, r.AWSRequestID)
	}
}
