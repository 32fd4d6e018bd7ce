package view

import (
	"maps"
	"slices"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
)

// Request is an access request at a moment, as a user sees it.
func Request(s *access.State, q *access.Request, user string, now time.Time) api.Request {
	out := api.Request{
		ID:                 q.RequestID,
		User:               q.User,
		Roles:              list(q.Roles),
		Resources:          q.Resources,
		Reason:             q.Reason,
		State:              q.State(now),
		CreatedAt:          q.CreatedAt,
		ExpiresAt:          q.ExpiresAt,
		TTLSeconds:         q.TTL,
		StartsAt:           q.StartsAt,
		Thresholds:         []api.Threshold{},
		ThresholdSets:      q.ThresholdSets,
		SuggestedReviewers: q.Reviewers,
		CanReview:          access.MayReview(s, access.Env{Now: now}, user, q) == nil,
		BreakGlass:         q.BreakGlass,
		ReviewOwed:         q.Owed(),
	}
	if a := q.Approval; a != nil {
		out.AccessExpiresAt, out.ApprovedByRule = &a.AccessExpiresAt, a.Rule
	}
	if q.Dropped != nil {
		out.DroppedBy, out.DropReason = q.Dropped.By, q.Dropped.Reason
	}
	if q.Call != nil {
		call := api.HeldCall(*q.Call)
		out.Call = &call
	}
	for _, t := range q.Thresholds {
		out.Thresholds = append(out.Thresholds, api.Threshold(t))
	}
	for _, r := range q.Reviews {
		out.Reviews = append(out.Reviews, api.Review{Reviewer: r.Reviewer, Verdict: r.Verdict, Reason: r.Reason, CreatedAt: r.At})
	}
	return out
}

// Preview is what a request would come to, as the asker sees it.
func Preview(s *access.State, p access.Preview, now time.Time) api.RequestPreview {
	out := api.RequestPreview{Request: Request(s, p.Request, p.Request.User, now), AWSRoles: []api.PreviewedRole{}, Reviewers: list(p.Reviewers)}
	out.Request.ID = ""
	for _, app := range slices.Sorted(maps.Keys(p.AWSRoles)) {
		for _, reach := range p.AWSRoles[app] {
			r := awsRole(reach)
			out.AWSRoles = append(out.AWSRoles, api.PreviewedRole{App: app, ARN: r.ARN, Roles: r.Roles})
		}
	}
	return out
}
