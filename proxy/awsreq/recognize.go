package awsreq

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
)

// AccessLevel is IAM's classification of an action.
type AccessLevel string

const (
	Read        AccessLevel = "Read"
	List        AccessLevel = "List"
	Write       AccessLevel = "Write"
	Tagging     AccessLevel = "Tagging"
	Permissions AccessLevel = "Permissions management"
)

// stronger orders access levels: what a role is least likely to hand out by mistake
// comes last.
var stronger = []AccessLevel{List, Read, Tagging, Write, Permissions}

// Action is an IAM action with its own access level.
type Action struct {
	Name  string
	Level AccessLevel
}

func levelOf(s string) (l AccessLevel, certain bool) {
	switch s {
	case "R", "r":
		l = Read
	case "L", "l":
		l = List
	case "T", "t":
		l = Tagging
	case "P", "p":
		l = Permissions
	default:
		l = Write
	}
	return l, s < "a"
}

// Input is what recognition looks at.
type Input struct {
	Method string
	Host   *Host
	// Path and RawQuery are as on the wire.
	Path, RawQuery string
	Header         http.Header
	// SigningName and SigningRegion come from the signature's scope; "" for
	// unsigned requests.
	SigningName, SigningRegion string
	// Body is the body's beginning (64 KiB are plenty). Query protocols name
	// their operation there, and most others their resources. BodyComplete says
	// that it is the whole of it.
	Body         []byte
	BodyComplete bool
	// Account is the session's AWS account id, for ARNs.
	Account string
}

// Request is what a request asks of AWS.
type Request struct {
	// Region may be a region set, "us-east-1,eu-*", where the signature is SigV4A's and
	// the host is of no one region.
	Partition, Region string
	// Service is AWS's name for the API (that of botocore and the AWS CLI);
	// SigningName that in the signature's scope.
	Service, SigningName string
	// Operation is the API operation, "" if it cannot be told.
	Operation string
	// Action is the IAM action, such as s3:GetObject. Where IAM lists none for
	// the operation it is prefix:Operation, and ActionKnown is false.
	Action      string
	ActionKnown bool
	// AccessLevel is that of Action.
	AccessLevel AccessLevel
	// Also lists further actions that the operation needs, or may exercise where the
	// request does not tell which (a query of Neptune's). A denial of any is a
	// denial. It is shared: do not write to it.
	Also []Action
	// Ambiguous: the request can be read in two ways. Refuse it: AWS and we might
	// read it differently. Doubt says how, as in "the request " + Doubt.
	Ambiguous bool
	Doubt     string
	Account   string
	// Resources are the ARNs of what is acted upon, as far as the request names
	// them; filled in by Recognize only.
	Resources []string

	op   int32
	caps captures
}

// Strongest is the highest of the access levels of a request's actions: Permissions
// above Write, Tagging, Read and List.
func (r *Request) Strongest() AccessLevel {
	best := slices.Index(stronger, r.AccessLevel)
	for _, a := range r.Also {
		best = max(best, slices.Index(stronger, a.Level))
	}
	if best < 0 {
		return ""
	}
	return stronger[best]
}

// Recognize is Lookup, of the actions those alone that the body asks for where it
// tells, plus Resources.
func (t *Table) Recognize(in *Input) Request {
	r := t.Lookup(in)
	narrow(in, &r)
	r.Resources = t.Resources(in, &r)
	return r
}

// doubtful makes a request ambiguous, for the first reason given.
func (r *Request) doubtful(why string) {
	if r.Ambiguous = true; r.Doubt == "" {
		r.Doubt = why
	}
}

const twoOperations = "names its operation twice, in different ways"

