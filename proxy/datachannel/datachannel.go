// Package datachannel knows what sets Session Manager's data channels apart
// from AWS's APIs, for the helper and the proxy alike: the hosts they are on,
// the calls they follow from, and which call a channel belongs to.
//
// A client (session-manager-plugin) takes StreamUrl and TokenValue from the
// answer of a call and opens a WebSocket there. It believes the system's
// certificate authorities only and brings the token in its first frame, so
// neither can postern end its TLS nor does the request name anybody
// (https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_StartSession.html).
package datachannel

import (
	"sync"
	"time"

	"github.com/posternhq/postern/proxy/awsreq"
)

// What opening a data channel is in AWS's terms
// (https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonmessagegatewayservice.html).
const (
	Service     = "ssmmessages"
	Operation   = "OpenDataChannel"
	Action      = "ssmmessages:OpenDataChannel"
	AccessLevel = "Write"
)

// Window is for how long after a call a channel may be opened for it. A client
// that has lost its channel calls ssm:ResumeSession, which begins a new one.
const Window = 10 * time.Minute

// Is tells the hosts of data channels, in any partition and form.
func Is(h *awsreq.Host) bool {
	return h.Endpoint == Service && h.Label == "" && h.Region != ""
}

// Begins tells the calls whose answer names a data channel.
func Begins(service, operation string) bool {
	switch service {
	case "ssm":
		return operation == "StartSession" || operation == "ResumeSession"
	case "ecs":
		return operation == "ExecuteCommand"
	}
	return false
}

// perKey bounds what is remembered under one key.
const perKey = 256

// Starts remembers calls that begin channels, so that a channel finds its own.
// The zero value is ready; it is safe for concurrent use. What is older than
// Window is forgotten.
type Starts[K comparable, V any] struct {
	mu    sync.Mutex
	byKey map[K][]start[V] // oldest first
	swept time.Time
}

type start[V any] struct {
	value V
	at    time.Time
	taken bool
}

// Add remembers a call.
func (s *Starts[K, V]) Add(key K, value V, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byKey == nil {
		s.byKey = map[K][]start[V]{}
	}
	if now.Sub(s.swept) > Window {
		s.swept = now
		for k, l := range s.byKey {
			if now.Sub(l[len(l)-1].at) > Window {
				delete(s.byKey, k)
			}
		}
	}
	l := append(s.byKey[key], start[V]{value: value, at: now})
	s.byKey[key] = l[max(0, len(l)-perKey):]
}

// Take returns the call that a channel which is opened now belongs to: the
// latest that has no channel yet, so that two begun at once get one each, else
// the latest at all, as for a channel that is opened again.
func (s *Starts[K, V]) Take(key K, now time.Time) (value V, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.byKey[key]
	best := -1
	for i := len(l) - 1; i >= 0 && now.Sub(l[i].at) <= Window; i-- {
		if best < 0 || !l[i].taken {
			best = i
		}
		if !l[i].taken {
			break
		}
	}
	if best < 0 {
		return value, false
	}
	l[best].taken = true
	return l[best].value, true
}
