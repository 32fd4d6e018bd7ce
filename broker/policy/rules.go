package policy

import (
	"slices"

	"github.com/posternhq/postern/events"
)

// Resources and verbs of rules. "*" stands for all of them.
var (
	ruleResources = []string{"role", "user", "app", "access_list", "lock", "request", "session", "audit", "token", "consumer", "ca", "oidc", "saml", "cluster_settings"}
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
		allowed = allowed || h.Only == nil && rule(h.Allow.Rules, verb, resource)
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
