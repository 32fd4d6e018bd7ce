package awsreq

import (
	"slices"
	"strings"
)

// worked is what was worked out of a request so far.
type worked struct {
	t      *Table
	r      Request // with the account that its things are of
	o      *operation
	p      *params
	prefix string
	types  []string

	ids map[string][]string // by type
	out []string            // ARNs
	// named are the types that some ARN is of, and values those that ARNs known whole
	// are made of.
	named, values map[string]bool
	// odd are, by type, the values that may name one and are not to be understood, where no
	// other does.
	odd map[string][]string
}

// all names all that the request is about. False: of some of it, it is not to be
// understood what it is.
func (w *worked) all() (ok bool) {
	if w.ids, ok = w.t.identified(w.prefix, w.types, w.p); !ok {
		return false
	}
	for _, v := range w.p.list {
		if strings.HasPrefix(v.value, "arn:") && strings.TrimSpace(v.value) != v.value {
			return false
		}
		for _, typ := range w.types {
			if strings.HasPrefix(v.value, "arn:") && matchesAny(w.t.resources[w.prefix][typ], v.value) {
				w.add(typ, v.value, true)
				w.named[typ], w.values[v.value] = true, true
			}
		}
	}
	given := len(w.out) > 0
	w.odd = map[string][]string{}
	if !w.built(false, given) || !w.nested() {
		return false
	}
	for typ := range w.odd { // an ARN beside it does not stand for it: that of one key for the alias of another
		if w.named[typ] {
			return false
		}
	}
	if !w.built(true, given) || !w.besides() {
		return false
	}
	for typ, values := range w.odd { // nor does that of its database for a table
		n := naming{o: w.o, typ: typ}
		if _, listed := w.t.besides[w.r.op][typ]; len(w.out) > 0 && !listed && !n.creates() && !w.named[typ] && slices.ContainsFunc(values, func(v string) bool { return !w.values[v] }) {
			return false
		}
	}
	if len(w.out) == 0 {
		w.any()
	}
	// What goes without saying is not all, if there is something besides that is not
	// understood.
	return len(w.named) > 0 || len(w.types) == len(w.out) || len(w.p.list) == 0 || w.t.besides[w.r.op] != nil
}

// nested looks, for types of which nothing at the top of the request says which, into its
// structures; of what is about to be made, into that which describes it.
func (w *worked) nested() bool {
	if len(w.p.deep) == 0 {
		return true
	}
	var there, made []string
	for _, typ := range w.types {
		_, besides := w.t.besides[w.r.op][typ]
		switch n := (naming{o: w.o, typ: typ}); {
		case w.named[typ] || besides:
		case n.creates():
			made = append(made, typ)
		default:
			there = append(there, typ)
		}
	}
	if !w.below(there, "") {
		return false
	}
	for _, typ := range made {
		if !w.below([]string{typ}, plain(typ)) {
			return false
		}
	}
	return true
}

// below names things of these types by what stands in structures, or in that of a name.
func (w *worked) below(types []string, head string) bool {
	top := w.p.list
	defer func() { w.p.list = top }()
	inner := worked{t: w.t, r: w.r, o: w.o, p: w.p, prefix: w.prefix, types: types, named: w.named, values: w.values, odd: w.odd}
	var deep []param
	for _, v := range w.p.deep {
		if first, _, _ := strings.Cut(v.name, "."); head == "" || plain(first) == head {
			deep = append(deep, param{v.name[strings.LastIndexByte(v.name, '.')+1:], v.value})
		}
	}
	w.p.list = append(slices.Clip(top), deep...)
	var ok bool
	if inner.ids, ok = w.t.identified(w.prefix, types, w.p); !ok || len(deep) == 0 {
		return ok
	}
	for _, v := range deep {
		for _, typ := range types {
			if strings.HasPrefix(v.value, "arn:") && matchesAny(w.t.resources[w.prefix][typ], v.value) {
				inner.add(typ, v.value, true)
				w.named[typ], w.values[v.value] = true, true
			}
		}
	}
	inner.types = slices.DeleteFunc(slices.Clone(types), func(typ string) bool { return w.named[typ] })
	if !inner.built(false, true) || head == "" && !inner.built(true, true) {
		return false
	}
	for _, arn := range inner.out {
		w.out = appendNew(w.out, arn)
	}
	return true
}

