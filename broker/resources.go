package broker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/identity/saml"
	"github.com/posternhq/postern/broker/resource"
	"github.com/posternhq/postern/events"
)

// Apply writes the resources of a YAML file, replacing what exists: for
// seeding. by is who wants it; no rule is asked for. What does not change gives
// no event.
func (b *Broker) Apply(ctx context.Context, by string, yaml []byte) ([]api.ResourceResult, error) {
	if err := b.caughtUp(ctx); err != nil {
		return nil, err
	}
	out, err := b.apply(ctx, by, "resources", yaml, true, anything)
	return out.Resources, err
}

// Configure writes the apps of a configuration, as Apply does, and removes those that an
// earlier configuration named and this one, which may be of none, does not.
func (b *Broker) Configure(ctx context.Context, by string, apps []byte) error {
	if err := b.caughtUp(ctx); err != nil {
		return err
	}
	var docs []resource.Document
	if len(apps) > 0 {
		var err error
		if docs, _, err = parse("apps", apps); err != nil {
			return err
		}
	}
	named := map[string]bool{}
	for _, d := range docs {
		if d.App == nil {
			return invalid("%s %s: a configuration has apps only", d.Kind, d.Name)
		}
		d.App.Origin, named[d.Name] = events.OriginConfigFile, true
	}
	if _, err := b.write(ctx, by, docs, true, anything); err != nil {
		return err
	}
	var over []string
	b.ledger.read(func(s *access.State, _ time.Time) {
		for name, a := range s.Apps {
			if a.Origin == events.OriginConfigFile && !named[name] {
				over = append(over, name)
			}
		}
	})
	slices.Sort(over)
	for _, name := range over {
		if _, err := b.ledger.do(ctx, by, func(s *access.State, env access.Env) ([]events.Event, error) {
			return access.DropApp(s, env, name)
		}); err != nil {
			return err
		}
		b.log.Info().Str("app", name).Msg("the configuration names the app no more: it is removed")
	}
	return nil
}

// permit decides whether a document may be written.
type permit func(*access.State, access.Env, resource.Document) error

// anything is the permit of who needs none.
func anything(*access.State, access.Env, resource.Document) error { return nil }

// apply writes all documents of a file or, when any of them is refused, none.
func (b *Broker) apply(ctx context.Context, by, file string, yaml []byte, replace bool, may permit) (api.ResourcesApplied, error) {
	docs, warnings, err := parse(file, yaml)
	if err != nil {
		return api.ResourcesApplied{}, err
	}
	out, err := b.write(ctx, by, docs, replace, may)
	out.Warnings = warnings
	return out, err
}

func parse(file string, yaml []byte) ([]resource.Document, []string, error) {
	docs, warnings, err := resource.Parse(file, yaml)
	var faults resource.Faults
	if errors.As(err, &faults) {
		e := invalid("%s", faults[0])
		for _, f := range faults[1:] {
			e.Details = append(e.Details, f.String())
		}
		return nil, nil, e
	}
	return docs, warnings, err
}

// write writes all documents or, when any of them is refused, none. The refusals are
// looked for against the state as it is, with what the documents themselves bring;
// only then is the first one written.
func (b *Broker) write(ctx context.Context, by string, docs []resource.Document, replace bool, may permit) (api.ResourcesApplied, error) {
	var err error
	b.ledger.read(func(s *access.State, now time.Time) { err = rehearse(s, now, by, docs, replace, may) })
	if err != nil {
		return api.ResourcesApplied{}, err
	}
	out := api.ResourcesApplied{Resources: []api.ResourceResult{}}
	for i, d := range docs {
		result, err := b.put(ctx, by, d, replace, may)
		if err != nil {
			// Somebody else was in between, or the stream is out of reach.
			return out, partly(err, docs[:i])
		}
		out.Resources = append(out.Resources, result)
	}
	return out, nil
}

