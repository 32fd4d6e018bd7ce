package awsreq

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// Resources names the ARNs that a looked-up request acts upon: S3's from host and
// path; an ARN given in path, query or body, if it is of a type that the action
// works on; and those put together from names and ids, where the request gives
// every part under the name that IAM's own pattern uses (table/${TableName}), or
// one that is known to mean it. Where only some of the parts are known, "*" stands
// for the others, and "-??????" for what Secrets Manager adds to a name: it is one of
// those, or several. Spellings are those that AWS keeps (kept). Bodies count
// only when they are complete, and a parameter given twice makes r ambiguous.
func (t *Table) Resources(in *Input, r *Request) []string {
	if strings.ContainsAny(r.Region, ",?*") { // a set: an ARN is of one of its regions, or of all
		set := r.Region
		r.Region = "*"
		defer func() { r.Region = set }()
	}
	switch {
	case r.Service == "s3" && in.Host.S3 != NotS3:
		return s3Resources(in, r)
	case r.Service == "s3control":
		if out := controlResources(in, r); len(out) > 0 {
			return out
		}
	}
	switch {
	case r.Action == "":
		return nil
	case strings.HasPrefix(r.Action, "execute-api:"):
		return invokeResource(in, r)
	case r.op < 0:
		return planeResource(in, r)
	case r.Service == "apigateway" || r.Service == "apigatewayv2":
		return gatewayResource(in, r)
	}
	o := &t.ops[r.op]
	if o.types == "" {
		return nil
	}
	prefix, _, _ := strings.Cut(o.action, ":")
	p := t.collect(in, o, &r.caps)
	if p.doubt != "" {
		r.doubtful(p.doubt)
		return nil
	}
	if p.unread && !strings.HasPrefix(t.svcs[o.service].protocol, "rest") {
		return nil
	}
	if prefix == "bedrock" {
		p.addModel(r)
	}
	if prefix == "lambda" && !p.nameFunction(r) {
		return nil
	}
	if prefix == "cloudformation" && slices.ContainsFunc(p.named("ChangeSetName"), func(v string) bool { return strings.HasPrefix(v, "arn:") }) {
		return nil // it is of a stack that its ARN does not name, whatever StackName says
	}
	account, ok := t.owner(&p, r)
	if !ok {
		return nil
	}
	w := worked{t: t, r: *r, o: o, p: &p, prefix: prefix, types: strings.Split(o.types, ","), named: map[string]bool{}, values: map[string]bool{}}
	if w.r.Account = account; !w.all() {
		return nil
	}
	return r.secrets(w.out)
}

// nameless takes out the variables that every ARN has.
var nameless = strings.NewReplacer("${Partition}", "", "${Region}", "", "${Account}", "")

