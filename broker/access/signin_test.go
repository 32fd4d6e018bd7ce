package access

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/events"
)

func totp(id string, counter int64) events.Factor {
	return events.Factor{ID: id, Kind: TOTP, AddedAt: at, Counter: counter}
}

func key(id string, counter int64) events.Factor {
	return events.Factor{ID: id, Kind: WebAuthn, AddedAt: at, Counter: counter, PublicKey: &events.PublicKey{CredentialID: id, COSE: "c"}}
}

func okta(mappings ...events.RoleMapping) *events.ConnectorCreated {
	return &events.ConnectorCreated{Connector: events.Connector{Name: "okta", Kind: OIDC, Mappings: append(mappings,
		events.RoleMapping{Claim: "groups", Value: "team-*", Roles: []string{"$1"}})}, By: "admin"}
}

func ssoUser(name, connector, signin string) events.User {
	until := at.Add(12 * time.Hour)
	return events.User{Name: name, Roles: []string{"reader"}, Traits: map[string][]string{"groups": {"team-reader"}}, Connector: connector, ExpiresAt: &until, SigninID: signin}
}

// Credentials, connectors and sign-ins: given a history, a command gives an event,
// none, or a refusal.
func TestSignInDecisions(t *testing.T) {
	invited := &events.CredentialInvited{User: "alice", InvitationID: "I1", ExpiresAt: at.Add(time.Hour), By: "admin"}
	enrolled := &events.CredentialEnrolled{User: "alice", InvitationID: "I1", Factors: []events.Factor{totp("T", 10), key("K", 5)}}
	required := &events.ClusterSettingsUpdated{ClusterSettings: events.ClusterSettings{SecondFactor: FactorRequired}}
	signin := &events.SigninSucceeded{User: "alice", Method: "password", CertificateSerial: "c1", ExpiresAt: at.Add(time.Hour)}
	oncall := SignOn{Connector: "okta", User: "dana", Traits: map[string][]string{"groups": {"team-reader"}}, ID: "S1", TTL: 12 * time.Hour}
	lockAlice := &events.LockPlaced{LockID: "L", Target: events.LockTarget{Kind: "user", Name: "alice"}}
	type decide = func(*State, Env) ([]events.Event, error)
	use := func(c UseFactor) decide {
		c.User, c.Purpose = "alice", "signin"
		return func(s *State, env Env) ([]events.Event, error) { return Use(s, env, c) }
	}
	enroll := func(id string, f ...events.Factor) decide {
		return func(s *State, env Env) ([]events.Event, error) { return Enroll(s, env, "alice", id, f, "") }
	}
	signOn := func(change func(*SignOn)) decide {
		c := oncall
		if change != nil {
			change(&c)
		}
		return func(s *State, env Env) ([]events.Event, error) { return SignOnUser(s, env, c) }
	}
	account := func(u events.User, sub string) events.User {
		u.Traits = map[string][]string{"groups": {"team-reader"}, "sub": {sub}}
		return u
	}
	as := func(sub string) func(*SignOn) {
		return func(c *SignOn) { c.Account, c.Traits = sub, account(events.User{}, sub).Traits }
	}
	remove := func(id string) decide {
		return func(s *State, env Env) ([]events.Event, error) { return RemoveFactor(s, env, "alice", id) }
	}
	revoke := func(s *State, env Env) ([]events.Event, error) { return RevokeSignin(s, env, "c1") }
	used := func(id string, counter int64, challenge string) *events.CredentialFactorUsed {
		return &events.CredentialFactorUsed{User: "alice", FactorID: id, Counter: counter, ChallengeID: challenge, Purpose: "signin"}
	}
	for name, c := range map[string]struct {
		given []events.Payload
		after time.Duration
		when  decide
		then  events.Payload
		code  Code
	}{
		"invite a stranger":               {nil, 0, func(s *State, e Env) ([]events.Event, error) { return Invite(s, e, "nobody", time.Hour) }, nil, NotFound},
		"invite a user of a connector":    {[]events.Payload{&events.UserCreated{User: ssoUser("dana", "okta", "S")}}, 0, func(s *State, e Env) ([]events.Event, error) { return Invite(s, e, "dana", time.Hour) }, nil, Conflict},
		"enroll":                          {[]events.Payload{invited}, 0, enroll("I1", totp("T", 10)), &events.CredentialEnrolled{User: "alice", InvitationID: "I1", Factors: []events.Factor{totp("T", 10)}}, ""},
		"enroll without a factor":         {[]events.Payload{invited}, 0, enroll("I1"), &events.CredentialEnrolled{User: "alice", InvitationID: "I1"}, ""},
		"enroll without a required one":   {[]events.Payload{required, invited}, 0, enroll("I1"), nil, Invalid},
		"enroll twice":                    {[]events.Payload{invited, enrolled}, 0, enroll("I1"), nil, Denied},
		"enroll too late":                 {[]events.Payload{invited}, time.Hour, enroll("I1"), nil, Denied},
		"enroll by an older invitation":   {[]events.Payload{invited}, 0, enroll("I0"), nil, Denied},
		"enroll while locked":             {[]events.Payload{invited, lockAlice}, 0, enroll("I1"), nil, Locked},
		"enroll a later user of the name": {[]events.Payload{invited, &events.UserDeleted{Name: "alice"}, user("alice", "reader")}, 0, enroll("I1"), nil, Denied},

		"a code":                       {[]events.Payload{enrolled}, 0, use(UseFactor{FactorID: "T", Counter: 11}), used("T", 11, ""), ""},
		"the code of the enrolment":    {[]events.Payload{enrolled}, 0, use(UseFactor{FactorID: "T", Counter: 10}), nil, Denied},
		"a code twice":                 {[]events.Payload{enrolled, used("T", 11, "")}, 0, use(UseFactor{FactorID: "T", Counter: 11}), nil, Denied},
		"an older code":                {[]events.Payload{enrolled, used("T", 12, "")}, 0, use(UseFactor{FactorID: "T", Counter: 11}), nil, Denied},
		"a removed factor":             {[]events.Payload{enrolled, &events.CredentialFactorRemoved{User: "alice", FactorID: "T"}}, 0, use(UseFactor{FactorID: "T", Counter: 11}), nil, Denied},
		"a key":                        {[]events.Payload{enrolled}, 0, use(UseFactor{FactorID: "K", Counter: 6, ChallengeID: "c"}), used("K", 6, "c"), ""},
		"a key's answer twice":         {[]events.Payload{enrolled, used("K", 6, "c")}, 0, use(UseFactor{FactorID: "K", Counter: 7, ChallengeID: "c"}), nil, Denied},
		"a copied key":                 {[]events.Payload{enrolled, used("K", 9, "c")}, 0, use(UseFactor{FactorID: "K", Counter: 8, ChallengeID: "d"}), nil, Denied},
		"a key that does not count":    {[]events.Payload{&events.CredentialEnrolled{User: "alice", Factors: []events.Factor{key("K", 0)}}, used("K", 0, "c")}, 0, use(UseFactor{FactorID: "K", ChallengeID: "d"}), used("K", 0, "d"), ""},
		"remove one of two":            {[]events.Payload{required, enrolled}, 0, remove("T"), &events.CredentialFactorRemoved{User: "alice", FactorID: "T", By: "admin"}, ""},
		"remove the last required one": {[]events.Payload{required, enrolled, &events.CredentialFactorRemoved{User: "alice", FactorID: "K"}}, 0, remove("T"), nil, Conflict},

		"sign on":                       {[]events.Payload{okta()}, 0, signOn(nil), &events.UserCreated{User: ssoUser("dana", "okta", "S1"), By: "connector/okta"}, ""},
		"sign on again":                 {[]events.Payload{okta(), &events.UserCreated{User: ssoUser("dana", "okta", "S0")}}, 0, signOn(nil), &events.UserUpdated{User: ssoUser("dana", "okta", "S1"), By: "connector/okta"}, ""},
		"sign on for less":              {[]events.Payload{okta(), &events.UserCreated{User: ssoUser("dana", "okta", "S0")}}, 0, signOn(func(c *SignOn) { c.TTL = time.Minute }), &events.UserUpdated{User: ssoUser("dana", "okta", "S1"), By: "connector/okta"}, ""},
		"sign on by the same word":      {[]events.Payload{okta(), &events.UserCreated{User: ssoUser("dana", "okta", "S1")}}, 0, signOn(nil), nil, Denied},
		"by an older word":              {[]events.Payload{okta(), &events.UserCreated{User: ssoUser("dana", "okta", "S1")}, &events.UserUpdated{User: ssoUser("dana", "okta", "S2")}}, 0, signOn(nil), nil, Denied},
		"by another's word":             {[]events.Payload{okta(), &events.UserCreated{User: ssoUser("erin", "okta", "S1")}}, 0, signOn(nil), nil, Denied},
		"as a local user":               {[]events.Payload{okta()}, 0, signOn(func(c *SignOn) { c.User = "alice" }), nil, Conflict},
		"as a user of another provider": {[]events.Payload{okta(), &events.UserCreated{User: ssoUser("dana", "adfs", "S0")}}, 0, signOn(nil), nil, Conflict},
		"with the same account":         {[]events.Payload{okta(), &events.UserCreated{User: account(ssoUser("dana", "okta", "S0"), "42")}}, 0, signOn(as("42")), &events.UserUpdated{User: account(ssoUser("dana", "okta", "S1"), "42"), By: "connector/okta"}, ""},
		"with another account":          {[]events.Payload{okta(), &events.UserCreated{User: account(ssoUser("dana", "okta", "S0"), "42")}}, 0, signOn(as("43")), nil, Conflict},
		"with another, much later":      {[]events.Payload{okta(), &events.UserCreated{User: account(ssoUser("dana", "okta", "S0"), "42")}}, 1000 * time.Hour, signOn(as("43")), nil, Conflict},
		"with another, once removed":    {[]events.Payload{okta(), &events.UserCreated{User: account(ssoUser("dana", "okta", "S0"), "42")}, &events.UserDeleted{Name: "dana"}}, 0, signOn(as("43")), &events.UserCreated{User: account(ssoUser("dana", "okta", "S1"), "43"), By: "connector/okta"}, ""},
		"with the first account known":  {[]events.Payload{okta(), &events.UserCreated{User: ssoUser("dana", "okta", "S0")}}, 0, signOn(as("42")), &events.UserUpdated{User: account(ssoUser("dana", "okta", "S1"), "42"), By: "connector/okta"}, ""},
		"without a role":                {[]events.Payload{okta()}, 0, signOn(func(c *SignOn) { c.Traits = nil }), nil, Denied},
		"with a role that is not there": {[]events.Payload{okta()}, 0, signOn(func(c *SignOn) { c.Traits = map[string][]string{"groups": {"team-ghost"}} }), nil, Denied},
		"with a picture": {[]events.Payload{okta()}, 0, signOn(func(c *SignOn) {
			c.Traits = map[string][]string{"groups": {"team-reader"}, "picture": {"data:image/png;base64," + strings.Repeat("A", maxTrait)}}
		}), &events.UserCreated{User: ssoUser("dana", "okta", "S1"), By: "connector/okta"}, ""},
		"with a group too long": {[]events.Payload{okta()}, 0, signOn(func(c *SignOn) {
			c.Traits = map[string][]string{"groups": {"team-reader", strings.Repeat("A", maxTrait+1)}}
		}), nil, Denied},
		"with a bad name":             {[]events.Payload{okta()}, 0, signOn(func(c *SignOn) { c.User = "a b/c" }), nil, Denied},
		"by a connector that is gone": {[]events.Payload{okta(), &events.ConnectorDeleted{Name: "okta"}}, 0, signOn(nil), nil, NotFound},
		"while locked":                {[]events.Payload{okta(), &events.LockPlaced{LockID: "L", Target: events.LockTarget{Kind: "user", Name: "dana"}}}, 0, signOn(nil), nil, Locked},
		"by a role that is locked":    {[]events.Payload{okta(), &events.LockPlaced{LockID: "L", Target: events.LockTarget{Kind: "role", Name: "reader"}}}, 0, signOn(nil), nil, Locked},
		"with a name for nobody":      {[]events.Payload{okta()}, 0, signOn(func(c *SignOn) { c.User = "*" }), nil, Denied},

		"revoke":          {[]events.Payload{signin}, 0, revoke, &events.SigninRevoked{CertificateSerial: "c1", User: "alice", ExpiresAt: at.Add(time.Hour), By: "admin"}, ""},
		"revoke twice":    {[]events.Payload{signin, &events.SigninRevoked{CertificateSerial: "c1", User: "alice", ExpiresAt: at.Add(time.Hour)}}, 0, revoke, nil, ""},
		"revoke too late": {[]events.Payload{signin}, time.Hour, revoke, nil, NotFound},
		"revoke nothing":  {nil, 0, revoke, nil, NotFound},
	} {
		t.Run(name, func(t *testing.T) {
			s := company(t).given(c.given...)
			n := 0
			es, err := c.when(s.state, Env{Now: at.Add(c.after), By: "admin", NewID: func() string { n++; return fmt.Sprint("n", n) }})
			var refusal *Error
			if errors.As(err, &refusal) && refusal.Code == c.code && len(es) == 0 {
				return
			}
			var got events.Payload
			if len(es) == 1 {
				got = es[0].Data
			}
			if d := cmp.Diff(c.then, got); d != "" || err != nil || c.code != "" {
				t.Errorf("%v, want %q (-want +got):\n%s", err, c.code, d)
			}
		})
	}
}