// rehearse collects every refusal that writing the documents now would meet.
func rehearse(s *access.State, now time.Time, by string, docs []resource.Document, replace bool, may permit) error {
	n := 0
	env := access.Env{Now: now, By: by, NewID: func() string { n++; return fmt.Sprint(n) }}
	draft := s.Draft()
	var refused []*api.Error
	for _, d := range docs {
		err := may(s, env, d)
		if err == nil { // and once what stands before it is written, too
			err = may(draft, env, d)
		}
		var es []events.Event
		if err == nil {
			es, err = decidePut(draft, env, d, replace)
		}
		if err != nil {
			e := *asAPI(err)
			e.Message = fmt.Sprintf("%s:%d: %s", d.File, d.Line, e.Message)
			refused = append(refused, &e)
		}
		for _, e := range es {
			draft.Apply(e, 0)
		}
	}
	if len(refused) == 0 {
		return nil
	}
	first := refused[0]
	for i, e := range refused[1:] {
		if i == mostRefusals {
			first.Details = append(first.Details, fmt.Sprintf("and %d more", len(refused)-1-i))
			break
		}
		first.Details = append(first.Details, e.Message)
	}
	return first
}

// mostRefusals is how many refusals of a file are said besides the first.
const mostRefusals = 50

// partly adds what was written before an error.
func partly(err error, done []resource.Document) error {
	e := *asAPI(err)
	for _, d := range done {
		e.Details = append(e.Details, fmt.Sprintf("%s %s was written already; applying the file again is safe", d.Kind, d.Name))
	}
	return &e
}

func decidePut(s *access.State, env access.Env, d resource.Document, replace bool) ([]events.Event, error) {
	p := access.Put{Replace: replace, Revision: d.Revision, FromDefault: d.FromDefault}
	switch {
	case d.Role != nil:
		return access.PutRole(s, env, *d.Role, p)
	case d.App != nil:
		return access.PutApp(s, env, *d.App, p)
	case d.User != nil:
		return access.PutUser(s, env, *d.User, p)
	case d.List != nil:
		return access.PutAccessList(s, env, *d.List, p)
	case d.Token != nil:
		return access.PutToken(s, env, *d.Token, p)
	case d.Connector != nil:
		if d.Connector.SAML != nil {
			if err := saml.Check(d.Connector.SAML); err != nil {
				return nil, &access.Error{Code: access.Invalid, Message: fmt.Sprintf("saml %s: %v", d.Name, err)}
			}
		}
		return access.PutConnector(s, env, *d.Connector, p)
	case d.Settings != nil:
		return access.PutSettings(s, env, *d.Settings, p)
	case d.Lock != nil:
		c := access.PlaceLock{ID: d.Name, Target: d.Lock.Target, Message: d.Lock.Message, ExpiresAt: d.Lock.ExpiresAt}
		if d.Lock.TTL > 0 {
			from := env.Now
			if old := s.Locks[d.Name]; old != nil && old.Active(env.Now) {
				from = old.PlacedAt // so that the file can be applied again
			}
			end := from.Add(d.Lock.TTL).UTC()
			c.ExpiresAt = &end
		}
		return access.Place(s, env, c)
	}
	return nil, fmt.Errorf("a document of kind %q holds nothing", d.Kind)
}

// put writes one document.
func (b *Broker) put(ctx context.Context, by string, d resource.Document, replace bool, may permit) (api.ResourceResult, error) {
	out := api.ResourceResult{Kind: d.Kind, Name: d.Name, Verb: "unchanged"}
	es, err := b.ledger.do(ctx, by, func(s *access.State, env access.Env) ([]events.Event, error) {
		if err := may(s, env, d); err != nil {
			return nil, err
		}
		es, err := decidePut(s, env, d, replace)
		if err == nil && len(es) == 0 {
			out.Revision = revision(s, d.Kind, d.Name)
		}
		return es, err
	})
	if err != nil || len(es) == 0 {
		return out, err
	}
	out.Verb, out.Revision = "updated", es[0].Sequence
	switch p := es[0].Data.(type) {
	case *events.RoleCreated, *events.AppCreated, *events.UserCreated, *events.AccessListCreated, *events.TokenCreated, *events.ConnectorCreated:
		out.Verb = "created"
	case *events.LockPlaced:
		out.Verb, out.Name = "created", p.LockID
	}
	return out, nil
}