// any is for what a request names in a way that no ARN can be made of, or does not name
// at all, and that is one of a type for certain: any of the type. Not where something
// else might be meant: another's account, or what the service does with its caller's
// rights.
func (w *worked) any() {
	if _, besides := w.t.besides[w.r.op][w.o.types]; besides || !w.o.always || !w.o.inward || w.p.unread || len(w.t.resources[w.prefix][w.o.types]) != 1 || slices.ContainsFunc(w.p.list, w.elsewhere) {
		return
	}
	n := naming{t: w.t, o: w.o, p: w.p, prefix: w.prefix, typ: w.o.types, pattern: w.t.resources[w.prefix][w.o.types][0]}
	if last := n.pattern[strings.LastIndex(n.pattern, "${")+2:]; len(n.values(last[:strings.IndexByte(last, '}')], true)) > 0 {
		return // it is named, in a way that is not to be understood
	}
	n.p, n.unnamed = &params{o: w.o}, true
	if arns, ok := n.build(&w.r, true); ok {
		w.out, w.named[w.o.types] = arns, len(arns) > 0
	}
}

// elsewhere tells whether a value may name what is another account's.
func (w *worked) elsewhere(v param) bool {
	if strings.HasPrefix(v.value, "arn:") {
		f := strings.SplitN(v.value, ":", 6)
		own := strings.SplitN(w.t.resources[w.prefix][w.o.types][0], ":", 4)
		return len(f) < 6 || f[1] != w.r.Partition || f[2] != own[2] || f[3] != w.r.Region || f[4] != w.r.Account
	}
	if strings.Contains(v.value, "://") {
		return true
	}
	for part := range strings.FieldsFuncSeq(v.value, func(c rune) bool { return c < '0' || c > '9' }) {
		if len(part) == 12 && part != w.r.Account {
			return true
		}
	}
	return false
}

// built adds what is put together of names and ids. In part, that is what says
// something that nothing known whole does. What goes without saying (glue's catalog)
// is named only beside what has a name, or nothing.
func (w *worked) built(part, given bool) bool {
	some, now := len(w.named) > 0, []string(nil)
	if part && some && !slices.ContainsFunc(w.p.list, func(v param) bool { return !w.values[v.value] }) {
		return true
	}
	for _, typ := range w.types {
		if part && w.named[typ] || w.otherBus(typ) {
			continue
		}
		var odd []string
		for _, pattern := range w.t.resources[w.prefix][typ] {
			literal := !strings.Contains(nameless.Replace(pattern), "${")
			if literal && (given || part) {
				continue
			}
			n := naming{t: w.t, o: w.o, p: w.p, prefix: w.prefix, typ: typ, pattern: pattern, ids: w.ids[typ]}
			arns, ok := n.build(&w.r, part || len(n.ids) > 0)
			if !ok {
				return false
			}
			odd = append(odd, n.odd...)
			if len(arns) == 0 || part && some && !slices.ContainsFunc(n.used, func(v string) bool { return !w.values[v] }) {
				continue
			}
			for _, arn := range arns {
				w.add(typ, arn, false)
			}
			if literal {
				continue
			}
			now = append(now, typ)
			for _, v := range n.used {
				w.values[v] = w.values[v] || !part
			}
		}
		if len(odd) > 0 && !part && !slices.Contains(now, typ) {
			w.odd[typ] = odd
		}
	}
	for _, typ := range now {
		w.named[typ] = true
	}
	return true
}

// otherBus tells the rules of an event bus from those of the default one, which have
// no bus in their ARNs.
func (w *worked) otherBus(typ string) bool {
	if w.prefix != "events" || !strings.HasPrefix(typ, "rule-on-") {
		return false
	}
	custom := slices.ContainsFunc(w.p.list, func(v param) bool { return v.name == "EventBusName" && v.value != "default" })
	return custom != (typ == "rule-on-custom-event-bus")
}

