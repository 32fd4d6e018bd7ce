package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/posternhq/postern/auditor/client"
	"github.com/posternhq/postern/auditor/evidence"
	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/resource"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/signed"
	"github.com/posternhq/postern/proxy/awsreq"
	"github.com/posternhq/postern/proxy/grants"
)

// everything is a time before any event.
const everything = "2000-01-01T00:00:00Z"

// whatIfChange is a recorded call that would have ended otherwise.
type whatIfChange struct {
	// Effect is "denied" or "allowed".
	Effect    string    `json:"effect"`
	Time      time.Time `json:"time"`
	RequestID string    `json:"request_id"`
	// EventID is the event that let the call through or refused it,
	// SessionEventID the one that started its session.
	EventID        string   `json:"event_id"`
	SessionID      string   `json:"session_id"`
	SessionEventID string   `json:"session_event_id"`
	User           string   `json:"user"`
	App            string   `json:"app"`
	AWSRoleARN     string   `json:"aws_role_arn"`
	Action         string   `json:"action,omitempty"`
	Resources      []string `json:"resources,omitempty"`
	Region         string   `json:"region,omitempty"`
	Reason         string   `json:"reason,omitempty"`
}

// whatIfSummary is the last line of an answer.
type whatIfSummary struct {
	Since time.Time `json:"since"`
	// Calls were looked at; Denied and Allowed would have ended otherwise.
	Calls   int `json:"calls"`
	Denied  int `json:"denied"`
	Allowed int `json:"allowed"`
	// Unknown calls are of sessions that the history does not have.
	Unknown int `json:"unknown,omitempty"`
}

func (c *cli) whatIf() *cobra.Command {
	var file, since string
	var limit int
	cmd := &cobra.Command{
		Use: "what-if -f FILE [--since 30d] [--limit N]", Short: "Which recorded calls a change of roles, users, apps or lists would have denied or allowed", Args: cobra.NoArgs,
		Long: "Which recorded calls would have been denied or allowed had the resources of a file\n" +
			"always been so: the history is played again, with the file in place of what it\n" +
			"says of them, and every call is decided anew by the proxy's own code. Needs a\n" +
			"role that may read the audit trail. --format=json gives one object a line, the\n" +
			"last of them {\"summary\": …}; --format=yaml a list of the same.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 0 {
				return usageError{fmt.Errorf("--limit=%d: must not be negative", limit)}
			}
			from, err := query.Time("since", since, time.Now())
			if err != nil {
				return badFlag(err)
			}
			text, name, err := c.readFile(file)
			if err != nil {
				return err
			}
			docs, warnings, err := resource.Parse(name, text)
			if err != nil {
				return err
			}
			c.warn(warnings)
			supposed, err := suppose(docs)
			if err != nil {
				return err
			}
			p, err := c.profile()
			if err != nil {
				return err
			}
			tlsConfig, err := p.TLSConfig()
			if err != nil {
				return err
			}
			return c.withAuditor(func(cmd *cobra.Command, a *client.Client, _ []string) error {
				table, err := awsreq.New()
				if err != nil {
					return err
				}
				r := &rerun{a: a, table: table, levels: table.Levels(), supposed: supposed, roots: tlsConfig.RootCAs, sessions: map[string]*rerunSession{}, heads: map[string]uint64{}}
				return c.printWhatIf(cmd.Context(), r, from, limit)
			})(cmd, args)
		},
	}
	cmd.Flags().StringVarP(&file, "filename", "f", "", "YAML file of roles, users, apps and access lists, - for stdin")
	cmd.Flags().StringVar(&since, "since", "30d", "look at calls from this time on: RFC 3339, or an age such as 7d")
	cmd.Flags().IntVar(&limit, "limit", 100, "calls to name at most, 0 for all; all are counted")
	_ = cmd.MarkFlagRequired("filename")
	return cmd
}

// suppose begins a history in which a file's resources stay as they are.
func suppose(docs []resource.Document) (*access.Supposition, error) {
	var fixed []events.Payload
	for _, d := range docs {
		switch {
		case d.Role != nil:
			fixed = append(fixed, &events.RoleCreated{Role: *d.Role})
		case d.App != nil:
			fixed = append(fixed, &events.AppCreated{App: *d.App})
		case d.User != nil:
			fixed = append(fixed, &events.UserCreated{User: *d.User})
		case d.List != nil:
			fixed = append(fixed, &events.AccessListCreated{AccessList: *d.List})
		default:
			return nil, fmt.Errorf("%s:%d: %s: what-if knows roles, users, apps and access lists", d.File, d.Line, d.Kind)
		}
	}
	return access.Suppose(fixed...), nil
}

