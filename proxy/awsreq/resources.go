package awsreq

import (
	"slices"
	"strings"
)

// Resources names the ARNs that a looked-up request acts upon: S3's from host and
// path; an ARN given in path, query or body, if it is of a type that the action
// works on; and those put together from names and ids, where the request gives
// every part under the name that IAM's own pattern uses (table/${TableName}), or
// one that is known to mean it. Where only some of the parts are known, and nothing
// else is, "*" stands for the others: it is one of those, or several. Bodies count
// only when they are complete, and a parameter given twice makes r ambiguous.
func (t *Table) Resources(in *Input, r *Request) []string {
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
		return nil
	case r.Service == "apigateway" || r.Service == "apigatewayv2":
		return []string{"arn:" + r.Partition + ":apigateway:" + r.Region + "::" + in.Path}
	}
	o := &t.ops[r.op]
	if o.types == "" {
		return nil
	}
	prefix, _, _ := strings.Cut(o.action, ":")
	p := t.collect(in, o, &r.caps)
	if p.twice {
		r.Ambiguous = true
		return nil
	}
	if prefix == "bedrock" {
		p.addModel(r)
	}
	types := strings.Split(o.types, ",")
	ids, ok := t.identified(prefix, types, &p)
	if !ok {
		return nil
	}
	var out []string
	for _, v := range p.list {
		if strings.HasPrefix(v.value, "arn:") && slices.ContainsFunc(types, func(typ string) bool { return matchesAny(t.resources[prefix][typ], v.value) }) {
			out = appendNew(out, v.value)
		}
	}
	whole := len(out) > 0
	// What is known in part is named only where nothing is known whole, and what
	// goes without saying (glue's catalog) only beside what has a name.
	for _, part := range []bool{false, true} {
		for _, typ := range types {
			for _, pattern := range t.resources[prefix][typ] {
				if whole && !strings.Contains(nameless.Replace(pattern), "${") {
					continue
				}
				n := naming{t: t, o: o, p: &p, prefix: prefix, typ: typ, pattern: pattern, ids: ids[typ]}
				arns, ok := n.build(r, part || len(n.ids) > 0)
				if !ok {
					return nil
				}
				for _, arn := range arns {
					out = appendNew(out, arn)
				}
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
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
// cross a colon in the ARN's first five parts.
func matches(pattern, arn string) bool {
	pf, af := strings.SplitN(pattern, ":", 6), strings.SplitN(arn, ":", 6)
	if len(pf) != 6 || len(af) != 6 {
		return false
	}
	for i := range 5 {
		if pf[i] != af[i] && !strings.HasPrefix(pf[i], "${") {
			return false
		}
	}
	return matchText(pf[5], af[5])
}

func matchText(p, s string) bool {
	lit, rest, ok := strings.Cut(p, "${")
	if !strings.HasPrefix(s, lit) {
		return false
	}
	if !ok {
		return p == s
	}
	s = s[len(lit):]
	_, after, _ := strings.Cut(rest, "}")
	if after == "" {
		return s != ""
	}
	for i := 1; i <= len(s); i++ {
		if matchText(after, s[i:]) {
			return true
		}
	}
	return false
}

// invokeResource: API Gateway Developer Guide, "Resource format of permissions
// for executing API".
func invokeResource(in *Input, r *Request) []string {
	if in.Host.Label == "" || r.Account == "" {
		return nil
	}
	return []string{"arn:" + r.Partition + ":execute-api:" + r.Region + ":" + r.Account + ":" + in.Host.Label +
		"/" + stage(in.Path, in.Method)}
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
	bucket, key = decode(bucket, true), decode(key, true)
	prefix := ""
	account := in.Host.AccountID
	if account == "" {
		account = r.Account
	}
	switch in.Host.S3 {
	case S3AccessPoint:
		prefix = "arn:" + r.Partition + ":s3:" + in.Host.Region + ":" + account + ":accesspoint/" + bucket
		if key != "" {
			key = "object/" + key
		}
	case S3MultiRegion:
		if account == "" {
			return nil
		}
		prefix = "arn:" + r.Partition + ":s3::" + account + ":accesspoint/" + bucket
		if key != "" {
			key = "object/" + key
		}
	case S3ObjectLambda:
		return []string{"arn:" + r.Partition + ":s3-object-lambda:" + in.Host.Region + ":" + account + ":accesspoint/" + bucket}
	case S3Outposts:
		prefix = "arn:" + r.Partition + ":s3-outposts:" + in.Host.Region + ":" + account + ":outpost/" + in.Host.Outpost + "/accesspoint/" + bucket
		if key != "" {
			key = "object/" + key
		}
	case S3Express, S3ExpressPath:
		if account == "" {
			return nil
		}
		if strings.HasSuffix(bucket, "--xa-s3") {
			return []string{"arn:" + r.Partition + ":s3express:" + r.Region + ":" + account + ":accesspoint/" + bucket}
		}
		return []string{"arn:" + r.Partition + ":s3express:" + r.Region + ":" + account + ":bucket/" + bucket}
	default:
		if strings.HasPrefix(bucket, "arn:") {
			return nil
		}
		prefix = "arn:" + r.Partition + ":s3:::" + bucket
	}
	out := []string{prefix}
	if r.Operation == "DeleteObjects" {
		return deletedObjects(prefix, in, r)
	}
	if key != "" {
		out[0] += "/" + key
	}
	if src := in.Header["X-Amz-Copy-Source"]; len(src) == 1 {
		s, _, _ := strings.Cut(strings.TrimPrefix(src[0], "/"), "?")
		if s = decode(s, true); strings.HasPrefix(s, "arn:") {
			out = append(out, s)
		} else {
			out = append(out, "arn:"+r.Partition+":s3:::"+s)
		}
	}
	return out
}

// maxDeleted is how many keys of a DeleteObjects are named one by one; S3 allows
// 1000.
const maxDeleted = 100

// deletedObjects names the objects of a DeleteObjects, or all of the bucket's
// where it cannot see them all. To delete a version is an action of its own.
func deletedObjects(bucket string, in *Input, r *Request) []string {
	keys, versions, ok := deletes(in)
	if (versions || !ok) && r.Action == "s3:DeleteObject" {
		r.Also = append(slices.Clip(r.Also), Action{"s3:DeleteObjectVersion", Write})
	}
	if len(keys) == 0 || len(keys) > maxDeleted {
		return []string{bucket + "/*"}
	}
	for i := range keys {
		keys[i] = bucket + "/" + keys[i]
	}
	return keys
}
