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
