package access

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
)

// brokers are several that share a stream and lag behind it, each by its own
// measure: a command is decided on what its broker knows and appended on
// condition of its channel's head, as the ledger does it.
type brokers struct {
	t     *testing.T
	log   []events.Event
	heads map[string]uint64
	known []*State
	read  []int // how much of log each knows
	ids   int
	// look sees what is about to be appended and what its broker knew.
	look func(knew []events.Event, p events.Payload)
	// reviewing is the review that comes with what it resolves.
	reviewing events.Event
}

func (b *brokers) catchUp(i, to int) {
	for ; b.read[i] < to; b.read[i]++ {
		b.known[i].Apply(b.log[b.read[i]], uint64(b.read[i]+1))
	}
}

func (b *brokers) append(es ...events.Event) {
	for _, e := range es {
		b.log = append(b.log, e)
		b.heads[e.Data.Channel()] = uint64(len(b.log))
	}
}

func (b *brokers) do(i int, by string, decide func(*State, Env) ([]events.Event, error)) {
	env := Env{Now: at, By: by, NewID: func() string { b.ids++; return fmt.Sprintf("ID%d", b.ids) }}
	for {
		es, err := decide(b.known[i], env)
		if err != nil || len(es) == 0 {
			return
		}
		channel := es[0].Data.Channel()
		if b.known[i].Head(channel).Seq != b.heads[channel] {
			b.catchUp(i, len(b.log)) // somebody was faster
			continue
		}
		for _, e := range es {
			b.look(b.log[:b.read[i]], e.Data)
		}
		b.append(es...)
		b.catchUp(i, len(b.log))
		return
	}
}

// judge is the policy said once more, from the events alone.
type judge struct {
	roles    map[string]string // role of each user
	locked   map[string]bool
	verdicts map[string]string
	lead     map[string]bool // the review was given as a lead
	resolved []string
	left     bool // alice, who asked: whoever has her name now is somebody else
}

func judged(history []events.Event) *judge {
	j := &judge{roles: map[string]string{}, locked: map[string]bool{}, verdicts: map[string]string{}, lead: map[string]bool{}}
	for _, e := range history {
		switch d := e.Data.(type) {
		case *events.UserCreated:
			j.roles[d.Name] = d.Roles[0]
		case *events.UserUpdated:
			j.roles[d.Name] = d.Roles[0]
		case *events.UserDeleted:
			delete(j.roles, d.Name)
			if j.verdicts[d.Name] == approves { // a later one of the name has not approved
				delete(j.verdicts, d.Name)
			}
			j.left = j.left || d.Name == "alice"
		case *events.LockPlaced:
			j.locked[d.Target.Name] = true
		case *events.RequestReviewed:
			j.verdicts[d.Reviewer], j.lead[d.Reviewer] = d.Verdict, j.roles[d.Reviewer] == "lead"
		case *events.RequestApproved:
			j.resolved = append(j.resolved, Approved)
		case *events.RequestDenied:
			j.resolved = append(j.resolved, Refused)
		case *events.RequestDropped:
			j.resolved = append(j.resolved, Dropped)
		}
	}
	return j
}

// allows says whether the policy lets the request be approved by what is known.
func (j *judge) allows(q *events.RequestCreated) error {
	n := func(t events.Threshold, verdict string) int {
		n := 0
		for who, v := range j.verdicts {
			able := (j.roles[who] == "reviewer" || j.roles[who] == "lead") && !j.locked[who] && who != q.User
			if v == verdict && (t.Filter == "" || j.lead[who]) && (able || verdict == denies) {
				n++
			}
		}
		return n
	}
	for i, t := range q.Thresholds {
		if n(t, denies) >= t.Deny {
			return fmt.Errorf("threshold %d denies", i)
		}
	}
	sets := q.ThresholdSets
	if sets == nil {
		sets = [][]int{{0, 1}}
	}
	for _, set := range sets {
		if !slices.ContainsFunc(set, func(i int) bool { return n(q.Thresholds[i], approves) >= q.Thresholds[i].Approve }) {
			return fmt.Errorf("set %v is not met", set)
		}
	}
	if len(j.resolved) > 0 || j.left {
		return fmt.Errorf("it was %v before, or %s has left", j.resolved, q.User)
	}
	return nil
}

