package access

import (
	"maps"
	"slices"
	"time"

	"github.com/posternhq/postern/broker/policy"
	"github.com/posternhq/postern/events"
)

// State is the fold of the ACCESS stream. Apply alone changes it; what the
// maps point to never changes, so that a pointer may be kept after the state
// has moved on.
type State struct {
	Users    map[string]*User
	Roles    map[string]*policy.Role
	Apps     map[string]*App
	Lists    map[string]*List
	Requests map[string]*Request
	Sessions map[string]*Session
	// Locks are those that nobody has lifted; time may have ended them.
	Locks map[string]*Lock
	// Tokens are ways for services to join.
	Tokens map[string]*Token
	// Proxies are those that announced themselves and did not withdraw, by name.
	Proxies map[string]*Proxy
	// Consumers are those who read the streams from outside; names that are gone are kept, as nil.
	Consumers map[string]*Consumer
	// AuditTokens are those that nobody has deleted; time may have ended them.
	AuditTokens map[string]*AuditToken
	// Credentials are by user, Signins by the serial of the certificate.
	Credentials map[string]*Credential
	Connectors  map[string]*Connector
	Signins     map[string]*Signin
	Settings    Settings
	// Devices are the machines that people signed in from, by id.
	Devices map[string]*Device
	// Attested is the last stream sequence up to which a broker attests what it verified.
	Attested uint64

	heads   map[string]Head                // by channel
	under   map[string]Head                // in a draft: those of the state
	pending map[string]*Request            // undecided requests
	granted map[string]map[string]*Request // approved requests by user
	owed    map[string]*Request            // broken glasses that nobody has reviewed
	running map[string]*Session            // sessions that nobody has ended
	// promoted are promotions that their lists do not know of yet, by request.
	promoted map[string]*events.RequestPromoted
	// members are kept by list; memberOf is the same, the other way round.
	members  map[string]map[events.ListMember]Membership
	memberOf map[events.ListMember][]string
	targets  map[events.LockTarget][]string // lock ids
	timed    map[string]*Lock               // end by their time, which is not recorded yet
	spent    map[string]time.Time           // proofs that count no more, and when they were used
}

// Head is the end of one aggregate's history.
type Head struct {
	// Seq is the stream sequence of the last event, Revision its number among
	// the aggregate's events, from 1.
	Seq, Revision uint64
	EventID       string
}

// User is a user.
type User struct {
	events.User
	Revision uint64
	// CreatedAt and CreatedSeq tell this user from an earlier one of the name.
	CreatedAt  time.Time
	CreatedSeq uint64
}

// Expired reports whether what a connector said of the user holds no more.
func (u *User) Expired(now time.Time) bool { return u.ExpiresAt != nil && !now.Before(*u.ExpiresAt) }

// still reports whether the user of a name is the one who had it at a place in
// the stream: what an earlier one was given, or gave, is not theirs.
func (s *State) still(user string, seq uint64) bool {
	u := s.Users[user]
	return u != nil && u.CreatedSeq <= seq
}

// meant is the role of a name as a request meant it: nil if it is gone, and another of the
// name may have come since.
func (s *State) meant(role string, q *Request) *policy.Role {
	if r := s.Roles[role]; r != nil && r.CreatedSeq <= q.Seq {
		return r
	}
	return nil
}

// App is an app.
type App struct {
	events.App
	Revision uint64
}

// Lock is a lock.
type Lock struct {
	events.LockPlaced
	PlacedAt time.Time
	// PlacedSeq and ExpiredSeq are where in the stream it says so; the latter is 0 until
	// somebody has recorded that its time is over.
	PlacedSeq, ExpiredSeq uint64
}

// Active reports whether the lock is in force.
func (l *Lock) Active(now time.Time) bool { return l.ExpiresAt == nil || now.Before(*l.ExpiresAt) }

