package events

import (
	"bytes"
	"encoding/json"
	"hash/maphash"
	"strconv"
	"sync/atomic"
	"time"
)

// quickFields are payloads of which there are many: those of a proxy's traffic, of what
// CloudTrail says of it, and of who may do what. field reads the value of a member into
// its field; it says no to what it does not know, or what is written in any other way than
// Encode's, and encoding/json then reads the whole payload. A fuzz test holds the two
// together.
type quickFields interface {
	field(name []byte, s *scanner) bool
}

// quickPayload reads what encoding/json would, some five times as fast.
// Where shared is data once more, texts are parts of it.
func quickPayload(data []byte, shared string, into quickFields) bool {
	s := scanner{rest: data, shared: shared}
	return s.fields(into) && len(s.rest) == 0
}

// fields takes an object with a member at least.
func (s *scanner) fields(into quickFields) bool {
	if !s.take('{') {
		return false
	}
	for {
		name, ok := s.str()
		if !ok || !s.take(':') || !into.field(name, s) {
			return false
		}
		if !s.take(',') {
			return s.take('}')
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
		return s.common(&r.User)
	case "session_id":
		return s.common(&r.SessionID)
	case "access_request_ids":
		return s.texts(&r.AccessRequestIDs)
	case "app":
		return s.common(&r.App)
	case "aws_role_arn":
		return s.common(&r.AWSRoleARN)
	case "role_session_name":
		return s.common(&r.RoleSessionName)
	case "source_identity":
		return s.common(&r.SourceIdentity)
	case "access_key_id":
		return s.common(&r.AccessKeyID)
	case "account":
		return s.common(&r.Account)
	case "partition":
		return s.common(&r.Partition)
	case "region":
		return s.common(&r.Region)
	case "service":
		return s.common(&r.Service)
	case "signing_name":
		return s.common(&r.SigningName)
	case "operation":
		return s.common(&r.Operation)
	case "action":
		return s.common(&r.Action)
	case "also":
		return s.texts(&r.Also)
	case "access_level":
		return s.common(&r.AccessLevel)
	case "resources":
		return s.texts(&r.Resources)
	case "method":
		return s.common(&r.Method)
	case "host":
		return s.common(&r.Host)
	case "path":
		return s.text(&r.Path)
	case "client_addr":
		return s.text(&r.ClientAddr)
	case "user_agent":
		return s.common(&r.UserAgent)
	case "proxy":
		return s.common(&r.Proxy)
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
		return number(s, &e.Status)
	case "aws_request_id":
		return s.text(&e.AWSRequestID)
	case "aws_error_code":
		return s.text(&e.AWSErrorCode)
	case "request_bytes":
		return number(s, &e.RequestBytes)
	case "response_bytes":
		return number(s, &e.ResponseBytes)
	case "latency_us":
		return number(s, &e.LatencyMicros)
	case "duration_us":
		return number(s, &e.DurationMicros)
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
		return number(s, &e.RequestBytes)
	case "latency_us":
		return number(s, &e.LatencyMicros)
	}
	return e.AWSRequest.member(name, s)
}

func (e *VerdictReached) field(name []byte, s *scanner) bool {
	switch string(name) {
	case "request_id":
		return s.text(&e.RequestID)
	case "recipient_account_id":
		return s.common(&e.RecipientAccountID)
	case "event_id":
		return s.text(&e.EventID)
	case "request_at":
		return s.time(&e.RequestAt)
	case "event_time":
		return s.time(&e.EventTime)
	case "user":
		return s.common(&e.User)
	case "user_rule":
		return s.common(&e.UserRule)
	case "account":
		return s.common(&e.Account)
	case "verdict":
		return s.common(&e.Verdict)
	case "previous":
		return s.common(&e.Previous)
	case "rule":
		return s.common(&e.Rule)
	case "detail":
		return s.text(&e.Detail)
	case "at":
		return s.time(&e.At)
	}
	return false
}

func (e *CloudTrailRecordReceived) field(name []byte, s *scanner) bool {
	switch string(name) {
	case "recipient_account_id":
		return s.common(&e.RecipientAccountID)
	case "event_id":
		return s.text(&e.EventID)
	case "region":
		return s.common(&e.Region)
	case "event_source":
		return s.common(&e.EventSource)
	case "file":
		return s.common(&e.File)
	case "position":
		return number(s, &e.Position)
	case "record":
		b, ok := s.object()
		e.Record = b[:len(b):len(b)]
		return ok && json.Valid(b)
	}
	return false
}

// text takes a plain string.
func (s *scanner) text(into *string) bool {
	b, ok := s.str()
	if ok {
		*into = s.string(b)
	}
	return ok
}

// string is what str took last, as a string.
func (s *scanner) string(b []byte) string {
	if end := len(s.shared) - len(s.rest) - 1; end >= 0 { // before the quote
		return s.shared[end-len(b) : end]
	}
	return string(b)
}

// common takes a plain string that many payloads have in common, and holds it once.
func (s *scanner) common(into *string) bool {
	b, ok := s.str()
	switch {
	case !ok:
	case s.shared != "":
		*into = s.string(b)
	default:
		*into = common(b)
	}
	return ok
}

// recent are texts that were read last, by their hash.
var (
	recent [2048]atomic.Pointer[string]
	seed   = maphash.MakeSeed()
)

// common is b as a string: the one made before, if that was of late.
func common(b []byte) string {
	if len(b) > 256 {
		return string(b)
	}
	p := &recent[maphash.Bytes(seed, b)%uint64(len(recent))]
	if had := p.Load(); had != nil && *had == string(b) {
		return *had
	}
	s := string(b)
	p.Store(&s)
	return s
}

// texts takes an array of plain strings.
func (s *scanner) texts(into *[]string) bool {
	list := []string{}
	ok := s.array(func() bool {
		b, ok := s.str()
		list = append(list, s.string(b))
		return ok
	})
	if ok {
		*into = list
	}
	return ok
}

// structs takes an array of objects. When there was one before, encoding/json reads
// into what that left behind.
func structs[T any, P interface {
	*T
	quickFields
}](s *scanner, into *[]T) bool {
	if *into != nil {
		return false
	}
	list := []T{}
	ok := s.array(func() bool {
		list = append(list, *new(T))
		return s.fields(P(&list[len(list)-1]))
	})
	if ok {
		*into = list
	}
	return ok
}

// array takes an array of what element takes.
func (s *scanner) array(element func() bool) bool {
	if !s.take('[') {
		return false
	}
	if s.take(']') {
		return true
	}
	for element() {
		if !s.take(',') {
			return s.take(']')
		}
	}
	return false
}

// labels takes an object of plain strings. Members of one before would stay.
func (s *scanner) labels(into *map[string]string) bool {
	return members(s, into, s.text)
}

// traits takes an object of arrays of plain strings.
func (s *scanner) traits(into *map[string][]string) bool {
	return members(s, into, s.texts)
}

func members[T any](s *scanner, into *map[string]T, value func(*T) bool) bool {
	if *into != nil || !s.take('{') {
		return false
	}
	m := map[string]T{}
	for {
		var name string
		var v T
		if !s.text(&name) || !s.take(':') || !value(&v) {
			return false
		}
		m[name] = v
		if !s.take(',') {
			*into = m
			return s.take('}')
		}
	}
}

// number takes an integer, not a negative one, of at most 18 digits.
func number[T int | int64 | uint64](s *scanner, into *T) bool {
	n := 0
	var v int64
	for n < len(s.rest) && s.rest[n] >= '0' && s.rest[n] <= '9' {
		if n == 18 {
			return false
		}
		v = 10*v + int64(s.rest[n]-'0')
		n++
	}
	if n == 0 || s.rest[0] == '0' && n > 1 || int64(T(v)) != v {
		return false
	}
	*into, s.rest = T(v), s.rest[n:]
	return true
}

// numbers takes an array of integers.
func (s *scanner) numbers(into *[]int) bool {
	list := []int{}
	ok := s.array(func() bool {
		var n int
		ok := number(s, &n)
		list = append(list, n)
		return ok
	})
	if ok {
		*into = list
	}
	return ok
}

// flag takes true or false.
func (s *scanner) flag(into *bool) bool {
	for _, v := range []bool{true, false} {
		if rest, ok := bytes.CutPrefix(s.rest, strconv.AppendBool(nil, v)); ok {
			*into, s.rest = v, rest
			return true
		}
	}
	return false
}

// time takes a time as time.Time reads it.
func (s *scanner) time(into *time.Time) bool {
	b, ok := s.str()
	return ok && into.UnmarshalText(b) == nil
}

// moment takes a time that may be left out.
func (s *scanner) moment(into **time.Time) bool {
	var t time.Time
	ok := s.time(&t)
	if ok {
		*into = &t
	}
	return ok
}
