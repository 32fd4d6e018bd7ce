package correlate

import (
	"fmt"
	"strings"

	"github.com/posternhq/postern/events"
)

// join makes a pair, matched or mismatched.
func (s *State) join(req *request, rec *record, rule string) {
	wrong := disagreements(req, rec)
	v := s.verdict(req, rec, events.Matched, rule)
	v.Previous = req.verdict
	if v.Previous == "" {
		v.Previous = rec.verdict
	}
	j := Judgement{}
	if req.verdict == events.Mismatched {
		j.Resolved = append(j.Resolved, s.resolved("mismatch", req, rec, "its own CloudTrail record came late"))
	}
	if len(wrong) > 0 {
		v.Verdict, v.Detail = events.Mismatched, strings.Join(wrong, "; ")
		j.Opened = append(j.Opened, *s.finding("mismatch", "high", req, rec, fmt.Sprintf("CloudTrail and postern disagree about a %s call of %s: %s", label(req), req.User, v.Detail)))
	}
	if req.verdict == events.Missing {
		j.Resolved = append(j.Resolved, s.resolved("missing", req, rec, "its CloudTrail record came late"))
	}
	if rec.verdict == events.Bypass && rec.Rule != ruleShared {
		j.Resolved = append(j.Resolved, s.resolved(rec.bypassKind(), req, rec, "the request that made it came late"))
	}
	s.takeBack(rec)
	j.Verdict, req.refused = v, rec.Refused && len(wrong) == 0 // of another call it says nothing of this one
	j.Opened = append(j.Opened, s.lateRequest(req, rec)...)
	s.out = append(s.out, j)
	s.unindex(req)
	others := remove(s.byReq, rec.RequestID, rec)
	s.settle(req)
	if len(wrong) == 0 {
		s.scope.role(rec.RoleID, req.RoleARN)
	}
	fresh := rec.verdict == ""
	req.verdict, rec.verdict, req.pair, req.shared = v.Verdict, v.Verdict, rec.ID(), strings.Clone(rec.SharedEventID)
	req.wrong = nil
	if len(wrong) > 0 {
		req.wrong = &wrongPair{rec.EventTime, ofAnother(v.Detail)}
	}
	if fresh {
		s.remember(rec)
	}
	req.Resources, rec.Resources = nil, nil
	if req.AWSRequestID == "" && rec.RequestID != "" { // now it is known
		req.AWSRequestID = strings.Clone(rec.RequestID)
		s.link(req)
	}
	for other := range others { // what else was taken for a bypass
		if rec.RequestID != "" && other.verdict == events.Bypass && guard(req, other) {
			s.byRequestID(req, other)
		}
	}
}

// pairAgain gives a request its own record in place of one of another call.
func (s *State) pairAgain(req *request, rec *record) {
	v := s.verdict(req, nil, events.Proxied, ruleSame)
	v.Previous, v.Detail = events.Mismatched, oneMore
	v.RecipientAccountID, v.EventID, v.EventTime = req.pair.Account, req.pair.EventID, req.wrong.at
	// Said first: once the request is matched nobody asks about that record any more, and the
	// two may be parted.
	s.out = append(s.out, Judgement{Verdict: v})
	s.join(req, rec, "request_id")
}

// ofAnother says of a mismatch's detail that the record is of another call, by the same
// caller: none of who called is in it.
func ofAnother(detail string) bool {
	if detail == "" {
		return false
	}
	for part := range strings.SplitSeq(detail, "; ") {
		if !strings.HasPrefix(part, "service: ") && !strings.HasPrefix(part, "operation: ") {
			return false
		}
	}
	return true
}

