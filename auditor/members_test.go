package auditor_test

import (
	"slices"
	"testing"
	"time"

	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/events"
)

// Why a call was possible names the memberships that held when its session started, and none
// that had ended.
func TestWhyNamesMembershipsThatHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t, quick)
	now := time.Now().UTC().Truncate(time.Second)
	user, nested := events.ListMember{Name: "alice", Kind: "user"}, events.ListMember{Name: "inner", Kind: "list"}
	old := now.Add(-time.Hour)
	for i, p := range []events.Payload{
		&events.AccessListMemberAdded{List: "outer", Member: user, Reason: "removed again", By: "bob"},
		&events.AccessListMemberRemoved{List: "outer", Member: user, By: "bob"},
		&events.AccessListMemberAdded{List: "outer", Member: nested, Reason: "as it is", By: "bob"},
		&events.AccessListMemberAdded{List: "other", Member: user, Reason: "at a review", By: "bob"},
		&events.AccessListMemberAdded{List: "other", Member: nested, Reason: "expired", ExpiresAt: &old, By: "bob"},
		&events.AccessListReviewed{List: "other", Removed: []events.ListMember{user}, By: "bob"},
		&events.AccessListMemberAdded{List: "inner", Member: user, Reason: "of a list before", By: "bob"},
		&events.AccessListDeleted{Name: "inner", By: "bob"},
		&events.AccessListMemberAdded{List: "inner", Member: user, Reason: "for now", ExpiresAt: &old, By: "bob"},
		&events.AccessListMemberAdded{List: "inner", Member: user, Reason: "for good", By: "bob"},
	} {
		w.sayAt(now.Add(time.Duration(i-100)*time.Second), p)
	}
	w.sayAt(now, &events.SessionStarted{SessionID: "S1", User: "alice", App: "awsconsole", AWSRoleARN: roleARN, Account: account, AccessLists: []string{"inner", "other", "outer"},
		RoleSessionName: "alice", StartedAt: now, ExpiresAt: now.Add(time.Hour)})
	made := awsRequest("R1", "alice", now)
	w.sayAt(now, &events.AWSRequestAdmitted{AWSRequest: made})
	w.settle(events.Access, events.Audit)
	c, err := query.New(w.conn, nil).Why(t.Context(), "R1")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range c.Steps {
		if s.Kind == "membership" {
			got = append(got, s.Summary)
		}
	}
	if want := []string{"user alice made a member of access list inner by bob: for good", "list inner made a member of access list outer by bob: as it is"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
