package awsreq

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"sync"
)

//go:embed tables/hosts.tsv
var hostsText string

//go:embed tables/operations.tsv
var operationsText string

//go:embed tables/resources.tsv
var resourcesText string

//go:embed tables/members.tsv
var membersText string

// Table knows AWS's services. It is read-only once built, and may serve all
// goroutines.
type Table struct {
	hosts     map[string]hostEntry
	svcs      []service
	ops       []operation
	byName    map[string][]int32 // service name -> one service
	bySigning map[string][]int32
	nodes     []node
	resources map[string]map[string][]string // IAM prefix, resource type -> ARN patterns
	// variables are the parameters that a pattern's variable is called in requests.
	variables map[variable][]string
	// ids are the types that beginnings of ids tell, by prefix.
	ids map[string]map[string]string
	// caseless are the types whose names AWS keeps in lower case.
	caseless map[kind]caseless
	// owners are, by service, the parameters that name the account.
	owners map[string][]string
	// besides are the types that an operation acts on although it need not say so.
	besides map[int32]map[string]beside // by type
	// elsewhere are the actions that take the place of S3's, by prefix and s3:Action.
	elsewhere map[string]map[string]string
	// about are the services whose ARNs actions are about, made when first asked for.
	about func() map[string][]string
}

type hostEntry struct {
	signing    string
	services   []int32
	exceptions []exception
}

type exception struct{ partition, suffix, region, signing, name string }

type service struct {
	name, signing, prefix, protocol, target, iam string

	first, end int32 // its operations in Table.ops, by name
	root       int32 // its paths in Table.nodes; 0 if it is no REST service
}

type operation struct {
	service           int32
	name, method, uri string
	action            string
	also              []Action
	level             AccessLevel
	certain           bool
	types             string // resource types of the action, comma-separated
	always            bool   // it is about one of its only type, whatever the request says
	query             []queryConst
	labels            []string // names of the path's labels, in order
	members           string   // parameters that may name resources, comma-separated; with "@", headers (=, and their names); with ".", deeper in structures; "!": the body is opaque
	inward            bool     // nothing in a request names what is another service's
}

// variable is one of an ARN pattern's; typ "*" stands for all of the prefix's types, and
// operation "" for all that take such.
type variable struct{ prefix, typ, name, operation string }

// kind is a resource type of an IAM prefix.
type kind struct{ prefix, typ string }

// beside says when an operation acts on any of a type: if the request has hidden, by
// which AWS knows it, and not unless, by which the request says which it is.
type beside struct{ hidden, unless string }

type queryConst struct{ name, value string }

// New decodes the embedded tables. An error means that the build is broken.
func New() (*Table, error) {
	t := &Table{
		hosts: map[string]hostEntry{}, byName: map[string][]int32{}, bySigning: map[string][]int32{},
		nodes: make([]node, 1), resources: map[string]map[string][]string{},
		variables: map[variable][]string{}, ids: map[string]map[string]string{},
		caseless: map[kind]caseless{}, owners: map[string][]string{}, besides: map[int32]map[string]beside{}, elsewhere: map[string]map[string]string{},
	}
	t.about = sync.OnceValue(t.allAbout)
	if err := t.readOperations(); err != nil {
		return nil, fmt.Errorf("operations table: %w", err)
	}
	if err := t.readHosts(); err != nil {
		return nil, fmt.Errorf("hosts table: %w", err)
	}
	for f := range records(membersText) {
		for _, svc := range t.byName[f[0]] {
			for name := range strings.SplitSeq(f[2], ",") {
				if op := t.operation(svc, name); op >= 0 {
					t.ops[op].members, t.ops[op].inward = inward(f[1])
				}
			}
		}
	}
	for f := range records(resourcesText) {
		if f[0] == "=" {
			for operation := range strings.SplitSeq(f[5], ",") {
				t.variables[variable{f[1], f[2], f[3], operation}] = strings.Split(f[4], ",")
			}
			continue
		}
		if f[0] == "~" {
			for typ := range strings.SplitSeq(f[2], ",") {
				t.caseless[kind{f[1], typ}] = caseless(f[3][0])
			}
			continue
		}
		if f[0] == "@" {
			t.owners[f[1]] = strings.Split(f[2], ",")
			continue
		}
		if f[0] == "+" {
			for _, svc := range t.byName[f[1]] {
				for name := range strings.SplitSeq(f[2], ",") {
					if op := t.operation(svc, name); op >= 0 {
						if t.besides[op] == nil {
							t.besides[op] = map[string]beside{}
						}
						t.besides[op][f[3]] = beside{f[4], f[5]}
					}
				}
			}
			continue
		}
		if f[0] == "-" {
			if t.ids[f[1]] == nil {
				t.ids[f[1]] = map[string]string{}
			}
			t.ids[f[1]][f[2]] = f[3]
			continue
		}
		if t.resources[f[0]] == nil {
			t.resources[f[0]] = map[string][]string{}
		}
		t.resources[f[0]][f[1]] = append(t.resources[f[0]][f[1]], f[2])
	}
	return t, nil
}

