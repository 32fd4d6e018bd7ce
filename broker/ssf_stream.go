package broker

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/identity"
	"github.com/posternhq/postern/broker/push"
	"github.com/posternhq/postern/events"
)

// The API by which receivers of Security Event Tokens manage their streams: OpenID SSF
// 1.0 (https://openid.net/specs/openid-sharedsignals-framework-1_0-final.html), section
// 8. Names and status codes are the specification's.

const (
	streamPath        = "/v1/ssf/stream"
	statusPath        = "/v1/ssf/status"
	addSubjectPath    = "/v1/ssf/subjects:add"
	removeSubjectPath = "/v1/ssf/subjects:remove"
	verifyPath        = "/v1/ssf/verify"
	pollPath          = "/v1/ssf/poll/"

	tokenPrefix = "pssf."
	// minVerification is the least time between two requests for a verification event.
	minVerification = 10 * time.Second
)

// receiverTable is what receivers may ask, by their token.
func (b *Broker) receiverTable() []route {
	return []route{
		{"POST", streamPath, false, b.createStream},
		{"GET", streamPath, false, b.readStream},
		{"PATCH", streamPath, false, b.updateStream},
		{"PUT", streamPath, false, b.replaceStream},
		{"DELETE", streamPath, false, b.deleteStream},
		{"GET", statusPath, false, b.readStatus},
		{"POST", statusPath, false, b.updateStatus},
		{"POST", addSubjectPath, false, b.addSubject},
		{"POST", removeSubjectPath, false, b.removeSubject},
		{"POST", verifyPath, false, b.verifyStream},
		{"POST", pollPath + "{stream}", false, b.pollStream},
	}
}

// newReceiverToken makes a receiver's token: its name says whose, 52 letters are 260 bits.
func newReceiverToken(name string) string {
	return tokenPrefix + name + "." + rand.Text() + rand.Text()
}

// byConsumer is who did it, in events, of what a receiver does.
const byConsumer = "consumer/"

// authenticateReceiver finds the receiver whose bearer token (RFC 6750) a call shows.
func (b *Broker) authenticateReceiver(c *call) error {
	scheme, token, _ := strings.Cut(c.Header.Get("Authorization"), " ")
	name, _, _ := strings.Cut(strings.TrimPrefix(token, tokenPrefix), ".")
	shown, good := []byte(hashSecret(token)), false
	b.ledger.read(func(s *access.State, now time.Time) {
		k := s.Consumers[name]
		if k == nil || k.Receiver == nil || !strings.EqualFold(scheme, "Bearer") {
			return
		}
		good = subtle.ConstantTimeCompare(shown, []byte(k.Receiver.TokenSHA256)) == 1 ||
			now.Before(k.FormerUntil) && subtle.ConstantTimeCompare(shown, []byte(k.FormerToken)) == 1
	})
	if !good {
		c.header.Set("WWW-Authenticate", `Bearer realm="postern"`)
		return &api.Error{Status: http.StatusUnauthorized, Code: api.CodeUnauthenticated, Message: "the Authorization header shows no bearer token of a receiver"}
	}
	c.who = identity.Person{User: byConsumer + name}
	return nil
}

func (c *call) receiver() string { return strings.TrimPrefix(c.who.User, byConsumer) }

// delivery is that of a stream's configuration.
type delivery struct {
	Method      string `json:"method"`
	EndpointURL string `json:"endpoint_url,omitempty"`
	// AuthorizationHeader is only ever read.
	AuthorizationHeader *string `json:"authorization_header,omitempty"`
}

// streamConfig is the configuration of a stream, as section 8.1.1 has it.
type streamConfig struct {
	StreamID                string   `json:"stream_id"`
	Issuer                  string   `json:"iss"`
	Audience                any      `json:"aud"`
	EventsSupported         []string `json:"events_supported"`
	EventsRequested         []string `json:"events_requested,omitempty"`
	EventsDelivered         []string `json:"events_delivered"`
	Delivery                delivery `json:"delivery"`
	MinVerificationInterval int      `json:"min_verification_interval"`
	Description             string   `json:"description,omitempty"`
}

