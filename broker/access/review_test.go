package access

import (
	"slices"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
)

func review(who, verdict string, thresholds ...int) *events.RequestReviewed {
	return &events.RequestReviewed{RequestID: "R1", Reviewer: who, Verdict: verdict, Thresholds: thresholds}
}

// board is a company with leads and more reviewers.
func board(t *testing.T) *story {
	return company(t).given(
		role("lead", func(r *events.Role) { r.Allow.ReviewRequests = &events.ReviewConditions{Roles: []string{"*"}} }),
		user("lea", "lead"), user("dan", "reviewer"),
	)
}

const byLead = `contains(reviewer.roles, "lead")`

// What several reviews with filters, sets and changes of mind come to.
func TestThresholds(t *testing.T) {
	two := []events.Threshold{{Name: "peers", Approve: 2, Deny: 1}, {Name: "lead", Filter: byLead, Approve: 1, Deny: 1}}
	for _, c := range []struct {
		name       string
		thresholds []events.Threshold
		sets       [][]int
		given      []events.Payload
		by         string
		verdict    string
		counts     []int
		resolved   string // "", "approved" or "denied"
		threshold  string
		refused    string
	}{
		{"a lead alone", two, nil, nil, "lea", approves, []int{0, 1}, Approved, "lead", ""},
		{"a peer is not enough", two, nil, nil, "bob", approves, []int{0}, "", "", ""},
		{"two peers", two, nil, []events.Payload{review("bob", approves, 0)}, "dan", approves, []int{0}, Approved, "peers", ""},
		{"any denial that counts", two, nil, []events.Payload{review("bob", approves, 0)}, "dan", denies, []int{0}, Refused, "peers", ""},
		{"both sets: one peer and one lead", two, [][]int{{0}, {1}}, []events.Payload{review("bob", approves, 0)}, "lea", approves, []int{0, 1}, Approved, "peers, lead", ""},
		{"both sets: two peers are not the lead", two, [][]int{{0}, {1}}, []events.Payload{review("bob", approves, 0)}, "dan", approves, []int{0}, "", "", ""},
		{"a review that counts for nothing", two[1:], nil, nil, "bob", approves, nil, "", "", "denied: counts for none"},
		{"an approval taken back does not count", []events.Threshold{{Approve: 2, Deny: 2}}, nil,
			[]events.Payload{review("bob", approves, 0), review("bob", denies, 0)}, "dan", approves, []int{0}, "", "", ""},
		{"a denial changed into an approval", []events.Threshold{{Approve: 2, Deny: 2}}, nil,
			[]events.Payload{review("bob", denies, 0), review("dan", approves, 0)}, "bob", approves, []int{0}, Approved, "", ""},
		{"the same again", two, nil, []events.Payload{review("bob", approves, 0)}, "bob", approves, nil, "", "", "conflict: already"},
		{"an approval of somebody who has left", []events.Threshold{{Approve: 2, Deny: 1}}, nil,
			[]events.Payload{review("bob", approves, 0), &events.UserDeleted{Name: "bob"}}, "dan", approves, []int{0}, "", "", ""},
		{"an approval of somebody who is locked", []events.Threshold{{Approve: 2, Deny: 1}}, nil,
			[]events.Payload{review("bob", approves, 0), &events.LockPlaced{LockID: "L", Target: events.LockTarget{Kind: "user", Name: "bob"}}}, "dan", approves, []int{0}, "", "", ""},
		{"an approval of somebody who may review no more", []events.Threshold{{Approve: 2, Deny: 1}}, nil,
			[]events.Payload{review("bob", approves, 0), &events.UserUpdated{User: events.User{Name: "bob", Roles: []string{"reader"}}}}, "dan", approves, []int{0}, "", "", ""},
		{"an approval of somebody who is no lead any more", []events.Threshold{{Name: "leads", Filter: byLead, Approve: 2, Deny: 1}}, nil,
			[]events.Payload{user("lin", "lead"), review("lin", approves, 0), &events.UserUpdated{User: events.User{Name: "lin", Roles: []string{"reviewer"}}}}, "lea", approves, []int{0}, "", "", ""},
		{"the same again, when it decides", []events.Threshold{{Approve: 2, Deny: 1}}, nil,
			[]events.Payload{review("bob", approves, 0), review("dan", approves, 0)}, "bob", approves, []int{0}, Approved, "", ""},
		{"what no approval meets", []events.Threshold{{Deny: 1}}, nil, nil, "bob", approves, []int{0}, "", "", ""},
		{"what a denial meets", []events.Threshold{{Deny: 1}}, nil, nil, "bob", denies, []int{0}, Refused, "", ""},
		{"what no denial meets", []events.Threshold{{Approve: 2}}, nil, nil, "bob", denies, []int{0}, "", "", ""},
		{"one of two, by the other threshold", []events.Threshold{{Deny: 1}, {Approve: 1}}, nil, nil, "bob", approves, []int{0, 1}, Approved, "", ""},
		{"reviews of old count where there is no filter", two, nil, []events.Payload{review("bob", approves)}, "dan", approves, []int{0}, Approved, "peers", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := board(t).given(asked("R1", func(q *events.RequestCreated) { q.Thresholds, q.ThresholdSets = c.thresholds, c.sets })).given(c.given...)
			es, err := Decide(s.state, s.env(c.by), SubmitReview{RequestID: "R1", Reviewer: c.by, Verdict: c.verdict})
			want := []events.Payload{review(c.by, c.verdict, c.counts...)}
			switch q := s.state.Requests["R1"]; c.resolved {
			case Approved:
				want = append(want, &events.RequestApproved{RequestID: "R1", User: "alice", Roles: []string{"engineer"},
					AccessExpiresAt: at.Add(time.Hour), Reviewers: append(q.reviewersBut(c.by), c.by), Threshold: c.threshold})
			case Refused:
				want = append(want, &events.RequestDenied{RequestID: "R1", User: "alice", Reviewers: []string{c.by}, Threshold: c.threshold})
			}
			then(t, es, err, want, c.refused)
		})
	}
}

