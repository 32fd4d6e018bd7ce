package awsreq

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strings"
)

// nests tells whether an operation has parameters in a structure of that name, or path,
// that may say what is acted upon.
func (o *operation) nests(path string) bool {
	for member := range strings.SplitSeq(o.members, ",") {
		if len(member) > len(path) && member[len(path)] == '.' && member[:len(path)] == path {
			return true
		}
	}
	return false
}

// putDeep takes a parameter in a structure, if it is one that the operation knows.
func (p *params) putDeep(path, value string) {
	switch {
	case value == "" || !p.o.takes(path):
	case len(p.deep) < maxParams:
		p.deep = append(p.deep, param{path, value})
	default:
		p.doubtful("has too many parameters in structures")
	}
}

// addNested reads what a structure in JSON, or a list of such, holds; lists is in how many
// lists that is in a row.
func (p *params) addNested(raw json.RawMessage, path string, lists int) {
	switch raw = bytes.TrimLeft(raw, " \t\r\n"); {
	case len(raw) == 0:
	case raw[0] == '"':
		var s string
		if json.Unmarshal(raw, &s) == nil {
			p.putDeep(path, s)
		}
	case raw[0] == '[' && lists == maxLists:
		p.unread = true
	case raw[0] == '[':
		var list []json.RawMessage
		if json.Unmarshal(raw, &list) == nil {
			for _, v := range list {
				p.addNested(v, path, lists+1)
			}
		}
	case raw[0] == '{' && p.o.nests(path):
		p.object(raw, false, func(name string, v json.RawMessage) { p.addNested(v, path+"."+name, 0) })
	}
}

// listless is the path of a parameter of a form without what its lists add to it:
// A.B of A.1.B, A.member.1.B and A.entry.1.B.
func listless(name string) string {
	var path []string
	for part := range strings.SplitSeq(name, ".") {
		if strings.Trim(part, "0123456789") != "" {
			path = append(path, part)
		} else if len(path) > 1 {
			path = path[:len(path)-1]
		}
	}
	return strings.Join(path, ".")
}

// addXML reads a document: the texts right below its root, the lists of such, and those
// in structures. One that may be read otherwise is not read: with names of several
// namespaces, with comments inside, declarations of its own, or texts around elements.
func (p *params) addXML(body []byte) {
	type element struct {
		name, path string
		text       strings.Builder
		inner      bool
	}
	var open []*element
	var found []param
	d, space, roots := xml.NewDecoder(bytes.NewReader(body)), "", 0
	for {
		tok, err := d.RawToken()
		if errors.Is(err, io.EOF) && len(open) == 0 && roots == 1 {
			break
		}
		ok := err == nil
		switch tok := tok.(type) {
		case xml.StartElement:
			e := &element{name: tok.Name.Local}
			switch {
			case tok.Name.Space != space:
				ok = false
			case len(open) == 0:
				roots++
			case len(open) == 1:
				e.path = tok.Name.Local
			default:
				e.path = open[len(open)-1].path + "." + tok.Name.Local
			}
			if len(open) > 0 {
				open[len(open)-1].inner = true
			}
			open = append(open, e)
			ok = ok && len(open) < maxXMLDepth && len(e.path) < maxPath
		case xml.EndElement:
			if ok = len(open) > 0 && open[len(open)-1].name == tok.Name.Local && tok.Name.Space == space; ok {
				e := open[len(open)-1]
				switch open = open[:len(open)-1]; {
				case e.inner:
					ok = strings.TrimSpace(e.text.String()) == ""
				case e.path != "":
					found = append(found, param{e.path, e.text.String()})
				}
			}
		case xml.CharData:
			if len(open) > 0 {
				open[len(open)-1].text.Write(tok)
			}
		case xml.ProcInst:
			ok = len(open) == 0 && roots == 0 && tok.Target == "xml"
		default:
			ok = false
		}
		if !ok {
			p.unread = true
			return
		}
	}
	here := map[string]bool{}
	for _, v := range found {
		head, rest, below := strings.Cut(v.name, ".")
		switch {
		case !below:
			p.add(head, v.value, false)
		case p.o.takes(v.name):
			p.putDeep(v.name, v.value)
		case p.o.takes(head) && !strings.Contains(rest, "."): // a list
			p.add(head, v.value, here[head])
			here[head] = true
		}
	}
}