// NewState returns the state before the first event.
func NewState() *State {
	return &State{
		Users:       map[string]*User{},
		Roles:       map[string]*policy.Role{},
		Apps:        map[string]*App{},
		Lists:       map[string]*List{},
		Requests:    map[string]*Request{},
		Sessions:    map[string]*Session{},
		Locks:       map[string]*Lock{},
		Tokens:      map[string]*Token{},
		Proxies:     map[string]*Proxy{},
		Consumers:   map[string]*Consumer{},
		AuditTokens: map[string]*AuditToken{},
		heads:       map[string]Head{},
		pending:     map[string]*Request{},
		granted:     map[string]map[string]*Request{},
		owed:        map[string]*Request{},
		running:     map[string]*Session{},
		targets:     map[events.LockTarget][]string{},
		timed:       map[string]*Lock{},
		promoted:    map[string]*events.RequestPromoted{},
		members:     map[string]map[events.ListMember]Membership{},
		memberOf:    map[events.ListMember][]string{},
		Credentials: map[string]*Credential{},
		Connectors:  map[string]*Connector{},
		Signins:     map[string]*Signin{},
		Devices:     map[string]*Device{},
		spent:       map[string]time.Time{},
	}
}

// Draft returns a copy that can be applied to, to try commands out: of resources.
// Requests, sessions and members are shared, for looking at only.
func (s *State) Draft() *State {
	d := *s
	d.Users, d.Roles, d.Apps, d.Locks = maps.Clone(s.Users), maps.Clone(s.Roles), maps.Clone(s.Apps), maps.Clone(s.Locks)
	d.heads, d.under, d.targets = map[string]Head{}, s.heads, maps.Clone(s.targets)
	d.timed = maps.Clone(s.timed)
	d.granted, d.Lists, d.Tokens = maps.Clone(s.granted), maps.Clone(s.Lists), maps.Clone(s.Tokens)
	d.Credentials, d.Connectors = maps.Clone(s.Credentials), maps.Clone(s.Connectors)
	return &d
}

// Head returns the end of an aggregate's history, zero where there is none.
func (s *State) Head(channel string) Head {
	if h, ok := s.heads[channel]; ok {
		return h
	}
	return s.under[channel]
}

// Skip says that an event which counts for nothing stands on a channel: the
// next append to it has to know.
func (s *State) Skip(channel string, seq uint64) {
	h := s.Head(channel)
	h.Seq = seq
	s.heads[channel] = h
}

// Pass takes the place of an event that is not understood.
func (s *State) Pass(e events.Event, channel string, seq uint64) {
	s.heads[channel] = Head{Seq: seq, Revision: e.Sequence, EventID: e.ID}
}

