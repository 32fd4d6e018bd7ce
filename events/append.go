package events

import (
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
)

// appender is a payload that writes its own JSON: those of which each AWS request
// makes one. It must be what [json.Marshal] makes of it, which a test compares
// field by field.
type appender interface {
	appendJSON(b []byte) ([]byte, error)
}

// appendEvent writes the structured JSON form of a CloudEvent
// (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md).
func appendEvent(b []byte, e *Event) ([]byte, error) {
	t := e.Data.Type()
	o := object{b: append(b, '{')}
	o.str("specversion", cloudevents.CloudEventsVersionV1)
	o.str("id", e.ID)
	o.str("source", e.Source)
	o.str("type", string(t))
	o.str("subject", e.Data.Thing())
	o.time("time", e.Time.UTC())
	o.str("datacontenttype", cloudevents.ApplicationJSON)
	o.str("dataschema", t.SchemaURI())
	o.optional("correlationid", e.CorrelationID)
	o.optional("causationid", e.CausationID)
	if e.Sequence != 0 {
		o.str("sequence", FormatSequence(e.Sequence))
	}
	o.key("data")
	if a, ok := e.Data.(appender); ok && o.err == nil {
		o.b, o.err = a.appendJSON(o.b)
	} else {
		o.marshal(e.Data)
	}
	return append(o.b, '}'), o.err
}

func (e *AWSRequestAdmitted) appendJSON(b []byte) ([]byte, error) {
	o := object{b: append(b, '{')}
	o.request(&e.AWSRequest)
	o.optional("role", e.Role)
	if e.DryRun != nil {
		o.key("dry_run")
		o.marshal(e.DryRun)
	}
	if len(e.Parameters) > 0 {
		o.key("parameters")
		o.marshal(e.Parameters)
	}
	return append(o.b, '}'), o.err
}

func (e *AWSRequestCompleted) appendJSON(b []byte) ([]byte, error) {
	o := object{b: append(b, '{')}
	o.request(&e.AWSRequest)
	o.int("status", int64(e.Status))
	o.optional("aws_request_id", e.AWSRequestID)
	o.optional("aws_error_code", e.AWSErrorCode)
	o.int("request_bytes", e.RequestBytes)
	o.int("response_bytes", e.ResponseBytes)
	o.int("latency_us", e.LatencyMicros)
	o.int("duration_us", e.DurationMicros)
	o.optional("interrupted", e.Interrupted)
	o.optional("interrupted_detail", e.InterruptedDetail)
	return append(o.b, '}'), o.err
}

func (e *VerdictReached) appendJSON(b []byte) ([]byte, error) {
	o := object{b: append(b, '{')}
	o.optional("request_id", e.RequestID)
	o.optional("recipient_account_id", e.RecipientAccountID)
	o.optional("event_id", e.EventID)
	o.optionalTime("request_at", e.RequestAt)
	o.optionalTime("event_time", e.EventTime)
	o.optional("user", e.User)
	o.optional("user_rule", e.UserRule)
	o.optional("account", e.Account)
	o.str("verdict", e.Verdict)
	o.optional("previous", e.Previous)
	o.optional("rule", e.Rule)
	o.optional("detail", e.Detail)
	o.time("at", e.At)
	return append(o.b, '}'), o.err
}

func (o *object) request(r *AWSRequest) {
	o.str("request_id", r.RequestID)
	o.time("received_at", r.ReceivedAt)
	o.str("user", r.User)
	o.optional("session_id", r.SessionID)
	o.list("access_request_ids", r.AccessRequestIDs)
	o.optional("app", r.App)
	o.optional("aws_role_arn", r.AWSRoleARN)
	o.optional("role_session_name", r.RoleSessionName)
	o.optional("source_identity", r.SourceIdentity)
	o.optional("access_key_id", r.AccessKeyID)
	o.optional("account", r.Account)
	o.optional("partition", r.Partition)
	o.optional("region", r.Region)
	o.optional("service", r.Service)
	o.optional("signing_name", r.SigningName)
	o.optional("operation", r.Operation)
	o.optional("action", r.Action)
	o.list("also", r.Also)
	o.optional("access_level", r.AccessLevel)
	o.list("resources", r.Resources)
	o.str("method", r.Method)
	o.str("host", r.Host)
	o.str("path", r.Path)
	o.optional("client_addr", r.ClientAddr)
	o.optional("user_agent", r.UserAgent)
	o.str("proxy", r.Proxy)
}

// object is a JSON object being written, after its brace. Names need no escapes.
type object struct {
	b   []byte
	err error // the first
}

func (o *object) key(name string) {
	if o.b[len(o.b)-1] != '{' {
		o.b = append(o.b, ',')
	}
	o.b = append(o.b, '"')
	o.b = append(o.b, name...)
	o.b = append(o.b, '"', ':')
}

func (o *object) str(name, v string) {
	o.key(name)
	o.text(v)
}

// optional leaves out what is empty.
func (o *object) optional(name, v string) {
	if v != "" {
		o.str(name, v)
	}
}

func (o *object) int(name string, v int64) {
	o.key(name)
	o.b = strconv.AppendInt(o.b, v, 10)
}

func (o *object) time(name string, t time.Time) {
	o.key(name)
	o.b = append(o.b, '"')
	var err error
	if o.b, err = t.AppendText(o.b); err != nil && o.err == nil {
		o.err = err
	}
	o.b = append(o.b, '"')
}

// optionalTime leaves out the zero time.
func (o *object) optionalTime(name string, t time.Time) {
	if !t.IsZero() {
		o.time(name, t)
	}
}

func (o *object) list(name string, v []string) {
	if len(v) == 0 {
		return
	}
	o.key(name)
	o.b = append(o.b, '[')
	for i, s := range v {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		o.text(s)
	}
	o.b = append(o.b, ']')
}

// plain are the bytes that encoding/json writes as they are.
var plain = func() (as [256]bool) {
	for c := byte(' '); c < utf8.RuneSelf; c++ {
		as[c] = c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
	}
	return as
}()

// text writes a string. The few with something to escape are left to
// encoding/json.
func (o *object) text(s string) {
	for i := range len(s) {
		if !plain[s[i]] {
			o.marshal(s)
			return
		}
	}
	o.b = append(o.b, '"')
	o.b = append(o.b, s...)
	o.b = append(o.b, '"')
}

func (o *object) marshal(v any) {
	b, err := json.Marshal(v)
	if err != nil && o.err == nil {
		o.err = err
	}
	o.b = append(o.b, b...)
}
