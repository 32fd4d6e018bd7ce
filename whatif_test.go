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
	r := &rerun{table: table, levels: table.Levels()}
	allow := func(actions ...string) []events.Permission {
		return []events.Permission{{Role: "dev", Effect: "Allow", Actions: actions}}
	}
	careful := append(allow("*"), events.Permission{Role: "dev", Effect: "Deny", Actions: []string{"s3:PutObject"}, Approval: true})
	deny := append(allow("*"), events.Permission{Role: "dev", Effect: "Deny", Resources: []string{"arn:aws:lambda:*:*:function:secret"}})
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
		{"what somebody else has to approve", careful, put, false},
		{"what nobody has to", careful, events.AWSRequest{Action: "s3:GetObject", AccessLevel: "Read"}, true},
		{"a resource denied that it cannot be about", deny, events.AWSRequest{Service: "ec2", Operation: "DescribeInstances", Action: "ec2:DescribeInstances", AccessLevel: "List"}, true},
		{"a resource denied that it may be about", deny, events.AWSRequest{Service: "lambda", Operation: "GetFunction", Action: "lambda:GetFunction", AccessLevel: "Read"}, false},
	} {
		s := rerunSession{permissions: c.perms}
		change := s.judge(events.Event{}, &c.call, !c.allowed, r)
		if same := s.judge(events.Event{}, &c.call, c.allowed, r); change == nil || same != nil {
			t.Errorf("%s: %+v, %+v; want allowed %v", c.name, change, same, c.allowed)
		}
	}
	// What was approved was, and a request that the session rests on is no approval.
	put.AccessRequestIDs = []string{"R1", "CALL"}
	s := rerunSession{permissions: careful, requests: []string{"R1"}}
	if change := s.judge(events.Event{}, &put, true, r); change != nil {
		t.Errorf("a call that was approved: %+v", change)
	}
	put.AccessRequestIDs = put.AccessRequestIDs[:1]
	if change := s.judge(events.Event{}, &put, true, r); change == nil || change.Effect != "denied" {
		t.Errorf("a call in a session on a request: %+v", change)
	}
}
