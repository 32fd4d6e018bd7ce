package main

import (
	"testing"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy/awsreq"
)

// What came along with a recorded call is decided anew, too, each by its own level.
func TestWhatIfBesides(t *testing.T) {
	table, err := awsreq.New()
	if err != nil {
		t.Fatal(err)
	}
	levels := table.Levels()
	allow := func(actions ...string) []events.Permission {
		return []events.Permission{{Role: "dev", Effect: "Allow", Actions: actions}}
	}
	acl := events.AWSRequest{Action: "s3:PutObject", Also: []string{"s3:PutObjectAcl"}, AccessLevel: "Permissions management"}
	put := events.AWSRequest{Action: "s3:PutObject", AccessLevel: "Write"}
	odd := events.AWSRequest{Action: "s3:PutObject", Also: []string{"s3:OfALaterVersion"}, AccessLevel: "Write"}
	for _, c := range []struct {
		name    string
		perms   []events.Permission
		call    events.AWSRequest
		allowed bool
	}{
		{"by the action's own level", allow("@Write", "s3:PutObjectAcl"), acl, true},
		{"not what came along", allow("@Write"), acl, false},
		{"what came along, denied", append(allow("*"), events.Permission{Role: "dev", Effect: "Deny", Actions: []string{"@Permissions management"}}), acl, false},
		{"nothing came along", allow("@Write"), put, true},
		{"a level that is not known", allow("@Write"), odd, false},
		{"by name", allow("s3:*"), odd, true},
	} {
		s := rerunSession{permissions: c.perms}
		change := s.judge(events.Event{}, &c.call, !c.allowed, levels)
		if same := s.judge(events.Event{}, &c.call, c.allowed, levels); change == nil || same != nil {
			t.Errorf("%s: %+v, %+v; want allowed %v", c.name, change, same, c.allowed)
		}
	}
}