// Approvals of people who sign in at an identity provider on different days come together
// once both are signed in.
func TestApprovalsOfConnectors(t *testing.T) {
	s := board(t).given(asked("R1", func(q *events.RequestCreated) { q.Thresholds = []events.Threshold{{Approve: 2, Deny: 1}} }))
	signedIn := func(name string, until time.Time) *events.UserUpdated {
		return &events.UserUpdated{User: events.User{Name: name, Roles: []string{"reviewer"}, Connector: "okta", ExpiresAt: &until}}
	}
	approve := func(name string) []events.Payload {
		t.Helper()
		return s.when(Decide(s.state, s.env(name), SubmitReview{RequestID: "R1", Reviewer: name, Verdict: approves}))
	}
	s.given(signedIn("bob", at.Add(time.Hour)))
	if got := approve("bob"); len(got) != 1 {
		t.Fatalf("one of two: %+v", got)
	}
	s.now = at.Add(2 * time.Hour)
	s.given(signedIn("dan", at.Add(9*time.Hour)))
	if got := approve("dan"); len(got) != 1 {
		t.Fatalf("the other, when nobody knows whether bob is still there: %+v", got)
	}
	_, err := Decide(s.state, s.env("dan"), SubmitReview{RequestID: "R1", Reviewer: "dan", Verdict: approves})
	then(t, nil, err, nil, "conflict: dan has reviewed request R1 already")
	s.given(signedIn("bob", at.Add(9*time.Hour)))
	if got := approve("bob"); len(got) != 2 {
		t.Errorf("both are signed in: %+v", got)
	}
}

