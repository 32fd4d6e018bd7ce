package simaws

import (
	"strings"
	"time"
)

// identity is who signed a request, as far as policies and CloudTrail care.
type identity struct {
	partition, account string
	accessKey, secret  string

	// An IAM user (also behind GetSessionToken credentials).
	userName, userID, userARN string

	// A role session.
	roleARN, roleName, roleID string
	sessionName               string
	sourceIdentity            string
	tags                      map[string]string
	transitive                []string
	chained                   bool

	// S3 Express: the bucket that the credentials are good for.
	bucket   string
	readOnly bool

	issued, expires time.Time // zero for long-lived keys
	policy          *policyDoc
	sessionPolicy   *policyDoc
	inline          []*policyDoc // of the role
}

func (id *identity) temporary() bool { return !id.expires.IsZero() }
func (id *identity) isRole() bool    { return id.roleARN != "" }

// arn is what GetCallerIdentity answers.
func (id *identity) arn() string {
	if id.isRole() {
		return "arn:" + id.partition + ":sts::" + id.account + ":assumed-role/" + id.roleName + "/" + id.sessionName
	}
	return id.userARN
}

// principalID is aws:userid: AIDA… or AROA…:session-name.
func (id *identity) principalID() string {
	if id.isRole() {
		return id.roleID + ":" + id.sessionName
	}
	return id.userID
}

// contextKeys are the condition keys that describe the caller:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
func (id *identity) contextKeys(now time.Time, sourceIP, region string) map[string][]string {
	keys := map[string][]string{
		"aws:principalaccount":      {id.account},
		"aws:principalarn":          {id.principalARN()},
		"aws:userid":                {id.principalID()},
		"aws:currenttime":           {now.Format(time.RFC3339)},
		"aws:securetransport":       {"true"},
		"aws:sourceip":              {sourceIP},
		"aws:requestedregion":       {region},
		"aws:principaltype":         {"User"},
		"aws:principalisawsservice": {"false"},
	}
	if id.isRole() {
		keys["aws:principaltype"] = []string{"AssumedRole"}
	} else {
		keys["aws:username"] = []string{id.userName}
	}
	if id.temporary() {
		keys["aws:tokenissuetime"] = []string{id.issued.Format(time.RFC3339)}
		keys["aws:multifactorauthpresent"] = []string{"false"}
	}
	if id.sourceIdentity != "" {
		keys["aws:sourceidentity"] = []string{id.sourceIdentity}
	}
	for k, v := range id.tags {
		keys["aws:principaltag/"+strings.ToLower(k)] = []string{v}
	}
	return keys
}

// principalARN is aws:PrincipalArn: of a role session, the role's.
func (id *identity) principalARN() string {
	if id.isRole() {
		return id.roleARN
	}
	return id.userARN
}

// may asks the caller's own policies. A principal without one may do
// everything: the simulation is about who, and permissions are opt-in.
func (id *identity) may(q accessQuestion) verdict {
	for _, p := range id.inline {
		if p.judge(q, false) == explicitDeny {
			return explicitDeny
		}
	}
	out := allow
	if id.policy != nil {
		out = id.policy.judge(q, false)
	}
	if out == allow && id.sessionPolicy != nil {
		out = id.sessionPolicy.judge(q, false)
	}
	return out
}

// splitARN takes an ARN apart: partition, service, region, account, resource.
func splitARN(arn string) (partition, service, region, account, resource string, ok bool) {
	p := strings.SplitN(arn, ":", 6)
	if len(p) != 6 || p[0] != "arn" {
		return "", "", "", "", "", false
	}
	return p[1], p[2], p[3], p[4], p[5], true
}
