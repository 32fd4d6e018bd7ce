package broker

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/push"
	"github.com/posternhq/postern/events"
)

// streamStatus is that of section 8.1.2.
type streamStatus struct {
	StreamID string `json:"stream_id"`
	Status   string `json:"status"`
	Reason   string `json:"reason,omitempty"`
}

func statusOf(k *access.Consumer) streamStatus {
	x := k.Signals
	if k.Suspended != "" && x.Status == events.StreamEnabled {
		return streamStatus{x.StreamID, events.StreamPaused, k.Suspended}
	}
	return streamStatus{x.StreamID, x.Status, x.Reason}
}

func (b *Broker) readStatus(c *call) (any, error) {
	k, err := b.stream(c, c.URL.Query().Get("stream_id"))
	if err != nil {
		return nil, err
	}
	return statusOf(k), nil
}

func (b *Broker) updateStatus(c *call) (any, error) {
	in, k, err := b.streamIn(c)
	if err != nil {
		return nil, err
	}
	want := k.Signals.ConsumerStreamConfigured
	if want.Status, err = member[string](in, "status"); err != nil {
		return nil, err
	}
	if want.Reason, err = member[string](in, "reason"); err != nil {
		return nil, err
	}
	if k, err = b.record(c, want, nil); err != nil {
		return nil, err
	}
	return statusOf(k), nil
}

// accepted is an answer with status 200 and no body.
func accepted() any { return text{"", nil} }

func (b *Broker) addSubject(c *call) (any, error) {
	return accepted(), b.changeSubject(c, false)
}

func (b *Broker) removeSubject(c *call) (any, error) {
	return nil, b.changeSubject(c, true)
}

// changeSubject leaves out whom it does not know without a word, as section 9.1 has it:
// who asks is not told which users there are.
func (b *Broker) changeSubject(c *call, removed bool) error {
	in, k, err := b.streamIn(c)
	if err != nil {
		return err
	}
	subject, err := member[map[string]any](in, "subject")
	if err != nil {
		return err
	}
	if format, _ := subject["format"].(string); format == "" {
		return invalid("subject: want a subject identifier (RFC 9493), which has a format")
	}
	for _, user := range b.usersOf(subject) {
		if err := b.do(c.Context(), c.who, func(s *access.State, env access.Env) ([]events.Event, error) {
			return access.ChangeSubject(s, env, k.Name, k.Signals.StreamID, user, removed)
		}); err != nil {
			return err
		}
	}
	return nil
}

// usersOf are those whom a subject identifier names.
func (b *Broker) usersOf(subject map[string]any) (users []string) {
	if of, ok := subject["user"].(map[string]any); ok && subject["format"] == "complex" {
		subject = of
	}
	text := func(name string) string { v, _ := subject[name].(string); return v }
	mail := text("email")
	b.ledger.read(func(s *access.State, _ time.Time) {
		switch {
		case subject["format"] == "iss_sub" && text("iss") == b.origin():
			if s.Users[text("sub")] != nil {
				users = []string{text("sub")}
			}
		case subject["format"] == "email" && mail != "":
			for name, u := range s.Users {
				if strings.EqualFold(name, mail) || strings.EqualFold(emailOf(&u.User), mail) {
					users = append(users, name)
				}
			}
		}
	})
	return users
}

// maxState is how long the text of a verification may be, in bytes.
const maxState = 1024

func (b *Broker) verifyStream(c *call) (any, error) {
	in, k, err := b.streamIn(c)
	if err != nil {
		return nil, err
	}
	state, err := member[string](in, "state")
	switch {
	case err != nil:
		return nil, err
	case len(state) > maxState:
		return nil, invalid("state: more than %d bytes", maxState)
	case !k.Sends():
		return nil, invalid("the stream is %s: nothing is sent over it", statusOf(k).Status)
	}
	wait, err := b.vault.MayVerify(c.Context(), k.Name, k.Signals.StreamID, minVerification, b.now())
	if err != nil {
		return nil, unreachable(err)
	}
	if wait > 0 {
		seconds := int((wait + time.Second - 1) / time.Second)
		return nil, &api.Error{Status: http.StatusTooManyRequests, Code: api.CodeThrottled, RetryAfter: seconds,
			Message: fmt.Sprintf("a verification event is sent every %s at most", minVerification)}
	}
	return nil, b.withCourier(c.Context(), k, func(to *push.Courier) error { return to.Verify(c.Context(), state) })
}

const (
	// pollWait is how long a poll waits for tokens (RFC 8936, section 2.1: long polling).
	pollWait = 30 * time.Second
	// pollLook is how often it looks whether one that nobody acknowledged is due again.
	pollLook = 5 * time.Second
	// maxPoll is the most tokens of one answer, maxPolls the most polls of one receiver
	// that wait at a broker.
	maxPoll, maxPolls = 100, 4
)

// polls counts those that wait, by receiver.
type polls struct {
	mu      sync.Mutex
	waiting map[string]int
}

