package awsreq

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// naming puts together ARNs of one pattern from what a request names.
type naming struct {
	t                    *Table
	o                    *operation
	p                    *params
	prefix, typ, pattern string
	ids                  []string // whose beginning tells that they are of this type
	used                 []string // values that the ARNs were built of
	unnamed              bool     // of the type's own name nothing is known
	odd                  []string // values that were not to be understood
}

// build fills in the pattern's variables; nothing if one is not known. A list in
// one variable gives several ARNs. In part, "*" takes the place of what is not
// known, if something is, or if it is yet to be made. Not ok: of a list, some is
// not to be understood.
func (n *naming) build(r *Request, part bool) (arns []string, ok bool) {
	out, known := []string{""}, n.unnamed || n.creates()
	for pattern := n.pattern; pattern != ""; {
		text, rest, more := strings.Cut(pattern, "${")
		for i := range out {
			out[i] += text
		}
		if !more {
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
			last := !strings.Contains(pattern, "${")
			values := n.values(name, last)
			if n.unnamed && last {
				values = nil
			}
			if second, pair := strings.CutPrefix(pattern, ":${"); pair && slices.ContainsFunc(values, isPair) {
				_, pattern, _ = strings.Cut(second, "}")
				found, ok = n.pairs(values, part)
			} else {
				found, ok = n.plain(values)
			}
			if !ok {
				return nil, false
			}
			switch pathed := strings.HasSuffix(name, "WithPath"); {
			case len(found) == 0 || !pathed:
			case n.creates():
				path := append(n.p.named("Path"), "/")[0]
				for i := range found {
					found[i] = strings.TrimPrefix(path, "/") + found[i]
				}
			case !part:
				return nil, true
			default: // IAM alone knows the path
				for i := range found {
					found[i] = "*" + found[i]
				}
			}
			switch {
			case len(found) > 0:
				known = true
				n.used = append(n.used, values...)
			case part:
				found = []string{"*"}
			}
		}
		// Part of an id may stand in the pattern: policy/p-${PolicyId}.
		begun := ""
		if i := strings.LastIndexAny(text, "/:"); i >= 0 {
			begun = text[i+1:]
		}
		var next []string
		for _, v := range found {
			if v == "" {
				return nil, true
			}
			for _, o := range out {
				next = append(next, o+strings.TrimPrefix(v, begun))
			}
		}
		if out = next; len(out) == 0 || len(out) > 64 {
			return nil, len(out) == 0
		}
	}
	if part && !known {
		return nil, true
	}
	return out, true
}

// maxName bounds a name in bytes: no ARN is longer ("arnType" in the IAM API Reference), and each
// of a list's is put together with all that stands beside it.
const maxName = 2048

// plain takes the names out of values. One that brings separators along is no
// plain name: a qualified function, an ARN in its place.
func (n *naming) plain(values []string) (names []string, ok bool) {
	ok = true
	for _, v := range values {
		switch {
		case v == "", n.other(v):
		case strings.HasPrefix(v, "arn:") && matchesAny(n.t.resources[n.prefix][n.typ], v): // named as it is
		case len(v) > maxName, strings.HasPrefix(v, "arn:"), strings.HasPrefix(v, "alias/"), strings.ContainsAny(n.taken(v), ":*?$ "), !utf8.ValidString(v), strings.ContainsFunc(v, blank):
			ok = false
			n.odd = append(n.odd, v)
		default:
			names = append(names, v)
		}
	}
	return names, ok || len(names) == 0
}