// The approval names those whose approvals count, and not who approved and left, least of
// all somebody else who has the name by now.
func TestApprovedBy(t *testing.T) {
	s := board(t).given(asked("R1", func(q *events.RequestCreated) { q.Thresholds = []events.Threshold{{Approve: 2, Deny: 1}} }))
	s.given(review("bob", approves, 0), &events.UserDeleted{Name: "bob"}, user("bob", "reviewer"), review("dan", approves, 0))
	got := s.when(Decide(s.state, s.env("lea"), SubmitReview{RequestID: "R1", Reviewer: "lea", Verdict: approves}))
	if a, ok := got[len(got)-1].(*events.RequestApproved); !ok || !slices.Equal(a.Reviewers, []string{"dan", "lea"}) {
		t.Errorf("%+v", got[len(got)-1])
	}
}

// reviewersBut are those who approve, without one.
func (q *Request) reviewersBut(one string) []string {
	var out []string
	for _, r := range q.Reviews {
		if r.Verdict == approves && r.Reviewer != one {
			out = append(out, r.Reviewer)
		}
	}
	return out
}

func TestAutoApproval(t *testing.T) {
	s := company(t).given(&events.RoleUpdated{Role: events.Role{Name: "reader", Allow: events.RoleConditions{Request: &events.RequestConditions{
		Roles:       []string{"engineer"},
		AutoApprove: []events.AutoApproval{{Name: "on call", Roles: []string{"engineer"}, Where: `contains(user.traits["on_call"], "db")`, MaxDuration: 3600}},
	}}}})
	es, err := Create(s.state, s.env("alice"), CreateRequest{User: "alice", Roles: []string{"engineer"}})
	if err != nil || len(es) != 1 {
		t.Fatalf("without the trait: %d events, %v", len(es), err)
	}
	s.given(&events.UserUpdated{User: events.User{Name: "alice", Roles: []string{"reader"}, Traits: map[string][]string{"on_call": {"db"}}}})
	es, err = Create(s.state, s.env("alice"), CreateRequest{User: "alice", Roles: []string{"engineer"}})
	if err != nil || len(es) != 2 || es[1].CausationID != es[0].ID {
		t.Fatalf("on call: %+v, %v", es, err)
	}
	approval, ok := es[1].Data.(*events.RequestApproved)
	if !ok || approval.Rule != "reader/on call" || len(approval.Reviewers) != 0 || approval.Reviewers == nil || !approval.AccessExpiresAt.Equal(at.Add(time.Hour)) {
		t.Errorf("on call: %+v", es[1].Data)
	}
	if es, _ := Create(s.state, s.env("alice"), CreateRequest{User: "alice", Roles: []string{"engineer"}, TTL: 2 * time.Hour}); len(es) != 1 {
		t.Error("the rule approves longer than it may")
	}
}

// A rule with a schedule approves no access that begins outside it, nor is asked for there.
func TestAutoApprovalLater(t *testing.T) {
	s := company(t).given(&events.RoleUpdated{Role: events.Role{Name: "reader", Allow: events.RoleConditions{Request: &events.RequestConditions{
		Roles: []string{"engineer"},
		AutoApprove: []events.AutoApproval{{Name: "noon", Roles: []string{"engineer"},
			Schedule: &events.Schedule{Windows: []events.Window{{Start: "11:00", End: "14:00"}}}}}, // it is noon
	}}}})
	for begins, approved := range map[time.Duration]bool{0: true, time.Hour: true, 3 * time.Hour: false, 24 * time.Hour: true, 30 * time.Hour: false} {
		c := CreateRequest{User: "alice", Roles: []string{"engineer"}}
		if begins > 0 {
			c.StartsAt = at.Add(begins)
		}
		es, err := Create(s.state, s.env("alice"), c)
		if err != nil || (len(es) == 2) != approved {
			t.Errorf("access that begins in %s: %d events, %v; approved by the rule: want %v", begins, len(es), err, approved)
		}
	}
	s.now = at.Add(3 * time.Hour)
	if es, err := Create(s.state, s.env("alice"), CreateRequest{User: "alice", Roles: []string{"engineer"}, StartsAt: at.Add(24 * time.Hour)}); err != nil || len(es) != 1 {
		t.Errorf("asked for outside the schedule: %d events, %v", len(es), err)
	}
}