func revision(s *access.State, kind, name string) uint64 {
	switch {
	case kind == resource.KindRole && s.Roles[name] != nil:
		return s.Roles[name].Revision
	case kind == resource.KindApp && s.Apps[name] != nil:
		return s.Apps[name].Revision
	case kind == resource.KindUser && s.Users[name] != nil:
		return s.Users[name].Revision
	case kind == resource.KindAccessList && s.Lists[name] != nil:
		return s.Lists[name].Revision
	case kind == resource.KindToken && s.Tokens[name] != nil:
		return s.Tokens[name].Revision
	case kind == resource.KindSettings:
		return s.Settings.Revision
	case (kind == resource.KindOIDC || kind == resource.KindSAML) && s.Connectors[name] != nil:
		return s.Connectors[name].Revision
	}
	return 0
}

// documents reads what there is of a kind; name "" is all of it.
func documents(s *access.State, now time.Time, kind, name string) []resource.Document {
	var out []resource.Document
	wanted := func(n string) bool { return name == "" || name == n }
	switch kind {
	case resource.KindRole:
		for _, n := range slices.Sorted(maps.Keys(s.Roles)) {
			if r := s.Roles[n]; wanted(n) {
				out = append(out, resource.Document{Kind: kind, Name: n, Revision: r.Revision, Role: &r.Role})
			}
		}
	case resource.KindApp:
		for _, n := range slices.Sorted(maps.Keys(s.Apps)) {
			if a := s.Apps[n]; wanted(n) {
				out = append(out, resource.Document{Kind: kind, Name: n, Revision: a.Revision, App: &a.App})
			}
		}
	case resource.KindUser:
		for _, n := range slices.Sorted(maps.Keys(s.Users)) {
			if u := s.Users[n]; wanted(n) {
				out = append(out, resource.Document{Kind: kind, Name: n, Revision: u.Revision, User: &u.User})
			}
		}
	case resource.KindAccessList:
		for _, n := range slices.Sorted(maps.Keys(s.Lists)) {
			if l := s.Lists[n]; wanted(n) {
				out = append(out, resource.Document{Kind: kind, Name: n, Revision: l.Revision, List: &l.AccessList})
			}
		}
	case resource.KindToken:
		for _, n := range slices.Sorted(maps.Keys(s.Tokens)) {
			if t := s.Tokens[n]; wanted(n) {
				out = append(out, resource.Document{Kind: kind, Name: n, Revision: t.Revision, Token: &t.JoinToken})
			}
		}
	case resource.KindOIDC, resource.KindSAML:
		for _, n := range slices.Sorted(maps.Keys(s.Connectors)) {
			if c := s.Connectors[n]; wanted(n) && c.Kind == kind {
				out = append(out, resource.Document{Kind: kind, Name: n, Revision: c.Revision, Connector: &c.Connector})
			}
		}
	case resource.KindSettings:
		if wanted(resource.SettingsName) {
			settings := s.Settings.ClusterSettings
			settings.SecondFactor = cmp.Or(settings.SecondFactor, access.FactorOptional)
			out = append(out, resource.Document{Kind: kind, Name: resource.SettingsName, Revision: s.Settings.Revision, FromDefault: s.Settings.Revision == 0, Settings: &settings})
		}
	case resource.KindLock:
		for _, n := range slices.Sorted(maps.Keys(s.Locks)) {
			if l := s.Locks[n]; wanted(n) && l.Active(now) {
				lock := &resource.Lock{Target: l.Target, Message: l.Message, ExpiresAt: l.ExpiresAt}
				out = append(out, resource.Document{Kind: kind, Name: n, Lock: lock})
			}
		}
	}
	return out
}

func (b *Broker) postResources(c *call) (any, error) {
	body, err := io.ReadAll(c.Body)
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, bodyTooLarge()
	}
	if err != nil {
		return nil, invalid("body: %v", err)
	}
	q := c.URL.Query()
	replace := false
	switch v := q.Get("replace"); v {
	case "", "false":
	case "true":
		replace = true
	default:
		return nil, invalid("replace: %q is not true or false", v)
	}
	may := func(s *access.State, env access.Env, d resource.Document) error {
		verb := "create"
		if replace && exists(s, d.Kind, d.Name) {
			verb = "update"
		}
		return mustMay(s, env.Now, c.who.User, verb, d.Kind)
	}
	// Before a file is read that may be wrong in many places.
	if err := b.mayWriteSome(c.who.User); err != nil {
		return nil, err
	}
	return b.apply(c.Context(), c.who.User, cmp.Or(q.Get("file"), "body"), body, replace, may)
}