// However commands that run at once are ordered, and however far brokers lag,
// nothing is granted that the policy does not grant, and nothing resolved twice.
func TestConcurrentCommands(t *testing.T) {
	approved, denied := 0, 0
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		s := board(t)
		b := &brokers{t: t, heads: map[string]uint64{}}
		s.given(asked("R1", func(q *events.RequestCreated) {
			q.Thresholds = []events.Threshold{{Name: "peers", Approve: 1 + rng.IntN(3), Deny: 1 + rng.IntN(2)}, {Name: "lead", Filter: byLead, Approve: 1, Deny: 1}}
			if rng.IntN(2) == 0 {
				q.ThresholdSets = [][]int{{0}, {1}}
			}
		}))
		b.append(s.log...)
		asked := s.state.Requests["R1"].RequestCreated
		for range 3 {
			b.known, b.read = append(b.known, NewState()), append(b.read, 0)
			b.catchUp(len(b.known)-1, len(b.log))
		}
		b.look = func(knew []events.Event, p events.Payload) {
			switch d := p.(type) {
			case *events.RequestApproved:
				last := b.heads[d.Channel()]
				if uint64(len(knew)) < last {
					t.Fatalf("seed %d: approved without having read the request to its end", seed)
				}
				with := append(slices.Clone(knew), b.reviewing)
				if err := judged(with).allows(&asked); err != nil {
					t.Fatalf("seed %d: approved, and %v\n%s", seed, err, b)
				}
				approved++
			case *events.RequestDenied:
				denied++
			case *events.SessionStarted:
				if j := judged(knew); len(d.RequestIDs) > 0 && (j.left || !slices.Contains(j.resolved, Approved)) {
					t.Fatalf("seed %d: a session rests on what nobody approved\n%s", seed, b)
				}
			case *events.RequestReviewed:
				b.reviewing = events.Event{Data: d}
			}
		}
		for range 14 {
			i := rng.IntN(len(b.known))
			b.catchUp(i, b.read[i]+rng.IntN(len(b.log)-b.read[i]+1)) // some of what it has missed
			who := []string{"bob", "carol", "dan", "lea", "alice"}[rng.IntN(5)]
			again := func(name, role string) {
				b.do(i, "admin", func(s *State, env Env) ([]events.Event, error) {
					if s.Users[name] != nil {
						return nil, nil
					}
					return env.one("", "", &events.UserCreated{User: events.User{Name: name, Roles: []string{role}}}), nil
				})
			}
			switch rng.IntN(14) {
			case 0:
				b.do(i, "admin", func(s *State, env Env) ([]events.Event, error) {
					if s.Users["bob"] == nil {
						return nil, nil
					}
					return env.one("", "", &events.UserDeleted{Name: "bob"}), nil
				})
			case 1:
				b.do(i, "admin", func(s *State, env Env) ([]events.Event, error) {
					return env.one("", "", &events.UserUpdated{User: events.User{Name: "dan", Roles: []string{"reader"}}}), nil
				})
			case 2:
				b.do(i, "admin", func(s *State, env Env) ([]events.Event, error) {
					return env.one("", "", &events.LockPlaced{LockID: env.NewID(), Target: events.LockTarget{Kind: "user", Name: "carol"}}), nil
				})
			case 3:
				b.do(i, "alice", func(s *State, env Env) ([]events.Event, error) {
					return Start(s, env, StartSession{User: "alice", App: "prod", AWSRole: adminARN, NotAfter: at.Add(time.Hour)})
				})
			case 4:
				b.do(i, "lea", func(s *State, env Env) ([]events.Event, error) { return Revoke(s, env, "R1", "") })
			case 12:
				again("bob", "reviewer")
			case 13:
				if rng.IntN(4) == 0 {
					b.do(i, "admin", func(s *State, env Env) ([]events.Event, error) {
						if s.Users["alice"] == nil {
							return nil, nil
						}
						return env.one("", "", &events.UserDeleted{Name: "alice"}), nil
					})
				}
				again("alice", "reader")
			case 5:
				if rng.IntN(4) == 0 {
					b.do(i, "alice", func(s *State, env Env) ([]events.Event, error) { return Drop(s, env, "R1", "") })
				}
			default:
				verdict := approves
				if rng.IntN(5) == 0 {
					verdict = denies
				}
				b.do(i, who, func(s *State, env Env) ([]events.Event, error) {
					return Decide(s, env, SubmitReview{RequestID: "R1", Reviewer: who, Verdict: verdict})
				})
			}
		}
		// All brokers come to the same, and it is what the events say.
		n := 0
		for _, r := range judged(b.log).resolved {
			if r != Dropped {
				n++
			}
		}
		if n > 1 {
			t.Fatalf("seed %d: resolved %d times\n%s", seed, n, b)
		}
		for i := range b.known {
			b.catchUp(i, len(b.log))
			if u := b.known[i].Users["alice"]; u != nil && judged(b.log).left && len(b.known[i].Subject(u, at).Roles) > 1 {
				t.Fatalf("seed %d: another alice has what one of before was allowed\n%s", seed, b)
			}
			if x, y := b.known[i].Requests["R1"].State(at), b.known[0].Requests["R1"].State(at); x != y {
				t.Fatalf("seed %d: %s and %s", seed, x, y)
			}
		}
	}
	if approved < 100 || denied < 100 {
		t.Errorf("only %d approved and %d denied: the test shows little", approved, denied)
	}
}

func (b *brokers) String() string {
	out := ""
	for i, e := range b.log {
		out += fmt.Sprintf("%d %s %+v\n", i+1, e.Data.Type(), e.Data)
	}
	return out
}
