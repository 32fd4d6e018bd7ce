package query

import (
	"iter"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/posternhq/postern/auditor/correlate"
)

// Operation is one of AWS's, by the names that people ask for it by.
type Operation struct {
	// Service is its service's name in requests, SigningName in signatures,
	// Endpoint in hosts, Prefix in IAM.
	Service, SigningName, Endpoint, Prefix string
	Name                                   string
	// Actions are those of IAM that it takes or may take.
	Actions []string
}

// Operations are all that are known, by which CloudTrail's records are found: these
// have names of their own for services and operations, and none for actions. Nil
// stands for none.
type Operations iter.Seq[Operation]

// sourceLabel is the first label of a record's event source.
const sourceLabel = "splitByChar('.', toString(event_source))[1]"

func (o Operations) all(yield func(Operation) bool) {
	if o != nil {
		o(yield)
	}
}

// glob is true of what fits a pattern in which * stands for any characters. It looks
// at each text once, however many * there are: patterns are anybody's who asks.
func glob(pattern string) func(string) bool {
	first, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return func(s string) bool { return s == pattern }
	}
	between := strings.FieldsFunc(rest, func(c rune) bool { return c == '*' })
	last := ""
	if n := len(between); n > 0 && !strings.HasSuffix(rest, "*") {
		between, last = between[:n-1], between[n-1]
	}
	return func(s string) bool {
		s, ok := strings.CutPrefix(s, first)
		for _, text := range between {
			if ok {
				_, s, ok = strings.Cut(s, text)
			}
		}
		return ok && strings.HasSuffix(s, last)
	}
}

// called says whether a pattern is of one of the names of an operation's service.
func (o *Operation) called(of func(string) bool) bool {
	return of(o.Service) || of(o.SigningName) || of(o.Endpoint) || of(o.Prefix)
}

// labels are the first labels of the event sources of services of a name, itself
// among them.
func (o Operations) labels(service string) []string {
	out := map[string]bool{service: true}
	of := glob(service)
	for x := range o.all {
		if x.called(of) {
			for _, label := range correlate.EventSources(x.Service, x.SigningName, x.Endpoint) {
				out[label] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(out))
}

// records adds a condition on records of what takes an action of IAM, service:Name, or
// of an operation, Name, of whichever service; or which CloudTrail calls so.
func (o Operations) records(w *where, action string) {
	of, name, ofService := strings.Cut(action, ":")
	if !ofService {
		of, name = "*", action
	}
	// As the record has it, of whatever service's names.
	direct := &where{}
	direct.match("event_name", name)
	labels := []string{}
	if of != "*" {
		labels = o.labels(of)
		direct.add(sourceLabel+" IN (?) OR "+sourceLabel+" LIKE ?", labels, like(of))
	}
	ofGlob, nameGlob, actionGlob := glob(of), glob(name), glob(action)
	found := func(label, event string) bool {
		return (name == "" || nameGlob(event)) && (of == "*" || slices.Contains(labels, label) || ofGlob(label))
	}
	// And by what the operation is called otherwise.
	others, versions := map[string]map[string]bool{}, map[string]bool{}
	for x := range o.all {
		if !(x.called(ofGlob) && nameGlob(x.Name)) && !(ofService && slices.ContainsFunc(x.Actions, actionGlob)) {
			continue
		}
		for _, label := range correlate.EventSources(x.Service, x.SigningName, x.Endpoint) {
			for _, event := range correlate.EventNames(x.Service, label, x.Name) {
				if slices.Contains(correlate.Versioned, label) && !found(label, event+"20150331") {
					versions[event] = true
				}
				if found(label, event) {
					continue
				}
				if others[label] == nil {
					others[label] = map[string]bool{}
				}
				others[label][event] = true
			}
		}
	}
	text, args := []string{direct.String()}, direct.args
	for _, label := range slices.Sorted(maps.Keys(others)) {
		text = append(text, "("+sourceLabel+" = ? AND event_name IN (?))")
		args = append(args, label, slices.Sorted(maps.Keys(others[label])))
	}
	if len(versions) > 0 {
		names := slices.Sorted(maps.Keys(versions))
		for i := range names {
			names[i] = regexp.QuoteMeta(names[i])
		}
		text = append(text, "("+sourceLabel+" IN (?) AND match(toString(event_name), ?))")
		args = append(args, correlate.Versioned, "^(?:"+strings.Join(names, "|")+")"+correlate.VersionPattern+"$")
	}
	w.add(strings.Join(text, " OR "), args...)
}