// Apply folds in the next event of the stream.
func (s *State) Apply(e events.Event, seq uint64) {
	switch e.Data.(type) {
	case *events.SigninSucceeded:
		s.applySignin(e, seq)
		return // no aggregate: nothing is decided on their channel
	case *events.SigninFailed:
		return // nothing is decided by them, and names are anybody's
	case *events.ProxyAnnounced, *events.ProxyWithdrawn:
		s.applyProxy(e, seq)
		return
	}
	channel := e.Data.Channel()
	h := Head{Seq: seq, Revision: s.Head(channel).Revision + 1, EventID: e.ID}
	s.heads[channel] = h
	switch d := e.Data.(type) {
	case *events.UserCreated:
		s.Users[d.Name] = &User{User: d.User, Revision: h.Revision, CreatedAt: e.Time, CreatedSeq: seq}
		s.spend(d.SigninID, e.Time)
	case *events.UserUpdated:
		u := &User{User: d.User, Revision: h.Revision, CreatedAt: e.Time, CreatedSeq: seq}
		if old := s.Users[d.Name]; old != nil {
			u.CreatedAt, u.CreatedSeq = old.CreatedAt, old.CreatedSeq
		}
		s.Users[d.Name] = u
		s.spend(d.SigninID, e.Time)
	case *events.UserDeleted:
		delete(s.Users, d.Name)
		delete(s.granted, d.Name)
		maps.DeleteFunc(s.promoted, func(_ string, p *events.RequestPromoted) bool { return p.User == d.Name })
		delete(s.Credentials, d.Name)
	case *events.RoleCreated:
		r, _ := policy.Compile(d.Role, h.Revision)
		r.CreatedSeq = seq
		s.Roles[d.Name] = r
	case *events.RoleUpdated:
		r, _ := policy.Compile(d.Role, h.Revision)
		if old := s.Roles[d.Name]; old != nil {
			r.CreatedSeq = old.CreatedSeq
		}
		s.Roles[d.Name] = r
	case *events.RoleDeleted:
		delete(s.Roles, d.Name)
	case *events.AppCreated:
		s.Apps[d.Name] = &App{App: d.App, Revision: h.Revision}
	case *events.AppUpdated:
		s.Apps[d.Name] = &App{App: d.App, Revision: h.Revision}
	case *events.AppDeleted:
		delete(s.Apps, d.Name)
	case *events.LockPlaced:
		l := &Lock{LockPlaced: *d, PlacedAt: e.Time, PlacedSeq: seq}
		if s.Locks[d.LockID] = l; d.ExpiresAt != nil {
			s.timed[d.LockID] = l
		}
		s.targets[d.Target] = append(slices.Clip(s.targets[d.Target]), d.LockID)
	case *events.LockLifted:
		s.dropLock(d.LockID)
	case *events.LockExpired:
		if old := s.timed[d.LockID]; old != nil { // it is none since its time
			l := *old
			l.ExpiredSeq = seq
			s.Locks[d.LockID] = &l
			delete(s.timed, d.LockID)
		}
	case *events.TokenCreated, *events.TokenUpdated, *events.TokenDeleted, *events.TokenUsed:
		s.applyToken(e, h)
	case *events.AuditTokenCreated:
		s.AuditTokens[d.Name] = &AuditToken{AuditTokenCreated: *d, CreatedAt: e.Time}
	case *events.AuditTokenDeleted:
		delete(s.AuditTokens, d.Name)
	case *events.HistoryAttested:
		s.Attested = max(s.Attested, d.LastSequence)
	default:
		s.applyConsumer(e, seq)
		s.applyRequest(e)
		s.applySession(e, h)
		s.applyList(e)
		s.applyCredential(e)
		s.applyConnector(e)
		s.applySignin(e, seq)
	}
}

func (s *State) dropLock(id string) {
	l := s.Locks[id]
	if l == nil {
		return
	}
	delete(s.Locks, id)
	delete(s.timed, id)
	ids := slices.DeleteFunc(slices.Clone(s.targets[l.Target]), func(other string) bool { return other == id })
	if s.targets[l.Target] = ids; len(ids) == 0 {
		delete(s.targets, l.Target)
	}
}

// Subject returns what a user holds at a moment: the standing roles, those of
// the access lists they are in, and those of approved requests that neither
// time nor a lock has ended.
func (s *State) Subject(u *User, now time.Time) policy.Subject {
	return s.subject(u, now, func(requestID string) bool {
		return s.LockOn(now, events.LockTarget{Kind: "request", Name: requestID}) == nil
	})
}

