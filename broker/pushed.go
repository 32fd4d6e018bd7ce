package broker

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/push"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// secretOverlap is how long a former secret holds unless somebody says otherwise.
const secretOverlap = 24 * time.Hour

// addPushed makes a consumer that is sent its events, once the endpoint
// consents. The secrets come last, so that of two who make one of a name at once
// the one whose command was recorded sets them; without any, rotate makes one.
func (b *Broker) addPushed(c *call, in api.NewConsumer, consumer *events.ConsumerCreated, p *events.Push, decide decision) (any, error) {
	secret, err := push.NewSecret(p.Protocol == events.PushWebhook, journal.NewID(), in.Secret)
	if err != nil {
		return nil, invalid("%v", err)
	}
	if p.Protocol == events.PushWebhook && !in.SkipConsent {
		origin, err := url.Parse(b.origin())
		if err != nil {
			return nil, err
		}
		if p.PerMinute, err = push.Consent(c.Context(), *p, in.Authorization, origin.Hostname()); err != nil {
			return nil, &api.Error{Status: http.StatusConflict, Code: api.CodeConflict, Message: err.Error(), Next: "--no-consent sends without asking"}
		}
	}
	if err := b.cfg.Consumers.Journal.CreateDelivery(c.Context(), *consumer); err != nil {
		return nil, unreachable(err)
	}
	if err := b.do(c.Context(), c.who, decide); err != nil {
		return nil, err
	}
	if err := b.vault.Keep(c.Context(), consumer.Name, push.Secrets{Signing: []push.Signing{secret}, Authorization: in.Authorization}); err != nil {
		return nil, unreachable(err)
	}
	return created{api.ConsumerMade{Name: consumer.Name, Stream: consumer.Stream, Filter: consumer.Filter, Push: (*api.Push)(p), Secret: secret.Secret}}, nil
}

// addReceiver makes a receiver that will make its stream itself. Its token is in the
// answer and nowhere else.
func (b *Broker) addReceiver(c *call, consumer *events.ConsumerCreated, token string, decide decision) (any, error) {
	secret, err := push.NewSecret(false, journal.NewID(), "")
	if err != nil {
		return nil, err
	}
	if err := b.do(c.Context(), c.who, decide); err != nil {
		return nil, err
	}
	if err := b.vault.Keep(c.Context(), consumer.Name, push.Secrets{Signing: []push.Signing{secret}}); err != nil {
		return nil, unreachable(err)
	}
	return created{api.ConsumerMade{Name: consumer.Name, Stream: consumer.Stream, Filter: consumer.Filter, Secret: token}}, nil
}

// postSecret has another secret sign, and the former one hold for a while.
func (b *Broker) postSecret(c *call) (any, error) {
	var in api.RotateSecret
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	overlap, err := duration("overlap", in.Overlap)
	if err != nil {
		return nil, err
	}
	name, token, hash := c.PathValue("name"), "", ""
	if in.Token {
		token = newReceiverToken(name)
		hash = hashSecret(token)
	}
	until := b.now().Add(cmp.Or(overlap, secretOverlap)).UTC()
	decide := func(s *access.State, env access.Env) ([]events.Event, error) {
		if err := mustMay(s, env.Now, c.who.User, "update", "consumer"); err != nil {
			return nil, err
		}
		return access.RotateSecret(s, env, name, until, hash)
	}
	if _, err := b.could(c, decide); err != nil {
		return nil, err
	}
	if in.Token {
		return api.SecretRotated{Secret: token, FormerUntil: until}, b.do(c.Context(), c.who, decide)
	}
	var webhook bool
	b.ledger.read(func(s *access.State, _ time.Time) { webhook = !s.Consumers[name].Signaled() })
	next, err := push.NewSecret(webhook, journal.NewID(), in.Secret)
	if err != nil {
		return nil, invalid("%v", err)
	}
	// Before the event, at which whoever sends reads it.
	if err := b.vault.Rotate(c.Context(), name, next, b.now(), until); err != nil {
		return nil, unreachable(err)
	}
	if err := b.do(c.Context(), c.who, decide); err != nil {
		return nil, err
	}
	return api.SecretRotated{Secret: next.Secret, FormerUntil: until}, nil
}