// mayWriteSome refuses who may write resources of no kind.
func (b *Broker) mayWriteSome(user string) (err error) {
	b.ledger.read(func(s *access.State, now time.Time) {
		for _, kind := range resource.Kinds() {
			for _, verb := range []string{"create", "update"} {
				if err = mustMay(s, now, user, verb, kind); err == nil {
					return
				}
			}
		}
		if refusal := new(access.Error); errors.As(err, &refusal) && refusal.Code == access.Denied && s.Users[user] != nil {
			err = &access.Error{Code: access.Denied, Message: fmt.Sprintf("no role of %s has a rule that allows to create or update resources", user)}
		}
	})
	return err
}

// exists says whether there is a resource. Settings always are.
func exists(s *access.State, kind, name string) bool {
	return kind == resource.KindSettings || revision(s, kind, name) > 0 || kind == resource.KindLock && s.Locks[name] != nil
}

func checkKind(kind string) error {
	if !slices.Contains(resource.Kinds(), kind) {
		return &api.Error{Status: http.StatusNotFound, Code: api.CodeNotFound,
			Message: fmt.Sprintf("%q is not a kind of resource; there are %s", kind, strings.Join(resource.Kinds(), ", "))}
	}
	return nil
}

func (b *Broker) getResources(c *call) (any, error) { return b.readResources(c, "list", "") }

func (b *Broker) getResource(c *call) (any, error) {
	return b.readResources(c, "read", c.PathValue("name"))
}

func (b *Broker) readResources(c *call, verb, name string) (any, error) {
	kind := c.PathValue("kind")
	if err := checkKind(kind); err != nil {
		return nil, err
	}
	if err := b.require(c.who, verb, kind); err != nil {
		return nil, err
	}
	var docs []resource.Document
	b.ledger.read(func(s *access.State, now time.Time) { docs = documents(s, now, kind, name) })
	if name != "" && len(docs) == 0 {
		return nil, &access.Error{Code: access.NotFound, Message: fmt.Sprintf("there is no %s %s", kind, name)}
	}
	if strings.Contains(c.Header.Get("Accept"), "application/yaml") {
		body, err := resource.YAML(docs...)
		return text{"application/yaml", body}, err
	}
	out := api.Resources{Resources: []json.RawMessage{}}
	for _, d := range docs {
		body, err := resource.JSON(d)
		if err != nil {
			return nil, err
		}
		out.Resources = append(out.Resources, body)
	}
	return out, nil
}

func (b *Broker) deleteResource(c *call) (any, error) {
	kind, name := c.PathValue("kind"), c.PathValue("name")
	if err := checkKind(kind); err != nil {
		return nil, err
	}
	err := b.do(c.Context(), c.who, func(s *access.State, env access.Env) ([]events.Event, error) {
		if err := mustMay(s, env.Now, c.who.User, "delete", kind); err != nil {
			return nil, err
		}
		switch kind {
		case resource.KindRole:
			return access.DeleteRole(s, env, name)
		case resource.KindApp:
			return access.DeleteApp(s, env, name)
		case resource.KindUser:
			return access.DeleteUser(s, env, name)
		case resource.KindAccessList:
			return access.DeleteAccessList(s, env, name)
		case resource.KindToken:
			return access.DeleteToken(s, env, name)
		case resource.KindOIDC, resource.KindSAML:
			return access.DeleteConnector(s, env, kind, name)
		case resource.KindSettings:
			if name != resource.SettingsName {
				return nil, &access.Error{Code: access.NotFound, Message: fmt.Sprintf("there is no cluster_settings %s; there is %s, which rm sets back", name, resource.SettingsName)}
			}
			return access.PutSettings(s, env, events.ClusterSettings{}, access.Put{Replace: true})
		}
		return access.Lift(s, env, name)
	})
	if err == nil && kind == resource.KindUser {
		err = b.passwords.Delete(c.Context(), name)
	}
	return nil, err
}
