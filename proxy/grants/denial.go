package grants

import (
	"slices"
	"strings"
	"time"
)

// Denial is a session that a lock stops, as AWS can tell it: by the name that
// its credentials carry and by when they were issued.
type Denial struct {
	RoleARN, Account, Partition string
	// RoleSessionName and SourceIdentity are what the session's credentials carry;
	// SourceIdentity may be empty.
	RoleSessionName, SourceIdentity string
	// LockedAt is when the lock was placed: nothing is issued since.
	LockedAt time.Time
	LockID   string
}

// Denials returns what the locks in force stop of the sessions whose time is not
// over, ended ones included: what was handed out for them may still be used.
// Locks on agents are not among them, because they stop a proxy and no person.
// The order is by role and name, the same for all who know the same.
func (g *Grants) Denials(now time.Time) []Denial {
	g.mu.RLock()
	defer g.mu.RUnlock()
	var out []Denial
	for _, s := range g.sessionsByEnd.items {
		if s.expires <= now.UnixNano() {
			continue
		}
		for _, t := range s.targets {
			for _, l := range t.locks {
				if l.at.IsZero() || l.expires != 0 && l.expires <= now.UnixNano() {
					continue
				}
				out = append(out, Denial{
					RoleARN: s.start.AWSRoleARN, Account: s.start.Account, Partition: s.start.Partition,
					RoleSessionName: s.start.RoleSessionName, SourceIdentity: s.start.SourceIdentity, LockedAt: l.at, LockID: l.LockID,
				})
			}
		}
	}
	slices.SortFunc(out, func(a, b Denial) int {
		for _, c := range []int{
			strings.Compare(a.RoleARN, b.RoleARN), strings.Compare(a.SourceIdentity, b.SourceIdentity),
			strings.Compare(a.RoleSessionName, b.RoleSessionName), a.LockedAt.Compare(b.LockedAt), strings.Compare(a.LockID, b.LockID),
		} {
			if c != 0 {
				return c
			}
		}
		return 0
	})
	return slices.Compact(out)
}

// Roles returns the IAM roles of the sessions whose time is not over, each with
// a denial that has nothing but the role.
func (g *Grants) Roles(now time.Time) map[string]Denial {
	g.mu.RLock()
	defer g.mu.RUnlock()
	out := map[string]Denial{}
	for _, s := range g.sessionsByEnd.items {
		if s.expires > now.UnixNano() {
			out[s.start.AWSRoleARN] = Denial{RoleARN: s.start.AWSRoleARN, Account: s.start.Account, Partition: s.start.Partition}
		}
	}
	return out
}

// LocksChanged returns a channel that is closed when a lock is placed, lifted
// or over.
func (g *Grants) LocksChanged() <-chan struct{} {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.locksChanged
}