// Lookup tells all about a request but its resources. It does not allocate.
func (t *Table) Lookup(in *Input) Request {
	r := Request{
		Partition: in.Host.Partition, Region: in.SigningRegion, SigningName: in.SigningName,
		Account: in.Account, op: -1,
	}
	if r.SigningName == "" {
		r.SigningName = in.Host.SigningName
	}
	// Of a region set, the one that counts is the host's, if it has one.
	if of := in.Host.SigningRegion; r.Region == "" || strings.ContainsAny(r.Region, "*,") && of != "" && of != "*" {
		r.Region = of
	}
	switch {
	case in.Host.S3 == S3ExpressPath && strings.HasPrefix(in.Path, "/v20180820/"):
		// Access points for directory buckets: S3 Control on S3 Express's host.
		op, doubt := t.find(in, t.services("s3control"), r.SigningName, &r.caps)
		if doubt != "" {
			r.doubtful(doubt)
		}
		t.fill(&r, op)
		t.controlAction(in, &r)
		return r
	case in.Host.S3 != NotS3:
		t.lookupS3(in, &r)
		return r
	}
	if t.dataPlane(in, &r) {
		return r
	}
	cands := in.Host.services
	if len(cands) == 0 {
		cands = t.bySigning[r.SigningName]
	}
	op, doubt := t.find(in, cands, r.SigningName, &r.caps)
	if doubt != "" {
		r.doubtful(doubt)
	}
	t.fill(&r, op)
	if op < 0 && len(cands) > 0 {
		r.Service = t.svcs[cands[0]].name
	}
	if r.Service == "s3control" {
		t.controlAction(in, &r)
	}
	return r
}

func (t *Table) fill(r *Request, op int32) {
	if op < 0 {
		return
	}
	o := &t.ops[op]
	r.op = op
	r.Service, r.Operation, r.Action, r.ActionKnown = t.svcs[o.service].name, o.name, o.action, o.certain
	r.Also, r.AccessLevel = o.also, o.level
}

// find tries all protocols that the host's services speak. A service that can be
// spoken to in several (SQS, CloudWatch) must be told the same in each that the
// request uses. doubt says why it may be another operation, "" if it may not.
func (t *Table) find(in *Input, cands []int32, signing string, caps *captures) (op int32, doubt string) {
	op = -1
	ambiguous := false
	add := func(found int32) {
		switch {
		case found < 0 || found == op:
		case op < 0:
			op = found
		default:
			ambiguous = ambiguous || t.ops[op].name != t.ops[found].name
		}
	}
	target := t.byTarget(in, cands)
	add(target)
	path := t.byPath(in, cands)
	add(path)
	found, twice := t.byAction(in, cands)
	add(found)
	// A service that heeds X-Amz-Target may read one that we do not, or one of several, and
	// one that speaks Smithy RPC v2 such a path.
	unheard := false
	if op >= 0 {
		s := &t.svcs[t.ops[op].service]
		unheard = target < 0 && len(in.Header["X-Amz-Target"]) > 0 && s.target != "" ||
			path < 0 && len(in.Header["Smithy-Protocol"]) > 0 && s.protocol == "smithy-rpc-v2-cbor"
	}
	ambiguous = ambiguous || twice || unheard
	if ambiguous {
		return -1, twoOperations
	}
	if op >= 0 {
		return op, ""
	}
	best := 0
	var c captures
	for _, s := range cands {
		found, score := t.matchREST(s, in, &c)
		// Of equals, the service that the signature names.
		if score = 2 * score; found >= 0 && t.svcs[s].signing == signing {
			score++
		}
		if found >= 0 && score > best {
			op, best, *caps = found, score, c
		}
	}
	switch {
	case op < 0:
	case leadsElsewhere(in.Path):
		return -1, "has a path with . or .. in it"
	case overridden(in), caps.twice:
		return -1, twoOperations
	}
	return op, ""
}

// leadsElsewhere tells whether a path has a segment that AWS may resolve before it
// reads the operation: /clusters/c/node-groups/.. is /clusters/c to some.
func leadsElsewhere(path string) bool {
	for path != "" {
		var segment string
		if segment, path, _ = strings.Cut(path, "/"); equalDecoded(segment, ".") || equalDecoded(segment, "..") {
			return true
		}
	}
	return false
}

// overridden tells whether the request asks to be read as one of another method, as
// clients do that cannot send PATCH. Which services heed it is not documented.
func overridden(in *Input) bool {
	for _, name := range [...]string{"X-Http-Method-Override", "X-Http-Method", "X-Method-Override"} {
		for _, method := range in.Header[name] {
			if method != in.Method {
				return true
			}
		}
	}
	return false
}

