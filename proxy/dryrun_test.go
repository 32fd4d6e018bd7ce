package proxy_test

import (
	"net/http"
	"testing"

	"github.com/posternhq/postern/events"
)

// What roles in dry run would refuse is recorded of what is no request of AWS,
// too: tunnels, the console, credentials that leave.
func TestDryRunElsewhere(t *testing.T) {
	f, with := withChannels(t, echoAll)
	r := newRig(t, with)
	s := r.session(func(s *events.SessionStarted) {
		s.RealCredentials = []string{events.CredentialExport, events.CredentialAssumeRole}
		s.Permissions = []events.Permission{
			{Role: "engineer", Effect: "Allow"},
			{Role: "contractor", Effect: "Deny", Actions: []string{"ssmmessages:*"}, DryRun: true},
		}
	})
	cl := r.client(s)
	r.startSession(cl)
	outer, _ := r.tunnel(f, s)
	_ = outer.Close()
	if status, out := cl.ask(t, "POST", "/v1/console", `{"session_id":"`+s.SessionID+`"}`); status != http.StatusOK {
		t.Errorf("console: %d %v", status, out)
	}
	if status, reason := r.own("alice", "/v1/credentials", map[string]string{"session_id": s.SessionID}, &struct{}{}); status != http.StatusOK {
		t.Errorf("export: %d %s", status, reason)
	}
	if _, err := r.assume(s, helperKey); err != nil {
		t.Error(err)
	}
	es := r.audit()
	const denies, narrows = "role contractor denies ssmmessages:*", "role contractor narrows"
	if o := payloads[*events.AWSTunnelOpened](es); len(o) != 1 || o[0].DryRun == nil || o[0].DryRun.Rule != denies {
		t.Errorf("tunnel: %+v", o)
	}
	if o := payloads[*events.AWSConsoleOpened](es); len(o) != 1 || o[0].DryRun == nil || o[0].DryRun.Rule != narrows {
		t.Errorf("console: %+v", o)
	}
	uses := map[string]bool{}
	for _, o := range payloads[*events.AWSCredentialsIssued](es) {
		if o.DryRun != nil && o.DryRun.Rule == narrows && o.HandedOut {
			uses[o.Use] = true
		} else if o.DryRun != nil {
			t.Errorf("credentials that the user does not get: %+v", o)
		}
	}
	if !uses["export"] || !uses["assume_role"] || len(uses) != 2 {
		t.Errorf("credentials: %v", uses)
	}
}

// A tunnel that no role lists needs none: nothing would have refused it.
func TestDryRunOfUnlistedTunnel(t *testing.T) {
	f, with := withChannels(t, echoAll)
	r := newRig(t, with)
	s := r.session(func(s *events.SessionStarted) {
		s.Permissions = []events.Permission{{Role: "engineer", Effect: "Allow", Actions: []string{"ssm:StartSession"}, DryRun: true}}
	})
	r.startSession(r.client(s))
	outer, _ := r.tunnel(f, s)
	_ = outer.Close()
	if o := payloads[*events.AWSTunnelOpened](r.audit()); len(o) != 1 || o[0].DryRun != nil {
		t.Errorf("%+v", o)
	}
}
