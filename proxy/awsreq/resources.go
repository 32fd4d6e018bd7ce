package awsreq

import (
	"slices"
	"strconv"
	"strings"
)

// Resources names the ARNs that a looked-up request acts upon: S3's from host and
// path; an ARN given in path, query or body, if it is of a type that the action
// works on; else one put together from names, if the request gives every part of
// it under the name that IAM's own pattern uses (table/${TableName}). Bodies count
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
	p := collect(in, o, &r.caps)
	if p.twice {
		r.Ambiguous = true
		return nil
	}
	types := strings.Split(o.types, ",")
	var out []string
	for _, v := range p.list {
		if strings.HasPrefix(v.value, "arn:") && slices.ContainsFunc(types, func(typ string) bool { return matchesAny(t.resources[prefix][typ], v.value) }) {
			out = appendNew(out, v.value)
		}
	}
	if len(out) > 0 {
		return out
	}
	for _, typ := range types {
		for _, pattern := range t.resources[prefix][typ] {
			for _, arn := range build(pattern, r, func(name string) []string { return t.values(o, &p, prefix, typ, name) }) {
				out = appendNew(out, arn)
			}
		}
	}
	return out
}

func appendNew(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// build fills in a pattern's variables; nothing if one is not known. A list in
// one variable gives several ARNs.
func build(pattern string, r *Request, values func(name string) []string) []string {
	out := []string{""}
	for pattern != "" {
		text, rest, ok := strings.Cut(pattern, "${")
		for i := range out {
			out[i] += text
		}
		if !ok {
			break
		}
		var name string
		name, pattern, _ = strings.Cut(rest, "}")
		var found []string
		switch name {
		case "Partition":
			found = []string{r.Partition}
		case "Region":
			found = []string{r.Region}
		case "Account":
			found = []string{r.Account}
		default:
			found = values(name)
		}
		var next []string
		for _, v := range found {
			// A name that brings separators along is no plain name: a qualified
			// function, an ARN in its place.
			if v == "" || strings.HasPrefix(v, "arn:") || strings.HasPrefix(v, "alias/") || strings.ContainsAny(v, ":*?$ ") {
				continue
			}
			for _, o := range out {
				next = append(next, o+v)
			}
		}
		if out = next; len(out) == 0 || len(out) > 64 {
			return nil
		}
	}
	return out
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

// isIndex tells ".3" and ".member.3".
func isIndex(s string) bool {
	s = strings.TrimPrefix(s, ".member")
	if len(s) < 2 || s[0] != '.' {
		return false
	}
	_, err := strconv.ParseUint(s[1:], 10, 16)
	return err == nil
}

// maxDeleted is how many keys of a DeleteObjects are named one by one; S3 allows
// 1000.
const maxDeleted = 100

// deletedObjects names the objects of a DeleteObjects, or all of the bucket's
// where it cannot see them all. To delete a version is an action of its own.
func deletedObjects(bucket string, in *Input, r *Request) []string {
	keys, versions, ok := deletes(in)
	if (versions || !ok) && r.Action == "s3:DeleteObject" {
		r.Also = append(slices.Clip(r.Also), "s3:DeleteObjectVersion")
	}
	if len(keys) == 0 || len(keys) > maxDeleted {
		return []string{bucket + "/*"}
	}
	for i := range keys {
		keys[i] = bucket + "/" + keys[i]
	}
	return keys
}