// spacious are the types whose names may have spaces, dollar signs or colons: names of people's
// choice, by the patterns in the service models and the API references, and those that AWS gives
// by itself: rds:db-2026-03-01-00-00, awsbackup:job-…, default:mysql-8-0.
var spacious = map[kind]string{
	{"autoscaling", "autoScalingGroup"}:           " ",
	{"autoscaling", "launchConfiguration"}:        " ",
	{"budgets", "budget"}:                         " ",
	{"cloudwatch", "alarm"}:                       " $",
	{"cloudwatch", "alarm-mute-rule"}:             " ",
	{"cloudwatch", "insight-rule"}:                " $",
	{"ec2", "key-pair"}:                           " ",
	{"elasticbeanstalk", "application"}:           " ",
	{"elasticbeanstalk", "applicationversion"}:    " ",
	{"elasticbeanstalk", "configurationtemplate"}: " ",
	{"glue", "connection"}:                        " ",
	{"glue", "crawler"}:                           " ",
	{"glue", "database"}:                          " ",
	{"glue", "job"}:                               " ",
	{"glue", "table"}:                             " ",
	{"glue", "trigger"}:                           " ",
	{"glue", "workflow"}:                          " ",
	{"iot", "thing"}:                              ":",
	{"iot", "thinggroup"}:                         ":",
	{"iot", "topic"}:                              " $",
	{"kms", "alias"}:                              ":",
	{"logs", "log-stream"}:                        " $",
	{"rds", "cluster-snapshot"}:                   ":",
	{"rds", "og"}:                                 ":",
	{"rds", "snapshot"}:                           ":",
	{"redshift", "snapshot"}:                      ":",
}

// taken takes out of a name what names of the type may have besides, if it stands where
// no service drops or joins it: a single space between others.
func (n *naming) taken(v string) string {
	may := spacious[kind{n.prefix, n.typ}]
	if may == "" || v != strings.TrimSpace(v) || strings.Contains(v, "  ") || strings.Contains(v, "${") {
		return v
	}
	return strings.Map(func(c rune) rune {
		if strings.ContainsRune(may, c) {
			return -1
		}
		return c
	}, v)
}

// blank tells of a character that a service may drop, or takes for a space.
func blank(c rune) bool { return unicode.IsControl(c) || unicode.IsSpace(c) && c != ' ' }

// other tells whether an id is of another type: Systems Manager has instances of
// EC2's, and those that are registered with it, whose ids begin with "mi-".
func (n *naming) other(id string) bool {
	return n.prefix == "ssm" && (n.typ == "instance" && strings.HasPrefix(id, "mi-") || strings.HasPrefix(n.typ, "managed-instance") && strings.HasPrefix(id, "i-"))
}

// isPair tells whether a value is a name and which one of that name: family:revision.
func isPair(v string) bool {
	return strings.Count(v, ":") == 1 && !strings.HasPrefix(v, ":") && !strings.HasSuffix(v, ":")
}

// pairs takes values that fill two variables at once. One without its second half
// is the newest of its name, whichever that is.
func (n *naming) pairs(values []string, part bool) (names []string, ok bool) {
	for _, v := range values {
		whole := v
		if !isPair(v) {
			if !part {
				return nil, true
			}
			v, whole = v+":", v+":*"
		}
		name, which, _ := strings.Cut(v, ":")
		if _, plain := n.plain([]string{name, which}); !plain {
			return nil, false
		}
		names = append(names, whole)
	}
	return names, true
}

// creates tells whether what the ARN is of is not there yet.
func (n *naming) creates() bool {
	return (strings.HasPrefix(n.o.name, "Create") || strings.HasPrefix(n.o.name, "Upload")) && isAbout(n.o.name, plain(n.typ))
}

// handles are the endings of parameters by which services name a resource, and
// those that stand for an id: a name that somebody gave is none.
var (
	handles   = []string{"", "name", "id", "identifier"}
	idHandles = []string{"id", "identifier", ""}
)

