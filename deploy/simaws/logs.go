package simaws

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/google/uuid"
)

// logGroups are CloudWatch Logs's log groups, kept in memory: a restart empties them.
type logGroups struct {
	mu    sync.Mutex
	all   map[string]*logGroup // by ARN
	woken chan struct{}        // closed and made anew when events arrive
}

type logGroup struct {
	name    string
	made    int64 // in milliseconds
	streams []string
	events  []logEvent
}

type logEvent struct {
	LogStreamName string `json:"logStreamName"`
	Timestamp     int64  `json:"timestamp"`
	Message       string `json:"message"`
	IngestionTime int64  `json:"ingestionTime"`
	EventID       string `json:"eventId,omitempty"`
	Group         string `json:"logGroupIdentifier,omitempty"`
}

func newLogGroups() *logGroups {
	return &logGroups{all: map[string]*logGroup{}, woken: make(chan struct{})}
}

type logsInput struct {
	LogGroupName, LogGroupIdentifier, LogStreamName string
	LogGroupNamePrefix, LogGroupNamePattern         string
	LogGroupIdentifiers, LogStreamNames             []string
	FilterPattern, LogEventFilterPattern, NextToken string
	StartTime, EndTime                              int64
	Limit                                           int
	LogEvents                                       []struct {
		Timestamp int64
		Message   string
	}
}

// serveLogs: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/
// Filter patterns are plain texts.
func (s *Sim) serveLogs(c *call) error {
	name, ok := strings.CutPrefix(c.r.Header.Get("X-Amz-Target"), "Logs_20140328.")
	if !ok {
		return s.serveUnknown(c)
	}
	c.event.source = "logs.amazonaws.com"
	c.event.nameIt(name)
	var in logsInput
	if err := json.Unmarshal(c.body, &in); err != nil {
		return failure(http.StatusBadRequest, "SerializationException", "the request body is not what "+name+" takes")
	}
	base := "arn:" + partitionOf(c.ep.region, "aws") + ":logs:" + c.ep.region + ":" + c.who.account + ":log-group:"
	arn := func(group string) string {
		if strings.HasPrefix(group, "arn:") {
			return strings.TrimSuffix(group, ":*")
		}
		return base + group
	}
	l := s.logs
	if name == "DescribeLogGroups" {
		if err := c.authorize("logs:"+name, base+":log-stream:"); err != nil {
			return err
		}
		l.mu.Lock()
		l.begin(base)
		out, err := l.describe(&in, base)
		l.mu.Unlock()
		if err != nil {
			return err
		}
		return c.json("1.1", out)
	}
	if len(in.LogGroupIdentifiers) == 0 {
		in.LogGroupIdentifiers = []string{in.LogGroupName + in.LogGroupIdentifier}
	}
	for i, group := range in.LogGroupIdentifiers {
		in.LogGroupIdentifiers[i] = arn(group)
		if err := c.authorize("logs:"+name, arn(group)); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begin(base)
	key := in.LogGroupIdentifiers[0]
	if name == "CreateLogGroup" {
		if l.all[key] != nil {
			return failure(http.StatusBadRequest, "ResourceAlreadyExistsException", "The specified log group already exists")
		}
		l.all[key] = &logGroup{name: in.LogGroupName, made: c.at.UnixMilli()}
		return c.json("1.1", map[string]any{})
	}
	for _, group := range in.LogGroupIdentifiers {
		if l.all[group] == nil {
			return failure(http.StatusBadRequest, "ResourceNotFoundException", "The specified log group does not exist.")
		}
	}
	g := l.all[key]
	switch name {
	case "CreateLogStream":
		g.streams = append(g.streams, in.LogStreamName)
		return c.json("1.1", map[string]any{})
	case "PutLogEvents":
		if !slices.Contains(g.streams, in.LogStreamName) {
			return failure(http.StatusBadRequest, "ResourceNotFoundException", "The specified log stream does not exist.")
		}
		for _, e := range in.LogEvents {
			g.events = append(g.events, logEvent{LogStreamName: in.LogStreamName, Timestamp: e.Timestamp, Message: e.Message,
				IngestionTime: c.at.UnixMilli(), EventID: uuid.NewString()})
		}
		close(l.woken)
		l.woken = make(chan struct{})
		return c.json("1.1", map[string]any{"nextSequenceToken": randomFrom("0123456789", 56)})
	case "FilterLogEvents":
		return c.json("1.1", g.filter(&in))
	case "StartLiveTail":
		return l.tail(c, &in)
	}
	return failure(http.StatusBadRequest, "UnknownOperationException", "The simulated AWS does not have logs:"+name+".")
}

// fits tells whether an event is of the streams and holds the text.
func (e *logEvent) fits(streams []string, text string) bool {
	return (len(streams) == 0 || slices.Contains(streams, e.LogStreamName)) && strings.Contains(e.Message, strings.Trim(text, `"`))
}

// filter gives a page of a group's events.
func (g *logGroup) filter(in *logsInput) map[string]any {
	from, _ := strconv.Atoi(in.NextToken)
	out, found := map[string]any{"searchedLogStreams": []string{}}, []logEvent{}
	for i := from; i < len(g.events); i++ {
		if in.Limit > 0 && len(found) == in.Limit {
			out["nextToken"] = strconv.Itoa(i)
			break
		}
		if e := g.events[i]; e.fits(in.LogStreamNames, in.FilterPattern) && e.Timestamp >= in.StartTime && (in.EndTime == 0 || e.Timestamp < in.EndTime) {
			found = append(found, e)
		}
	}
	out["events"] = found
	return out
}

// tail tells of events as they arrive, for as long as the caller listens; mu is
// held, but for the time that it waits.
func (l *logGroups) tail(c *call, in *logsInput) error {
	id := uuid.NewString()
	told := map[string]int{}
	for _, group := range in.LogGroupIdentifiers {
		told[group] = len(l.all[group].events)
	}
	if err := c.frame("initial-response", map[string]any{}); err != nil {
		return nil // the caller is gone
	}
	if err := c.frame("sessionStart", map[string]any{"requestId": c.requestID, "sessionId": id, "logGroupIdentifiers": in.LogGroupIdentifiers}); err != nil {
		return nil
	}
	for {
		results := []logEvent{}
		for _, group := range in.LogGroupIdentifiers {
			for _, e := range l.all[group].events[told[group]:] {
				if e.fits(in.LogStreamNames, in.LogEventFilterPattern) {
					e.EventID, e.Group = "", c.who.account+":"+l.all[group].name
					results = append(results, e)
				}
			}
			told[group] = len(l.all[group].events)
		}
		woken := l.woken
		l.mu.Unlock()
		var err error
		if len(results) > 0 {
			err = c.frame("sessionUpdate", map[string]any{"sessionMetadata": map[string]any{"sampled": false}, "sessionResults": results})
		}
		if err == nil {
			select {
			case <-woken:
			case <-c.r.Context().Done():
				err = c.r.Context().Err()
			}
		}
		l.mu.Lock()
		if err != nil {
			return nil
		}
	}
}
