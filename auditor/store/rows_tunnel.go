package store

import (
	"time"

	"github.com/posternhq/postern/events"
)

const insertTunnel = `INSERT INTO tunnel_rows (opened_at, tunnel_id, closed_at, user, session_id, access_request_ids, app, aws_role_arn, role_session_name, account, region, service, operation, host, client_addr, user_agent, proxy, role, start_request_id, start_operation, sent_bytes, received_bytes, duration_us, interrupted, interrupted_detail, rule)`

// tunnelOpened is the row of a tunnel as far as its beginning tells.
func tunnelOpened(d *events.AWSTunnelOpened) []any {
	return tunnelValues(&d.AWSRequest, time.Time{}, ruleOf(d.DryRun), d.Role, d.StartRequestID, d.StartOperation, &events.AWSTunnelClosed{})
}

// tunnelClosed is the row as far as its end tells, which is all but role and rule.
func tunnelClosed(d *events.AWSTunnelClosed) []any {
	return tunnelValues(&d.AWSRequest, d.ClosedAt, "", "", d.StartRequestID, d.StartOperation, d)
}

func tunnelValues(a *events.AWSRequest, closed time.Time, rule, role, start, operation string, d *events.AWSTunnelClosed) []any {
	return []any{
		micros(a.ReceivedAt), a.RequestID, micros(closed), a.User, a.SessionID, list(a.AccessRequestIDs), a.App, a.AWSRoleARN,
		a.RoleSessionName, a.Account, a.Region, a.Service, a.Operation, a.Host, a.ClientAddr, a.UserAgent, a.Proxy, role,
		start, operation, d.SentBytes, d.ReceivedBytes, d.DurationMicros, d.Interrupted, d.InterruptedDetail, rule,
	}
}
