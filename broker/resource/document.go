package resource

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/policy"
	"github.com/posternhq/postern/events"
)

// The kinds of resources, in the order in which they are applied: what others
// refer to comes first.
const (
	KindRole = "role"
	KindApp  = "app"
	KindUser = "user"
	KindLock = "lock"
	// KindAccessList comes behind the users who own it.
	KindAccessList = "access_list"
	KindToken      = "token"

	KindOIDC     = "oidc"
	KindSAML     = "saml"
	KindSettings = "cluster_settings"
)

// SettingsName is the name of the only cluster_settings.
const SettingsName = "cluster"

// Kinds lists the kinds in the order in which they are applied.
func Kinds() []string {
	return []string{KindRole, KindApp, KindUser, KindAccessList, KindLock, KindToken, KindOIDC, KindSAML, KindSettings}
}

// Document is one resource of a file. The field of its kind is set.
type Document struct {
	Kind, Name string
	File       string
	Line       int
	// Revision that the document was read at, 0 for none.
	Revision uint64
	// FromDefault is of settings that nobody had changed when they were read: revision 0.
	FromDefault bool

	Role *events.Role
	App  *events.App
	User *events.User
	List *events.AccessList
	Lock *Lock
	// Token is a way for proxies and auditors to join.
	Token *events.JoinToken
	// Connector is an oidc or a saml.
	Connector *events.Connector
	Settings  *events.ClusterSettings
}

// Lock is a lock as a file says it. Its name is the lock's id.
type Lock struct {
	Target  events.LockTarget
	Message string
	// TTL counts from when it is applied; ExpiresAt is a time. One of the two,
	// or none.
	TTL       time.Duration
	ExpiresAt *time.Time
}

// Parse reads a file of documents. The error is Faults, the first 50 of them;
// documents are returned only when there is none. Warnings name what was
// accepted and has no effect.
func Parse(file string, data []byte) (docs []Document, warnings []string, err error) {
	r := &reader{file: file}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	seen := map[[2]string]int{}
	for {
		var node yaml.Node
		err := dec.Decode(&node)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			r.found++
			r.faults = append(r.faults, syntaxFault(file, err))
			break
		}
		if len(node.Content) == 0 || isNull(node.Content[0]) {
			continue // nothing between two ---
		}
		d := r.document(node.Content[0])
		if first, twice := seen[[2]string{d.Kind, d.Name}]; twice && d.Name != "" {
			r.faultAt("metadata.name", fmt.Errorf("%s %s stands on line %d already", d.Kind, d.Name, first))
		}
		seen[[2]string{d.Kind, d.Name}] = d.Line
		docs = append(docs, d)
	}
	if len(docs) == 0 && len(r.faults) == 0 {
		r.faults = append(r.faults, Fault{File: file, Line: 1, Reason: "there is no document in it"})
	}
	if more := r.found - len(r.faults); more > 0 {
		r.faults = append(r.faults, Fault{File: file, Reason: fmt.Sprintf("and %d more", more)})
	}
	if len(r.faults) > 0 {
		return nil, nil, r.faults
	}
	if more := r.warned - len(r.warnings); more > 0 {
		r.warnings = append(r.warnings, Fault{File: file, Reason: fmt.Sprintf("and %d more", more)}.String())
	}
	slices.SortStableFunc(docs, func(a, b Document) int {
		return slices.Index(Kinds(), a.Kind) - slices.Index(Kinds(), b.Kind)
	})
	return ownersFirst(docs), r.warnings, nil
}

// ownersFirst puts access lists behind those of the file that own them.
func ownersFirst(docs []Document) []Document {
	lists := map[string]Document{}
	for _, d := range docs {
		if d.List != nil {
			lists[d.Name] = d
		}
	}
	var out []Document
	var add func(d Document)
	add = func(d Document) {
		if d.List != nil {
			if _, left := lists[d.Name]; !left {
				return
			}
			delete(lists, d.Name) // so a circle ends, for the broker to refuse
			for _, o := range d.List.Owners {
				if owning, ok := lists[o.Name]; ok && o.Kind == events.KindList {
					add(owning)
				}
			}
		}
		out = append(out, d)
	}
	for _, d := range docs {
		add(d)
	}
	return out
}

var yamlLine = regexp.MustCompile(`line (\d+): `)

func syntaxFault(file string, err error) Fault {
	reason := strings.TrimPrefix(err.Error(), "yaml: ")
	f := Fault{File: file, Line: 1, Reason: reason}
	if m := yamlLine.FindStringSubmatchIndex(reason); m != nil {
		f.Line, _ = strconv.Atoi(reason[m[2]:m[3]])
		f.Reason = reason[:m[0]] + reason[m[1]:]
	}
	return f
}