// A role whose lists go by a trait that the asker does not have gives nothing: no preview
// says so, and it is not what an AWS role is asked for by.
func TestAskWithoutTrait(t *testing.T) {
	s := company(t).given(&events.RoleUpdated{Role: events.Role{Name: "engineer", Allow: events.RoleConditions{
		AppLabels: map[string][]string{"*": {"*"}}, AWSRoleARNs: []string{"*"}, AWSActions: []string{"{{external.service}}:*"}}}})
	ask := CreateRequest{User: "alice", Resources: []string{adminARN}}
	_, err := Create(s.state, s.env("alice"), ask)
	then(t, nil, err, nil, "denied: no role that alice may ask for gives "+adminARN)
	p, err := DryRun(s.state, s.env("alice"), CreateRequest{User: "alice", Roles: []string{"engineer"}})
	if err != nil || len(p.AWSRoles) != 0 {
		t.Errorf("it would add %v, %v", p.AWSRoles, err)
	}
	s.given(&events.UserUpdated{User: events.User{Name: "alice", Roles: []string{"reader"}, Traits: map[string][]string{"service": {"s3"}}}})
	s.when(Create(s.state, s.env("alice"), ask))
	p, err = DryRun(s.state, s.env("alice"), CreateRequest{User: "alice", Roles: []string{"engineer"}})
	if err != nil || len(p.AWSRoles["prod"]) != 1 {
		t.Errorf("with the trait it would add %v, %v", p.AWSRoles, err)
	}
}

// breakGlass has alice in, with a review owed.
func breakGlass(t *testing.T) (*story, string) {
	s := board(t).given(&events.RoleUpdated{Role: events.Role{Name: "reader", Allow: events.RoleConditions{Request: &events.RequestConditions{
		BreakGlassRoles: []string{"engineer"}, Thresholds: []events.Threshold{{Approve: 1, Deny: 1, Filter: byLead}},
	}}}})
	_, err := Create(s.state, s.env("alice"), CreateRequest{User: "alice", Roles: []string{"engineer"}, BreakGlass: true})
	then(t, nil, err, nil, "invalid: needs a reason")
	_, err = Create(s.state, s.env("alice"), CreateRequest{User: "alice", Roles: []string{"engineer"}, Reason: "fire"})
	then(t, nil, err, nil, "denied: ask for role engineer") // only by breaking the glass
	got := s.when(Create(s.state, s.env("alice"), CreateRequest{User: "alice", Roles: []string{"engineer"}, BreakGlass: true, Reason: "fire"}))
	if len(got) != 2 || !got[1].(*events.RequestApproved).BreakGlass || got[1].(*events.RequestApproved).Rule != "" {
		t.Fatalf("%+v", got)
	}
	id := got[0].(*events.RequestCreated).RequestID
	if q := s.state.Requests[id]; !q.Owed() || q.State(at) != Approved || len(s.state.Subject(s.state.Users["alice"], at).Roles) != 2 {
		t.Fatalf("she is not in, or nothing is owed: %+v", q)
	}
	return s, id
}