func TestMapRoles(t *testing.T) {
	for _, c := range []struct {
		value, role string
		claim       []string
		want        []string
	}{
		{"staff", "reader", []string{"staff", "staff2", "xstaff"}, []string{"reader"}},
		{"aws-*", "$1", []string{"aws-reader", "aws-", "xaws-reader"}, []string{"reader"}},
		{"*-*", "$2.$1", []string{"a-b"}, []string{"b.a"}},
		{"^a|b$", "r", []string{"ax", "xb"}, nil},
		{"^(?i)STAFF$", "r", []string{"staff"}, []string{"r"}},
		{"a.b", "r", []string{"axb"}, nil},
		{"staff", "$1", []string{"staff"}, nil},
		{"^([$", "r", []string{"x"}, nil},
	} {
		got := MapRoles([]events.RoleMapping{{Claim: "g", Value: c.value, Roles: []string{c.role}}}, map[string][]string{"g": c.claim, "other": {"staff"}})
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: (-want +got):\n%s", c.value, d)
		}
	}
}

func TestCheckConnector(t *testing.T) {
	for url, ok := range map[string]bool{
		"https://login.example.com": true, "http://127.0.0.1:8080": true, "http://localhost": true, "http://login.example.com": false,
		"https://u:p@login.example.com": false, "https://x/#y": false, "javascript:alert(1)": false, "": false, "https:": false, "http://127.0.0.1.evil.example": false,
	} {
		c := okta().Connector
		c.OIDC = &events.OIDCConnector{IssuerURL: url, RedirectURL: "https://p/cb", ClientID: "p"}
		if faults := CheckConnector(c); (len(faults) == 0) != ok {
			t.Errorf("%q: %v", url, faults)
		}
	}
	for name, ok := range map[string]bool{"http://schemas.example.com/claims/Group": true, "urn:oid:1.3.6.1": true, "Member of": false, `a"b`: false, "groups[0]": false} {
		c := okta(events.RoleMapping{Claim: name, Value: "*", Roles: []string{"reader"}}).Connector
		c.SAML = &events.SAMLConnector{ACS: "https://p/acs", EntityDescriptor: "x"}
		if faults := CheckConnector(c); (len(faults) == 0) != ok {
			t.Errorf("roles by %q: %v", name, faults)
		}
		c.Mappings[0].Claim, c.Mappings[0].Value = "groups", ""
		if faults := CheckConnector(c); len(faults) != 1 || !strings.Contains(faults[0].Err.Error(), "a value") {
			t.Errorf("roles by no value: %v", faults)
		}
		c.Mappings, c.SAML.UsernameAttribute = okta().Mappings, name
		if faults := CheckConnector(c); (len(faults) == 0) != ok {
			t.Errorf("users named by %q: %v", name, faults)
		}
	}
}

