package awsreq

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
)

// params are the named texts in a request: labels of the path, query, form, and
// the top level of a JSON or CBOR body; those that the operation knows.
type params struct {
	o     *operation
	list  []param
	seen  map[string]bool // names in lower case
	twice bool            // a name was given twice, in whatever case
}

type param struct{ name, value string }

// maxParams bounds what is looked at in one request.
const maxParams = 512

func (t *Table) collect(in *Input, o *operation, caps *captures) params {
	p := params{o: o, seen: map[string]bool{}}
	for i, name := range o.labels {
		if i < caps.n {
			p.seen[strings.ToLower(name)] = true
			p.put(strings.ReplaceAll(name, "-", ""), decode(caps.val[i], true))
		}
	}
	for name := range strings.SplitSeq(o.members, ",") {
		if name, ok := strings.CutPrefix(name, "@"); ok {
			if v := in.Header[http.CanonicalHeaderKey(name)]; len(v) == 1 {
				p.put(name, v[0])
			}
		}
	}
	p.addQuery(in.RawQuery)
	switch {
	case !in.BodyComplete || len(in.Body) == 0 || o.takes("!"):
	case isCBOR(in):
		p.addCBOR(in.Body)
	case isJSON(in) || len(in.Header["X-Amz-Target"]) > 0 || t.svcs[o.service].protocol == "rest-json":
		p.addJSON(in.Body) // whatever it calls itself: that is what AWS reads
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

// add takes a parameter that the sender named.
func (p *params) add(name, value string, list bool) {
	head, _, _ := strings.Cut(name, ".")
	if low := strings.ToLower(name); !list {
		p.twice = p.twice || p.seen[low]
		p.seen[low] = true
	}
	if value != "" && p.o.takes(head) {
		p.put(name, value)
	}
}

func (p *params) put(name, value string) {
	if len(p.list) < maxParams {
		p.list = append(p.list, param{name, value})
	} else {
		p.twice = true
	}
}

// takes tells whether an operation has a parameter of this name that may say what
// is acted upon.
func (o *operation) takes(name string) bool {
	for member := range strings.SplitSeq(o.members, ",") {
		if member == name {
			return true
		}
	}
	return false
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
		case name == "RequestItems" && strings.HasPrefix(p.o.name, "Batch"):
			p.addKeys(raw)
		case name == "TransactItems" && strings.HasPrefix(p.o.name, "Transact"):
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
			p.put("TableName", k)
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
			p.put("TableName", op.TableName)
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
				p.put("QueueName", f[n-1])
			}
			return
		}
	}
}

// addModel reads the id of a Bedrock model, or of an inference profile, which
// begins with the regions it spans
// (https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html).
func (p *params) addModel(r *Request) {
	for _, v := range p.list {
		if v.name != "modelId" && v.name != "modelIdentifier" {
			continue
		}
		switch spans, _, dotted := strings.Cut(v.value, "."); {
		case !dotted, strings.HasPrefix(v.value, "arn:"):
		case slices.Contains([]string{"us", "us-gov", "ca", "sa", "eu", "apac", "au", "jp", "global"}, spans):
			p.put("modelArn", "arn:"+r.Partition+":bedrock:"+r.Region+":"+r.Account+":inference-profile/"+v.value)
		default:
			p.put("modelArn", "arn:"+r.Partition+":bedrock:"+r.Region+"::foundation-model/"+v.value)
		}
		return
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
		if rest := stem(n[len(name):]); rest == "" || rest == "s" {
			if v.value != "" {
				out = appendNew(out, v.value)
			}
		}
	}
	return out
}

// stem is a parameter's name without its place in a list: ResourceId of
// ResourceId.1, ResourceIds of ResourceIds.member.1.
func stem(name string) string {
	name, placed := placeless(name)
	if i := strings.LastIndexByte(name, '.'); placed && i >= 0 && i < len(name)-1 && !strings.ContainsFunc(name[i+1:], notLetter) {
		name = name[:i]
	}
	return name
}

// placeless is a name without a number at its end.
func placeless(name string) (string, bool) {
	i := strings.LastIndexByte(name, '.')
	if i < 0 || i == len(name)-1 || strings.Trim(name[i+1:], "0123456789") != "" {
		return name, false
	}
	return name[:i], true
}

func notLetter(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') }