func TestBreakGlass(t *testing.T) {
	t.Run("a review is owed until one counts", func(t *testing.T) {
		s, id := breakGlass(t)
		_, err := Decide(s.state, s.env("alice"), SubmitReview{RequestID: id, Reviewer: "alice", Verdict: approves})
		then(t, nil, err, nil, "denied: their own")
		_, err = Decide(s.state, s.env("bob"), SubmitReview{RequestID: id, Reviewer: "bob", Verdict: approves})
		then(t, nil, err, nil, "denied: counts for none")
		s.now = at.Add(30 * 24 * time.Hour) // the access is long over
		if got := s.when(Decide(s.state, s.env("lea"), SubmitReview{RequestID: id, Reviewer: "lea", Verdict: approves})); len(got) != 1 {
			t.Errorf("the review that was owed brought about %+v", got[1:])
		}
		if s.state.Requests[id].Owed() {
			t.Error("it is still owed")
		}
		_, err = Decide(s.state, s.env("lea"), SubmitReview{RequestID: id, Reviewer: "lea", Verdict: denies})
		then(t, nil, err, nil, "conflict: approved already")
	})
	t.Run("a denial ends the access", func(t *testing.T) {
		s, id := breakGlass(t)
		got := s.when(Decide(s.state, s.env("lea"), SubmitReview{RequestID: id, Reviewer: "lea", Verdict: denies, Reason: "no fire"}))
		if len(got) != 2 || got[1].(*events.RequestDropped).By != "lea" || got[1].(*events.RequestDropped).Reason != "no fire" {
			t.Fatalf("%+v", got)
		}
		if q := s.state.Requests[id]; q.State(at) != Revoked || q.Owed() || len(s.state.Subject(s.state.Users["alice"], at).Roles) != 1 {
			t.Errorf("%+v", q)
		}
	})
	t.Run("giving it up settles nothing", func(t *testing.T) {
		s, id := breakGlass(t)
		s.when(Drop(s.state, s.env("alice"), id, ""))
		if q := s.state.Requests[id]; q.State(at) != Dropped || !q.Owed() {
			t.Errorf("%+v", q)
		}
	})
}

func TestRevoke(t *testing.T) {
	approved := &events.RequestApproved{RequestID: "R1", User: "alice", Roles: []string{"engineer"}, AccessExpiresAt: at.Add(time.Hour)}
	for _, c := range []struct {
		name    string
		given   []events.Payload
		by      string
		refused string
	}{
		{"a reviewer", []events.Payload{approved}, "bob", ""},
		{"the asker drops, and does not revoke", []events.Payload{approved}, "alice", "not_found: may revoke"},
		{"somebody who may not review", []events.Payload{approved, user("eve", "reader")}, "eve", "not_found: may revoke"},
		{"what waits", nil, "bob", "conflict: is pending"},
		{"what is over", []events.Payload{&events.RequestApproved{RequestID: "R1", User: "alice", AccessExpiresAt: at}}, "bob", "conflict: ended already"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := company(t).given(asked("R1", nil)).given(c.given...)
			es, err := Revoke(s.state, s.env(c.by), "R1", "enough")
			then(t, es, err, []events.Payload{&events.RequestDropped{RequestID: "R1", By: c.by, Reason: "enough"}}, c.refused)
		})
	}
	s := company(t).given(asked("R1", nil), approved)
	id := s.when(Start(s.state, s.env("alice"), StartSession{User: "alice", App: "prod", AWSRole: adminARN, NotAfter: at.Add(time.Hour)}))[0].(*events.SessionStarted).SessionID
	s.when(Revoke(s.state, s.env("bob"), "R1", ""))
	got := s.when(EndUnfounded(s.state, s.env("postern"), id))
	if len(got) != 1 || got[0].(*events.SessionEnded).Reason != "the access of request R1 was revoked by bob" {
		t.Errorf("its session: %+v", got)
	}
}

