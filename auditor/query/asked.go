package query

import (
	"slices"
	"strings"
)

// outcomes are what a request can come to; other outcomes are verdicts. dryRun
// is what passed and would have been denied, were no role in dry run.
var outcomes = []string{"admitted", "completed", "denied", "failed", dryRun}

const dryRun = "dry_run"

// unrelated is how people ask for records without a verdict.
const unrelated = "unrelated"

// Verdicts, by the sides that have them.
var (
	ofRequests = []string{"awaiting", "missing", "not_logged"}
	ofRecords  = []string{"proxied", "console", "credentials", "forwarded", "exported", "token", "bypass", unrelated}
	ofPairs    = []string{"matched", "mismatched"}
)

func (f *Filter) checkOutcome() error {
	all := slices.Concat(outcomes, ofRequests, ofRecords, ofPairs)
	if f.Outcome != "" && !slices.Contains(all, f.Outcome) {
		return &BadInput{"outcome", "is none of " + strings.Join(all, ", ")}
	}
	if slices.Contains(ofRecords, f.Outcome) && (f.RequestID != "" || f.SessionID != "") { // none can match, be there ever so many
		return &BadInput{"outcome", f.Outcome + " is a verdict on CloudTrail's records, which tell of no request or session of postern's: ask by user and time, or for all records of a request by show ID"}
	}
	return nil
}

// asked is the filter over requests and that over records without a request; nil
// where none can match.
func (f *Filter) asked(known Operations) (requests, records *asked) {
	if !slices.Contains(ofRecords, f.Outcome) {
		requests = f.ofRequests()
	}
	if f.wantsRecords() {
		records = f.ofRecords(known)
	}
	return requests, records
}

// wantsRecords says whether records without a request can match.
func (f *Filter) wantsRecords() bool {
	return f.RequestID == "" && f.SessionID == "" && (f.Outcome == "" || slices.Contains(ofRecords, f.Outcome))
}

// sparse says whether an index on resources tells where there may be such calls.
func (f *Filter) sparse() bool { return f.Resource != "" && !strings.Contains(f.Resource, "*") }

// ofRequests: what a call's row says all else but the verdict, which comes in a row
// of its own until rows are merged.
func (f *Filter) ofRequests() *asked {
	call := f.call()
	q := &asked{where: *call.clone(), row: *call.clone(), whole: f.AWSRequestID != "" || f.SessionID != "" || f.RequestID != "", sparse: f.sparse()}
	hintPlace(&q.row, f.Resource)
	switch {
	case f.Outcome == "":
		q.row.add("outcome != ''")
	case f.Outcome == dryRun:
		q.where.add("rule != '' AND outcome != 'denied'")
		q.row.add("rule != '' AND outcome IN ('admitted', 'completed', 'failed')")
	case slices.Contains(outcomes, f.Outcome):
		q.where.add("outcome = ?", f.Outcome)
		q.row.add("outcome = ?", f.Outcome)
	case f.Outcome == "awaiting":
		q.where.add("verdict = ?", f.Outcome)
		q.row.add("outcome IN ('admitted', 'completed') AND verdict = ''")
		q.late, q.rough = true, true
		q.hourly = f.byHour("outcome IN ('admitted', 'completed') AND verdict = ''")
	default:
		q.where.add("verdict = ?", f.Outcome)
		q.of(f.Outcome, "outcome != ''", len(call.text) > 0, f.Outcome == "matched")
		// One that was admitted, too: what is known of it by its end may be in another row.
		q.apart = "outcome IN ('', 'admitted')"
		q.hourly = f.byHour("verdict = ?", f.Outcome)
	}
	return q
}

// of asks for calls with a verdict: by rows that have it where nothing else is asked,
// by what else is asked alone where most calls have the verdict, or an index finds them.
func (q *asked) of(verdict, there string, more, common bool) {
	switch {
	case !more:
		q.row = where{}
		q.row.add("verdict = ?", verdict)
	case common || q.whole:
		q.row.add(there)
		q.rough = !common
	default:
		q.row.add(there)
		q.verdict = verdict
	}
}

// byHour adds what counts by hour say of users and accounts. A verdict has neither
// until it is merged with its call.
func (f *Filter) byHour(condition string, args ...any) *where {
	w, of := &where{}, &where{}
	w.add(condition, args...)
	of.match("user", f.User)
	of.match("account", f.Account)
	if len(of.text) > 0 {
		w.add("outcome = '' OR "+of.String(), of.args...)
	}
	return w
}

