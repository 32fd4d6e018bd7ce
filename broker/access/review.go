package access

import (
	"slices"
	"strings"
	"time"

	"github.com/posternhq/postern/events"
)

// SubmitReview is the command to approve or deny a request.
type SubmitReview struct {
	RequestID, Reviewer string
	// Verdict is "approve" or "deny".
	Verdict, Reason string
}

const (
	approves = "approve"
	denies   = "deny"
)

// MayReview says why a user may not review a request, or nil. A review can be
// given while the request waits, and after the glass was broken until one was;
// until then its author may change it.
func MayReview(s *State, env Env, reviewer string, q *Request) error {
	u, err := Admit(s, env.Now, reviewer)
	if err != nil {
		return err
	}
	sub := s.Subject(u, env.Now)
	if err := sub.Review(q.Wish()); err != nil {
		return denied(err)
	}
	if state := q.State(env.Now); state != Pending && !q.Owed() {
		return refuse(Conflict, "access request %s is %s already", q.RequestID, state)
	}
	return nil
}

// Decide decides a SubmitReview: the review, and the resolution if it is the
// one that meets the thresholds.
func Decide(s *State, env Env, c SubmitReview) ([]events.Event, error) {
	q := s.Requests[c.RequestID]
	switch {
	case q == nil:
		return nil, refuse(NotFound, "there is no access request %s", c.RequestID)
	case c.Verdict != approves && c.Verdict != denies:
		return nil, refuse(Invalid, "a verdict is approve or deny, not %q", c.Verdict)
	case len(c.Reason) > maxText:
		return nil, refuse(Invalid, "the reason has %d bytes; %d at most", len(c.Reason), maxText)
	}
	if err := MayReview(s, env, c.Reviewer, q); err != nil {
		return nil, err
	}
	if c.Verdict == approves {
		if err := s.approvable(q, env.Now); err != nil {
			return nil, err
		}
	}
	reviewed := &events.RequestReviewed{RequestID: q.RequestID, Reviewer: c.Reviewer, Verdict: c.Verdict, Reason: c.Reason}
	reviewed.Thresholds = s.Subject(s.Users[c.Reviewer], env.Now).CountsFor(q.Thresholds, q.Wish(), c.Reason)
	if len(reviewed.Thresholds) == 0 {
		return nil, refuse(Denied, "a review by %s counts for none of the request's thresholds: their filters want somebody else, or another reason", c.Reviewer)
	}
	review := env.event(q.RequestID, s.Head(q.Channel()).EventID, reviewed)
	out := append([]events.Event{review}, s.resolve(env, q, review)...)
	// The same again says nothing, unless it comes to a decision now: approvals may count
	// again that did not when the last one was given.
	if len(out) == 1 && slices.ContainsFunc(q.Reviews, func(r Review) bool {
		return r.Reviewer == c.Reviewer && r.Verdict == c.Verdict && s.still(r.Reviewer, r.Seq)
	}) {
		return nil, refuse(Conflict, "%s has reviewed request %s already (%s)", c.Reviewer, q.RequestID, c.Verdict)
	}
	return out, nil
}

// approvable says why a request can't be approved any more, or nil.
func (s *State) approvable(q *Request, now time.Time) error {
	if !s.still(q.User, q.Seq) || s.Users[q.User].Disabled {
		return refuse(Conflict, "%s, who asked, has left or is disabled", q.User)
	}
	for _, name := range q.Roles {
		if s.meant(name, q) == nil {
			return refuse(Conflict, "role %s, which request %s asks for, was removed: ask again", name, q.RequestID)
		}
		if q.Approval == nil && !s.Subject(s.Users[q.User], now).MayAsk(name, len(q.Resources) > 0) {
			return refuse(Conflict, "%s may not ask for role %s any more: request %s can be denied only", q.User, name, q.RequestID)
		}
	}
	if s.stranded(q, now) && !q.Owed() {
		return refuse(Conflict, "the session of this call is over")
	}
	return nil
}

