package access

import (
	"github.com/posternhq/postern/events"
)

// SubmitReview is the command to approve or deny a request.
type SubmitReview struct {
	RequestID, Reviewer string
	// Verdict is "approve" or "deny".
	Verdict, Reason string
}

// MayReview says why a user may not review a request, or nil.
func MayReview(s *State, env Env, reviewer string, q *Request) error {
	u, err := Admit(s, env.Now, reviewer)
	if err != nil {
		return err
	}
	if err := s.Subject(u, env.Now).Review(q.User, q.Roles); err != nil {
		return denied(err)
	}
	if state := q.State(env.Now); state != Pending {
		return refuse(Conflict, "access request %s is %s already", q.RequestID, state)
	}
	for _, r := range q.Reviews {
		if r.Reviewer == reviewer {
			return refuse(Conflict, "%s has reviewed request %s already (%s)", reviewer, q.RequestID, r.Verdict)
		}
	}
	return nil
}

// Decide decides a SubmitReview: the review, and the resolution if it is the
// one that meets a threshold.
func Decide(s *State, env Env, c SubmitReview) ([]events.Event, error) {
	q := s.Requests[c.RequestID]
	switch {
	case q == nil:
		return nil, refuse(NotFound, "there is no access request %s", c.RequestID)
	case c.Verdict != "approve" && c.Verdict != "deny":
		return nil, refuse(Invalid, "a verdict is approve or deny, not %q", c.Verdict)
	case len(c.Reason) > maxText:
		return nil, refuse(Invalid, "the reason has %d bytes; %d at most", len(c.Reason), maxText)
	}
	if err := MayReview(s, env, c.Reviewer, q); err != nil {
		return nil, err
	}
	if u := s.Users[q.User]; c.Verdict == "approve" && (u == nil || u.CreatedSeq > q.Seq || u.Disabled) {
		return nil, refuse(Conflict, "%s, who asked, has left or is disabled", q.User)
	}
	review := env.event(q.RequestID, s.Head(q.Channel()).EventID,
		&events.RequestReviewed{RequestID: q.RequestID, Reviewer: c.Reviewer, Verdict: c.Verdict, Reason: c.Reason})
	reviewers := []string{}
	for _, r := range q.Reviews {
		if r.Verdict == c.Verdict {
			reviewers = append(reviewers, r.Reviewer)
		}
	}
	reviewers = append(reviewers, c.Reviewer)
	out := []events.Event{review}
	for _, t := range q.Thresholds {
		switch {
		case t.Filter != "":
		case c.Verdict == "approve" && len(reviewers) >= t.Approve:
			return append(out, env.event(q.RequestID, review.ID, &events.RequestApproved{
				RequestID:       q.RequestID,
				User:            q.User,
				Roles:           q.Roles,
				Resources:       q.Resources,
				AccessExpiresAt: env.Now.Add(seconds(q.TTL)).UTC(),
				Reviewers:       reviewers,
				Threshold:       t.Name,
			})), nil
		case c.Verdict == "deny" && len(reviewers) >= t.Deny:
			return append(out, env.event(q.RequestID, review.ID, &events.RequestDenied{
				RequestID: q.RequestID,
				User:      q.User,
				Reviewers: reviewers,
				Threshold: t.Name,
			})), nil
		}
	}
	return out, nil
}