// records iterates over a table's lines, split at tabs and padded to seven fields.
func records(text string) func(func([7]string) bool) {
	return func(yield func([7]string) bool) {
		for text != "" {
			var line string
			line, text, _ = strings.Cut(text, "\n")
			if line == "" || line[0] == '#' {
				continue
			}
			var f [7]string
			for i := range f {
				var more bool
				if f[i], line, more = strings.Cut(line, "\t"); !more {
					break
				}
			}
			if !yield(f) {
				return
			}
		}
	}
}

func (t *Table) readOperations() error {
	t.ops = make([]operation, 0, strings.Count(operationsText, "\n")) // every command of a user reads it
	for f := range records(operationsText) {
		switch f[0] {
		case "S":
			i := int32(len(t.svcs))
			t.svcs = append(t.svcs, service{
				name: f[1], signing: f[2], prefix: f[3], protocol: f[4], target: f[5], iam: f[6],
				first: int32(len(t.ops)), end: int32(len(t.ops)),
			})
			t.byName[f[1]] = []int32{i}
			t.bySigning[f[2]] = append(t.bySigning[f[2]], i)
		case "O":
			if len(t.svcs) == 0 {
				return fmt.Errorf("operation %s before any service", f[1])
			}
			s := &t.svcs[len(t.svcs)-1]
			op := operation{service: int32(len(t.svcs) - 1), name: f[1], method: f[2], uri: f[3]}
			op.types, op.always = strings.CutPrefix(f[6], "*")
			actions := f[4]
			op.action, actions, _ = strings.Cut(actions, ",")
			op.level, op.certain = levelOf(f[5][:1])
			for i := 1; actions != ""; i++ {
				var also Action
				also.Name, actions, _ = strings.Cut(actions, ",")
				also.Level, _ = levelOf(f[5][i : i+1])
				op.also = append(op.also, also)
			}
			t.ops = append(t.ops, op)
			s.end++
			if strings.HasPrefix(s.protocol, "rest") && s.name != "s3" {
				if s.root == 0 {
					s.root = t.node()
				}
				t.insert(s.root, int32(len(t.ops)-1))
			}
		case "E":
			t.elsewhere[f[1]] = map[string]string{}
			for name := range strings.SplitSeq(f[2], ",") {
				t.elsewhere[f[1]]["s3:"+name] = f[1] + ":" + name
			}
		default:
			return fmt.Errorf("unknown record %q", f[0])
		}
	}
	for i := range t.nodes {
		slices.SortFunc(t.nodes[i].lits, func(a, b edge) int { return strings.Compare(a.seg, b.seg) })
	}
	return nil
}

func (t *Table) readHosts() error {
	for f := range records(hostsText) {
		switch f[0] {
		case "H":
			e := hostEntry{signing: f[2]}
			for name := range strings.SplitSeq(f[3], ",") {
				e.services = append(e.services, t.byName[name]...)
			}
			// Newer versions are named after the old, with a suffix; they come
			// first, and so win where both know a request. The last resort.
			slices.Reverse(e.services)
			slices.SortStableFunc(e.services, func(a, b int32) int { return outlived(t.svcs[a].name) - outlived(t.svcs[b].name) })
			t.hosts[f[1]] = e
		case "X":
			e := t.hosts[f[1]]
			e.exceptions = append(e.exceptions, exception{f[2], f[3], f[4], f[5], f[6]})
			t.hosts[f[1]] = e
		default:
			return fmt.Errorf("unknown record %q", f[0])
		}
	}
	return nil
}

func (t *Table) services(name string) []int32 { return t.byName[name] }

// operation finds one of a service's operations by name, or gives -1.
func (t *Table) operation(svc int32, name string) int32 {
	s := &t.svcs[svc]
	i, ok := slices.BinarySearchFunc(t.ops[s.first:s.end], name, func(o operation, n string) int { return strings.Compare(o.name, n) })
	if !ok {
		return -1
	}
	return s.first + int32(i)
}

// outlived ranks services whose requests another service's cannot be told from.
func outlived(service string) int {
	switch service {
	case "wisdom", "sms-voice", "docdb", "neptune", "pinpoint-email":
		return 1
	}
	return 0
}