// disagreements compares the two sides of a pair.
func disagreements(req *request, rec *record) []string {
	var out []string
	differ := func(what, ours, theirs string) {
		if !agree(ours, theirs) {
			out = append(out, fmt.Sprintf("%s: postern %s, cloudtrail %s", what, ours, theirs))
		}
	}
	differ("session name", req.SessionName, rec.SessionName)
	if rec.RoleARN != "" {
		differ("role", req.RoleARN, rec.RoleARN)
	} else if rec.RoleName != "" {
		differ("role", roleName(req.RoleARN), rec.RoleName)
	}
	differ("source identity", req.SourceIdentity, rec.SourceIdentity)
	if req.Service != "" && rec.EventSource != "" && !SameService(req.Service, req.SigningName, rec.EventSource) {
		differ("service", req.Service, rec.EventSource)
	}
	if req.Operation != "" && rec.EventName != "" && !SameName(req.Service, req.Operation, rec.EventSource, rec.EventName) {
		differ("operation", req.Operation, rec.EventName)
	}
	return out
}

func (s *State) missing(req *request) {
	v := s.verdict(req, nil, events.Missing, "overdue")
	severity := "medium"
	switch {
	case req.Outcome == InFlight:
		v.Detail = "no end was recorded either: the proxy may have stopped before the request was forwarded"
	case DataEvent(req.Service, req.Operation):
		severity = "low"
		v.Detail = "a data event: the trail may not log data events of this resource"
	}
	summary := fmt.Sprintf("no CloudTrail record of a %s call of %s within %s", label(req), req.User, s.c.TrailDelay)
	if v.Detail != "" {
		summary += " (" + v.Detail + ")"
	}
	j := Judgement{Verdict: v, Opened: []events.FindingOpened{*s.finding("missing", severity, req, nil, summary)}}
	switch whole := req.whole(); {
	case !logged(whole.Service, whole.Operation):
		v.Verdict, v.Rule, v.Detail = events.NotLogged, "never_logged", "CloudTrail logs no such calls"
	case s.unlogged(&whole):
		v.Verdict, v.Rule, v.Detail = events.NotLogged, "selectors", "no trail of the account selects it"
	}
	if v.Verdict == events.NotLogged {
		j.Opened = nil
	}
	j.Opened = append(j.Opened, s.lateRequest(req, nil)...)
	s.out = append(s.out, j)
	req.verdict = v.Verdict
	s.settle(req) // can still be paired until it is forgotten
}

func (s *State) bypass(rec *record) {
	v := s.verdict(nil, rec, events.Bypass, "no_request")
	if !s.scope.lent(&rec.Record) {
		v.Rule = ruleUnknown
	}
	rec.Rule = v.Rule
	who, as := s.callerOf(rec)
	v.Detail = fmt.Sprintf("%s of %s as %s, not through postern", rec.EventName, rec.EventSource, who)
	rec.verdict = events.Bypass
	summary := fmt.Sprintf("%s called %s of %s around postern, %s", who, rec.EventName, rec.EventSource, as)
	if rec.Rule == ruleUnknown {
		summary += ", whom postern doesn't know, under a role that it lends"
	}
	opened := []events.FindingOpened{*s.finding(rec.bypassKind(), "critical", nil, rec, summary)}
	s.out = append(s.out, Judgement{Verdict: v, Opened: append(opened, s.lateRecord(rec)...)})
	s.remember(rec)
	s.passOn(rec)
}

// callerOf is who made a call and as whom, in words.
func (s *State) callerOf(rec *record) (who, as string) {
	who, _ = s.scope.userOf(&rec.Record)
	role, session := rec.RoleName, rec.SessionName
	if c, ok := s.scope.keys[rec.AccessKeyID]; ok && role == "" && session == "" {
		role, session = roleName(c.RoleARN), c.SessionName
	}
	if who == "" {
		who = session
	}
	switch {
	case role != "":
		return who, "as " + role + "/" + session
	case session != "":
		return who, "as " + session + " of account " + rec.IdentityAccount
	}
	return who, "with key " + rec.AccessKeyID
}