// Of two grants of the same role each ends in its own time, and takes along what
// rests on it alone.
func TestOverlappingGrants(t *testing.T) {
	grant := func(id string, hours int) []events.Payload {
		return []events.Payload{asked(id, nil), &events.RequestApproved{RequestID: id, User: "alice", Roles: []string{"engineer"}, AccessExpiresAt: at.Add(time.Duration(hours) * time.Hour)}}
	}
	s := company(t).given(append(grant("R1", 1), grant("R2", 3)...)...)
	start := func(request string) (*events.SessionStarted, error) {
		es, err := Start(s.state, s.env("alice"), StartSession{User: "alice", App: "prod", AWSRole: adminARN, RequestID: request, NotAfter: at.Add(10 * time.Hour)})
		if err != nil {
			return nil, err
		}
		return s.when(es, nil)[0].(*events.SessionStarted), nil
	}
	sessions := map[string]*events.SessionStarted{}
	for request, hours := range map[string]int{"R1": 1, "R2": 3} {
		x, err := start(request)
		if err != nil || !x.ExpiresAt.Equal(at.Add(time.Duration(hours)*time.Hour)) {
			t.Fatalf("session on %s: %+v, %v", request, x, err)
		}
		sessions[request] = x
	}
	s.now = at.Add(time.Hour) // the first is over
	if x, err := start("R1"); err == nil {
		t.Errorf("a session on what is over: %+v", x)
	}
	if x, err := start(""); err != nil || x.RequestIDs[0] != "R2" {
		t.Errorf("a session on what is left: %+v, %v", x, err)
	}
	s.now = at.Add(30 * time.Minute)
	s.when(Revoke(s.state, s.env("bob"), "R1", ""))
	if got := s.when(EndUnfounded(s.state, s.env("postern"), sessions["R2"].SessionID)); len(got) != 0 {
		t.Errorf("the other one's session: %+v", got)
	}
	if got := s.when(EndUnfounded(s.state, s.env("postern"), sessions["R1"].SessionID)); len(got) != 1 {
		t.Errorf("its own session: %+v", got)
	}
	s.now = at.Add(3 * time.Hour)
	if x, err := start(""); err == nil {
		t.Errorf("a session after both: %+v", x)
	}
}

// Access that begins later gives nothing before, and lasts as long as it should.
func TestStartsLater(t *testing.T) {
	later := at.Add(3 * time.Hour)
	s := company(t).given(asked("R1", func(q *events.RequestCreated) { q.StartsAt = &later }))
	got := s.when(Decide(s.state, s.env("bob"), SubmitReview{RequestID: "R1", Reviewer: "bob", Verdict: approves}))
	approval := got[1].(*events.RequestApproved)
	if !approval.AccessStartsAt.Equal(later) || !approval.AccessExpiresAt.Equal(later.Add(time.Hour)) {
		t.Errorf("%+v", approval)
	}
	for now, want := range map[time.Time]int{at: 1, later.Add(-time.Second): 1, later: 2, later.Add(59 * time.Minute): 2, later.Add(time.Hour): 1} {
		if n := len(s.state.Subject(s.state.Users["alice"], now).Roles); n != want {
			t.Errorf("at %s: %d roles, want %d", now, n, want)
		}
	}
	_, err := Create(s.state, s.env("alice"), CreateRequest{User: "alice", Roles: []string{"engineer"}, StartsAt: at.Add(8 * 24 * time.Hour)})
	then(t, nil, err, nil, "invalid: from now at most")
	_, err = Create(s.state, s.env("alice"), CreateRequest{User: "alice", Roles: []string{"engineer"}, StartsAt: at})
	then(t, nil, err, nil, "invalid: is over")
}

// An account stands for all AWS roles of it that the roles give.
func TestAccountAccess(t *testing.T) {
	s := company(t)
	got := s.when(Create(s.state, s.env("alice"), CreateRequest{User: "alice", Resources: []string{"arn:aws:iam::123456789012:root", "123456789012"}}))
	q := got[0].(*events.RequestCreated)
	if len(q.Resources) != 1 || q.Resources[0] != "123456789012" || q.Roles[0] != "engineer" {
		t.Fatalf("%+v", q)
	}
	s.when(Decide(s.state, s.env("bob"), SubmitReview{RequestID: q.RequestID, Reviewer: "bob", Verdict: approves}))
	if _, err := Start(s.state, s.env("alice"), StartSession{User: "alice", App: "prod", AWSRole: adminARN, NotAfter: at.Add(time.Hour)}); err != nil {
		t.Error(err)
	}
}
