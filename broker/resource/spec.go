package resource

import (
	"errors"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/events"
)

func (r *reader) user(n *yaml.Node, path string, meta metadata) *events.User {
	u := &events.User{Name: meta.name}
	r.fields(n, path, map[string]func(*yaml.Node, string){
		"roles":    func(n *yaml.Node, at string) { u.Roles = r.list(n, at) },
		"traits":   func(n *yaml.Node, at string) { u.Traits = r.traits(n, at) },
		"disabled": func(n *yaml.Node, at string) { u.Disabled = r.flag(n, at) },
		"connector": func(n *yaml.Node, at string) {
			r.fault(n, at, "who signs in with %s is written by their sign-ins, and by no file: leave this document out", r.text(n, at))
		},
		"expires": func(n *yaml.Node, at string) {
			r.fault(n, at, "users that expire are not supported: the user would stay for ever")
		},
	}, teleportUser)
	return u
}

// traits without a value are left out, as nothing can come of them.
func (r *reader) traits(n *yaml.Node, path string) map[string][]string {
	out := r.lists(n, path)
	for name, values := range out {
		if len(values) == 0 {
			delete(out, name)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func (r *reader) app(n *yaml.Node, path string, meta metadata) *events.App {
	a := &events.App{Name: meta.name, Description: meta.description, Labels: meta.labels}
	r.fields(n, path, map[string]func(*yaml.Node, string){
		"cloud": func(n *yaml.Node, at string) {
			if c := r.text(n, at); c != "AWS" {
				r.fault(n, at, "%q is not a cloud that postern reaches; want AWS", c)
			}
		},
		"uri": func(n *yaml.Node, at string) { r.text(n, at) },
		"aws": func(n *yaml.Node, at string) {
			r.fields(n, at, map[string]func(*yaml.Node, string){
				"account_id":      func(n *yaml.Node, at string) { a.AccountID = r.text(n, at) },
				"partition":       func(n *yaml.Node, at string) { a.Partition = r.text(n, at) },
				"region":          func(n *yaml.Node, at string) { a.Region = r.text(n, at) },
				"role_arns":       func(n *yaml.Node, at string) { a.RoleARNs = r.list(n, at) },
				"external_id":     func(n *yaml.Node, at string) { a.ExternalID = r.text(n, at) },
				"source_identity": func(n *yaml.Node, at string) { a.SourceIdentity = r.flag(n, at) },
				"session_tags":    func(n *yaml.Node, at string) { a.SessionTags = r.flag(n, at) },
			}, nil)
		},
	}, teleportApp)
	return a
}

func (r *reader) lock(n *yaml.Node, path string) *Lock {
	l := &Lock{}
	r.fields(n, path, map[string]func(*yaml.Node, string){
		"target":  func(n *yaml.Node, at string) { l.Target = r.lockTarget(n, at) },
		"message": func(n *yaml.Node, at string) { l.Message = r.text(n, at) },
		"ttl":     func(n *yaml.Node, at string) { l.TTL = r.duration(n, at) },
		"expires": func(n *yaml.Node, at string) {
			t := r.time(n, at)
			l.ExpiresAt = &t
		},
	}, []string{"created_at", "created_by"})
	if l.TTL != 0 && l.ExpiresAt != nil {
		r.faultAt("spec.ttl", errors.New("either ttl or expires, not both"))
	}
	return l
}

// lockTarget reads {user: alice}, as Teleport has it, with the kinds that there
// are here.
func (r *reader) lockTarget(n *yaml.Node, path string) events.LockTarget {
	var t events.LockTarget
	count := 0
	r.each(n, path, func(key, v *yaml.Node, at string) {
		kind := key.Value
		if kind == "access_request" {
			kind = "request"
		}
		if !slices.Contains(access.LockKinds(), kind) {
			r.fault(key, at, "is not a target here; want one of %s", strings.Join(access.LockKinds(), ", "))
			return
		}
		t = events.LockTarget{Kind: kind, Name: r.text(v, at)}
		if count++; count == 2 {
			r.fault(key, at, "a lock has one target")
		}
	})
	return t
}