// besides adds types of which the request does not tell which: what such operations
// act on all the same (besides.tsv), what it names in a way that no ARN can be made
// of, and what its body may name, if that was not read.
func (w *worked) besides() bool {
	for _, first := range [...]bool{true, false} { // what is listed may be all there is
		for _, typ := range w.types {
			b, listed := w.t.besides[w.r.op][typ]
			unnamed := len(w.out) > 0 && !w.named[typ] && (w.p.unread || w.p.mentions(typ, w.values))
			if listed && !w.p.unread {
				unnamed = w.p.says(b.hidden) && (b.unless == "" || !w.p.says(b.unless))
			}
			if listed != first || !unnamed {
				continue
			}
			for _, pattern := range w.t.resources[w.prefix][typ] {
				n := naming{t: w.t, o: w.o, p: w.p, prefix: w.prefix, typ: typ, pattern: pattern, unnamed: true}
				arns, ok := n.build(&w.r, true)
				if !ok {
					return false
				}
				for _, arn := range arns {
					w.add(typ, arn, false)
					w.named[typ] = true
				}
			}
		}
	}
	return true
}

// add adds an ARN in the spelling that AWS keeps; given says that the request
// itself has it.
func (w *worked) add(typ, arn string, given bool) {
	for _, one := range w.t.kept(w.prefix, typ, arn, given) {
		path, below := strings.CutSuffix(one, "/")
		if !below {
			w.out = appendNew(w.out, one)
		}
		// All that is below a path of parameters is read along with it.
		if w.prefix == "ssm" && w.o.name == "GetParametersByPath" {
			w.out = appendNew(w.out, path+"/*")
		} else if below {
			w.out = appendNew(w.out, one)
		}
	}
}

// says tells whether a parameter is there, or something in one; "-" is in every
// request.
func (p *params) says(name string) bool {
	return name == "-" || slices.ContainsFunc(p.list, func(v param) bool { return v.name == name || strings.HasPrefix(v.name, name+".") })
}

// mentions tells whether the request names something of that type in a way that no
// ARN could be made of: a launch template by its name, an environment by its id.
func (p *params) mentions(typ string, understood map[string]bool) bool {
	typ = plain(typ)
	return slices.ContainsFunc(p.list, func(v param) bool {
		name := stem(v.name)
		rest, ok := strings.CutPrefix(plain(name[strings.LastIndexByte(name, '.')+1:]), typ)
		return ok && !understood[v.value] && slices.Contains([]string{"", "id", "name", "arn", "identifier"}, strings.TrimSuffix(rest, "s"))
	})
}

// owner is the account that a request says its things are of, the session's if it
// says nothing. Not ok: it says so in a way that is not understood, such as one of
// Glue's nested catalogs.
func (t *Table) owner(p *params, r *Request) (account string, ok bool) {
	for _, name := range t.owners[r.Service] {
		for i, v := range p.list {
			if v.name != name {
				continue
			}
			if digits(v.value) == "" {
				// The catalog itself, by its name.
				return r.Account, r.Service == "glue" && !strings.Contains(t.ops[r.op].types, "database") && !strings.Contains(v.value, ":")
			}
			p.list = slices.Delete(p.list, i, i+1) // it is no name of a catalog's
			return v.value, true
		}
	}
	return r.Account, true
}

// secrets adds, of the parameters that stand for secrets, those secrets: who reads
// one has to be allowed to read the other
// (https://docs.aws.amazon.com/systems-manager/latest/userguide/integration-ps-secretsmanager.html).
func (r *Request) secrets(arns []string) []string {
	reads := false
	for _, arn := range arns {
		head, name, ok := strings.Cut(arn, ":parameter/aws/reference/secretsmanager/")
		if place, ssm := strings.CutPrefix(head, "arn:"+r.Partition+":ssm:"); ok && ssm {
			arns = append(arns, "arn:"+r.Partition+":secretsmanager:"+place+":secret:"+name+"-??????")
			reads = true
		}
	}
	if reads {
		r.Also = append(slices.Clip(r.Also), Action{"secretsmanager:GetSecretValue", Read})
	}
	return arns
}
