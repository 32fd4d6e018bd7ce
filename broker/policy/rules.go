package policy

import (
	"errors"
	"fmt"
	"slices"

	"github.com/posternhq/postern/events"
)

// Resources and verbs of rules. "*" stands for all of them.
var (
	ruleResources = []string{"role", "user", "app", "access_list", "lock", "request", "session", "audit", "token", "consumer", "audit_token", "ca", "oidc", "saml", "cluster_settings"}
	ruleVerbs     = []string{"list", "read", "create", "update", "delete"}
)

// RuleResources lists the resources that rules speak of.
func RuleResources() []string { return slices.Clone(ruleResources) }

// RuleVerbs lists the verbs that rules speak of.
func RuleVerbs() []string { return slices.Clone(ruleVerbs) }

// May decides whether the subject may do verb to postern's resources of a kind.
func (s Subject) May(verb, resource string) bool {
	allowed := false
	for _, h := range s.Roles {
		if h.broken || rule(h.Deny.Rules, verb, resource) {
			return false
		}
		allowed = allowed || h.Only == nil && !h.Locked && rule(wide(h.Allow.Rules), verb, resource)
	}
	return allowed
}

func rule(rules []events.ResourceRule, verb, resource string) bool {
	has := func(list []string, v string) bool {
		return slices.Contains(list, "*") || slices.Contains(list, v)
	}
	return slices.ContainsFunc(rules, func(r events.ResourceRule) bool {
		return has(r.Resources, resource) && has(r.Verbs, verb)
	})
}

// wide are the rules that are not narrowed to AWS accounts: what is, only the
// auditor can heed.
func wide(rules []events.ResourceRule) []events.ResourceRule {
	if !slices.ContainsFunc(rules, narrowed) {
		return rules
	}
	return slices.DeleteFunc(slices.Clone(rules), narrowed)
}

func narrowed(r events.ResourceRule) bool { return len(r.AWSAccounts) > 0 }

// rules checks what is narrowed to AWS accounts.
func (c *compiler) rules(path string, rules []events.ResourceRule) {
	for i, r := range rules {
		at := fmt.Sprintf("%s.rules[%d].aws_accounts", path, i)
		if !narrowed(r) {
			continue
		}
		if path == denySide {
			c.fault(at, errors.New("is for the allow side: what no rule allows is denied"))
		}
		if !slices.Equal(r.Resources, []string{"audit"}) {
			c.fault(at, errors.New("narrows the resource audit, and no other: give that one a rule of its own"))
		}
		for j, id := range r.AWSAccounts {
			if err := CheckAccount(id); err != nil {
				c.fault(fmt.Sprintf("%s[%d]", at, j), err)
			}
		}
	}
}