// values gives what stands for a variable in the ARN of a resource of this type:
// the parameter of that name, or of one that it is known to have; for
// ${ClusterName} of a cluster also "cluster" and "clusterId", for a variable
// that ends the ARN, whatever IAM calls it, the type's own id or name; and for the
// name of what the operation is about, a plain "name" or "id".
func (n *naming) values(name string, last bool) []string {
	name = strings.TrimSuffix(name, "WithPath")
	var params []string
	for _, k := range []variable{{n.prefix, n.typ, name, n.o.name}, {n.prefix, n.typ, name, ""}, {n.prefix, "*", name, ""}} {
		params = append(params, n.t.variables[k]...)
	}
	if slices.Contains(params, "-") {
		return nil
	}
	said, this := n.p.saysType(n.typ)
	another := said && !this // what ResourceId names
	var out []string
	if !another || !saidOfType(name) {
		out = n.p.named(name)
	}
	beside := []string{"Source", "Target", "Destination"}
	if n.prefix == "iam" {
		// "You must have appropriate permissions on both the source object and the
		// target object" (https://docs.aws.amazon.com/IAM/latest/APIReference/API_UpdateUser.html).
		beside = append(beside, "New")
	}
	for _, q := range beside {
		for _, v := range n.p.named(q + name) {
			out = appendNew(out, v)
		}
	}
	if last {
		for _, v := range n.ids {
			out = appendNew(out, v)
		}
	}
	if len(out) > 0 {
		return out
	}
	for _, param := range params {
		param, front, _ := strings.Cut(param, "^")
		if another && saidOfType(param) {
			continue
		}
		if strings.Contains(param, "/") {
			if v := n.joined(param); v != "" {
				out = appendNew(out, v)
			}
			continue
		}
		for _, v := range n.p.named(param) {
			if v = strings.TrimPrefix(v, front); n.prefix == "ssm" && n.typ == "parameter" && !strings.HasPrefix(v, "arn:") {
				v, _, _ = strings.Cut(v, ":") // name:version, name:label
			}
			out = appendNew(out, v)
		}
	}
	if len(out) == 0 && last {
		out = n.chosen()
	}
	kind := plain(n.typ)
	if len(out) > 0 || kind == "" {
		return out
	}
	var ends []string
	rest, own := strings.CutPrefix(plain(name), kind)
	switch low := strings.ToLower(name); {
	case !last && !(own && slices.Contains(handles, rest)):
		return nil
	case strings.HasSuffix(low, "id"), strings.HasSuffix(low, "identifier"):
		ends = idHandles
	case own && slices.Contains(handles, rest):
		ends = handles
	case strings.HasSuffix(low, "name"):
		ends = handles[:2]
	default:
		return nil
	}
	if strings.HasSuffix(strings.ToLower(name), "name") && n.o.takesFold(kind+"name") {
		ends = handles[:2] // where an operation takes a name or an id, the id is no name
	}
	for _, h := range ends {
		if n.elsewhere(kind + h) {
			continue
		}
		if out = n.p.named(kind + h); len(out) > 0 {
			return out
		}
	}
	for i, v := range n.p.list {
		// A path's only label is what it is about, and so is the noun of the
		// operation's name, where all of it is that.
		only := i == 0 && len(n.o.labels) == 1 && !strings.Contains(n.o.types, ",")
		if h := strings.TrimSuffix(strings.ToLower(stem(v.name)), "s"); (only || isAbout(n.o.name, kind)) && h != "" && slices.Contains(ends, h) {
			out = appendNew(out, v.value)
		}
	}
	if len(out) > 0 || !last || strings.Contains(n.o.types, ",") {
		return out
	}
	return n.shortened(kind, ends)
}

// joined is what several parameters make up, such as a namespace and a name in it; "" if
// one of them is not there.
func (n *naming) joined(params string) string {
	var parts []string
	for param := range strings.SplitSeq(params, "/") {
		v := n.p.named(param)
		if len(v) != 1 || strings.Contains(v[0], "/") {
			return ""
		}
		parts = append(parts, v[0])
	}
	return strings.Join(parts, "/")
}

// chosen gives the ids of a request that says that they are of this type.
func (n *naming) chosen() (ids []string) {
	if _, this := n.p.saysType(n.typ); !this {
		return nil
	}
	for _, name := range []string{"ResourceIdentifier", "ResourceId"} {
		for _, v := range n.p.named(name) {
			ids = appendNew(ids, v)
		}
	}
	return ids
}