// byTarget reads the JSON protocols' X-Amz-Target: Prefix.Operation.
func (t *Table) byTarget(in *Input, cands []int32) int32 {
	v := in.Header["X-Amz-Target"]
	if len(v) != 1 {
		return -1
	}
	i := strings.LastIndexByte(v[0], '.')
	if i <= 0 { // services without a target have none of that name
		return -1
	}
	for _, s := range cands {
		if t.svcs[s].target == v[0][:i] {
			if op := t.operation(s, v[0][i+1:]); op >= 0 {
				return op
			}
		}
	}
	return -1
}

// byPath reads Smithy RPC v2: /service/Name/operation/Operation, whatever is in front of it
// (https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html#requests).
func (t *Table) byPath(in *Input, cands []int32) int32 {
	i := strings.LastIndex(in.Path, "/service/")
	if i < 0 || in.Method != http.MethodPost {
		return -1
	}
	name, op, ok := strings.Cut(in.Path[i+len("/service/"):], "/operation/")
	if !ok || name == "" {
		return -1
	}
	for _, s := range cands {
		if t.svcs[s].target == name {
			if op := t.operation(s, op); op >= 0 {
				return op
			}
		}
	}
	return -1
}

// byAction reads the query protocols' Action, in the query or in a form.
func (t *Table) byAction(in *Input, cands []int32) (op int32, twice bool) {
	const key = "Action"
	rpc := false
	for _, s := range cands {
		rpc = rpc || !strings.HasPrefix(t.svcs[s].protocol, "rest")
	}
	if !rpc {
		return -1, false
	}
	form := in.form()
	name, n1 := single(in.RawQuery, key)
	inForm, n2 := single(form, key)
	if n1 > 0 && form == "" { // a service may not mind what its body is called
		_, n2 = single(bytesAsString(in.Body), key)
	}
	if name == "" {
		name = inForm
	}
	// Twice, even the same: the two could differ in what we don't see.
	if n1+n2 != 1 {
		return -1, n1+n2 > 1
	}
	version, _ := single(form, "Version")
	if version == "" {
		version, _ = single(in.RawQuery, "Version")
	}
	for _, s := range cands {
		if strings.HasPrefix(t.svcs[s].protocol, "rest") {
			continue
		}
		// Elastic Load Balancing shares host and names between two APIs.
		if t.svcs[s].name == "elbv2" && version == "2012-06-01" {
			continue
		}
		if op := t.actionNamed(s, name); op >= 0 {
			return op, false
		}
	}
	return -1, false
}

