package correlate

// call is what key_name_time pairs by, without the time. Requests with an AWS
// request id of their own are kept apart: only records without one can be theirs.
type call struct {
	key, name  string
	identified bool
}

func (r *request) call() call {
	return call{r.AccessKeyID, canonical(r.Service, named(r.Service, r.Operation)), r.AWSRequestID != ""}
}

// calls yields the unpaired requests that could be a record's by key and name.
func (s *State) calls(rec *record, yield func(*request)) {
	c := call{rec.AccessKeyID, canonical(rec.service(), rec.EventName), false}
	for req := range s.byCall[c] {
		yield(req)
	}
	if c.identified = true; rec.RequestID == "" {
		for req := range s.byCall[c] {
			yield(req)
		}
	}
}

func (s *State) index(r *request) {
	if r.paired() {
		return
	}
	insert(s.byCall, r.call(), r)
	if r.Outcome == InFlight {
		insert(s.inFly, r.AccessKeyID, r)
	}
}

func (s *State) unindex(r *request) {
	remove(s.byCall, r.call(), r)
	remove(s.inFly, r.AccessKeyID, r)
}

// link makes a request known by its AWS request id.
func (s *State) link(r *request) {
	if r.AWSRequestID == "" {
		return
	}
	for x := s.byAWS[r.AWSRequestID]; x != nil; x = x.same {
		if x == r {
			return
		}
	}
	r.same = s.byAWS[r.AWSRequestID]
	s.byAWS[r.AWSRequestID] = r
}

func (s *State) unlink(r *request) {
	at := s.byAWS[r.AWSRequestID]
	if at == r {
		if r.same == nil {
			delete(s.byAWS, r.AWSRequestID)
		} else {
			s.byAWS[r.AWSRequestID] = r.same
		}
	}
	for ; at != nil; at = at.same {
		if at.same == r {
			at.same = r.same
			break
		}
	}
	r.same = nil
}

func insert[K, V comparable](m map[K]map[V]struct{}, k K, v V) {
	inner := m[k]
	if inner == nil {
		inner = map[V]struct{}{}
		m[k] = inner
	}
	inner[v] = struct{}{}
}

// remove returns what is left under the key.
func remove[K, V comparable](m map[K]map[V]struct{}, k K, v V) map[V]struct{} {
	inner := m[k]
	delete(inner, v)
	if len(inner) == 0 {
		delete(m, k)
	}
	return inner
}
