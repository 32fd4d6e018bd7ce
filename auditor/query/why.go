package query

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/posternhq/postern/auditor/store"
)

// Step is one link of a chain, an effect before its cause.
type Step struct {
	// Kind is "cloudtrail", "request", "decision", "session", "access_request",
	// "review", "approval",
	// "access_list", "membership" or "role".
	Kind    string    `json:"kind"`
	ID      string    `json:"id"`
	Time    time.Time `json:"time"`
	Summary string    `json:"summary"`
	// EventID and Revision name the event on postern's stream that says so.
	EventID  string          `json:"event_id,omitempty"`
	Revision uint64          `json:"revision,omitempty"`
	Data     json.RawMessage `json:"data,omitempty"`
}

// Chain says why a call was possible.
type Chain struct {
	ID      string `json:"id"`
	Verdict string `json:"verdict,omitempty"`
	Steps   []Step `json:"steps"`
}

type accessEvent struct {
	EventID   string    `ch:"event_id"`
	Type      string    `ch:"type"`
	Name      string    `ch:"name"`
	EventTime time.Time `ch:"event_time"`
	Sequence  uint64    `ch:"sequence"`
	Actor     string    `ch:"actor"`
	Data      string    `ch:"data"`
}

// Why follows a call back through its causes: CloudTrail's record, the request,
// the decision, the session, the access requests with their reviews and
// approvals, and the roles at the revisions that were decided by.
func (a *Asker) Why(ctx context.Context, id string) (*Chain, error) {
	d, err := a.find(ctx, id)
	if err != nil {
		return nil, err
	}
	c := &Chain{ID: id, Verdict: d.Verdict}
	if r := d.CloudTrail; r != nil {
		c.Steps = append(c.Steps, Step{Kind: "cloudtrail", ID: r.RecipientAccountID + "/" + r.EventID, Time: r.EventTime,
			Summary: fmt.Sprintf("CloudTrail: %s of %s in %s by %s", r.EventName, r.EventSource, r.AWSRegion, r.Who())})
	}
	r := d.Request
	if r == nil {
		if d.Verdict == "bypass" {
			c.Steps = append(c.Steps, Step{Kind: "request", Time: d.Time, Summary: "no request of postern's made this call: somebody used the identity around postern"})
		}
		return c, nil
	}
	c.Steps = append(c.Steps, Step{Kind: "request", ID: r.RequestID, Time: r.ReceivedAt,
		Summary: fmt.Sprintf("%s %s:%s by %s from %s: %s", r.Method, r.Service, r.Operation, r.User, r.ClientAddr, outcome(r))})
	if err := a.decision(ctx, c, r); err != nil {
		return nil, err
	}
	session, err := a.things(ctx, "session/"+r.SessionID)
	if err != nil {
		return nil, err
	}
	var started struct {
		RequestIDs  []string `json:"request_ids"`
		AccessLists []string `json:"access_lists"`
		Roles       []struct {
			Name     string `json:"name"`
			Revision uint64 `json:"revision"`
		} `json:"roles"`
		App string `json:"app"`
		ARN string `json:"aws_role_arn"`
	}
	for _, e := range session {
		if !strings.HasPrefix(e.Type, "io.postern.session.started.") {
			continue
		}
		if err := json.Unmarshal([]byte(e.Data), &started); err != nil {
			return nil, fmt.Errorf("session %s: %w", r.SessionID, err)
		}
		c.Steps = append(c.Steps, e.step("session", fmt.Sprintf("session of %s on %s as %s", e.Actor, started.App, started.ARN)))
	}
	ids := started.RequestIDs
	for _, id := range r.AccessRequestIDs { // of a call that was approved by itself, that one comes last
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		if err := a.accessChain(ctx, c, id); err != nil {
			return nil, err
		}
	}
	if err := a.listChain(ctx, c, r.User, started.AccessLists); err != nil {
		return nil, err
	}
	for _, role := range started.Roles {
		found, err := a.things(ctx, "role/"+role.Name)
		if err != nil {
			return nil, err
		}
		for _, e := range found {
			if e.Sequence == role.Revision {
				c.Steps = append(c.Steps, e.step("role", fmt.Sprintf("role %s, revision %d, written by %s", role.Name, role.Revision, e.Actor)))
			}
		}
	}
	if a.narrow { // what a role or a request says goes beyond the accounts
		for i := range c.Steps {
			if s := &c.Steps[i]; s.Kind != "decision" && s.Kind != "session" {
				s.Data = nil
			}
		}
	}
	return c, nil
}

func outcome(r *Request) string {
	switch r.Outcome {
	case "completed":
		return "AWS answered " + strconv.Itoa(int(r.Status))
	case "denied":
		return "denied: " + r.Reason
	case "failed":
		return "failed at " + r.Stage + ": " + r.Reason
	}
	return r.Outcome
}