// shortened takes the one parameter whose name is the end of the type's (PoolName
// of a dedicated-ip-pool), or ends with it (DBProxyName of a proxy). Only for
// operations on one type: it could be of another.
func (n *naming) shortened(kind string, ends []string) (values []string) {
	found := ""
	for _, v := range n.p.list {
		name := plain(stem(v.name))
		for _, end := range ends {
			base, ok := strings.CutSuffix(name, end)
			if !ok {
				base, ok = strings.CutSuffix(name, end+"s")
			}
			if !ok || end == "" || len(base) < 4 || len(kind) < 4 || !strings.HasSuffix(kind, base) && !strings.HasSuffix(base, kind) {
				continue
			}
			if n.elsewhere(name) || found != "" && found != name {
				return nil
			}
			found, values = name, append(values, v.value)
			break
		}
	}
	return values
}

// elsewhere tells whether a parameter is one of the pattern's own variables.
func (n *naming) elsewhere(param string) bool {
	for rest := n.pattern; ; {
		var name string
		var more bool
		if _, rest, more = strings.Cut(rest, "${"); !more {
			return false
		}
		if name, rest, _ = strings.Cut(rest, "}"); strings.EqualFold(name, param) {
			return true
		}
	}
}

// identified sorts ids by what their beginnings tell, as far as the action is
// granted on such. Not ok: of a list, some tell nothing.
func (t *Table) identified(prefix string, types []string, p *params) (ids map[string][]string, ok bool) {
	kinds := t.ids[prefix]
	if kinds == nil {
		return nil, true
	}
	ids = map[string][]string{}
	told := map[string]bool{}
	for _, v := range p.list {
		name, _ := placeless(v.name)
		if v.value == "" || strings.HasPrefix(v.value, "arn:") || !namesThing(name) {
			continue
		}
		typ := kindOf(kinds, prefix, v.value)
		if !slices.Contains(types, typ) {
			typ = ""
		}
		if before, again := told[name]; again && before != (typ != "") {
			return nil, false
		}
		if told[name] = typ != ""; typ != "" {
			ids[typ] = append(ids[typ], v.value)
		}
	}
	return ids, true
}

// namesThing tells whether a parameter holds ids of things that are acted upon.
// Filters and tags do not.
func namesThing(name string) bool {
	if strings.HasPrefix(name, "Filter.") || strings.Contains(name, "Tag.") {
		return false
	}
	last := name[strings.LastIndexByte(name, '.')+1:]
	return strings.HasSuffix(last, "Id") || strings.HasSuffix(last, "Ids") || strings.EqualFold(last, "ResourceIdentifier") ||
		last == "resourceId" || last == "OriginationIdentity" || last == "Source" || last == "Destination"
}

// kindOf tells of which type an id is; the longest beginning that is known counts.
func kindOf(kinds map[string]string, prefix, id string) string {
	if digits(id) != "" {
		return kinds["#"]
	}
	letters := "abcdefghijklmnopqrstuvwxyz"
	switch prefix {
	case "ec2":
		letters = "abcdef"
	case "elasticmapreduce":
		letters = strings.ToUpper(letters)
	}
	for i := len(id) - 1; i > 0; i-- {
		if id[i] == '-' && kinds[id[:i]] != "" && i < len(id)-1 && strings.Trim(id[i+1:], letters+"0123456789-") == "" {
			return kinds[id[:i]]
		}
	}
	return ""
}

// plain folds what spellings differ in.
func plain(s string) string {
	folded := make([]byte, 0, len(s))
	for i := range len(s) {
		switch c := s[i]; {
		case c == '-', c == '_', c == ' ':
		case 'A' <= c && c <= 'Z':
			folded = append(folded, c|0x20)
		default:
			folded = append(folded, c)
		}
	}
	return string(folded)
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
