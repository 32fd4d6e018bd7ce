package awsreq

import "strings"

// What services call their things in ways of their own.

// addProject reads the project of builds, sandboxes and such, whose ids are PROJECT:UUID.
func (p *params) addProject() {
	for i, v := range p.list {
		switch stem(v.name) {
		case "id", "ids":
			id := v.value
			if strings.HasPrefix(id, "arn:") {
				_, id, _ = strings.Cut(id, "/")
			}
			if project, _, ok := strings.Cut(id, ":"); ok && !strings.HasPrefix(v.value, "arn:") {
				p.list[i] = param{"ProjectName", project}
			} else if ok {
				f := strings.SplitN(v.value, ":", 6)
				p.list[i] = param{"projectArn", strings.Join(f[:5], ":") + ":project/" + project}
			}
		}
	}
}

// addTopic reads the topic of a subscription, whose ARN is the topic's and an id. A topic's
// name has no colon.
func (p *params) addTopic() {
	for i, v := range p.list {
		if f := strings.Split(v.value, ":"); v.name == "SubscriptionArn" && len(f) == 7 && f[0] == "arn" {
			p.list[i].value = strings.Join(f[:6], ":")
		}
	}
}

// addLayer reads the version of a layer that is named by its ARN.
func (p *params) addLayer() {
	versions := p.named("VersionNumber")
	for i, v := range p.list {
		if v.name == "LayerName" && strings.HasPrefix(v.value, "arn:") && len(versions) == 1 && strings.Count(v.value, ":") == 6 {
			p.list[i].value += ":" + versions[0]
		}
	}
}

// unprefix takes from ids what ARNs have as the type in front of them.
func (p *params) unprefix(fronts ...string) {
	for i := range p.list {
		for _, front := range fronts {
			p.list[i].value = strings.TrimPrefix(p.list[i].value, front)
		}
	}
}

// saysType tells whether a request says of which of its operation's types what its
// ResourceId names is, and whether that is this one: Parameter, hostedzone,
// WirelessDevice; Automation for automation-execution.
func (p *params) saysType(typ string) (said, this bool) {
	for _, v := range p.list {
		if !strings.EqualFold(v.name, "ResourceType") || v.value == "" {
			continue
		}
		for one := range strings.SplitSeq(p.o.types, ",") {
			if rest, ok := strings.CutPrefix(plain(one), plain(v.value)); ok && (rest == "" || rest == "execution") {
				said, this = true, this || one == typ
			}
		}
	}
	return said, this
}

// saidOfType are the names of what is said to be of a type by another parameter.
func saidOfType(name string) bool {
	return strings.EqualFold(name, "ResourceId") || strings.EqualFold(name, "ResourceIdentifier")
}