func (s *State) subject(u *User, now time.Time, counts func(requestID string) bool) policy.Subject {
	sub := policy.Subject{User: u.Name, Traits: u.Traits}
	for _, name := range u.Roles {
		if r := s.Roles[name]; r != nil {
			sub.Roles = append(sub.Roles, policy.Held{Role: r})
		}
	}
	lists := s.holds(u, now)
	for _, name := range slices.Sorted(maps.Keys(lists)) {
		for _, role := range s.Lists[name].Grants.Roles {
			if r := s.Roles[role]; r != nil {
				sub.Roles = append(sub.Roles, policy.Held{Role: r, Lists: lists[name].way, Until: lists[name].until})
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.granted[u.Name])) {
		q := s.granted[u.Name][id]
		if !q.gives(now) || !counts(id) {
			continue
		}
		for _, name := range q.Roles {
			if r := s.meant(name, q); r != nil {
				locked := s.LockOn(now, events.LockTarget{Kind: "role", Name: name}) != nil
				sub.Roles = append(sub.Roles, policy.Held{Role: r, RequestID: id, Until: q.Ends(), Only: q.Resources, Locked: locked})
			}
		}
	}
	s.addTraits(&sub, lists)
	return sub
}

// addTraits adds the traits that lists grant. A role that asks for such a trait
// rests on the list from then on, and ends with it.
func (s *State) addTraits(sub *policy.Subject, lists map[string]hold) {
	for _, name := range slices.Sorted(maps.Keys(lists)) {
		granted := s.Lists[name].Grants.Traits
		if len(granted) == 0 {
			continue
		}
		traits := maps.Clone(sub.Traits)
		if traits == nil {
			traits = map[string][]string{}
		}
		for t, values := range granted {
			traits[t] = distinct(slices.Concat(traits[t], values))
		}
		sub.Traits = traits
		for i, h := range sub.Roles {
			if h.AllowsBy(granted) {
				sub.Roles[i].Lists = distinct(slices.Concat(h.Lists, lists[name].way))
				sub.Roles[i].Until = sooner(h.Until, lists[name].until)
			}
		}
	}
}

// LockOn returns a lock in force on one of the targets, or nil.
func (s *State) LockOn(now time.Time, targets ...events.LockTarget) *Lock {
	for _, t := range targets {
		for _, id := range s.targets[t] {
			if l := s.Locks[id]; l.Active(now) {
				return l
			}
		}
	}
	return nil
}

// Gone reports whether an event ends a session that Forget dropped, or that
// never was: it gives nothing and takes nothing.
func (s *State) Gone(p events.Payload) bool {
	d, ok := p.(*events.SessionEnded)
	return ok && s.Sessions[d.SessionID] == nil
}

// signinMemory is how long a sign-in can matter: longer than any certificate.
const signinMemory = 30 * 24 * time.Hour

// Matters reports whether an event that was applied, at seq, is needed to come to this
// state again, but for what Forget dropped. Only kinds of events of which there
// are many are ever left out.
func (s *State) Matters(e events.Event, seq uint64, now time.Time) bool {
	switch d := e.Data.(type) {
	case *events.ProxyAnnounced, *events.ProxyWithdrawn:
		last := s.Head(d.Channel())
		return e.ID == last.EventID || seq == last.Seq
	case *events.SigninFailed:
		return false
	case *events.SigninSucceeded:
		last := s.Devices[d.Device]
		return e.Time.After(now.Add(-signinMemory)) || last != nil && last.EventID == e.ID
	case *events.SessionStarted:
		return s.Sessions[d.SessionID] != nil
	case *events.SessionEnded:
		return s.Sessions[d.SessionID] != nil
	}
	return true
}

// Forget drops what can matter no more: sessions, sign-ins and locks whose time
// was over before a moment, and proofs from before it. The heads of locks stay, so
// that no id is used twice; those of sessions are never chosen.
func (s *State) Forget(before time.Time) {
	for id, x := range s.Sessions {
		if !x.ExpiresAt.After(before) {
			delete(s.Sessions, id)
			delete(s.running, id)
			delete(s.heads, x.Channel())
		}
	}
	for id, l := range s.Locks {
		if !l.Active(before) {
			s.dropLock(id)
		}
	}
	for serial, x := range s.Signins {
		if !x.ExpiresAt.After(before) {
			delete(s.Signins, serial)
		}
	}
	for name, p := range s.Proxies {
		if !p.ExpiresAt.After(before) {
			delete(s.Proxies, name)
		}
	}
	for id, at := range s.spent {
		if at.Before(before) {
			delete(s.spent, id)
		}
	}
}

// spend notes that a proof counts no more.
func (s *State) spend(id string, at time.Time) {
	if id != "" {
		s.spent[id] = at
	}
}