// enter reports whether one more may wait; it has to leave then.
func (p *polls) enter(name string) (leave func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting == nil {
		p.waiting = map[string]int{}
	}
	if p.waiting[name] >= maxPolls {
		return nil, false
	}
	p.waiting[name]++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.waiting[name]--; p.waiting[name] == 0 {
			delete(p.waiting, name)
		}
	}, true
}

// polled answers a poll (RFC 8936, section 2.3).
type polled struct {
	Sets          map[string]string `json:"sets"`
	MoreAvailable bool              `json:"moreAvailable,omitempty"`
}

// pollStream gives a receiver the tokens that wait for it, and takes its word on those
// that it was given (RFC 8936).
func (b *Broker) pollStream(c *call) (any, error) {
	k, err := b.stream(c, c.PathValue("stream"))
	if err != nil {
		return nil, err
	}
	in, err := members(c)
	if err != nil {
		return nil, err
	}
	most := maxPoll
	if _, there := in["maxEvents"]; there {
		n, err := member[int](in, "maxEvents")
		if err != nil || n < 0 {
			return nil, invalid("maxEvents: want a number that is not negative")
		}
		most = min(n, maxPoll)
	}
	atOnce, err := member[bool](in, "returnImmediately")
	if err != nil {
		return nil, err
	}
	if k.Signals.Method != events.DeliverPoll {
		return nil, invalid("the tokens of this stream are pushed, not polled for")
	}
	if err := b.settle(c, k, in); err != nil {
		return nil, err
	}
	if most == 0 { // it only acknowledges
		return polled{Sets: map[string]string{}}, nil
	}
	changed := make(chan struct{}, 1)
	if !atOnce {
		leave, ok := b.polls.enter(k.Name)
		if !ok {
			return nil, &api.Error{Status: http.StatusTooManyRequests, Code: api.CodeThrottled, RetryAfter: 1, Message: fmt.Sprintf("%d polls of this receiver wait here already", maxPolls)}
		}
		defer leave()
		name := k.Name // k is looked up again below
		go func() {
			_ = b.vault.WatchBox(c.Context(), name, func() { // without it, it looks less often
				select {
				case changed <- struct{}{}:
				default:
				}
			})
		}()
	}
	end := time.NewTimer(pollWait)
	defer end.Stop()
	look := time.NewTicker(pollLook)
	defer look.Stop()
	for {
		// Its stream may be another meanwhile, or gone.
		if k, err = b.stream(c, c.PathValue("stream")); err != nil {
			return nil, err
		}
		var sets []push.Set
		var more bool
		if k.Sends() {
			if sets, more, err = b.vault.Take(c.Context(), k.Name, k.Signals.StreamID, most, b.now()); err != nil {
				return nil, unreachable(err)
			}
		}
		if len(sets) > 0 || atOnce {
			s, err := b.vault.Secrets(c.Context(), k.Name)
			if err != nil {
				return nil, unreachable(err)
			}
			tokens, err := s.Sign(sets)
			return polled{tokens, more}, err
		}
		select {
		case <-changed:
		case <-look.C:
		case <-end.C:
			atOnce = true
		case <-b.closing:
			atOnce = true
		case <-c.Context().Done():
			return nil, c.Context().Err()
		}
	}
}

// settle takes a receiver's word on tokens: what it acknowledged is done with, what it
// would not take is set aside.
func (b *Broker) settle(c *call, k *access.Consumer, in map[string]json.RawMessage) error {
	acked, err := member[[]string](in, "ack")
	if err != nil {
		return err
	}
	type setError struct {
		Err string `json:"err"`
	}
	errs, err := member[map[string]setError](in, "setErrs")
	if err != nil {
		return err
	}
	var failed []string
	for jti := range errs {
		failed = append(failed, jti)
	}
	if len(failed) > 0 {
		waiting, err := b.vault.Unsettled(c.Context(), k.Name, k.Signals.StreamID)
		if err != nil {
			return unreachable(err)
		}
		desk := &desk{b: b, name: k.Name}
		for _, s := range waiting { // recorded first: then it may be taken away
			e, bad := errs[s.JTI]
			switch {
			case bad && s.Sequence == 0:
				b.log.Warn().Str("consumer", k.Name).Str("err", push.SetError(e.Err)).Msg("its receiver would not take an event about its stream")
			case bad:
				aside := events.ConsumerEventSetAside{Name: k.Name, StreamSequence: s.Sequence, EventID: s.EventID, Tries: 1, Reason: "answered " + push.SetError(e.Err)}
				if err := desk.SetAside(c.Context(), aside); err != nil {
					return err
				}
			}
		}
	}
	if len(acked)+len(failed) == 0 {
		return nil
	}
	if err := b.vault.Settle(c.Context(), k.Name, k.Signals.StreamID, append(acked, failed...)); err != nil {
		return unreachable(err)
	}
	return nil
}
