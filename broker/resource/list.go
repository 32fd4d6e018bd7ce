package resource

import (
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/posternhq/postern/events"
)

// accessList reads an access list as Teleport has it
// (https://goteleport.com/docs/reference/access-controls/access-lists/);
// audit.grace_period is postern's own.
func (r *reader) accessList(n *yaml.Node, path string, meta metadata) *events.AccessList {
	l := &events.AccessList{Name: meta.name, Description: meta.description, Labels: meta.labels}
	r.fields(n, path, map[string]func(*yaml.Node, string){
		"title":               func(n *yaml.Node, at string) { l.Title = r.text(n, at) },
		"description":         func(n *yaml.Node, at string) { l.Description = r.text(n, at) },
		"owners":              func(n *yaml.Node, at string) { r.owners(n, at, l) },
		"membership_requires": func(n *yaml.Node, at string) { l.MembershipRequires = r.requires(n, at) },
		"ownership_requires":  func(n *yaml.Node, at string) { l.OwnershipRequires = r.requires(n, at) },
		"grants":              func(n *yaml.Node, at string) { l.Grants = events.ListGrants(r.requires(n, at)) },
		"audit":               func(n *yaml.Node, at string) { r.audit(n, at, &l.Audit) },
		"owner_grants": func(n *yaml.Node, at string) {
			if !isEmpty(n) {
				r.fault(n, at, "owners are granted nothing here: make them members")
			}
		},
		"type": func(n *yaml.Node, at string) {
			if t := r.text(n, at); t != "" && t != "default" {
				r.fault(n, at, "%q is not a type of lists here: all are reviewed and kept by their owners", t)
			}
		},
	}, nil)
	return l
}

// owners reads names, or mappings as Teleport writes them.
func (r *reader) owners(n *yaml.Node, path string, l *events.AccessList) {
	r.items(n, path, func(n *yaml.Node, at string) {
		o := events.ListOwner{Kind: events.KindUser}
		if n = r.at(n, at); n.Kind == yaml.ScalarNode {
			o.Name = r.text(n, at)
		} else {
			r.fields(n, at, map[string]func(*yaml.Node, string){
				"name":            func(n *yaml.Node, at string) { o.Name = r.text(n, at) },
				"description":     func(n *yaml.Node, at string) { o.Description = r.text(n, at) },
				"membership_kind": func(n *yaml.Node, at string) { o.Kind = r.membershipKind(n, at) },
			}, []string{"ineligible_status"})
		}
		l.Owners = append(l.Owners, o)
	})
}

func (r *reader) membershipKind(n *yaml.Node, path string) string {
	switch kind := strings.ToLower(strings.TrimPrefix(r.text(n, path), "MEMBERSHIP_KIND_")); kind {
	case "user", "1", "", "0", "unspecified":
		return events.KindUser
	case "list", "2":
		return events.KindList
	}
	r.fault(n, path, "want user or list")
	return ""
}

func (r *reader) requires(n *yaml.Node, path string) events.ListRequires {
	var q events.ListRequires
	r.fields(n, path, map[string]func(*yaml.Node, string){
		"roles":  func(n *yaml.Node, at string) { q.Roles = r.list(n, at) },
		"traits": func(n *yaml.Node, at string) { q.Traits = r.traits(n, at) },
	}, nil)
	return q
}

func (r *reader) audit(n *yaml.Node, path string, a *events.ListAudit) {
	r.fields(n, path, map[string]func(*yaml.Node, string){
		"next_audit_date": func(n *yaml.Node, at string) { a.NextAuditDate = r.time(n, at) },
		"grace_period":    func(n *yaml.Node, at string) { a.GracePeriod = int64(r.duration(n, at) / time.Second) },
		"notifications": func(n *yaml.Node, at string) {
			r.fields(n, at, map[string]func(*yaml.Node, string){
				"start": func(n *yaml.Node, at string) { a.NotifyBefore = int64(r.duration(n, at) / time.Second) },
			}, nil)
		},
		"recurrence": func(n *yaml.Node, at string) {
			r.fields(n, at, map[string]func(*yaml.Node, string){
				"frequency":    func(n *yaml.Node, at string) { a.Months = r.frequency(n, at) },
				"day_of_month": func(n *yaml.Node, at string) { a.DayOfMonth = r.dayOfMonth(n, at) },
			}, nil)
		},
	}, nil)
}