func appendNew(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// matchesAny tells whether an ARN is of one of the patterns' types.
func matchesAny(patterns []string, arn string) bool {
	for _, p := range patterns {
		if matches(p, arn) {
			return true
		}
	}
	return false
}

// matches compares with each ${Variable} standing for any text, which may not
// cross a colon in the ARN's first five parts, and so "*", as DMS's patterns end.
func matches(pattern, arn string) bool {
	pf, af := strings.SplitN(pattern, ":", 6), strings.SplitN(arn, ":", 6)
	if len(pf) != 6 || len(af) != 6 {
		return false
	}
	for i := range 5 {
		if pf[i] != af[i] && pf[i] != "*" && !strings.HasPrefix(pf[i], "${") {
			return false
		}
	}
	return matchText(pf[5], af[5])
}

// matchText takes each variable's end at the first place that fits, which is as good as
// any later one and keeps the time linear: the text is the sender's.
func matchText(p, s string) bool {
	text, p, more := cutVariable(p)
	s, ok := strings.CutPrefix(s, text)
	for ok && more {
		if text, p, more = cutVariable(p); !more {
			return len(s) > len(text) && strings.HasSuffix(s, text)
		}
		if ok = s != ""; ok {
			_, s, ok = strings.Cut(s[1:], text)
		}
	}
	return ok && s == ""
}

// cutVariable cuts a pattern around its first variable or "*".
func cutVariable(p string) (before, after string, found bool) {
	before, after, found = strings.Cut(p, "${")
	if i := strings.IndexByte(before, '*'); i >= 0 {
		return p[:i], p[i+1:], true
	}
	_, after, _ = strings.Cut(after, "}")
	return before, after, found
}

// gatewayResource is the path that API Gateway manages. Of its labels only ARNs hold
// slashes, and IAM's ARN has them encoded, too: /tags/${UrlEncodedResourceARN}
// (Service Authorization Reference, "Amazon API Gateway Management").
func gatewayResource(in *Input, r *Request) []string {
	front, last := in.Path, ""
	if i := strings.LastIndexByte(in.Path, '/'); i > 0 {
		if label := decode(in.Path[i+1:], true); strings.HasPrefix(label, "arn:") {
			front, last = in.Path[:i], "/"+url.QueryEscape(label)
		}
	}
	path, exact := decodePath(front)
	if !exact || strings.HasSuffix(path, "/") {
		return nil
	}
	arn := "arn:" + r.Partition + ":apigateway:" + r.Region + "::"
	out := []string{arn + path + last}
	// API Gateway's own ids, and domain names, are in lower case.
	if f := strings.Split(path, "/"); len(f) > 2 && f[2] != lower(f[2]) {
		f[2] = lower(f[2])
		out = append(out, arn+strings.Join(f, "/")+last)
	}
	return out
}

// decodePath undoes a path's encoding. Not exact: it has empty segments, those that
// lead elsewhere, or an encoded slash, so that it may mean another path, too.
func decodePath(raw string) (path string, exact bool) {
	if exact = strings.HasPrefix(raw, "/"); !exact {
		return raw, false
	}
	segments := strings.Split(raw[1:], "/")
	for i, s := range segments {
		segments[i] = decode(s, true)
		switch s = segments[i]; {
		case s == "." || s == "..", s == "" && i < len(segments)-1, strings.Contains(s, "/"):
			exact = false
		}
	}
	return "/" + strings.Join(segments, "/"), exact
}

// invokeResource: API Gateway Developer Guide, "Resource format of permissions
// for executing API".
func invokeResource(in *Input, r *Request) []string {
	api, ok := in.api()
	if !ok {
		r.doubtful("names two APIs, or one in an odd way")
	}
	path, exact := decodePath(in.Path)
	if api == "" || r.Account == "" || !exact {
		return nil
	}
	arn := "arn:" + r.Partition + ":execute-api:" + r.Region + ":" + r.Account + ":" + api + "/"
	out := []string{arn + stage(path, in.Method)}
	// A slash at the end is to REST APIs as if it were not there.
	if short := strings.TrimSuffix(path, "/"); short != path && strings.Contains(short[min(1, len(short)):], "/") {
		out = append(out, arn+stage(short, in.Method))
	}
	return out
}

// planeResource is what a host's label or a path names, of APIs that no service model
// describes.
func planeResource(in *Input, r *Request) []string {
	if r.Account == "" {
		return nil
	}
	front := "arn:" + r.Partition + ":" + in.Host.SigningName + ":" + r.Region + ":" + r.Account + ":"
	switch {
	case r.Service == "healthlake":
		id, _, _ := strings.Cut(strings.TrimPrefix(in.Path, "/datastore/"), "/")
		return []string{front + "datastore/fhir/" + id}
	case r.Action == "osis:Ingest":
		// PIPELINE-ID; ids have 26 characters
		// (https://docs.aws.amazon.com/opensearch-service/latest/developerguide/configure-client.html).
		if i := strings.LastIndexByte(in.Host.Label, '-'); i > 0 && len(in.Host.Label)-i == 27 {
			return []string{front + "pipeline/" + in.Host.Label[:i]}
		}
	case r.Action == "emr-serverless:AccessLivyEndpoints":
		return []string{front + "/applications/" + in.Host.Label}
	}
	return nil
}

// api is the id of the API that a call of execute-api is for: the host's label, where a VPC
// endpoint may stand behind it, or, where the host is a VPC endpoint's, what a header says
// (https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-private-api-test-invoke-url.html).
// Not ok: they say different things.
func (in *Input) api() (id string, ok bool) {
	if id, _, _ = strings.Cut(in.Host.Label, "-vpce-"); strings.HasPrefix(id, "vpce-") {
		id = ""
	}
	said := in.Header["X-Apigw-Api-Id"]
	if len(said) == 0 {
		return id, true
	}
	if len(said) > 1 || id != "" && id != said[0] || strings.Trim(said[0], "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return "", false
	}
	return said[0], true
}

func stage(path, method string) string {
	s, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if s == "" {
		s = "$default"
	}
	return s + "/" + method + "/" + rest
}

func s3Resources(in *Input, r *Request) []string {
	bucket, key := in.s3Target()
	if bucket == "" {
		return nil
	}
	bucket = decode(bucket, true)
	prefix, object := "", "/"
	account := in.Host.AccountID
	if account == "" {
		account = r.Account
	}
	region, name := in.Host.Region, bucket
	if aliasOf(bucket) != NotS3 { // which access point of whose it is, S3 alone knows
		region, account, name = r.Region, "*", "*"
	}
	switch in.s3Style(bucket) {
	case S3AccessPoint:
		prefix = "arn:" + r.Partition + ":s3:" + region + ":" + account + ":accesspoint/" + name
		object = "/object/"
	case S3MultiRegion:
		if account == "" {
			return nil
		}
		prefix = "arn:" + r.Partition + ":s3::" + account + ":accesspoint/" + bucket
		object = "/object/"
	case S3ObjectLambda:
		return []string{"arn:" + r.Partition + ":s3-object-lambda:" + region + ":" + account + ":accesspoint/" + name}
	case S3Outposts:
		prefix = "arn:" + r.Partition + ":s3-outposts:" + region + ":" + account + ":outpost/" + cmp.Or(in.Host.Outpost, "*") + "/accesspoint/" + name
		object = "/object/"
	case S3Express, S3ExpressPath:
		if account == "" {
			return nil
		}
		return append([]string{directory(bucket, account, r)}, sources(in, r)...)
	default:
		if strings.HasPrefix(bucket, "arn:") {
			return nil
		}
		prefix = "arn:" + r.Partition + ":s3:::" + bucket
	}
	out := []string{prefix}
	if r.Operation == "DeleteObjects" {
		return deletedObjects(prefix+object, in, r)
	}
	if key != "" {
		out = keyed(prefix+object, key)
	}
	return append(out, sources(in, r)...)
}

// directory is the ARN of a directory bucket, or of an access point of one.
func directory(bucket, account string, r *Request) string {
	kind := ":bucket/"
	if strings.HasSuffix(bucket, "--xa-s3") {
		kind = ":accesspoint/"
	}
	return "arn:" + r.Partition + ":s3express:" + r.Region + ":" + account + kind + bucket
}

// ofDirectory tells whether a copy's source, decoded, is in a directory bucket.
func ofDirectory(source string) bool {
	bucket, _, _ := strings.Cut(source, "/")
	return strings.HasSuffix(bucket, "--x-s3") || strings.HasSuffix(bucket, "--xa-s3") || strings.HasPrefix(source, "arn:") && strings.Contains(source, ":s3express:")
}

// sources names what a request copies.
func sources(in *Input, r *Request) []string {
	switch src := in.Header["X-Amz-Copy-Source"]; len(src) {
	case 0:
		return nil
	case 1:
		return copied(src[0], r)
	}
	r.doubtful("names what it copies twice")
	return nil
}

// copied names what X-Amz-Copy-Source names: BUCKET/KEY or an ARN, encoded in part or as a
// whole, the slash that may stand in front included
// (https://github.com/aws/aws-sdk-js/issues/1821).
func copied(source string, r *Request) []string {
	source, _, _ = strings.Cut(slashless(source), "?versionId=")
	plain := decode(source, true)
	bucket, _, _ := strings.Cut(plain, "/")
	switch {
	case strings.Contains(source, "?"), strings.Contains(plain, "?versionId="):
		r.doubtful("does not say where the key that it copies ends")
	case strings.HasPrefix(plain, "/"):
		r.doubtful("does not say which bucket it copies from")
	case strings.HasPrefix(plain, "arn:"):
		return keyed("", source)
	case ofDirectory(plain):
		return []string{directory(bucket, r.Account, r)}
	}
	points := r.Region + ":*:accesspoint/*"
	switch aliasOf(bucket) {
	case S3AccessPoint:
		return objectsOf("arn:"+r.Partition+":s3:"+points+"/object/", source)
	case S3Outposts:
		return objectsOf("arn:"+r.Partition+":s3-outposts:"+r.Region+":*:outpost/*/accesspoint/*/object/", source)
	case S3ObjectLambda:
		return []string{"arn:" + r.Partition + ":s3-object-lambda:" + points}
	}
	return keyed("arn:"+r.Partition+":s3:::", source)
}

// slashless is a copy's source without the slash in front.
func slashless(source string) string {
	for _, slash := range [...]string{"/", "%2F", "%2f"} {
		if rest, ok := strings.CutPrefix(source, slash); ok {
			return rest
		}
	}
	return source
}

// keyed decodes a key behind what stands in front of it. A plus sign that is not
// encoded, as no SDK sends it, is a space to S3 where others leave it a plus sign.
func keyed(front, key string) []string {
	out := []string{front + decode(key, true)}
	if strings.Contains(key, "+") {
		out = append(out, front+decode(key, false))
	}
	return out
}

// objectsOf are the keys of BUCKET/KEY, as keyed reads it, behind what stands in front of them
// in place of the bucket.
func objectsOf(front, source string) []string {
	out := keyed("", source)
	for i, plain := range out {
		_, key, _ := strings.Cut(plain, "/")
		out[i] = front + key
	}
	return out
}

// beginning is what all of the texts begin with, in whole characters.
func beginning(texts []string) string {
	b := texts[0]
	for _, s := range texts[1:] {
		n := 0
		for n < len(b) && n < len(s) && b[n] == s[n] {
			n++
		}
		b = b[:n]
	}
	for !utf8.ValidString(b) {
		b = b[:len(b)-1]
	}
	return b
}

// maxDeleted is how many keys of a DeleteObjects are named one by one; S3 allows 1000. Of
// more, what they begin with is.
const maxDeleted = 100

// deletedObjects names the objects of a DeleteObjects, or all of the bucket's where it cannot
// see which they are. To delete a version is an action of its own.
func deletedObjects(front string, in *Input, r *Request) []string {
	keys, versions, ok := deletes(in)
	if service, found := strings.CutSuffix(r.Action, ":DeleteObject"); found && (versions || !ok) {
		r.Also = append(slices.Clip(r.Also), Action{service + ":DeleteObjectVersion", Write})
	}
	if !ok || len(keys) == 0 {
		return []string{front + "*"}
	}
	if len(keys) > maxDeleted {
		return []string{front + beginning(keys) + "*"}
	}
	for i := range keys {
		keys[i] = front + keys[i]
	}
	return keys
}
