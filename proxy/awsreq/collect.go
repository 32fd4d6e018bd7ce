package awsreq

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
)

// params are the named texts in a request: labels of the path, query, form, and
// the top level of a JSON body.
type params struct {
	list  []param
	twice bool // a name was given twice, in whatever case
}

type param struct{ name, value string }

// maxParams bounds what is looked at in one request.
const maxParams = 512

func collect(in *Input, o *operation, caps *captures) params {
	var p params
	for i, name := range o.labels {
		if i < caps.n {
			p.add(name, decode(caps.val[i], true), false)
		}
	}
	p.addQuery(in.RawQuery)
	switch {
	case !in.BodyComplete || len(in.Body) == 0:
	case isJSON(in):
		p.addJSON(in.Body)
	default:
		p.addQuery(in.form())
	}
	p.addQueue(in.Account)
	return p
}

func isJSON(in *Input) bool {
	ct := in.Header["Content-Type"]
	return len(ct) == 1 && strings.HasPrefix(ct[0], "application/") && strings.Contains(ct[0], "json")
}

func (p *params) add(name, value string, list bool) {
	if !list {
		for _, o := range p.list {
			p.twice = p.twice || strings.EqualFold(o.name, name)
		}
	}
	if len(p.list) < maxParams {
		p.list = append(p.list, param{name, value})
	} else {
		p.twice = true
	}
}

func (p *params) addQuery(q string) {
	for q != "" {
		var pair string
		pair, q, _ = strings.Cut(q, "&")
		if k, v, _ := strings.Cut(pair, "="); k != "" {
			p.add(decode(k, false), decode(v, false), false)
		}
	}
}

// addJSON reads the strings and lists of strings at the top of an object, and
// where DynamoDB hides its tables.
func (p *params) addJSON(body []byte) {
	d := json.NewDecoder(bytes.NewReader(body))
	if tok, err := d.Token(); err != nil || tok != json.Delim('{') {
		return
	}
	for d.More() {
		tok, err := d.Token()
		if err != nil {
			p.twice = true // not JSON: whoever reads it may see anything
			return
		}
		name, _ := tok.(string)
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			p.twice = true
			return
		}
		var s string
		var many []string
		switch {
		case name == "RequestItems" && raw[0] == '{':
			p.addKeys(raw)
		case name == "TransactItems" && raw[0] == '[':
			p.addTables(raw)
		case json.Unmarshal(raw, &s) == nil:
			p.add(name, s, false)
		case json.Unmarshal(raw, &many) == nil:
			p.add(name, "", false)
			for _, v := range many {
				p.add(name, v, true)
			}
		default:
			p.add(name, "", false)
		}
	}
	if _, err := d.Token(); err != nil {
		p.twice = true
	} else if _, err := d.Token(); !errors.Is(err, io.EOF) {
		p.twice = true
	}
}

// addKeys takes the tables of dynamodb:BatchGetItem and BatchWriteItem.
func (p *params) addKeys(raw json.RawMessage) {
	var m map[string]json.RawMessage
	if json.Unmarshal(raw, &m) == nil {
		for k := range m {
			p.add("TableName", k, true)
		}
	}
}

// addTables takes those of TransactWriteItems and TransactGetItems.
func (p *params) addTables(raw json.RawMessage) {
	var items []map[string]struct{ TableName string }
	if json.Unmarshal(raw, &items) != nil {
		p.twice = true
		return
	}
	for _, it := range items {
		for _, op := range it {
			p.add("TableName", op.TableName, true)
		}
	}
}

// addQueue reads SQS's queue URL: https://host/ACCOUNT/NAME. A queue of another
// account's gets no ARN, for the session's would be wrong.
func (p *params) addQueue(account string) {
	for _, v := range p.list {
		if v.name == "QueueUrl" {
			f := strings.Split(v.value, "/")
			if n := len(f); n >= 2 && (f[n-2] == account || digits(f[n-2]) == "") {
				p.add("QueueName", f[n-1], false)
			}
			return
		}
	}
}

// named gives the values of a variable: those of the parameter of that name, or
// of the list of such (InstanceId.1, InstanceIds.member.1, InstanceIds).
func (p *params) named(name string) []string {
	var out []string
	for _, v := range p.list {
		n := v.name
		if len(n) < len(name) || !strings.EqualFold(n[:len(name)], name) {
			continue
		}
		if rest := n[len(name):]; rest == "" || rest == "s" || isIndex(rest) || isIndex(strings.TrimPrefix(rest, "s")) {
			if v.value != "" {
				out = appendNew(out, v.value)
			}
		}
	}
	return out
}

// values gives what stands for a variable in the ARN of a resource of this type:
// the parameter of that name, or of one that it is known to have; for
// ${ClusterName} of a cluster also "cluster" and "clusterId"; and for the name of
// what the operation is about, a plain "name" or "id".
func (t *Table) values(o *operation, p *params, prefix, typ, name string) []string {
	if out := p.named(name); len(out) > 0 {
		return out
	}
	var out []string
	for _, k := range []variable{{prefix, typ, name}, {prefix, "*", name}} {
		for _, param := range t.variables[k] {
			param, front, _ := strings.Cut(param, "^")
			for _, v := range p.named(param) {
				out = appendNew(out, strings.TrimPrefix(v, front))
			}
		}
	}
	if len(out) > 0 {
		return out
	}
	kind := plain(typ)
	rest, ok := strings.CutPrefix(plain(name), kind)
	if !ok || kind == "" || !slices.Contains(handles, rest) {
		return nil
	}
	for _, h := range handles {
		if out = p.named(kind + h); len(out) > 0 {
			return out
		}
	}
	for i, v := range p.list {
		// A path's only label is what it is about, and so is the noun of the
		// operation's name, where all of it is that.
		only := i == 0 && len(o.labels) == 1 && !strings.Contains(o.types, ",")
		if (only || isAbout(o.name, kind)) && v.value != "" && slices.Contains(handles[1:], strings.ToLower(v.name)) {
			return []string{v.value}
		}
	}
	return nil
}

// handles are the endings of parameters by which services name a resource.
var handles = []string{"", "name", "id", "identifier"}

// plain folds what spellings differ in.
func plain(s string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "_", "", " ", "").Replace(s))
}

// isAbout tells whether an operation's name is one verb and this noun:
// DescribeProject, project.
func isAbout(operation, noun string) bool {
	verb := 1
	for verb < len(operation) && (operation[verb] < 'A' || operation[verb] > 'Z') {
		verb++
	}
	return strings.EqualFold(operation[verb:], noun)
}