// Of two who change the settings from what they read, the second is told, the first time
// somebody does, too.
func TestPutSettings(t *testing.T) {
	s := company(t)
	off, required := events.ClusterSettings{SecondFactor: FactorOff}, events.ClusterSettings{SecondFactor: FactorRequired}
	es, err := PutSettings(s.state, s.env("root"), off, Put{Replace: true, FromDefault: true})
	then(t, es, err, []events.Payload{&events.ClusterSettingsUpdated{ClusterSettings: off, By: "root"}}, "")
	s.when(es, err)
	es, err = PutSettings(s.state, s.env("root"), required, Put{Replace: true, FromDefault: true})
	then(t, es, err, nil, "conflict: it is at revision 1, the change was made from 0")
	es, err = PutSettings(s.state, s.env("root"), required, Put{Replace: true, Revision: 1})
	then(t, es, err, []events.Payload{&events.ClusterSettingsUpdated{ClusterSettings: required, By: "root"}}, "")
	es, err = PutSettings(s.state, s.env("root"), required, Put{Replace: true})
	then(t, es, err, []events.Payload{&events.ClusterSettingsUpdated{ClusterSettings: required, By: "root"}}, "")
}

// A session ends with the sign-in by which it was started, and with no other.
func TestRevokedSigninEndsSessions(t *testing.T) {
	s := company(t)
	start := func(id, cert string) *events.SessionStarted {
		return &events.SessionStarted{SessionID: id, User: "alice", App: "prod", AWSRoleARN: readerARN, Roles: []events.RoleRef{{Name: "reader"}}, Certificate: cert, ExpiresAt: at.Add(time.Hour)}
	}
	s.given(start("S1", "c1"), start("S2", "c2"))
	var touched Touched
	revoked := &events.SigninRevoked{CertificateSerial: "c1", User: "alice", ExpiresAt: at.Add(time.Hour), By: "alice"}
	s.given(revoked)
	if !touched.Add(revoked) {
		t.Error("it wakes nobody")
	}
	if d := cmp.Diff([]string{"S1"}, Unfounded(s.state, at, touched)); d != "" {
		t.Errorf("sessions to end (-want +got):\n%s", d)
	}
	if err := s.state.Holds("c1"); err == nil {
		t.Error("the certificate holds")
	}
	if err := s.state.Holds("c2"); err != nil {
		t.Error(err)
	}
}