// decision adds the event that let the request pass, or refused it.
func (a *Asker) decision(ctx context.Context, c *Chain, r *Request) error {
	rows, err := a.conn.Query(ctx, `SELECT event_id, type, event_time, raw FROM events
		WHERE stream = 'AUDIT' AND stored_at BETWEEN `+store.Timestamp(r.ReceivedAt.Add(-sameCall))+` AND `+store.Timestamp(r.ReceivedAt.Add(sameCall))+` AND correlation_id = ? AND (type LIKE 'io.postern.aws.request.admitted.%' OR type LIKE 'io.postern.aws.request.denied.%')
		ORDER BY seq LIMIT 2`, r.RequestID)
	if err != nil {
		return fmt.Errorf("ask for the decision on %s: %w", r.RequestID, err)
	}
	defer rows.Close()
	for rows.Next() {
		var s Step
		var typ, raw string
		if err := rows.Scan(&s.EventID, &typ, &s.Time, &raw); err != nil {
			return fmt.Errorf("ask for the decision on %s: %w", r.RequestID, err)
		}
		var event struct { // by ourselves: ClickHouse can't read each number that a request may say
			Data json.RawMessage `json:"data"`
		}
		_ = json.Unmarshal([]byte(raw), &event) // what can't be read is left out
		s.Kind, s.ID, s.Data, s.Summary = "decision", r.RequestID, event.Data, "admitted"
		if r.Role != "" {
			s.Summary += " by role " + r.Role
		}
		if strings.HasPrefix(typ, "io.postern.aws.request.denied.") {
			s.Summary = "denied (" + r.Cause + "): " + r.Reason
		}
		c.Steps = append(c.Steps, s)
	}
	return rows.Err()
}

// accessChain adds an access request, latest event first.
func (a *Asker) accessChain(ctx context.Context, c *Chain, id string) error {
	found, err := a.things(ctx, "request/"+id)
	if err != nil {
		return err
	}
	for i := len(found) - 1; i >= 0; i-- {
		e := found[i]
		var d struct {
			Roles     []string `json:"roles"`
			Reason    string   `json:"reason"`
			Verdict   string   `json:"verdict"`
			Reviewers []string `json:"reviewers"`
			User      string   `json:"user"`
			Rule      string   `json:"rule"`
			Glass     bool     `json:"break_glass"`
		}
		_ = json.Unmarshal([]byte(e.Data), &d) // a summary only; Data has it all
		switch kind := strings.Split(e.Type, "."); {
		case len(kind) < 4:
		case kind[3] == "created":
			c.Steps = append(c.Steps, e.step("access_request", fmt.Sprintf("%s asked for %s: %s", e.Actor, strings.Join(d.Roles, ", "), d.Reason)))
		case kind[3] == "reviewed":
			c.Steps = append(c.Steps, e.step("review", fmt.Sprintf("%s said %s: %s", e.Actor, d.Verdict, d.Reason)))
		case kind[3] == "approved":
			by := "approved by " + strings.Join(d.Reviewers, ", ")
			switch {
			case d.Glass:
				by = d.User + " broke the glass: nobody approved it"
			case d.Rule != "":
				by = "approved by rule " + d.Rule
			}
			c.Steps = append(c.Steps, e.step("approval", by))
		}
	}
	return nil
}

// listChain adds the access lists that a session rests on: the memberships by
// which its user was in them when it started, and the lists as they were then.
func (a *Asker) listChain(ctx context.Context, c *Chain, user string, lists []string) error {
	started := c.Steps[len(c.Steps)-1].Time
	for _, s := range c.Steps {
		if s.Kind == "session" {
			started = s.Time
		}
	}
	for _, list := range lists {
		found, err := a.things(ctx, "access_list/"+list)
		if err != nil {
			return err
		}
		type member struct {
			Name string `json:"name"`
			Kind string `json:"membership_kind"`
		}
		members, made := map[member]*Step{}, (*Step)(nil)
		for _, e := range found {
			if e.EventTime.After(started) {
				break
			}
			var d struct {
				Member    member     `json:"member"`
				Removed   []member   `json:"removed"`
				ExpiresAt *time.Time `json:"expires_at"`
				Reason    string     `json:"reason"`
			}
			_ = json.Unmarshal([]byte(e.Data), &d) // a summary only; Data has it all
			for _, m := range append(d.Removed, d.Member) {
				delete(members, m) // who is made one anew is one by that
			}
			switch kind := strings.Split(e.Type, "."); kind[3] {
			case "member_added":
				s := e.step("membership", fmt.Sprintf("%s %s made a member of access list %s by %s: %s", d.Member.Kind, d.Member.Name, list, e.Actor, d.Reason))
				is := d.Member.Kind == "user" && d.Member.Name == user || d.Member.Kind == "list" && slices.Contains(lists, d.Member.Name)
				if is && (d.ExpiresAt == nil || d.ExpiresAt.After(started)) {
					members[d.Member] = &s
				}
			case "deleted":
				clear(members)
			case "created", "updated", "reviewed":
				s := e.step("access_list", fmt.Sprintf("access list %s, %s by %s", list, kind[3], e.Actor))
				made = &s
			}
		}
		byName := func(x, y member) int { return cmp.Or(strings.Compare(x.Kind, y.Kind), strings.Compare(x.Name, y.Name)) }
		for _, m := range slices.SortedFunc(maps.Keys(members), byName) {
			c.Steps = append(c.Steps, *members[m])
		}
		if made != nil {
			c.Steps = append(c.Steps, *made)
		}
	}
	return nil
}

// things returns the events about one thing, oldest first.
func (a *Asker) things(ctx context.Context, thing string) ([]accessEvent, error) {
	var rows []accessEvent
	err := a.basis.Select(ctx, &rows, `SELECT event_id, type, name, event_time, sequence, actor, data FROM access_events WHERE thing = ? AND genuine ORDER BY seq`, thing)
	if err != nil {
		return nil, fmt.Errorf("ask for %s: %w", thing, err)
	}
	return rows, nil
}

func (e *accessEvent) step(kind, summary string) Step {
	return Step{Kind: kind, ID: e.Name, Time: e.EventTime, Summary: summary, EventID: e.EventID, Revision: e.Sequence, Data: rawJSON(e.Data)}
}

func rawJSON(s string) json.RawMessage {
	if !json.Valid([]byte(s)) {
		return nil
	}
	return json.RawMessage(s)
}
