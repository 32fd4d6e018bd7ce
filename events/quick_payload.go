package events

import (
	"strconv"
	"time"
)

// quickFields are payloads that a proxy's traffic consists of. field reads the
// value of a member into its field; it says no to what it does not know, or what
// is written in any other way than Encode's, and encoding/json then reads the
// whole payload. A fuzz test holds the two together.
type quickFields interface {
	field(name []byte, s *scanner) bool
}

// quickPayload reads what encoding/json would, some five times as fast.
func quickPayload(data []byte, into quickFields) bool {
	s := scanner{data}
	if !s.take('{') {
		return false
	}
	for {
		name, ok := s.str()
		if !ok || !s.take(':') || !into.field(name, &s) {
			return false
		}
		if !s.take(',') {
			return s.take('}') && len(s.rest) == 0
		}
	}
}

// member has a name of its own, so that payloads with an AWSRequest in them are
// read the quick way only where they say so.
func (r *AWSRequest) member(name []byte, s *scanner) bool {
	switch string(name) {
	case "request_id":
		return s.text(&r.RequestID)
	case "received_at":
		return s.time(&r.ReceivedAt)
	case "user":
		return s.text(&r.User)
	case "session_id":
		return s.text(&r.SessionID)
	case "access_request_ids":
		return s.texts(&r.AccessRequestIDs)
	case "app":
		return s.text(&r.App)
	case "aws_role_arn":
		return s.text(&r.AWSRoleARN)
	case "role_session_name":
		return s.text(&r.RoleSessionName)
	case "source_identity":
		return s.text(&r.SourceIdentity)
	case "access_key_id":
		return s.text(&r.AccessKeyID)
	case "account":
		return s.text(&r.Account)
	case "partition":
		return s.text(&r.Partition)
	case "region":
		return s.text(&r.Region)
	case "service":
		return s.text(&r.Service)
	case "signing_name":
		return s.text(&r.SigningName)
	case "operation":
		return s.text(&r.Operation)
	case "action":
		return s.text(&r.Action)
	case "access_level":
		return s.text(&r.AccessLevel)
	case "resources":
		return s.texts(&r.Resources)
	case "method":
		return s.text(&r.Method)
	case "host":
		return s.text(&r.Host)
	case "path":
		return s.text(&r.Path)
	case "client_addr":
		return s.text(&r.ClientAddr)
	case "user_agent":
		return s.text(&r.UserAgent)
	case "proxy":
		return s.text(&r.Proxy)
	}
	return false
}

func (e *AWSRequestAdmitted) field(name []byte, s *scanner) bool {
	if string(name) == "role" {
		return s.text(&e.Role)
	}
	return e.AWSRequest.member(name, s)
}

func (e *AWSRequestCompleted) field(name []byte, s *scanner) bool {
	switch string(name) {
	case "status":
		var n int64
		ok := s.number(&n)
		e.Status = int(n)
		return ok && int64(e.Status) == n
	case "aws_request_id":
		return s.text(&e.AWSRequestID)
	case "aws_error_code":
		return s.text(&e.AWSErrorCode)
	case "request_bytes":
		return s.number(&e.RequestBytes)
	case "response_bytes":
		return s.number(&e.ResponseBytes)
	case "latency_us":
		return s.number(&e.LatencyMicros)
	case "duration_us":
		return s.number(&e.DurationMicros)
	case "interrupted":
		return s.text(&e.Interrupted)
	case "interrupted_detail":
		return s.text(&e.InterruptedDetail)
	}
	return e.AWSRequest.member(name, s)
}

func (e *AWSRequestDenied) field(name []byte, s *scanner) bool {
	switch string(name) {
	case "code":
		return s.text(&e.Code)
	case "cause":
		return s.text(&e.Cause)
	case "reason":
		return s.text(&e.Reason)
	case "rule":
		return s.text(&e.Rule)
	case "lock_id":
		return s.text(&e.LockID)
	}
	return e.AWSRequest.member(name, s)
}

func (e *AWSRequestFailed) field(name []byte, s *scanner) bool {
	switch string(name) {
	case "stage":
		return s.text(&e.Stage)
	case "code":
		return s.text(&e.Code)
	case "reason":
		return s.text(&e.Reason)
	case "request_bytes":
		return s.number(&e.RequestBytes)
	case "latency_us":
		return s.number(&e.LatencyMicros)
	}
	return e.AWSRequest.member(name, s)
}

func (e *VerdictReached) field(name []byte, s *scanner) bool {
	switch string(name) {
	case "request_id":
		return s.text(&e.RequestID)
	case "recipient_account_id":
		return s.text(&e.RecipientAccountID)
	case "event_id":
		return s.text(&e.EventID)
	case "request_at":
		return s.time(&e.RequestAt)
	case "event_time":
		return s.time(&e.EventTime)
	case "user":
		return s.text(&e.User)
	case "account":
		return s.text(&e.Account)
	case "verdict":
		return s.text(&e.Verdict)
	case "previous":
		return s.text(&e.Previous)
	case "rule":
		return s.text(&e.Rule)
	case "detail":
		return s.text(&e.Detail)
	case "at":
		return s.time(&e.At)
	}
	return false
}

// text takes a plain string.
func (s *scanner) text(into *string) bool {
	b, ok := s.str()
	if ok {
		*into = string(b)
	}
	return ok
}

// texts takes an array of plain strings.
func (s *scanner) texts(into *[]string) bool {
	if !s.take('[') {
		return false
	}
	list := []string{}
	for !s.take(']') {
		if len(list) > 0 && !s.take(',') {
			return false
		}
		b, ok := s.str()
		if !ok {
			return false
		}
		list = append(list, string(b))
	}
	*into = list
	return true
}

// number takes an integer of at most 18 digits.
func (s *scanner) number(into *int64) bool {
	n := 0
	for n < len(s.rest) && (s.rest[n] >= '0' && s.rest[n] <= '9' || n == 0 && s.rest[n] == '-') {
		n++
	}
	digits := s.rest[:n]
	if n == 0 || n > 18 || digits[0] == '-' || digits[0] == '0' && n > 1 {
		return false
	}
	v, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil {
		return false
	}
	*into, s.rest = v, s.rest[n:]
	return true
}

// time takes a time as time.Time reads it.
func (s *scanner) time(into *time.Time) bool {
	b, ok := s.str()
	return ok && into.UnmarshalText(b) == nil
}