// CountActions tells how often a form names an operation. It may be longer than what is looked
// at of a body.
func CountActions(form io.Reader) (n int, err error) {
	r := bufio.NewReader(form) // names are short, values may be longer than its buffer
	for err == nil {
		var pair []byte
		pair, err = r.ReadSlice('&')
		if name, _, _ := strings.Cut(strings.TrimSuffix(string(pair), "&"), "="); equalDecoded(name, "Action") {
			n++
		}
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = r.ReadSlice('&')
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// PartOfForm tells whether a recognised request's operation may stand in a form, of which
// the beginning alone was seen.
func (t *Table) PartOfForm(in *Input, r *Request) bool {
	return !in.BodyComplete && in.isForm() && r.op >= 0 && !strings.HasPrefix(t.svcs[t.ops[r.op].service].protocol, "rest")
}

// single finds a parameter and counts its occurrences.
func single(query, name string) (value string, n int) {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if k, v, _ := strings.Cut(pair, "="); equalDecoded(k, name) {
			value, n = v, n+1
		}
	}
	return value, n
}

func (t *Table) actionNamed(svc int32, name string) int32 {
	if strings.IndexByte(name, '%') >= 0 {
		name = decode(name, false)
	}
	return t.operation(svc, name)
}

// isForm tells whether there is a body, and a form.
func (in *Input) isForm() bool {
	switch ct := in.Header["Content-Type"]; {
	case len(in.Body) == 0 || len(ct) > 1:
		return false
	case len(ct) == 1:
		return len(ct[0]) >= 33 && strings.EqualFold(ct[0][:33], "application/x-www-form-urlencoded")
	}
	return true
}

// form gives the body where it is a form, as far as its pairs were seen whole.
func (in *Input) form() string {
	if !in.isForm() {
		return ""
	}
	form := bytesAsString(in.Body)
	if !in.BodyComplete { // the last pair may go on: DeleteUser in DeleteUserPolicy
		form = form[:strings.LastIndexByte(form, '&')+1]
	}
	return form
}

// dataPlane handles hosts that carry customers' own APIs, which no service model
// describes.
func (t *Table) dataPlane(in *Input, r *Request) bool {
	set := func(service, operation, action string, level AccessLevel) bool {
		r.Service, r.Operation, r.Action, r.ActionKnown, r.AccessLevel = service, operation, action, true, level
		return true
	}
	byMethod := Write
	if in.Method == http.MethodGet || in.Method == http.MethodHead {
		byMethod = Read
	}
	switch in.Host.Endpoint {
	case "execute-api":
		if in.Host.Label == "" || strings.Contains(decode(in.Path, true), "/@connections/") {
			return false
		}
		return set("execute-api", "Invoke", "execute-api:Invoke", Write)
	case "lambda-url":
		return set("lambda", "InvokeFunctionUrl", "lambda:InvokeFunctionUrl", Write)
	case "appsync-api", "appsync-realtime-api":
		return set("appsync", "GraphQL", "appsync:GraphQL", Write)
	case "aoss":
		return in.Host.Label != "" && set("aoss", "APIAccessAll", "aoss:APIAccessAll", byMethod)
	case "es":
		if in.Host.Label == "" {
			return false
		}
		switch in.Method {
		case http.MethodGet:
			return set("es", "ESHttpGet", "es:ESHttpGet", Read)
		case http.MethodHead:
			return set("es", "ESHttpHead", "es:ESHttpHead", Read)
		case http.MethodPost:
			return set("es", "ESHttpPost", "es:ESHttpPost", Write)
		case http.MethodPut:
			return set("es", "ESHttpPut", "es:ESHttpPut", Write)
		case http.MethodPatch:
			return set("es", "ESHttpPatch", "es:ESHttpPatch", Write)
		case http.MethodDelete:
			return set("es", "ESHttpDelete", "es:ESHttpDelete", Write)
		}
		return true
	case "monitoring":
		return t.lookupPromQL(in, r)
	case "healthlake":
		return lookupFHIR(in, r)
	case "osis":
		return in.Host.Label != "" && set("osis", "Ingest", "osis:Ingest", Write)
	case "livy.emr-serverless-services":
		return set("emr-serverless", "AccessLivyEndpoints", "emr-serverless:AccessLivyEndpoints", Write)
	// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonmanagedblockchain.html
	case "wss.ethereum.managedblockchain":
		return set("managedblockchain", "Invoke", "managedblockchain:Invoke", Permissions)
	case "ethereum.managedblockchain":
		switch in.Method {
		case http.MethodGet:
			return set("managedblockchain", "GET", "managedblockchain:GET", Permissions)
		case http.MethodPost:
			return set("managedblockchain", "POST", "managedblockchain:POST", Permissions)
		}
		r.Service = "managedblockchain"
		return true
	case "bitcoin.managedblockchain", "polygon.managedblockchain":
		switch bitcoin := in.Host.Endpoint == "bitcoin.managedblockchain"; {
		case bitcoin && in.Host.Label == "mainnet":
			return set("managedblockchain", "InvokeRpcBitcoinMainnet", "managedblockchain:InvokeRpcBitcoinMainnet", Read)
		case bitcoin && in.Host.Label == "testnet":
			return set("managedblockchain", "InvokeRpcBitcoinTestnet", "managedblockchain:InvokeRpcBitcoinTestnet", Read)
		case !bitcoin && in.Host.Label == "mainnet":
			return set("managedblockchain", "InvokeRpcPolygonMainnet", "managedblockchain:InvokeRpcPolygonMainnet", Read)
		}
		r.Service = "managedblockchain"
		return true
	}
	return false
}
