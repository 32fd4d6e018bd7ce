package awsreq

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// params are the named texts in a request: labels of the path, query, form, and
// the top level of a JSON or CBOR body; those that the operation knows.
type params struct {
	o    *operation
	list []param
	deep []param         // of structures, by their paths
	seen map[string]bool // names in lower case
	// labels are those of the path, by names in lower case, as they are decoded: some bodies say
	// them again.
	labels map[string]string
	// doubt says why the request can be read in two ways: a name given twice, in
	// whatever case; "" if it cannot.
	doubt string
	// unread: there is a body that was not read, or not to its end.
	unread bool
}

type param struct{ name, value string }

// Bounds of what is read of one request. What is beyond them makes it doubtful, or leaves
// its body unread: nothing of it is passed over in silence.
const (
	maxParams = 512
	// maxLists bounds how deep lists of JSON are in one another: each is read anew for
	// those in it.
	maxLists = 8
	// maxPath bounds, in bytes, the path of an element of XML: each below it has all of it.
	maxPath = 1024
	// maxXMLDepth and maxCBORDepth bound nesting.
	maxXMLDepth  = 32
	maxCBORDepth = 64
)

func (t *Table) collect(in *Input, o *operation, caps *captures) params {
	p := params{o: o, seen: map[string]bool{}}
	if caps.n > 0 {
		p.labels = make(map[string]string, caps.n)
	}
	for i, name := range o.labels {
		if i < caps.n {
			value, low := decode(caps.val[i], true), strings.ToLower(name)
			p.seen[low], p.labels[low] = true, value
			p.put(strings.ReplaceAll(name, "-", ""), value)
		}
	}
	for name := range strings.SplitSeq(o.members, ",") {
		if name, ok := strings.CutPrefix(name, "@"); ok {
			name, as, _ := strings.Cut(name, "=")
			switch v := in.Header[http.CanonicalHeaderKey(name)]; len(v) {
			case 0:
			case 1:
				p.put(cmp.Or(as, name), v[0])
			default:
				p.doubtful(twiceNamed(name))
			}
		}
	}
	// How the operation is spoken tells what counts: a header that its service does not
	// heed changes nothing of what it reads.
	protocol, own := t.svcs[o.service].protocol, []int32{o.service}
	rest := strings.HasPrefix(protocol, "rest")
	target := !rest && t.byTarget(in, own) >= 0
	binary := !rest && t.byPath(in, own) >= 0 || isCBOR(in) && (rest || target)
	if action, _ := t.byAction(in, own); rest || action >= 0 { // the others say it all in their bodies
		p.addQuery(in.RawQuery, rest)
	}
	switch {
	case o.takes("!"):
	case !in.BodyComplete:
		p.unread = true
	case len(in.Body) == 0:
	case binary:
		p.addCBOR(in.Body)
	case target || protocol == "rest-json":
		p.addJSON(in.Body) // whatever it calls itself: that is what AWS reads
	case rest:
		p.addXML(in.Body)
	case in.form() == "": // what this protocol does not read
		p.unread = true
	default:
		p.addQuery(in.form(), false)
	}
	switch t.svcs[o.service].name {
	case "sqs":
		p.addQueue(in)
	case "events":
		p.nameBus(in)
	case "ssm":
		p.addTarget()
	case "codebuild":
		p.addProject()
	case "sns":
		p.addTopic()
	case "lambda":
		p.addLayer()
	case "socialmessaging":
		p.unprefix("waba-", "phone-number-id-")
	}
	return p
}

// doubtful notes the first reason why the request can be read in two ways.
func (p *params) doubtful(why string) {
	if p.doubt == "" {
		p.doubt = why
	}
}

// twiceNamed says that a name is given twice. It is the sender's: what is shown of it
// is quoted and short.
func twiceNamed(name string) string {
	if len(name) > 64 {
		name = name[:64]
	}
	return fmt.Sprintf("names %q twice, or in two spellings", name)
}

const notJSON = "has a body that is not one JSON object"

// add takes a parameter that the sender named.
func (p *params) add(name, value string, list bool) {
	head, _, _ := strings.Cut(name, ".")
	if low := strings.ToLower(name); !list {
		if label, ok := p.labels[low]; p.seen[low] && !(ok && label == value) {
			p.doubtful(twiceNamed(name))
		}
		p.seen[low] = true
	}
	if value != "" && p.o.takes(head) {
		p.put(name, value)
	} else if value != "" && len(head) < len(name) && p.o.nests(head) {
		p.putDeep(listless(name), value)
	}
}

