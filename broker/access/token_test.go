package access

import (
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
)

func TestJoinBy(t *testing.T) {
	hash, other := strings.Repeat("ab", 32), strings.Repeat("cd", 32)
	soon := at.Add(time.Hour)
	secret := events.JoinToken{Name: "once", Kinds: []string{"proxy"}, Method: MethodToken, SecretSHA256: hash, MaxUses: 1, ExpiresAt: &soon}
	past := secret
	past.ExpiresAt = &at
	iam := events.JoinToken{Name: "iam", Kinds: []string{"proxy", "auditor"}, Method: MethodIAM, AWS: []events.JoinAWS{
		{Account: "123456789012", ARN: "arn:aws:sts::123456789012:assumed-role/postern.proxy/i-????"}, {Account: "111122223333"},
	}}
	ec2 := events.JoinToken{Name: "ec2", Kinds: []string{"proxy"}, Method: MethodEC2, AWS: []events.JoinAWS{{Account: "123456789012", Regions: []string{"us-east-1"}}}}
	k8s := events.JoinToken{Name: "k8s", Kinds: []string{"proxy"}, Method: MethodKubernetes,
		Kubernetes: &events.JoinKubernetes{JWKS: "keys", Audience: "postern", ServiceAccounts: []string{"ns:proxy"}}}
	created := func(t events.JoinToken) *events.TokenCreated { return &events.TokenCreated{JoinToken: t, By: "admin"} }
	known := Proof{Method: MethodToken, SecretSHA256: hash}
	caller := func(account, arn string) Proof { return Proof{Method: MethodIAM, Account: account, ARN: arn} }
	instance := Proof{Method: MethodEC2, Account: "123456789012", Region: "us-east-1", Instance: "i-1"}
	cluster := ClusterOf(*k8s.Kubernetes)
	pod := Proof{Method: MethodKubernetes, Cluster: cluster, ServiceAccount: "ns:proxy"}
	used := func(token, principal string) []events.Payload {
		return []events.Payload{&events.TokenUsed{Name: token, Kind: "proxy", Agent: "p1", Principal: principal, ClientAddr: "192.0.2.1", CertificateSerial: "5e", ExpiresAt: soon}}
	}
	for _, c := range []struct {
		name        string
		given       []events.Payload
		token, kind string
		proof       Proof
		want        []events.Payload
		refused     string
	}{
		{"secret", []events.Payload{created(secret)}, "once", "proxy", known, used("once", ""), ""},
		{"another secret", []events.Payload{created(secret)}, "once", "proxy", Proof{Method: MethodToken, SecretSHA256: other}, nil, "denied: does not let this proxy in"},
		{"no secret", []events.Payload{created(secret)}, "once", "proxy", Proof{Method: MethodToken}, nil, "denied: does not let this proxy in"},
		{"no such token", nil, "once", "proxy", known, nil, "denied: does not let this proxy in"},
		{"another method", []events.Payload{created(secret)}, "once", "proxy", pod, nil, "denied: does not let this proxy in"},
		{"used up", append([]events.Payload{created(secret)}, used("once", "")...), "once", "proxy", known, nil, "denied: was used 1 times"},
		{"used up and changed", append([]events.Payload{created(secret)}, append(used("once", ""), &events.TokenUpdated{JoinToken: secret})...), "once", "proxy", known, nil, "denied: was used 1 times"},
		{"expired", []events.Payload{created(past)}, "once", "proxy", known, nil, "denied: expired"},
		{"deleted", []events.Payload{created(secret), &events.TokenDeleted{Name: "once"}}, "once", "proxy", known, nil, "denied: does not let"},
		{"another kind", []events.Payload{created(secret)}, "once", "auditor", known, nil, "denied: is for proxy, not auditor"},
		{"no kind", []events.Payload{created(secret)}, "once", "broker", known, nil, "invalid: cannot join"},
		{"locked", []events.Payload{created(secret), &events.LockPlaced{LockID: "L", Target: events.LockTarget{Kind: "agent", Name: "p1"}}}, "once", "proxy", known, nil, "locked: agent p1"},

		{"role", []events.Payload{created(iam)}, "iam", "proxy", caller("123456789012", "arn:aws:sts::123456789012:assumed-role/postern.proxy/i-1234"),
			used("iam", "arn:aws:sts::123456789012:assumed-role/postern.proxy/i-1234"), ""},
		{"another role", []events.Payload{created(iam)}, "iam", "proxy", caller("123456789012", "arn:aws:sts::123456789012:assumed-role/posternXproxy/i-1234"), nil, "denied: does not let"},
		{"? is one", []events.Payload{created(iam)}, "iam", "proxy", caller("123456789012", "arn:aws:sts::123456789012:assumed-role/postern.proxy/i-12345"), nil, "denied: does not let"},
		{"any of an account", []events.Payload{created(iam)}, "iam", "proxy", caller("111122223333", "arn:aws:iam::111122223333:user/x"), used("iam", "arn:aws:iam::111122223333:user/x"), ""},
		{"another account", []events.Payload{created(iam)}, "iam", "proxy", caller("999999999999", "arn:aws:sts::123456789012:assumed-role/postern.proxy/i-1234"), nil, "denied: does not let"},

		{"instance", []events.Payload{created(ec2)}, "ec2", "proxy", instance, used("ec2", "123456789012/i-1"), ""},
		{"instance again", append([]events.Payload{created(ec2)}, used("ec2", "123456789012/i-1")...), "ec2", "proxy", instance, nil, "denied: counts once"},
		{"another instance", append([]events.Payload{created(ec2)}, used("ec2", "123456789012/i-2")...), "ec2", "proxy", instance, used("ec2", "123456789012/i-1"), ""},
		{"another region", []events.Payload{created(ec2)}, "ec2", "proxy", Proof{Method: MethodEC2, Account: "123456789012", Region: "eu-west-1", Instance: "i-1"}, nil, "denied: does not let"},

		{"pod", []events.Payload{created(k8s)}, "k8s", "proxy", pod, used("k8s", "ns:proxy"), ""},
		{"pod again", append([]events.Payload{created(k8s)}, used("k8s", "ns:proxy")...), "k8s", "proxy", pod, used("k8s", "ns:proxy"), ""},
		{"another pod", []events.Payload{created(k8s)}, "k8s", "proxy", Proof{Method: MethodKubernetes, Cluster: cluster, ServiceAccount: "ns:other"}, nil, "denied: does not let"},
		{"verified by former keys", []events.Payload{created(k8s)}, "k8s", "proxy", Proof{Method: MethodKubernetes, Cluster: Cluster{JWKS: "former", Audience: "postern"}, ServiceAccount: "ns:proxy"}, nil, "denied: does not let"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStory(t).given(c.given...)
			es, err := JoinBy(s.state, s.env("p1"), Join{Token: c.token, Kind: c.kind, Agent: "p1", Proof: c.proof, ClientAddr: "192.0.2.1", Serial: "5e", ExpiresAt: soon})
			then(t, es, err, c.want, c.refused)
		})
	}
}