// resolve is what a review brings about.
func (s *State) resolve(env Env, q *Request, review events.Event) []events.Event {
	after := *q
	reviewed, _ := review.Data.(*events.RequestReviewed)
	after.Reviews = append(slices.DeleteFunc(slices.Clone(q.Reviews), func(r Review) bool { return r.Reviewer == reviewed.Reviewer }),
		Review{RequestReviewed: *reviewed})
	// An approval counts for a threshold as long as its author, and no later one of the
	// name, could give it there.
	able := func(r Review, threshold int) bool {
		return (r.Seq == 0 || s.still(r.Reviewer, r.Seq)) && MayReview(s, env, r.Reviewer, q) == nil &&
			slices.Contains(s.Subject(s.Users[r.Reviewer], env.Now).CountsFor(q.Thresholds, q.Wish(), r.Reason), threshold)
	}
	event := func(p events.Payload) []events.Event {
		return []events.Event{env.event(q.RequestID, review.ID, p)}
	}
	switch verdict := after.tally(able); {
	case verdict == Pending:
		return nil
	case q.Approval != nil: // the glass was broken, and this is the review that was owed
		if verdict == Refused && q.status == Approved && env.Now.Before(q.Ends()) {
			return event(&events.RequestDropped{RequestID: q.RequestID, By: reviewed.Reviewer, Reason: reviewed.Reason})
		}
		return nil
	case verdict == Refused:
		return event(&events.RequestDenied{
			RequestID: q.RequestID, User: q.User,
			Reviewers: after.reviewers(denies, nil), Threshold: after.met(nil, denies),
		})
	}
	approval := approve(&q.RequestCreated, env.Now)
	approval.Reviewers, approval.Threshold = after.reviewers(approves, able), after.met(able, approves)
	if q.Call != nil {
		if end := s.Sessions[q.Call.SessionID].ExpiresAt; end.Before(approval.AccessExpiresAt) {
			approval.AccessExpiresAt = end.UTC()
		}
	}
	return event(approval)
}

// tally is what the reviews come to: Approved, Refused or Pending. One denial
// threshold that is met refuses; to approve, each set needs one that is met.
// Approvals count only of whom able, if given, still lets approve for a threshold.
func (q *Request) tally(able func(Review, int) bool) string {
	for i, t := range q.Thresholds {
		if t.Deny > 0 && q.count(i, denies, nil) >= t.Deny {
			return Refused
		}
	}
	for _, set := range q.sets() {
		if !slices.ContainsFunc(set, func(i int) bool { return q.approvedBy(i, able) }) {
			return Pending
		}
	}
	return Approved
}

func (q *Request) approvedBy(i int, able func(Review, int) bool) bool {
	return i >= 0 && i < len(q.Thresholds) && q.Thresholds[i].Approve > 0 && q.count(i, approves, able) >= q.Thresholds[i].Approve
}

// sets are the threshold sets; requests of old have one of all.
func (q *Request) sets() [][]int {
	if len(q.ThresholdSets) > 0 {
		return q.ThresholdSets
	}
	all := make([]int, len(q.Thresholds))
	for i := range all {
		all[i] = i
	}
	return [][]int{all}
}

// count is how many reviews with a verdict count for threshold i.
func (q *Request) count(i int, verdict string, able func(Review, int) bool) int {
	n := 0
	for _, r := range q.Reviews {
		if r.Verdict == verdict && q.counts(r, i, able) {
			n++
		}
	}
	return n
}

// counts reports whether a review counts for threshold i.
func (q *Request) counts(r Review, i int, able func(Review, int) bool) bool {
	meant := slices.Contains(r.Thresholds, i) || r.Thresholds == nil && q.Thresholds[i].Filter == ""
	return meant && (able == nil || able(r, i))
}

// reviewers are those whose reviews with a verdict count for any threshold.
func (q *Request) reviewers(verdict string, able func(Review, int) bool) []string {
	var out []string
	for _, r := range q.Reviews {
		for i := range q.Thresholds {
			if r.Verdict == verdict && q.counts(r, i, able) {
				out = append(out, r.Reviewer)
				break
			}
		}
	}
	return out
}

// met names the thresholds that decided.
func (q *Request) met(able func(Review, int) bool, verdict string) string {
	var names []string
	for i, t := range q.Thresholds {
		decided := verdict == denies && t.Deny > 0 && q.count(i, denies, nil) >= t.Deny || verdict == approves && q.approvedBy(i, able)
		if decided && t.Name != "" && !slices.Contains(names, t.Name) {
			names = append(names, t.Name)
		}
	}
	return strings.Join(names, ", ")
}
