package grants

import (
	"hash/maphash"
	"sync/atomic"
)

// table finds sessions by id. A decision at a million live sessions waits for
// memory and for little else, so what it reads lies in one cache line, where a
// Go map of pointers makes it wait about ten times: an open-addressed array with
// linear probing. 64 tables keep the pause short when one grows.
type table struct {
	slots []slot // a power of two, or none
	used  int
}

// slot is 64 bytes. It stands for the session's own fields as long as clear is
// the present epoch; in every other case those decide.
type slot struct {
	// id and user are hashes under secret, random seeds: nobody can look for ids
	// or names that collide. The names themselves are compared in Watch, which
	// every call passes.
	id, user uint64
	expires  int64 // Unix nanoseconds
	// clear is the epoch in which nothing was found that refuses the session.
	clear   atomic.Uint64
	policy  *policy
	session *session // nil: free
	account uint64   // hash, with the seed of users
	limits  *limits
}

const tables = 64

type index struct {
	ids, users maphash.Seed
	tables     [tables]table
	count      int
}

func newIndex() index { return index{ids: maphash.MakeSeed(), users: maphash.MakeSeed()} }

func (x *index) hash(id string) uint64     { return maphash.String(x.ids, id) }
func (x *index) hashUser(u string) uint64  { return maphash.String(x.users, u) }
func (x *index) table(hash uint64) *table  { return &x.tables[hash>>58] }
func (x *index) find(hash uint64) *slot    { return x.table(hash).find(hash) }
func (t *table) at(hash uint64) (i uint64) { return hash & uint64(len(t.slots)-1) }

// session finds the session with exactly this id.
func (x *index) session(id string) *session {
	if s := x.find(x.hash(id)); s != nil && s.session.start.SessionID == id {
		return s.session
	}
	return nil
}

// add puts a session in; false if its hash is taken.
func (x *index) add(s *session) bool {
	h := x.hash(s.start.SessionID)
	t := x.table(h)
	if t.find(h) != nil {
		return false
	}
	if 4*(t.used+1) > 3*len(t.slots) {
		t.grow()
	}
	t.used++
	x.count++
	t.free(h).set(h, x.hashUser(s.start.User), x.hashUser(s.start.Account), s)
	return true
}

func (x *index) remove(id string) {
	h := x.hash(id)
	if t := x.table(h); t.remove(h) {
		t.used--
		x.count--
	}
}

// doubt makes the next decision about a session look at all of it.
func (x *index) doubt(id string) {
	if s := x.find(x.hash(id)); s != nil {
		s.clear.Store(0)
	}
}

func (s *slot) set(id, user, account uint64, session *session) {
	s.id, s.user, s.account, s.session = id, user, account, session
	s.expires, s.policy, s.limits = session.expires, session.policy, session.limits
	s.clear.Store(0)
}

func (t *table) find(hash uint64) *slot {
	if len(t.slots) == 0 {
		return nil
	}
	for i := t.at(hash); ; i = t.at(i + 1) {
		switch s := &t.slots[i]; {
		case s.session == nil:
			return nil
		case s.id == hash:
			return s
		}
	}
}

func (t *table) free(hash uint64) *slot {
	i := t.at(hash)
	for t.slots[i].session != nil {
		i = t.at(i + 1)
	}
	return &t.slots[i]
}

func (t *table) grow() {
	old := t.slots
	t.slots = make([]slot, max(8, 2*len(old)))
	for i := range old {
		if o := &old[i]; o.session != nil {
			t.free(o.id).set(o.id, o.user, o.account, o.session)
		}
	}
}

// remove frees the slot of hash and moves up what would not be found behind the
// gap (Knuth, The Art of Computer Programming, volume 3, algorithm 6.4 R).
func (t *table) remove(hash uint64) bool {
	s := t.find(hash)
	if s == nil {
		return false
	}
	gap := t.at(hash)
	for &t.slots[gap] != s {
		gap = t.at(gap + 1)
	}
	for i := t.at(gap + 1); t.slots[i].session != nil; i = t.at(i + 1) {
		o := &t.slots[i]
		// o may move into the gap unless its home lies behind the gap.
		if home := t.at(o.id); t.at(i-home) >= t.at(i-gap) {
			t.slots[gap].set(o.id, o.user, o.account, o.session)
			gap = i
		}
	}
	t.slots[gap].session, t.slots[gap].policy, t.slots[gap].limits = nil, nil, nil
	return true
}