func (r *reader) frequency(n *yaml.Node, path string) int {
	switch r.text(n, path) {
	case "1month", "1":
		return 1
	case "3months", "3":
		return 3
	case "6months", "6":
		return 6
	case "1year", "12":
		return 12
	}
	r.fault(n, path, "want 1month, 3months, 6months or 1year")
	return 0
}

func (r *reader) dayOfMonth(n *yaml.Node, path string) int {
	switch r.text(n, path) {
	case "1", "first":
		return 1
	case "15", "fifteenth":
		return 15
	case "31", "last":
		return 31
	}
	r.fault(n, path, "want 1, 15 or 31 (the last)")
	return 0
}

// An access list as it is written.
type (
	writtenList struct {
		Title              string           `yaml:"title,omitempty" json:"title,omitempty"`
		Owners             []writtenOwner   `yaml:"owners" json:"owners"`
		MembershipRequires writtenRequires  `yaml:"membership_requires,omitempty" json:"membership_requires,omitzero"`
		OwnershipRequires  writtenRequires  `yaml:"ownership_requires,omitempty" json:"ownership_requires,omitzero"`
		Grants             writtenRequires  `yaml:"grants" json:"grants"`
		Audit              writtenListAudit `yaml:"audit" json:"audit"`
	}
	writtenOwner struct {
		Name           string `yaml:"name" json:"name"`
		MembershipKind string `yaml:"membership_kind,omitempty" json:"membership_kind,omitempty"`
		Description    string `yaml:"description,omitempty" json:"description,omitempty"`
	}
	writtenRequires struct {
		Roles  []string            `yaml:"roles,omitempty" json:"roles,omitempty"`
		Traits map[string][]string `yaml:"traits,omitempty" json:"traits,omitempty"`
	}
	writtenListAudit struct {
		NextAuditDate string               `yaml:"next_audit_date,omitempty" json:"next_audit_date,omitempty"`
		Recurrence    writtenRecurrence    `yaml:"recurrence" json:"recurrence"`
		Notifications writtenNotifications `yaml:"notifications" json:"notifications"`
		GracePeriod   string               `yaml:"grace_period" json:"grace_period"`
	}
	writtenRecurrence struct {
		Frequency  string `yaml:"frequency" json:"frequency"`
		DayOfMonth int    `yaml:"day_of_month" json:"day_of_month"`
	}
	writtenNotifications struct {
		Start string `yaml:"start" json:"start"`
	}
)

func writeList(l *events.AccessList) writtenList {
	w := writtenList{
		Title: l.Title, MembershipRequires: writtenRequires(l.MembershipRequires), OwnershipRequires: writtenRequires(l.OwnershipRequires),
		Grants: writtenRequires(l.Grants),
		Audit: writtenListAudit{
			Recurrence:    writtenRecurrence{Frequency: map[int]string{1: "1month", 3: "3months", 6: "6months", 12: "1year"}[l.Audit.Months], DayOfMonth: l.Audit.DayOfMonth},
			Notifications: writtenNotifications{Start: formatDuration(l.Audit.NotifyBefore)},
			GracePeriod:   formatDuration(l.Audit.GracePeriod),
		},
	}
	if !l.Audit.NextAuditDate.IsZero() {
		w.Audit.NextAuditDate = l.Audit.NextAuditDate.UTC().Format(time.RFC3339Nano)
	}
	for _, o := range l.Owners {
		v := writtenOwner{Name: o.Name, Description: o.Description}
		if o.Kind == events.KindList {
			v.MembershipKind = o.Kind
		}
		w.Owners = append(w.Owners, v)
	}
	return w
}