func (b *Broker) streamConfig(k *access.Consumer) streamConfig {
	x := k.Signals
	out := streamConfig{StreamID: x.StreamID, Issuer: b.origin(), Audience: k.Receiver.Audience,
		EventsSupported: push.Supported(), EventsRequested: x.EventsRequested, EventsDelivered: push.Delivered(x.EventsRequested),
		Delivery: delivery{Method: x.Method, EndpointURL: x.URL}, MinVerificationInterval: int(minVerification / time.Second), Description: x.Description}
	if len(k.Receiver.Audience) == 1 {
		out.Audience = k.Receiver.Audience[0]
	}
	if x.Method == events.DeliverPoll {
		out.Delivery.EndpointURL = b.origin() + pollPath + x.StreamID
	}
	return out
}

// members reads a JSON object. Members that are not known do not matter.
func members(c *call) (map[string]json.RawMessage, error) {
	var out map[string]json.RawMessage
	body, err := io.ReadAll(c.Body)
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, bodyTooLarge()
	}
	if err == nil && json.Unmarshal(body, &out) != nil || out == nil {
		return nil, invalid("the body must be a JSON object")
	}
	return out, err
}

// member reads one of them; it may be absent.
func member[T any](in map[string]json.RawMessage, name string) (v T, err error) {
	if raw, there := in[name]; there {
		if json.Unmarshal(raw, &v) != nil {
			err = invalid("%s: want %s", name, wanting(reflect.TypeFor[T]()))
		}
	}
	return v, err
}

// configure puts what a receiver supplies into a stream's configuration. What replaces
// all of it, and not a part, takes away what is not there. header is not nil where the
// endpoint's Authorization is another from now on.
func (b *Broker) configure(in map[string]json.RawMessage, want *events.ConsumerStreamConfigured, all bool) (header *string, err error) {
	if _, there := in["events_requested"]; there || all {
		if want.EventsRequested, err = member[[]string](in, "events_requested"); err != nil {
			return nil, err
		}
		if there && len(want.EventsRequested) == 0 {
			return nil, invalid("events_requested: is empty: leave it out to be sent all")
		}
	}
	if _, there := in["description"]; there || all {
		if want.Description, err = member[string](in, "description"); err != nil {
			return nil, err
		}
	}
	if _, there := in["delivery"]; !there && !all {
		return nil, nil
	}
	d := delivery{Method: events.DeliverPoll}
	if _, there := in["delivery"]; there {
		if d, err = member[delivery](in, "delivery"); err != nil {
			return nil, err
		}
	}
	none := ""
	switch d.Method {
	case events.DeliverPoll:
		if own := b.origin() + pollPath + want.StreamID; d.EndpointURL != "" && d.EndpointURL != own {
			return nil, invalid("delivery: endpoint_url of %s is the transmitter's to say", events.DeliverPoll)
		}
		header = &none
	case events.DeliverPush:
		if _, err := push.CheckURL(d.EndpointURL); err != nil {
			return nil, invalid("delivery: endpoint_%v", err)
		}
		// The same endpoint keeps its header where none is said: it is never shown, and so
		// what was read can be written back. Another one must not be shown it.
		if header = d.AuthorizationHeader; header == nil && d.EndpointURL != want.URL {
			header = &none
		}
		if header != nil {
			if err := push.CheckAuthorization(*header); err != nil {
				return nil, invalid("delivery: %v", err)
			}
		}
	}
	want.Method, want.URL = d.Method, d.EndpointURL
	return header, nil
}

func (b *Broker) createStream(c *call) (any, error) {
	in, err := members(c)
	if err != nil {
		return nil, err
	}
	want := events.ConsumerStreamConfigured{Name: c.receiver(), Status: events.StreamEnabled}
	header, err := b.configure(in, &want, true)
	if err != nil {
		return nil, err
	}
	k, err := b.record(c, want, header)
	if err != nil {
		return nil, err
	}
	return created{b.streamConfig(k)}, nil
}

// record decides and records what a stream is, and has its events kept, or not.
func (b *Broker) record(c *call, want events.ConsumerStreamConfigured, header *string) (*access.Consumer, error) {
	decide := func(s *access.State, env access.Env) ([]events.Event, error) {
		return access.ConfigureStream(s, env, want)
	}
	if _, err := b.could(c, decide); err != nil {
		return nil, err
	}
	now := func() (k *access.Consumer) {
		b.ledger.read(func(s *access.State, _ time.Time) { k = s.Consumers[want.Name] })
		return k
	}
	k, streams := now(), b.cfg.Consumers.Journal
	if !k.Holds() && want.Status != events.StreamDisabled {
		// Anew: nothing that was before is of the stream.
		err := streams.DeleteConsumer(c.Context(), k.Stream, k.Name)
		if err == nil {
			err = streams.CreateDelivery(c.Context(), k.ConsumerCreated)
		}
		if err != nil {
			return nil, unreachable(err)
		}
	}
	if header != nil { // before the event, at which whoever sends reads it
		if err := b.vault.Authorize(c.Context(), k.Name, *header); err != nil {
			return nil, unreachable(err)
		}
	}
	if err := b.do(c.Context(), c.who, decide); err != nil {
		return nil, err
	}
	if want.Status == events.StreamDisabled {
		if err := b.discard(c.Context(), k); err != nil {
			return nil, unreachable(err)
		}
	}
	return now(), nil
}

