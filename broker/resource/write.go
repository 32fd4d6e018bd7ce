package resource

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/posternhq/postern/events"
)

// The documents as they are written; field order is the order in the file.
type (
	written struct {
		Kind     string      `yaml:"kind" json:"kind"`
		Version  string      `yaml:"version" json:"version"`
		Metadata writtenMeta `yaml:"metadata" json:"metadata"`
		Spec     any         `yaml:"spec" json:"spec"`
	}
	writtenMeta struct {
		Name        string            `yaml:"name" json:"name"`
		Description string            `yaml:"description,omitempty" json:"description,omitempty"`
		Labels      map[string]string `yaml:"labels,omitempty" json:"labels,omitempty"`
		Expires     string            `yaml:"expires,omitempty" json:"expires,omitempty"`
		Revision    string            `yaml:"revision,omitempty" json:"revision,omitempty"`
	}
	writtenUser struct {
		Roles    []string            `yaml:"roles,omitempty" json:"roles,omitempty"`
		Traits   map[string][]string `yaml:"traits,omitempty" json:"traits,omitempty"`
		Disabled bool                `yaml:"disabled,omitempty" json:"disabled,omitempty"`
		// Of users who sign in with a connector, for people to read.
		Connector string `yaml:"connector,omitempty" json:"connector,omitempty"`
		Expires   string `yaml:"expires,omitempty" json:"expires,omitempty"`
	}
	writtenApp struct {
		Cloud string     `yaml:"cloud" json:"cloud"`
		AWS   writtenAWS `yaml:"aws,omitempty" json:"aws,omitzero"`
	}
	writtenAWS struct {
		AccountID      string   `yaml:"account_id,omitempty" json:"account_id,omitempty"`
		Partition      string   `yaml:"partition,omitempty" json:"partition,omitempty"`
		Region         string   `yaml:"region,omitempty" json:"region,omitempty"`
		RoleARNs       []string `yaml:"role_arns,omitempty" json:"role_arns,omitempty"`
		ExternalID     string   `yaml:"external_id,omitempty" json:"external_id,omitempty"`
		SourceIdentity bool     `yaml:"source_identity,omitempty" json:"source_identity,omitempty"`
		SessionTags    bool     `yaml:"session_tags,omitempty" json:"session_tags,omitempty"`
	}
	writtenLock struct {
		Target  map[string]string `yaml:"target" json:"target"`
		Message string            `yaml:"message,omitempty" json:"message,omitempty"`
		Expires string            `yaml:"expires,omitempty" json:"expires,omitempty"`
	}
	writtenRole struct {
		Options writtenOptions    `yaml:"options,omitempty" json:"options,omitzero"`
		Allow   writtenConditions `yaml:"allow,omitempty" json:"allow,omitzero"`
		Deny    writtenConditions `yaml:"deny,omitempty" json:"deny,omitzero"`
	}
	writtenOptions struct {
		MaxSessionTTL     string                 `yaml:"max_session_ttl,omitempty" json:"max_session_ttl,omitempty"`
		RealCredentials   []string               `yaml:"real_credentials,omitempty" json:"real_credentials,omitempty"`
		DryRun            bool                   `yaml:"dry_run,omitempty" json:"dry_run,omitempty"`
		RateLimits        map[string]writtenRate `yaml:"rate_limits,omitempty" json:"rate_limits,omitempty"`
		RequireSessionMFA bool                   `yaml:"require_session_mfa,omitempty" json:"require_session_mfa,omitempty"`
		Lock              string                 `yaml:"lock,omitempty" json:"lock,omitempty"`
	}
	writtenRate struct {
		Rate  int `yaml:"rate" json:"rate"`
		Burst int `yaml:"burst" json:"burst"`
	}
	writtenConditions struct {
		AppLabels      map[string][]string `yaml:"app_labels,omitempty" json:"app_labels,omitempty"`
		AWSRoleARNs    []string            `yaml:"aws_role_arns,omitempty" json:"aws_role_arns,omitempty"`
		AWSActions     []string            `yaml:"aws_actions,omitempty" json:"aws_actions,omitempty"`
		AWSResources   []string            `yaml:"aws_resources,omitempty" json:"aws_resources,omitempty"`
		AWSRegions     []string            `yaml:"aws_regions,omitempty" json:"aws_regions,omitempty"`
		ApproveActions []string            `yaml:"approve_actions,omitempty" json:"approve_actions,omitempty"`
		Request        *writtenRequest     `yaml:"request,omitempty" json:"request,omitempty"`
		ReviewRequests *writtenReview      `yaml:"review_requests,omitempty" json:"review_requests,omitempty"`
		Rules          []writtenRule       `yaml:"rules,omitempty" json:"rules,omitempty"`
	}
	writtenRequest struct {
		Roles              []string           `yaml:"roles,omitempty" json:"roles,omitempty"`
		SearchAsRoles      []string           `yaml:"search_as_roles,omitempty" json:"search_as_roles,omitempty"`
		SuggestedReviewers []string           `yaml:"suggested_reviewers,omitempty" json:"suggested_reviewers,omitempty"`
		Thresholds         []writtenThreshold `yaml:"thresholds,omitempty" json:"thresholds,omitempty"`
		MaxDuration        string             `yaml:"max_duration,omitempty" json:"max_duration,omitempty"`
		Reason             *writtenReason     `yaml:"reason,omitempty" json:"reason,omitempty"`
		BreakGlassRoles    []string           `yaml:"break_glass_roles,omitempty" json:"break_glass_roles,omitempty"`
		AutoApprove        []writtenAuto      `yaml:"auto_approve,omitempty" json:"auto_approve,omitempty"`
	}
	writtenAuto struct {
		Name        string           `yaml:"name" json:"name"`
		Roles       []string         `yaml:"roles" json:"roles"`
		Where       string           `yaml:"where,omitempty" json:"where,omitempty"`
		Schedule    *writtenSchedule `yaml:"schedule,omitempty" json:"schedule,omitempty"`
		MaxDuration string           `yaml:"max_duration,omitempty" json:"max_duration,omitempty"`
	}
	writtenSchedule struct {
		TimeZone string          `yaml:"time_zone,omitempty" json:"time_zone,omitempty"`
		Windows  []writtenWindow `yaml:"windows" json:"windows"`
	}
	writtenWindow struct {
		Days  []string `yaml:"days,omitempty,flow" json:"days,omitempty"`
		Start string   `yaml:"start" json:"start"`
		End   string   `yaml:"end" json:"end"`
	}
	writtenReason struct {
		Mode string `yaml:"mode" json:"mode"`
	}
	writtenThreshold struct {
		Name    string `yaml:"name,omitempty" json:"name,omitempty"`
		Filter  string `yaml:"filter,omitempty" json:"filter,omitempty"`
		Approve int    `yaml:"approve" json:"approve"`
		Deny    int    `yaml:"deny" json:"deny"`
	}
	writtenReview struct {
		Roles          []string `yaml:"roles,omitempty" json:"roles,omitempty"`
		PreviewAsRoles []string `yaml:"preview_as_roles,omitempty" json:"preview_as_roles,omitempty"`
		Where          string   `yaml:"where,omitempty" json:"where,omitempty"`
	}
	writtenRule struct {
		Resources   []string `yaml:"resources" json:"resources"`
		Verbs       []string `yaml:"verbs" json:"verbs"`
		AWSAccounts []string `yaml:"aws_accounts,omitempty" json:"aws_accounts,omitempty"`
	}
)