func (b *Broker) postResume(c *call) (any, error) {
	err := b.do(c.Context(), c.who, func(s *access.State, env access.Env) ([]events.Event, error) {
		if err := mustMay(s, env.Now, c.who.User, "update", "consumer"); err != nil {
			return nil, err
		}
		return access.Resume(s, env, c.PathValue("name"))
	})
	if err != nil {
		return nil, err
	}
	k, err := b.pushed(c, "update")
	if err != nil || k.Signals == nil {
		return nil, err
	}
	if err := b.withCourier(c.Context(), k, func(to *push.Courier) error { return to.Tell(c.Context(), events.StreamEnabled, "") }); err != nil {
		b.log.Warn().Err(err).Str("consumer", k.Name).Msg("its receiver could not be told that its stream goes on")
	}
	return nil, nil
}

// pushed finds the consumer of a call that is sent its events.
func (b *Broker) pushed(c *call, verb string) (*access.Consumer, error) {
	if err := b.require(c.who, verb, "consumer"); err != nil {
		return nil, err
	}
	var k *access.Consumer
	b.ledger.read(func(s *access.State, _ time.Time) { k = s.Consumers[c.PathValue("name")] })
	if k != nil && k.Receiver != nil && k.Push == nil {
		return nil, &access.Error{Code: access.Conflict, Message: "receiver " + k.Name + " has made no stream"}
	}
	if k == nil || k.Push == nil {
		return nil, &access.Error{Code: access.NotFound, Message: "there is no consumer " + c.PathValue("name") + " that is sent its events"}
	}
	return k, nil
}

func (b *Broker) getConsumerLetters(c *call) (any, error) {
	k, err := b.pushed(c, "list")
	if err != nil {
		return nil, err
	}
	out := api.DeadLetters{DeadLetters: []api.DeadLetter{}}
	for _, l := range k.Waiting() {
		out.DeadLetters = append(out.DeadLetters, api.DeadLetter{Stream: l.Stream, Sequence: l.StreamSequence, EventID: l.EventID, Tries: l.Tries, Reason: l.Reason, SetAsideAt: l.At.UTC()})
	}
	return out, nil
}

// postConsumerReplay sends an event that was set aside once more, from here, and
// records that it was taken.
func (b *Broker) postConsumerReplay(c *call) (any, error) {
	k, err := b.pushed(c, "update")
	if err != nil {
		return nil, err
	}
	seq, err := strconv.ParseUint(c.PathValue("sequence"), 10, 64)
	if _, waits := k.SetAside[seq]; err != nil || !waits {
		return nil, &access.Error{Code: access.NotFound, Message: "no event " + c.PathValue("sequence") + " of " + k.Name + " was set aside"}
	}
	e, err := b.cfg.Consumers.Reader.At(c.Context(), k.Stream, seq)
	if err != nil {
		return nil, unreachable(err)
	}
	if err := b.withCourier(c.Context(), k, func(to *push.Courier) error { return to.Once(c.Context(), e) }); err != nil {
		return nil, err
	}
	return nil, b.do(c.Context(), c.who, func(s *access.State, env access.Env) ([]events.Event, error) {
		return access.ReplayedEvent(s, env, k.Name, seq)
	})
}

// postVerification sends a receiver the verification event of its stream.
func (b *Broker) postVerification(c *call) (any, error) {
	var in api.Verification
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	k, err := b.pushed(c, "update")
	if err != nil {
		return nil, err
	}
	return nil, b.withCourier(c.Context(), k, func(to *push.Courier) error { return to.Verify(c.Context(), in.State) })
}

// withCourier has something sent at once.
func (b *Broker) withCourier(ctx context.Context, k *access.Consumer, send func(*push.Courier) error) error {
	s, err := b.vault.Secrets(ctx, k.Name)
	if err != nil {
		return unreachable(err)
	}
	to, err := b.courier(k, s, &desk{b: b, name: k.Name, held: func() bool { return true }})
	if err != nil {
		return err
	}
	defer to.Close()
	if err := send(to); err != nil {
		var known *api.Error
		if errors.As(err, &known) {
			return err
		}
		return &api.Error{Status: http.StatusConflict, Code: api.CodeConflict, Message: "the endpoint did not take it: " + err.Error()}
	}
	return nil
}

// courier makes the one that sends to a consumer.
func (b *Broker) courier(k *access.Consumer, s push.Secrets, desk *desk) (*push.Courier, error) {
	var stream *push.Stream
	if x := k.Signals; x != nil {
		stream = &push.Stream{ID: x.StreamID, Since: x.Since, Requested: x.EventsRequested, Removed: signals{b}.removed(k.Name, x.StreamID)}
	}
	return push.NewCourier(k.ConsumerCreated, stream, b.vault, s, signals{b}, desk, b.cfg.Consumers.Backoff)
}
