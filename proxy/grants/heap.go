package grants

// heap is a binary min-heap of things that know their end and their place, so
// that the soonest is found at once and any can be taken out.
type heap[T ending] struct{ items []T }

type ending interface {
	end() int64
	place(int)
	placed() int
}

func (s *session) end() int64  { return s.expires }
func (s *session) place(i int) { s.index = i }
func (s *session) placed() int { return s.index }
func (l *lock) end() int64     { return l.expires }
func (l *lock) place(i int)    { l.index = i }
func (l *lock) placed() int    { return l.index }
func (t *target) end() int64   { return t.approved }
func (t *target) place(i int)  { t.index = i }
func (t *target) placed() int  { return t.index }

func (h *heap[T]) push(x T) {
	h.items = append(h.items, x)
	x.place(len(h.items) - 1)
	h.up(len(h.items) - 1)
}

// remove takes x out; x must be in h.
func (h *heap[T]) remove(x T) {
	i, last := x.placed(), len(h.items)-1
	if i != last {
		h.swap(i, last)
	}
	var none T
	h.items[last] = none
	h.items = h.items[:last]
	x.place(-1)
	if i < last {
		h.up(i)
		h.down(i)
	}
}

func (h *heap[T]) swap(i, j int) {
	h.items[i], h.items[j] = h.items[j], h.items[i]
	h.items[i].place(i)
	h.items[j].place(j)
}

func (h *heap[T]) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if h.items[parent].end() <= h.items[i].end() {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h *heap[T]) down(i int) {
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(h.items); c++ {
			if h.items[c].end() < h.items[least].end() {
				least = c
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}
