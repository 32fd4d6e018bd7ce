package awsreq

import "iter"

// Operation is one of AWS's, as the tables know it.
type Operation struct {
	// Service is its name in requests, SigningName in signatures, Endpoint in
	// hosts, Prefix in IAM.
	Service, SigningName, Endpoint, Prefix string
	Name                                   string
	// Actions are those of IAM that it takes or may take, its own first.
	Actions []string
}

// Operations yields all of them.
func (t *Table) Operations() iter.Seq[Operation] {
	return func(yield func(Operation) bool) {
		for i := range t.ops {
			o := &t.ops[i]
			s := &t.svcs[o.service]
			actions := []string{o.action}
			for _, a := range o.also {
				actions = append(actions, a.Name)
			}
			if a := versioned(o.name); a != "" && s.name == "s3" {
				actions = append(actions, a)
				if o.name == "GetObjectAttributes" {
					actions = append(actions, attributesOfVersion)
				}
			}
			if !yield(Operation{Service: s.name, SigningName: s.signing, Endpoint: s.prefix, Prefix: s.iam, Name: o.name, Actions: actions}) {
				return
			}
		}
	}
}
