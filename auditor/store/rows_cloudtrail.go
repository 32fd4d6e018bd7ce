package store

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/posternhq/postern/auditor/cloudtrail"
	"github.com/posternhq/postern/events"
)

const (
	insertRecord = `INSERT INTO cloudtrail_rows (event_time, recipient_account_id, event_id, event_version, event_type, event_category, event_source, event_name, aws_region, request_id, shared_event_id, identity_type, principal_id, identity_arn, identity_account_id, access_key_id, user_name, invoked_by, issuer_arn, role_session_name, source_identity, federated_user, federated_rule, source_ip_address, user_agent, error_code, error_message, read_only, management_event, from_console, vpc_endpoint_id, resources, issued_access_key_id, file, record, present)`

	insertRecordVerdict  = `INSERT INTO cloudtrail_rows (event_time, recipient_account_id, event_id, verdict, judged, verdict_at, postern_request_id, postern_received_at, lent_to)`
	insertRequestVerdict = `INSERT INTO request_rows (received_at, request_id, verdict, judged, verdict_at, cloudtrail_account, cloudtrail_event_id, cloudtrail_time)`

	insertFindingOpened   = `INSERT INTO finding_rows (finding_id, kind, severity, user, account, request_id, recipient_account_id, event_id, summary, opened_at)`
	insertFindingResolved = `INSERT INTO finding_rows (finding_id, kind, resolved_at, resolve_reason)`
)

func recordValues(d *events.CloudTrailRecordReceived, r *cloudtrail.Record, whole []byte) []any {
	i := &r.Identity
	user, rule := i.User()
	_, _, sessionName, _ := i.RoleSession()
	source, name := string(r.EventSource), string(r.EventName)
	if r.EventCategory == "Insight" && name == "" {
		source, name = insight(whole)
	}
	return []any{
		r.EventTime, d.RecipientAccountID, d.EventID, string(r.EventVersion), string(r.EventType), string(r.EventCategory),
		source, name, string(r.AWSRegion), string(r.RequestID), string(r.SharedEventID),
		string(i.Type), string(i.PrincipalID), string(i.ARN), string(i.AccountID), string(i.AccessKeyID), string(i.UserName),
		string(i.InvokedBy), string(i.Session.Issuer.ARN), sessionName, string(i.Session.SourceIdentity), user, rule,
		string(r.SourceIPAddress), string(r.UserAgent), string(r.ErrorCode), string(r.ErrorMessage), bool(r.ReadOnly),
		bool(r.ManagementEvent), bool(r.FromConsole), string(r.VPCEndpointID), list(r.Resources), r.Response.IssuedAccessKeyID,
		d.File, string(whole), true,
	}
}

// insight is what an Insights event is about, which it does not say where other
// events do:
// https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-insights-fields-trails.html
func insight(whole []byte) (source, name string) {
	var r struct {
		InsightDetails struct {
			EventSource string `json:"eventSource"`
			EventName   string `json:"eventName"`
		} `json:"insightDetails"`
	}
	_ = json.Unmarshal(whole, &r) // it was read as a record: at worst it says nothing
	return r.InsightDetails.EventSource, r.InsightDetails.EventName
}

// Ranks order verdicts as the tables' Enum8 do: the higher one replaces the
// lower one, in whatever order they arrive.
func rank(verdict string) int {
	switch verdict {
	case events.Missing, events.Bypass:
		return 1
	case events.Proxied, events.NotLogged:
		return 2
	case events.Console:
		return 3
	case events.Forwarded:
		return 4
	case events.Credentials:
		return 5
	case events.Exported:
		return 6
	case events.ByToken:
		return 7
	case events.Mismatched:
		return 8
	case events.Matched:
		return 9
	}
	return 0
}

// addVerdict writes a verdict to the side or sides that it is about. A verdict
// that this version doesn't know stays in the ledger alone.
func addVerdict(d *events.VerdictReached, add func(string, ...any) error) error {
	n := rank(d.Verdict)
	if n == 0 {
		return nil
	}
	pair := d.Verdict == events.Matched || d.Verdict == events.Mismatched
	judged := fmt.Sprintf("%d\t%s\t%s", n, field(d.Rule), field(d.Detail))
	if d.RequestID != "" && (pair || d.Verdict == events.Missing || d.Verdict == events.NotLogged) {
		of := judged
		if pair && d.Previous == events.Mismatched { // paired once more, so the columns may be of either pair
			of += fmt.Sprintf("\t%s\t%s\t%d", field(d.RecipientAccountID), field(d.EventID), d.EventTime.UnixMicro())
		}
		err := add(insertRequestVerdict, micros(d.RequestAt), d.RequestID, d.Verdict, of, micros(d.At),
			d.RecipientAccountID, d.EventID, micros(d.EventTime))
		if err != nil {
			return err
		}
	}
	verdict := d.Verdict
	if d.Verdict == events.Proxied && d.Previous == events.Mismatched { // it was in the pair's place: above what it was
		verdict = events.Matched
		judged = fmt.Sprintf("%d\t%s\t%s", rank(verdict), field(d.Rule), field(d.Detail))
	}
	if d.EventID != "" && d.Verdict != events.Missing {
		lentTo := d.User
		if d.UserRule == "" { // the record says it
			lentTo = ""
		}
		return add(insertRecordVerdict, micros(d.EventTime), d.RecipientAccountID, d.EventID, verdict, judged, micros(d.At),
			d.RequestID, micros(d.RequestAt), lentTo)
	}
	return nil
}

// field keeps the separator of the judged column out of its parts.
func field(s string) string { return strings.ReplaceAll(s, "\t", " ") }