// YAML writes documents as a file that Parse reads, none as an empty one.
func YAML(docs ...Document) ([]byte, error) {
	if len(docs) == 0 {
		return nil, nil // an encoder that wrote nothing does not close
	}
	var buf bytes.Buffer
	enc := yaml.NewEncoder(&buf)
	enc.SetIndent(2)
	for _, d := range docs {
		if err := enc.Encode(write(d)); err != nil {
			return nil, fmt.Errorf("%s %s: %w", d.Kind, d.Name, err)
		}
	}
	if err := enc.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// JSON writes a document as JSON with the same keys.
func JSON(d Document) (json.RawMessage, error) { return json.Marshal(write(d)) }

func write(d Document) written {
	w := written{Kind: d.Kind, Metadata: writtenMeta{Name: d.Name}}
	if d.Revision != 0 || d.FromDefault {
		w.Metadata.Revision = strconv.FormatUint(d.Revision, 10)
	}
	switch {
	case d.User != nil:
		w.Version = "v2"
		u := writtenUser{Roles: d.User.Roles, Traits: d.User.Traits, Disabled: d.User.Disabled, Connector: d.User.Connector}
		if d.User.ExpiresAt != nil {
			u.Expires = d.User.ExpiresAt.UTC().Format(time.RFC3339)
		}
		w.Spec = u
	case d.App != nil:
		a := d.App
		w.Version = "v3"
		w.Metadata.Description, w.Metadata.Labels = a.Description, a.Labels
		w.Spec = writtenApp{Cloud: "AWS", AWS: writtenAWS{
			AccountID: a.AccountID, Partition: a.Partition, Region: a.Region, RoleARNs: a.RoleARNs,
			ExternalID: a.ExternalID, SourceIdentity: a.SourceIdentity, SessionTags: a.SessionTags,
		}}
	case d.List != nil:
		w.Version = "v1"
		w.Metadata.Description, w.Metadata.Labels = d.List.Description, d.List.Labels
		w.Spec = writeList(d.List)
	case d.Lock != nil:
		w.Version = "v2"
		l := writtenLock{Target: map[string]string{d.Lock.Target.Kind: d.Lock.Target.Name}, Message: d.Lock.Message}
		if d.Lock.ExpiresAt != nil {
			l.Expires = d.Lock.ExpiresAt.UTC().Format(time.RFC3339Nano)
		}
		w.Spec = l
	case d.Token != nil:
		w.Version = "v2"
		w.Spec = writeToken(d.Token)
		if d.Token.ExpiresAt != nil {
			w.Metadata.Expires = d.Token.ExpiresAt.UTC().Format(time.RFC3339Nano)
		}
	case d.Connector != nil:
		w.Version = map[string]string{KindOIDC: "v3", KindSAML: "v2"}[d.Kind]
		w.Spec = writeConnector(*d.Connector)
	case d.Settings != nil:
		w.Version = "v1"
		w.Spec = writtenSettings{SecondFactor: d.Settings.SecondFactor}
	case d.Role != nil:
		w.Version = "v8"
		w.Metadata.Description, w.Metadata.Labels = d.Role.Description, d.Role.Labels
		role := writtenRole{Allow: writeConditions(d.Role.Allow), Deny: writeConditions(d.Role.Deny)}
		if ttl := d.Role.Options.MaxSessionTTL; ttl != 0 {
			role.Options.MaxSessionTTL = formatDuration(ttl)
		}
		role.Options.RealCredentials, role.Options.DryRun = d.Role.Options.RealCredentials, d.Role.Options.DryRun
		if limits := d.Role.Options.RateLimits; len(limits) > 0 {
			role.Options.RateLimits = map[string]writtenRate{}
			for _, l := range limits {
				role.Options.RateLimits[l.Per] = writtenRate{l.Rate, l.Burst}
			}
		}
		role.Options.RequireSessionMFA, role.Options.Lock = d.Role.Options.RequireSessionMFA, d.Role.Options.Lock
		w.Spec = role
	}
	return w
}

func writeConditions(c events.RoleConditions) writtenConditions {
	w := writtenConditions{
		AppLabels:      c.AppLabels,
		AWSRoleARNs:    c.AWSRoleARNs,
		AWSActions:     c.AWSActions,
		AWSResources:   c.AWSResources,
		AWSRegions:     c.AWSRegions,
		ApproveActions: c.ApproveActions,
	}
	for _, r := range c.Rules {
		w.Rules = append(w.Rules, writtenRule(r))
	}
	if q := c.ReviewRequests; q != nil {
		v := writtenReview(*q)
		w.ReviewRequests = &v
	}
	if q := c.Request; q != nil {
		v := &writtenRequest{Roles: q.Roles, SearchAsRoles: q.SearchAsRoles, SuggestedReviewers: q.SuggestedReviewers, BreakGlassRoles: q.BreakGlassRoles}
		for _, t := range q.Thresholds {
			v.Thresholds = append(v.Thresholds, writtenThreshold(t))
		}
		if q.MaxDuration != 0 {
			v.MaxDuration = formatDuration(q.MaxDuration)
		}
		if q.ReasonRequired {
			v.Reason = &writtenReason{Mode: "required"}
		}
		for _, a := range q.AutoApprove {
			v.AutoApprove = append(v.AutoApprove, writeAuto(a))
		}
		w.Request = v
	}
	return w
}

func writeAuto(a events.AutoApproval) writtenAuto {
	w := writtenAuto{Name: a.Name, Roles: a.Roles, Where: a.Where}
	if a.MaxDuration != 0 {
		w.MaxDuration = formatDuration(a.MaxDuration)
	}
	if a.Schedule != nil {
		w.Schedule = &writtenSchedule{TimeZone: a.Schedule.TimeZone}
		for _, win := range a.Schedule.Windows {
			w.Schedule.Windows = append(w.Schedule.Windows, writtenWindow(win))
		}
	}
	return w
}