func (f *Filter) call() *where {
	w := &where{}
	w.match("user", f.User)
	matchRole(w, "aws_role_arn", f.AWSRole)
	w.match("account", f.Account)
	if f.Service != "" {
		either(w, f.Service, "service", "signing_name")
	}
	if f.Action != "" {
		// An action by its IAM name, or by the operation that the request named.
		of, operation, ok := strings.Cut(f.Action, ":")
		if !ok {
			of, operation = "*", f.Action
		}
		byName, byOperation := &where{}, &where{}
		byName.match("action", f.Action)
		byOperation.match("operation", operation)
		if of != "*" {
			byOperation.match("service", of)
		}
		text, args := byName.String()+" OR "+byOperation.String(), append(byName.args, byOperation.args...)
		if ok || strings.Contains(f.Action, "*") { // what a call took besides has no operation
			besides := &where{}
			matchAny(besides, "also", f.Action)
			text, args = text+" OR "+besides.String(), append(args, besides.args...)
		}
		w.add(text, args...)
	}
	matchAny(w, "resources", f.Resource)
	if f.byAccessRequest {
		matchAny(w, "access_request_ids", f.RequestID)
	} else {
		w.match("request_id", f.RequestID)
	}
	w.match("aws_request_id", f.AWSRequestID)
	w.match("session_id", f.SessionID)
	w.match("if(source_identity != '', source_identity, role_session_name)", f.FederatedUser)
	return w
}

// ofRecords: as ofRequests.
func (f *Filter) ofRecords(known Operations) *asked {
	record := f.record(known)
	q := &asked{where: *record.clone(), row: *record.clone(), whole: f.AWSRequestID != "", sparse: f.sparse()}
	switch {
	case f.lent:
		either(&q.where, f.User, "federated_user", "lent_to")
		q.lent = f.User
	default:
		q.where.match("federated_user", f.User)
		q.row.match("federated_user", f.User)
	}
	hintPlace(&q.row, f.Resource)
	switch f.Outcome {
	case "":
	case unrelated: // most are, where much is not postern's: rows that say nothing, then merged
		q.where.add("verdict = ''")
		q.row.add("present AND verdict = ''")
		q.late, q.rough = true, true
		return q
	default:
		q.where.add("verdict = ?", f.Outcome)
		q.of(f.Outcome, "present", len(record.text) > 0 || f.User != "", false)
		q.apart = "NOT present"
		q.hourly = f.recordsByHour("verdict = ?", f.Outcome)
		return q
	}
	q.where.add("verdict NOT IN ('matched', 'mismatched')")
	q.row.add("present AND verdict NOT IN ('matched', 'mismatched')")
	q.late, q.rough = true, true
	return q
}

func (f *Filter) record(known Operations) *where {
	w := &where{}
	w.match("federated_user", f.FederatedUser)
	matchRole(w, "issuer_arn", f.AWSRole)
	if f.Account != "" {
		either(w, f.Account, "recipient_account_id", "identity_account_id")
	}
	if f.Service != "" {
		w.add(sourceLabel+" IN (?) OR "+sourceLabel+" LIKE ?", known.labels(f.Service), like(f.Service))
	}
	if f.Action != "" {
		known.records(w, f.Action)
	}
	matchAny(w, "resources", f.Resource)
	w.match("request_id", f.AWSRequestID)
	return w
}

// either adds that one of two columns has a value, with * as in match.
func either(w *where, value, column, other string) {
	a, b := &where{}, &where{}
	a.match(column, value)
	b.match(other, value)
	w.add(a.String()+" OR "+b.String(), append(a.args, b.args...)...)
}

// recordsByHour: as byHour.
func (f *Filter) recordsByHour(condition string, args ...any) *where {
	w, of := &where{}, &where{}
	w.add(condition, args...)
	of.match("federated_user", f.FederatedUser)
	if f.lent {
		either(of, f.User, "federated_user", "lent_to")
	} else {
		of.match("federated_user", f.User)
	}
	if len(of.text) > 0 {
		w.add("NOT present OR "+of.String(), of.args...)
	}
	return w
}
