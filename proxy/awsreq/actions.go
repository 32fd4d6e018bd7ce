package awsreq

import (
	"strings"
)

// Actions tells which IAM actions an operation takes, its own first, and how many
// types of resources that is granted on; none if the table has no such operation. Of
// an operation whose requests tell which of several actions they take, it is the
// first alone.
func (t *Table) Actions(service, operation string) (actions []string, types int) {
	for _, i := range t.byName[service] {
		s := &t.svcs[i]
		for j := s.first; j < s.end; j++ {
			if o := &t.ops[j]; o.name == operation {
				if o.types != "" {
					types = strings.Count(o.types, ",") + 1
				}
				actions = append(actions, o.action)
				if tellsBy(service, operation) == nil {
					for _, a := range o.also {
						actions = append(actions, a.Name)
					}
				}
				return actions, types
			}
		}
	}
	return nil, 0
}

// Levels tells the access level of each action of a table's operations, and of those
// that requests of S3 may ask for besides.
func (t *Table) Levels() map[string]AccessLevel {
	levels := map[string]AccessLevel{
		// No operation is called by these.
		"s3:BypassGovernanceRetention": Permissions,
		"s3:DeleteObjectVersion":       Write,
		"s3:GetObjectVersion":          Read,
		attributesOfVersion:            Read,
	}
	for _, a := range bundled {
		levels[a.Name] = a.Level
	}
	for i := range t.ops {
		o := &t.ops[i]
		levels[o.action] = o.level
		for _, a := range o.also {
			levels[a.Name] = a.Level
		}
	}
	for _, names := range t.elsewhere {
		for name, there := range names {
			if level, ok := levels[name]; ok && levels[there] == "" {
				levels[there] = level
			}
		}
	}
	return levels
}

// NoService stands for the services of an action that is about nothing that has an ARN.
const NoService = "-"

// Services tells whose ARNs a call of this operation and action can be about: the
// services, as ARNs call them, of the action's resource types
// (https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html),
// NoService alone where it has none, and nothing where that is not known. That is so, too,
// where a request of the operation has something by which it may name what is another
// service's (an S3 object to be read, an ARN to be tagged): the service acts on it with
// its caller's rights. The list is shared: do not write to it.
func (t *Table) Services(service, operation, action string) []string {
	prefix, _, _ := strings.Cut(action, ":")
	switch action {
	case "execute-api:Invoke", "lambda:InvokeFunctionUrl", "appsync:GraphQL", "aoss:APIAccessAll", "osis:Ingest":
		return []string{prefix} // customers' own APIs, which no model describes
	}
	for _, svc := range t.byName[service] {
		if op := t.operation(svc, operation); op >= 0 && t.ops[op].inward {
			return t.about()[action]
		}
	}
	return nil
}

// inward takes the mark off an operation's members that says that nothing in its requests
// names what is another service's.
func inward(members string) (rest string, ok bool) {
	if members == "-" {
		return "", true
	}
	return strings.CutPrefix(members, "-,")
}

// allAbout is what Services says of actions that IAM lists.
func (t *Table) allAbout() map[string][]string {
	all, shared := map[string][]string{}, map[string][]string{}
	for i := range t.ops {
		o := &t.ops[i]
		if !o.certain || all[o.action] != nil {
			continue
		}
		prefix, name, _ := strings.Cut(o.action, ":")
		of := prefix + "\t" + o.types
		parameters := prefix == "ssm" && strings.HasPrefix(name, "GetParameter")
		if parameters {
			of += "\tsecrets"
		}
		list, known := shared[of]
		if !known {
			if list = t.servicesOf(prefix, o.types); parameters && list != nil {
				list = append(list, "secretsmanager") // see secrets
			}
			shared[of] = list
		}
		if list != nil {
			all[o.action] = list
		}
	}
	return all
}

// servicesOf are those of a list of types; nil if they are not all known.
func (t *Table) servicesOf(prefix, types string) (list []string) {
	if types == "" {
		return []string{NoService}
	}
	for typ := range strings.SplitSeq(types, ",") {
		patterns := t.resources[prefix][typ]
		for _, pattern := range patterns {
			f := strings.SplitN(pattern, ":", 4)
			if len(f) < 4 || f[0] != "arn" || f[2] == "" || strings.ContainsAny(f[2], "${}*?") {
				return nil
			}
			list = appendNew(list, f[2])
		}
		if len(patterns) == 0 {
			return nil
		}
	}
	return list
}