func (c *cli) printWhatIf(ctx context.Context, r *rerun, since time.Time, limit int) error {
	sum := whatIfSummary{Since: since.UTC()}
	show := isTerminal(c.stderr)
	var shown time.Time
	err := r.run(ctx, since, func(at time.Time, change *whatIfChange, known bool) error {
		sum.Calls++
		switch {
		case !known:
			sum.Unknown++
		case change != nil && change.Effect == "denied":
			sum.Denied++
		case change != nil:
			sum.Allowed++
		}
		if show && time.Since(shown) > 200*time.Millisecond {
			shown = time.Now()
			fmt.Fprintf(c.stderr, "\r%d calls, up to %s (%d %%)\x1b[K", sum.Calls, at.Local().Format(time.DateTime), 100*at.Sub(since)/max(1, time.Since(since)))
		}
		if change == nil || limit > 0 && sum.Denied+sum.Allowed > limit {
			return nil
		}
		if show {
			fmt.Fprint(c.stderr, "\r\x1b[K")
		}
		return c.printChange(change)
	})
	if show {
		fmt.Fprint(c.stderr, "\r\x1b[K")
	}
	if err != nil {
		return err
	}
	if r.odd > 0 {
		c.say("warning: of %d events of the history, %s the first of them, it is not known what they changed: this version does not understand them, or events before them are missing", r.odd, r.firstOdd)
	}
	if c.format != "text" {
		return c.printItem(map[string]whatIfSummary{"summary": sum})
	}
	_, err = fmt.Fprintf(c.stdout, "Of %d calls since %s, %d would have been denied and %d allowed.\n", sum.Calls, since.Local().Format(time.DateTime), sum.Denied, sum.Allowed)
	if sum.Unknown > 0 {
		c.say("warning: %d calls are of sessions that the history does not have", sum.Unknown)
	}
	return err
}

// printItem writes the next item of a list that may be long: in JSON a line, in YAML one
// of a sequence.
func (c *cli) printItem(v any) error { return c.print([]any{v}, nil) }

func (c *cli) printChange(x *whatIfChange) error {
	if c.format != "text" {
		return c.printItem(x)
	}
	line := fmt.Sprintf("%s  would be %s: %s %s", x.Time.Local().Format(time.DateTime), x.Effect, x.User, orDash(x.Action))
	if len(x.Resources) > 0 && x.Resources[0] != "*" {
		line += " on " + strings.Join(x.Resources, ", ")
	}
	line += " as " + x.AWSRoleARN
	if x.Reason != "" {
		line += ", because " + x.Reason
	}
	_, err := fmt.Fprintln(c.stdout, oneLine(line+fmt.Sprintf(" (request %s, event %s, session by event %s)", x.RequestID, x.EventID, x.SessionEventID)))
	return err
}

// rerun plays calls again in a history that is not quite what it was. It holds
// what a broker holds, and the sessions that run: not the calls.
type rerun struct {
	a        *client.Client
	supposed *access.Supposition
	roots    *x509.CertPool
	keys     *signed.Keys
	heads    map[string]uint64 // the revisions of channels, sessions' left out
	odd      int               // genuine events that are not understood, or before which others are missing
	firstOdd string
	sessions map[string]*rerunSession
	table    *awsreq.Table
	levels   map[string]awsreq.AccessLevel // of actions
	most     int                           // sessions before those that are over are dropped
}

type rerunSession struct {
	eventID string
	ends    time.Time
	// same says that the session would have been just what it was.
	same        bool
	permissions []events.Permission
	refused     string
	// requests are the access requests that it rests on: one more is a call's own approval.
	requests []string
}

// run visits every call since a time, with what would be different.
func (r *rerun) run(ctx context.Context, since time.Time, visit func(at time.Time, change *whatIfChange, known bool) error) error {
	r.keys = signed.NewKeys(r.roots)
	for _, subject := range []string{"access.key.>", "access.ca"} {
		for e, err := range r.stream(ctx, subject, everything) {
			if err != nil {
				return err
			}
			_ = r.keys.Verify(e.channel, e.storedAt, e.Event, e.raw) // who says so is looked at again, in order
		}
	}
	read, stop := iter.Pull2(r.stream(ctx, "access.>", everything))
	defer stop()
	ahead, err, more := read()
	for e, failed := range r.stream(ctx, "audit.>", since.UTC().Format(time.RFC3339)) {
		if failed != nil {
			return failed
		}
		request, admitted := call(e.Data)
		if request == nil || request.ReceivedAt.Before(since) {
			continue
		}
		// A call's session stands on its stream before the call on its own.
		for ; more && !ahead.storedAt.After(e.storedAt.Add(rerunSkew)); ahead, err, more = read() {
			if err != nil {
				return err
			}
			r.apply(ahead, since)
		}
		s := r.sessions[request.SessionID]
		var change *whatIfChange
		if s != nil && !s.same {
			change = s.judge(e.Event, request, admitted, r)
		}
		if err := visit(request.ReceivedAt, change, s != nil); err != nil {
			return err
		}
	}
	return err
}

// rerunSkew is how far the clocks may be apart by which the two streams took their events.
const rerunSkew = 5 * time.Second