func (p *params) put(name, value string) {
	if len(p.list) < maxParams {
		p.list = append(p.list, param{name, value})
	} else {
		p.doubtful(fmt.Sprintf("has more than %d parameters", maxParams))
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

// takesFold is takes for a name in whatever case.
func (o *operation) takesFold(name string) bool {
	for member := range strings.SplitSeq(o.members, ",") {
		if strings.EqualFold(member, name) {
			return true
		}
	}
	return false
}

// addQuery reads a query or a form. In lists, a name comes once for each value: all
// are named, whichever of them AWS takes.
func (p *params) addQuery(q string, lists bool) {
	here := map[string]bool{}
	for q != "" {
		var pair string
		pair, q, _ = strings.Cut(q, "&")
		if k, v, _ := strings.Cut(pair, "="); k != "" {
			k = decode(k, false)
			p.add(k, decode(v, false), lists && here[k])
			here[k] = true
		}
	}
}

// addJSON reads the strings and lists of strings at the top of an object, and
// where DynamoDB hides its tables.
func (p *params) addJSON(body []byte) {
	d := json.NewDecoder(bytes.NewReader(body))
	if tok, err := d.Token(); err != nil || tok != json.Delim('{') {
		p.unread = true // compressed, perhaps
		return
	}
	for d.More() {
		tok, err := d.Token()
		if err != nil {
			p.doubtful(notJSON) // whoever reads it may see anything
			return
		}
		name, _ := tok.(string)
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			p.doubtful(notJSON)
			return
		}
		var s string
		var many []string
		switch {
		case json.Unmarshal(raw, &s) == nil:
			p.add(name, s, false)
			continue
		case json.Unmarshal(raw, &many) == nil:
			p.add(name, "", false)
			for _, v := range many {
				p.add(name, v, true)
			}
			continue
		}
		p.add(name, "", false)
		switch {
		case name == "RequestItems" && strings.HasPrefix(p.o.name, "Batch"):
			p.addKeys(raw)
		case name == "TransactItems" && strings.HasPrefix(p.o.name, "Transact"):
			p.addTables(raw)
		case p.o.nests(name):
			p.addNested(raw, name, 0)
		}
	}
	if _, err := d.Token(); err != nil {
		p.doubtful(notJSON)
	} else if _, err := d.Token(); !errors.Is(err, io.EOF) {
		p.doubtful(notJSON)
	}
}

// addKeys takes the tables of dynamodb:BatchGetItem and BatchWriteItem.
func (p *params) addKeys(raw json.RawMessage) {
	p.object(raw, true, func(table string, _ json.RawMessage) { p.put("TableName", table) })
}

// addTables takes those of TransactWriteItems and TransactGetItems.
func (p *params) addTables(raw json.RawMessage) {
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil {
		p.doubtful("has TransactItems that are not a list")
		return
	}
	for _, it := range items {
		p.object(it, false, func(_ string, op json.RawMessage) {
			p.object(op, false, func(name string, v json.RawMessage) {
				var table string
				switch {
				case name == "TableName" && json.Unmarshal(v, &table) == nil:
					p.put("TableName", table)
				case strings.EqualFold(name, "TableName"):
					p.doubtful(fmt.Sprintf("names its tables in a %q that is not TableName", name))
				}
			})
		})
	}
}

// object calls member for each of an object's members. Names are compared as they
// are, and must not be given twice, nor, unless exact, in two spellings: whoever
// reads the object takes the first or the last, and may not mind case.
func (p *params) object(raw json.RawMessage, exact bool, member func(name string, v json.RawMessage)) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if tok, err := d.Token(); err != nil || tok != json.Delim('{') {
		p.doubtful("has no object where DynamoDB's tables are named")
		return
	}
	seen := map[string]bool{}
	for d.More() {
		tok, _ := d.Token() // raw is JSON: it was decoded once
		name, _ := tok.(string)
		var v json.RawMessage
		if d.Decode(&v) != nil {
			p.doubtful(notJSON)
			return
		}
		low := name
		if !exact {
			low = strings.ToLower(name)
		}
		if seen[low] {
			p.doubtful(twiceNamed(name))
		}
		seen[low] = true
		member(name, v)
	}
}

// addQueue reads SQS's queue URL, https://host/ACCOUNT/NAME, and the path, where
// the query protocol has it. A queue of another account's gets no ARN, for the
// session's would be wrong, and nor does what is not exactly such a URL.
func (p *params) addQueue(in *Input) {
	if !p.o.takes("QueueUrl") {
		return
	}
	path := strings.Trim(in.Path, "/")
	name := ""
	if path != "" {
		if name = queue(in.Path, in.Account); name == "" {
			return
		}
	}
	for _, v := range p.list {
		if v.name != "QueueUrl" {
			continue
		}
		_, rest, ok := strings.Cut(v.value, "://")
		host, _, _ := strings.Cut(rest, "/")
		if scheme := v.value[:len(v.value)-len(rest)]; !ok || scheme != "https://" && scheme != "http://" || host == "" || strings.ContainsAny(host, "?#") {
			return
		}
		switch given := queue(rest[len(host):], in.Account); {
		case given == "":
			return
		case name != "" && name != given:
			p.doubtful("names one queue in its path and another in QueueUrl")
			return
		default:
			name = given
		}
		break
	}
	if name != "" {
		p.put("QueueName", name)
	}
}

// nameBus gives an event bus its name where it is given by its ARN.
func (p *params) nameBus(in *Input) {
	region := cmp.Or(in.SigningRegion, in.Host.SigningRegion)
	for i, v := range p.list {
		if bus, ok := strings.CutPrefix(v.value, "arn:"+in.Host.Partition+":events:"+region+":"+in.Account+":event-bus/"); ok && v.name == "EventBusName" {
			p.list[i].value = bus
		}
	}
}

// addTarget reads whom a session of Systems Manager is with: an instance, or a task
// (ecs:CLUSTER_TASK_RUNTIME).
func (p *params) addTarget() {
	for _, v := range p.list {
		switch {
		case v.name != "Target":
		case strings.HasPrefix(v.value, "ecs:"):
			p.put("TaskId", v.value)
		default:
			p.put("InstanceId", v.value)
		}
	}
}

// queue is the name in a queue URL's path, /ACCOUNT/NAME, if it is of that account.
func queue(path, account string) string {
	rest, ok := strings.CutPrefix(path, "/"+account+"/")
	if !ok || account == "" || strings.Trim(strings.TrimSuffix(rest, ".fifo"), nameLetters) != "" {
		return ""
	}
	return rest
}

const nameLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

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
		if strings.Contains(n, "-") {
			n = strings.ReplaceAll(n, "-", "")
		}
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