func (r *reader) document(n *yaml.Node) Document {
	r.lines, r.columns = map[string]int{}, map[string]int{}
	d := Document{File: r.file, Line: n.Line}
	var version string
	var meta metadata
	var spec *yaml.Node
	r.fields(n, "", map[string]func(*yaml.Node, string){
		"kind":     func(n *yaml.Node, at string) { d.Kind = r.text(n, at) },
		"version":  func(n *yaml.Node, at string) { version = r.text(n, at) },
		"metadata": func(n *yaml.Node, at string) { meta = r.metadata(n, at) },
		"spec":     func(n *yaml.Node, _ string) { spec = n },
	}, []string{"sub_kind"})
	d.Name, d.Revision = meta.name, meta.revision
	if spec == nil {
		spec = &yaml.Node{Kind: yaml.MappingNode, Line: n.Line}
	}
	if version != "" && !regexp.MustCompile(`^v[0-9]$`).MatchString(version) {
		r.faultAt("version", fmt.Errorf("%q is not a version such as v8", version))
	}
	if meta.expires != nil && d.Kind != KindToken {
		r.faultAt("metadata.expires", errors.New("resources that expire are not supported, but tokens: it would stay for ever"))
	}
	faults := r.found
	var checked []policy.Fault
	switch {
	case d.Kind == KindUser:
		d.User = r.user(spec, "spec", meta)
		checked = access.CheckUser(*d.User)
	case d.Kind == KindRole:
		if version != "" && (version < "v4" || version > "v8") {
			r.faultAt("version", fmt.Errorf("roles of version %s are not understood; v4 to v8 are", version))
		}
		d.Role = r.role(spec, "spec", meta)
		checked = access.CheckRole(*d.Role)
	case d.Kind == KindApp:
		d.App = r.app(spec, "spec", meta)
		checked = access.CheckApp(*d.App)
	case d.Kind == KindAccessList:
		d.List = r.accessList(spec, "spec", meta)
		checked = access.CheckAccessList(*d.List)
	case d.Kind == KindLock:
		d.Lock = r.lock(spec, "spec")
		if r.found == faults {
			if err := access.CheckLockTarget(d.Lock.Target); err != nil {
				r.faultAt("spec.target", err)
			}
		}
	case d.Kind == KindToken:
		d.Token = r.token(spec, "spec", meta)
		checked = access.CheckToken(*d.Token)
	case d.Kind == KindOIDC:
		d.Connector = r.oidc(spec, "spec", meta)
		checked = access.CheckConnector(*d.Connector)
	case d.Kind == KindSAML:
		d.Connector = r.saml(spec, "spec", meta)
		checked = access.CheckConnector(*d.Connector)
	case d.Kind == KindSettings:
		d.Settings, d.FromDefault = r.settings(spec, "spec"), meta.revisionZero
		checked = access.CheckSettings(*d.Settings)
		if d.Name = cmp.Or(d.Name, SettingsName); d.Name != SettingsName {
			r.faultAt("metadata.name", fmt.Errorf("there is one cluster_settings, and its name is %s", SettingsName))
		}
	case d.Kind == "":
		r.faultAt("kind", fmt.Errorf("missing; want one of %s", strings.Join(Kinds(), ", ")))
	default:
		r.faultAt("kind", fmt.Errorf("%q is not a kind of resource; want one of %s", d.Kind, strings.Join(Kinds(), ", ")))
	}
	if r.found == faults { // what could not be read was said already
		for _, f := range checked {
			r.faultAt(f.Path, f.Err)
		}
	}
	return d
}

// metadata is what every document has.
type metadata struct {
	name, description string
	labels            map[string]string
	revision          uint64
	revisionZero      bool
	expires           *time.Time
}

func (r *reader) metadata(n *yaml.Node, path string) metadata {
	var m metadata
	r.fields(n, path, map[string]func(*yaml.Node, string){
		"name":        func(n *yaml.Node, at string) { m.name = r.text(n, at) },
		"description": func(n *yaml.Node, at string) { m.description = r.text(n, at) },
		"labels":      func(n *yaml.Node, at string) { m.labels = r.texts(n, at) },
		"revision": func(n *yaml.Node, at string) {
			var err error
			if m.revision, err = strconv.ParseUint(r.text(n, at), 10, 64); err != nil {
				r.warn(n, at, "is not a revision of postern's: it has no effect")
			}
			m.revisionZero = err == nil && m.revision == 0
		},
		"expires": func(n *yaml.Node, at string) {
			t := r.time(n, at)
			m.expires = &t
		},
	}, []string{"id", "namespace"})
	return m
}
