package awsreq

import (
	"net/http"
	"slices"
	"strings"
)

// node is a place in the tree of a service's paths.
type node struct {
	lits   []edge
	label  int32 // child for {label}, 0 if none
	greedy int32 // child for {label+}
	ops    []int32
}

type edge struct {
	seg  string
	node int32
}

// maxLabels is more than any path of AWS's has.
const maxLabels = 12

// captures are the values of a path's labels, in order, still encoded.
type captures struct {
	val [maxLabels]string
	n   int
	// twice: a parameter that tells the operation is there several times.
	twice bool
}

func (t *Table) node() int32 {
	t.nodes = append(t.nodes, node{})
	return int32(len(t.nodes) - 1)
}

func (t *Table) insert(root, op int32) {
	o := &t.ops[op]
	path, query, _ := strings.Cut(o.uri, "?")
	for c := range strings.SplitSeq(query, "&") {
		if c != "" {
			k, v, _ := strings.Cut(c, "=")
			o.query = append(o.query, queryConst{k, v})
		}
	}
	at := root
	for seg := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if seg == "" {
			continue
		}
		if seg[0] != '{' {
			at = t.literal(at, seg)
			continue
		}
		name := strings.Trim(seg, "{}")
		child := &t.nodes[at].label
		if n, ok := strings.CutSuffix(name, "+"); ok {
			name, child = n, &t.nodes[at].greedy
		}
		o.labels = append(o.labels, name)
		if *child == 0 {
			// t.node may move the nodes, and child with them.
			*child = int32(len(t.nodes))
			t.node()
		}
		if name := seg; strings.HasSuffix(name, "+}") {
			at = t.nodes[at].greedy
		} else {
			at = t.nodes[at].label
		}
	}
	t.nodes[at].ops = append(t.nodes[at].ops, op)
}

func (t *Table) literal(at int32, seg string) int32 {
	for _, e := range t.nodes[at].lits {
		if e.seg == seg {
			return e.node
		}
	}
	n := t.node()
	t.nodes[at].lits = append(t.nodes[at].lits, edge{seg, n})
	return n
}

// matchREST finds the operation for a method and path. score is higher the more
// of the path was matched by literals, to choose between services.
func (t *Table) matchREST(svc int32, in *Input, caps *captures) (op int32, score int) {
	root := t.svcs[svc].root
	if root == 0 {
		return -1, 0
	}
	caps.n, caps.twice = 0, false
	path := strings.Trim(in.Path, "/")
	if in.Host.Endpoint == "execute-api" {
		path = stageless(path)
	}
	return t.walk(root, path, in, caps, 0)
}

// stageless is the path by which connections of a WebSocket API are managed, without the
// API's stage in front: STAGE/@connections/ID
// (https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-how-to-call-websocket-api-connections.html).
func stageless(path string) string {
	_, rest, _ := strings.Cut(path, "/")
	name, id, ok := strings.Cut(rest, "/")
	switch {
	case !ok || !equalDecoded(name, "@connections"):
		return path
	case name != "@connections":
		return "@connections/" + id
	}
	return rest
}

func (t *Table) walk(at int32, rest string, in *Input, caps *captures, score int) (int32, int) {
	n := &t.nodes[at]
	if rest == "" {
		if op := t.choose(n.ops, in, caps); op >= 0 {
			return op, score + 4*len(t.ops[op].query) + 1
		}
		return -1, 0
	}
	seg, tail, _ := strings.Cut(rest, "/")
	if i, ok := slices.BinarySearchFunc(n.lits, seg, func(e edge, s string) int { return strings.Compare(e.seg, s) }); ok {
		if op, s := t.walk(n.lits[i].node, tail, in, caps, score+4); op >= 0 {
			return op, s
		}
	}
	if caps.n == maxLabels {
		return -1, 0
	}
	mark := caps.n
	if n.label != 0 && seg != "" {
		caps.val[caps.n] = seg
		caps.n++
		if op, s := t.walk(n.label, tail, in, caps, score+1); op >= 0 {
			return op, s
		}
		caps.n = mark
	}
	if n.greedy != 0 {
		caps.n++
		for end := len(rest); end > 0; end = strings.LastIndexByte(rest[:end], '/') {
			caps.val[mark] = rest[:end]
			if op, s := t.walk(n.greedy, strings.TrimPrefix(rest[end:], "/"), in, caps, score); op >= 0 {
				// A literal behind the greedy label beats swallowing it.
				if end == len(rest) && len(t.nodes[n.greedy].lits) > 0 {
					if op2, s2, cut := t.behindGreedy(n.greedy, rest, in, caps, score); op2 >= 0 {
						caps.val[mark] = rest[:cut]
						return op2, s2
					}
				}
				return op, s
			}
		}
		caps.n = mark
	}
	return -1, 0
}

// behindGreedy tries the literals that may follow a greedy label.
func (t *Table) behindGreedy(at int32, rest string, in *Input, caps *captures, score int) (int32, int, int) {
	for cut := strings.LastIndexByte(rest, '/'); cut > 0; cut = strings.LastIndexByte(rest[:cut], '/') {
		if op, s := t.walk(at, rest[cut+1:], in, caps, score); op >= 0 {
			return op, s, cut
		}
	}
	return -1, 0, 0
}

// choose picks, of the operations at one path, the one of this method whose
// query constants are all there, and of several the one with the most.
func (t *Table) choose(ops []int32, in *Input, caps *captures) int32 {
	best, most := int32(-1), -1
	for _, i := range ops {
		o := &t.ops[i]
		params := in.RawQuery
		switch {
		case len(o.query) <= most:
			continue
		case o.method == in.Method:
		case o.name == "Search" && in.Method == http.MethodPost && t.svcs[o.service].name == "cloudsearchdomain":
			params = in.form() // AWS's SDKs turn CloudSearch's GET into a POST, for long queries
		default:
			continue
		}
		ok := true
		for _, c := range o.query {
			v, found := queryValue(params, c.name)
			if c.value != "" && found {
				_, times := single(params, c.name)
				caps.twice = caps.twice || times > 1
			}
			ok = ok && found && (c.value == "" || equalDecoded(v, c.value))
		}
		if ok {
			best, most = i, len(o.query)
		}
	}
	return best
}