// call is the call that an event admitted or a rule refused; nil for others.
func call(p events.Payload) (request *events.AWSRequest, admitted bool) {
	switch d := p.(type) {
	case *events.AWSRequestAdmitted:
		return &d.AWSRequest, true
	case *events.AWSRequestDenied:
		if d.Cause == grants.CauseRule {
			return &d.AWSRequest, false
		}
	}
	return nil, false
}

// apply folds in what a broker decided.
func (r *rerun) apply(e streamed, since time.Time) {
	if r.keys.Verify(e.channel, e.storedAt, e.Event, e.raw) != nil {
		return
	}
	switch d := e.Data.(type) {
	case *events.SessionStarted:
		if d.ExpiresAt.After(since) {
			r.start(e, d)
		}
		return
	case *events.SessionEnded:
		return // what was on its way may still be recorded
	}
	missing := false
	if signed.Ordered(e.channel) {
		err := signed.Place(e.Event, r.heads[e.channel])
		if errors.Is(err, signed.ErrRepeated) {
			return
		}
		missing = err != nil
		r.heads[e.channel] = e.Sequence
	}
	if e.Data == nil || missing {
		if r.odd++; r.odd == 1 {
			r.firstOdd = fmt.Sprintf("event %d on %s", e.seq, e.channel)
		}
	}
	if e.Data != nil {
		r.supposed.Apply(e.Event)
	}
}

func (r *rerun) start(e streamed, d *events.SessionStarted) {
	if r.sessions[d.SessionID] != nil {
		return // a copy, which anybody who may publish can make
	}
	if len(r.sessions) > r.most {
		for id, s := range r.sessions {
			if s.ends.Before(e.Time.Add(-time.Hour)) {
				delete(r.sessions, id)
			}
		}
		r.most = 2*len(r.sessions) + 1000
	}
	s := &rerunSession{eventID: e.ID, ends: d.ExpiresAt, requests: d.RequestIDs}
	if g, err := r.supposed.Session(d, e.Time); err != nil {
		s.refused = err.Error()
	} else {
		s.permissions = g.Permissions
		was, _ := json.Marshal(d.Permissions)
		would, _ := json.Marshal(g.Permissions)
		s.same = bytes.Equal(was, would)
	}
	r.sessions[d.SessionID] = s
}

// recorded is a call as it was decided: a level for each action, of which the record
// has the highest, and for resources that are not known whose they can be.
func (r *rerun) recorded(q *events.AWSRequest) grants.Call {
	services := func(action string) []string {
		if len(q.Resources) > 0 {
			return nil
		}
		return r.table.Services(q.Service, q.Operation, action)
	}
	c := grants.Call{Action: q.Action, AccessLevel: q.AccessLevel, Resources: q.Resources, Services: services(q.Action), Region: q.Region, Account: q.Account}
	if level := r.levels[q.Action]; len(q.Also) > 0 && level != "" {
		c.AccessLevel = string(level)
	}
	for _, name := range q.Also {
		c.Also = append(c.Also, grants.Action{Name: name, Level: string(r.levels[name]), Services: services(name)})
	}
	return c
}

// judge says what would be different about a call, nil for nothing.
func (s *rerunSession) judge(e events.Event, q *events.AWSRequest, admitted bool, r *rerun) *whatIfChange {
	call := r.recorded(q)
	call.Approved = admitted && slices.ContainsFunc(q.AccessRequestIDs, func(id string) bool { return !slices.Contains(s.requests, id) })
	d := grants.Judge(s.permissions, call)
	would, reason := d.Allowed, d.Reason()
	if s.refused != "" {
		would, reason = false, "there would be no session: "+s.refused
	}
	if would == admitted {
		return nil
	}
	x := &whatIfChange{
		Effect: "denied", Time: q.ReceivedAt, RequestID: q.RequestID, EventID: e.ID, SessionID: q.SessionID, SessionEventID: s.eventID,
		User: q.User, App: q.App, AWSRoleARN: q.AWSRoleARN, Action: q.Action, Resources: q.Resources, Region: q.Region, Reason: reason,
	}
	if would {
		x.Effect = "allowed"
	}
	return x
}

// streamed is an event as it stands on a stream.
type streamed struct {
	events.Event
	channel  string
	seq      uint64
	storedAt time.Time
	raw      []byte
}

var errStop = errors.New("no more is wanted")

// stream yields the events of a subject since a time that there are now. One
// that this version does not understand has no data.
func (r *rerun) stream(ctx context.Context, subject, since string) iter.Seq2[streamed, error] {
	return func(yield func(streamed, error) bool) {
		err := r.a.Records(ctx, subject, since, false, func(d evidence.Delivered) error {
			s := streamed{channel: d.Subject, seq: d.Seq, storedAt: d.StoredAt, raw: d.Body()}
			s.Event, _ = events.Decode(s.raw)
			if !yield(s, nil) {
				return errStop
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			yield(streamed{}, err)
		}
	}
}
