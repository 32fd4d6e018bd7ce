package awsreq

import (
	"slices"
	"strings"
)

// Actions tells which IAM actions an operation takes, its own first, and how many
// types of resources that is granted on; none if the table has no such operation.
func (t *Table) Actions(service, operation string) (actions []string, types int) {
	for _, i := range t.byName[service] {
		s := &t.svcs[i]
		for j := s.first; j < s.end; j++ {
			if o := &t.ops[j]; o.name == operation {
				if o.types != "" {
					types = strings.Count(o.types, ",") + 1
				}
				return slices.Concat([]string{o.action}, o.also), types
			}
		}
	}
	return nil, 0
}
