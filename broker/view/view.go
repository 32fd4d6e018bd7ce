// Package view makes what people read out of the broker's state.
package view

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/policy"
	"github.com/posternhq/postern/events"
)

// Status says who a user is and what access requests add at the moment.
func Status(s *access.State, u *access.User, now time.Time) api.Status {
	if u == nil {
		return api.Status{}
	}
	out := api.Status{User: u.Name, Roles: list(u.Roles), Traits: u.Traits}
	out.ReviewsDue = reviewsDue(s, u.Name, now)
	byID := map[string]int{}
	for _, h := range s.Subject(u, now).Roles {
		if h.Standing() {
			continue
		}
		i, ok := byID[h.RequestID]
		if !ok {
			i = len(out.Granted)
			byID[h.RequestID] = i
			out.Granted = append(out.Granted, api.Granted{RequestID: h.RequestID, Resources: h.Only, ExpiresAt: h.Until})
		}
		out.Granted[i].Roles = append(out.Granted[i].Roles, h.Name)
	}
	for _, q := range s.OwedTo(u.Name, now) {
		out.ReviewsOwed = append(out.ReviewsOwed, Request(s, q, u.Name, now))
	}
	return out
}

// Apps lists the apps that a user reaches or may ask for, by name.
func Apps(s *access.State, u *access.User, now time.Time) []api.App {
	if u == nil {
		return nil
	}
	sub := s.Subject(u, now)
	var all []*policy.Role
	for _, name := range slices.Sorted(maps.Keys(s.Roles)) {
		all = append(all, s.Roles[name])
	}
	var out []api.App
	for _, name := range slices.Sorted(maps.Keys(s.Apps)) {
		a := app(s.Apps[name].App)
		reached := map[string]bool{}
		for _, r := range sub.AWSRoles(s.Apps[name].App) {
			a.AWSRoles = append(a.AWSRoles, awsRole(r))
			reached[r.ARN] = true
		}
		asks := sub.Requestable(s.Apps[name].App, all)
		for _, arn := range slices.Sorted(maps.Keys(asks)) {
			if !reached[arn] {
				a.Requestable = append(a.Requestable, api.Requestable{ARN: arn, Roles: asks[arn]})
			}
		}
		if len(a.AWSRoles)+len(a.Requestable) > 0 {
			out = append(out, a)
		}
	}
	return out
}

func app(a events.App) api.App {
	partition := cmp.Or(a.Partition, "aws")
	return api.App{
		Name:        a.Name,
		Description: a.Description,
		Labels:      a.Labels,
		AccountID:   a.AccountID,
		Partition:   partition,
		Region:      cmp.Or(a.Region, policy.DefaultRegion(partition)),
		AWSRoles:    []api.AWSRole{},
	}
}

func awsRole(r policy.Reach) api.AWSRole {
	out := api.AWSRole{ARN: r.ARN, Name: r.ARN[strings.LastIndexByte(r.ARN, '/')+1:]}
	until := r.Until()
	for _, h := range r.Roles {
		for _, l := range h.Lists {
			if !slices.Contains(out.AccessLists, l) {
				out.AccessLists = append(out.AccessLists, l)
			}
		}
		if !slices.Contains(out.Roles, h.Name) {
			out.Roles = append(out.Roles, h.Name)
		}
		if !until.IsZero() && !h.Standing() && !slices.Contains(out.RequestIDs, h.RequestID) {
			out.RequestIDs = append(out.RequestIDs, h.RequestID)
		}
	}
	if !until.IsZero() {
		out.ExpiresAt = &until
	}
	return out
}

// Session is a session at a moment.
func Session(x *access.Session, now time.Time) api.Session {
	out := api.Session{
		ID:              x.SessionID,
		User:            x.User,
		App:             x.App,
		RequestIDs:      x.RequestIDs,
		AccessLists:     x.AccessLists,
		AWSRoleARN:      x.AWSRoleARN,
		Account:         x.Account,
		Partition:       x.Partition,
		Region:          x.Region,
		RoleSessionName: x.RoleSessionName,
		SourceIdentity:  x.SourceIdentity,
		Narrowed:        slices.ContainsFunc(x.Permissions, func(p events.Permission) bool { return !p.DryRun }),
		RealCredentials: x.RealCredentials,
		Device:          x.Device,
		Certificate:     x.Certificate,
		StartedAt:       x.StartedAt,
		ExpiresAt:       x.ExpiresAt,
		State:           x.State(now),
	}
	for _, r := range x.Roles {
		out.Roles = append(out.Roles, r.Name)
	}
	if x.End != nil {
		out.EndedBy, out.EndReason = x.End.By, x.End.Reason
	}
	return out
}

// Lock is a lock.
func Lock(l *access.Lock) api.Lock {
	return api.Lock{
		ID:        l.LockID,
		Target:    api.LockTarget(l.Target),
		Message:   l.Message,
		By:        l.By,
		CreatedAt: l.PlacedAt,
		ExpiresAt: l.ExpiresAt,
	}
}

// list is never null in JSON.
func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