// judgeRecord settles a record that needs no request of its own; req is the
// request it belongs to, if any.
func (s *State) judgeRecord(rec *record, verdict, rule, detail string, req *request) {
	v := s.verdict(req, rec, verdict, rule)
	v.Detail, v.Previous = detail, rec.verdict
	j := Judgement{Verdict: v}
	rec.verdict = verdict
	switch {
	case v.Previous != events.Bypass:
		s.remember(rec)
	case rec.Rule != ruleShared: // else the finding is about the other account's record
		j.Resolved = append(j.Resolved, s.resolved(rec.bypassKind(), req, rec, detail))
	}
	j.Opened = s.lateRecord(rec)
	s.out = append(s.out, j)
	if settled(verdict) {
		remove(s.byReq, rec.RequestID, rec)
	}
	if verdict != events.Exported && verdict != events.Bypass {
		s.takeBack(rec)
	}
	s.passOn(rec)
}

// unexplained settles a record under an identity of ours that no request made.
func (s *State) unexplained(rec *record) {
	if s.follow(rec) {
		return
	}
	if t, ok := s.scope.tokenOf(&rec.Record); ok {
		s.judgeRecord(rec, events.ByToken, t.Kind, "made with what postern signed for "+t.User+" as "+t.RequestID, nil)
		return
	}
	if c, ok := s.scope.keys[rec.AccessKeyID]; ok && c.HandedOut && rec.AccessKeyID != "" {
		s.exported(rec)
		return
	}
	if c, ok := s.scope.handedOut(&rec.Record); ok {
		verdict := events.Exported
		if !c.HandedOut {
			verdict = events.Console
		}
		s.judgeRecord(rec, verdict, "identity_handed_out", "a record without the key, while "+c.User+" held the identity", nil)
		return
	}
	s.bypass(rec)
}

// Kinds of findings about a bypass, and the rule of its verdict by which they
// are told apart.
const (
	bypassFinding  = "bypass"
	unknownFinding = "unknown_identity"
	ruleUnknown    = "unknown_identity"
)

func (r *record) bypassKind() string {
	if r.Rule == ruleUnknown {
		return unknownFinding
	}
	return bypassFinding
}

// drop forgets a record that is none of ours.
func (s *State) drop(rec *record) {
	remove(s.byReq, rec.RequestID, rec)
	delete(s.records, rec.ID())
}

func (s *State) verdict(req *request, rec *record, verdict, rule string) *events.VerdictReached {
	v := &events.VerdictReached{Verdict: verdict, Rule: rule, At: s.now}
	if req != nil {
		v.RequestID, v.RequestAt, v.User, v.Account = req.ID, req.ReceivedAt, req.User, req.Account
	}
	if rec != nil {
		v.RecipientAccountID, v.EventID, v.EventTime = rec.Account, rec.EventID, rec.EventTime
		if req == nil {
			v.User, v.UserRule = s.scope.userOf(&rec.Record)
			v.Account = rec.IdentityAccount
		} else if req.User != rec.User {
			v.UserRule = "request"
		}
	}
	return v
}

func (s *State) finding(kind, severity string, req *request, rec *record, summary string) *events.FindingOpened {
	f := &events.FindingOpened{Kind: kind, Severity: severity, Summary: summary, OpenedAt: s.now}
	var id RecordID
	if rec != nil {
		id = rec.ID()
		f.RecipientAccountID, f.EventID, f.Account = rec.Account, rec.EventID, rec.IdentityAccount
		f.User, _ = s.scope.userOf(&rec.Record)
	}
	if req != nil {
		f.RequestID, f.User, f.Account = req.ID, req.User, req.Account
	}
	f.FindingID = FindingID(kind, f.RequestID, id)
	return f
}

func (s *State) resolved(kind string, req *request, rec *record, reason string) events.FindingResolved {
	requestID := ""
	if req != nil {
		requestID = req.ID
	}
	return events.FindingResolved{FindingID: FindingID(kind, requestID, rec.ID()), Kind: kind, Reason: reason, ResolvedAt: s.now}
}

func label(req *request) string {
	if req.Operation == "" {
		return req.Service
	}
	return req.Service + ":" + req.Operation
}