// discard drops what is kept for a receiver.
func (b *Broker) discard(ctx context.Context, k *access.Consumer) error {
	return errors.Join(b.cfg.Consumers.Journal.DeleteConsumer(ctx, k.Stream, k.Name), b.vault.Empty(ctx, k.Name))
}

// stream finds the one of the caller that an id names, even if it was made at another
// broker a moment ago.
func (b *Broker) stream(c *call, id string) (k *access.Consumer, err error) {
	look := func(s *access.State, _ time.Time) { k, err = s.Stream(c.receiver(), id) }
	if b.ledger.read(look); err != nil {
		ctx, cancel := context.WithTimeout(c.Context(), reachTimeout)
		defer cancel()
		last, behind := b.cfg.Journal.Last(ctx, events.Access)
		if behind == nil {
			behind = b.ledger.reach(ctx, last)
		}
		if behind != nil {
			return nil, behind
		}
		b.ledger.read(look)
	}
	return k, err
}

// streamIn is stream by the member stream_id of a body.
func (b *Broker) streamIn(c *call) (map[string]json.RawMessage, *access.Consumer, error) {
	in, err := members(c)
	if err != nil {
		return nil, nil, err
	}
	id, err := member[string](in, "stream_id")
	if err == nil && id == "" {
		err = invalid("stream_id: is missing")
	}
	if err != nil {
		return nil, nil, err
	}
	k, err := b.stream(c, id)
	return in, k, err
}

func (b *Broker) readStream(c *call) (any, error) {
	if c.URL.Query().Has("stream_id") {
		k, err := b.stream(c, c.URL.Query().Get("stream_id"))
		if err != nil {
			return nil, err
		}
		return b.streamConfig(k), nil
	}
	out := []streamConfig{}
	b.ledger.read(func(s *access.State, _ time.Time) {
		if k := s.Consumers[c.receiver()]; k != nil && k.Signals != nil {
			out = append(out, b.streamConfig(k))
		}
	})
	return out, nil
}

func (b *Broker) updateStream(c *call) (any, error)  { return b.changeStream(c, false) }
func (b *Broker) replaceStream(c *call) (any, error) { return b.changeStream(c, true) }

func (b *Broker) changeStream(c *call, all bool) (any, error) {
	in, k, err := b.streamIn(c)
	if err != nil {
		return nil, err
	}
	if err := matches(in, b.streamConfig(k)); err != nil {
		return nil, err
	}
	want := k.Signals.ConsumerStreamConfigured
	header, err := b.configure(in, &want, all)
	if err != nil {
		return nil, err
	}
	if k, err = b.record(c, want, header); err != nil {
		return nil, err
	}
	return b.streamConfig(k), nil
}

// matches refuses what is the transmitter's to say and not as it says.
func matches(in map[string]json.RawMessage, is streamConfig) error {
	text, err := json.Marshal(is)
	if err != nil {
		return err
	}
	var have map[string]any
	if err := json.Unmarshal(text, &have); err != nil {
		return err
	}
	for _, name := range []string{"iss", "aud", "events_supported", "events_delivered", "min_verification_interval", "inactivity_timeout"} {
		said, err := member[any](in, name)
		if _, there := in[name]; err != nil || there && !reflect.DeepEqual(said, have[name]) {
			return invalid("%s: is the transmitter's to say, and not what it is", name)
		}
	}
	return nil
}

func (b *Broker) deleteStream(c *call) (any, error) {
	id := c.URL.Query().Get("stream_id")
	k, err := b.stream(c, id)
	if err != nil {
		return nil, err
	}
	if err := b.do(c.Context(), c.who, func(s *access.State, env access.Env) ([]events.Event, error) {
		return access.DeleteStream(s, env, k.Name, id)
	}); err != nil {
		return nil, err
	}
	if err := errors.Join(b.discard(c.Context(), k), b.vault.Authorize(c.Context(), k.Name, "")); err != nil {
		return nil, unreachable(err)
	}
	return nil, nil
}
