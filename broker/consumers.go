package broker

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/push"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// Consumers is how others are let read the streams.
type Consumers struct {
	// Journal makes and ends durable consumers, Reader reads what is sent to
	// endpoints; nil is the broker's own, which may do so on ACCESS alone.
	Journal, Reader *journal.Journal
	// Allowed are the subjects to publish and to subscribe to that credentials of a
	// name need; nil says nothing of them.
	Allowed func(name, stream string) (publish, subscribe []string)
	// Mint makes them; nil where somebody else does.
	Mint func(name, stream string) (api.NATSAccess, error)
	// Backoff between tries to send; zero is push.DefaultBackoff.
	Backoff push.Backoff
}

// postConsumer makes the durable first: without credentials it is of no use to
// anybody, and a second try finds it.
func (b *Broker) postConsumer(c *call) (any, error) {
	var in api.NewConsumer
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	want := events.ConsumerCreated{Name: in.Name, Filter: in.Filter, FromNow: in.FromNow}
	if in.Push != nil {
		p := events.Push(*in.Push)
		if err := push.Check(&p, events.StreamOf(in.Filter)); err != nil {
			return nil, invalid("%v", err)
		}
		if err := push.CheckAuthorization(in.Authorization); err != nil {
			return nil, invalid("%v", err)
		}
		want.Push = &p
	}
	token := ""
	if in.Receiver != nil {
		token = newReceiverToken(in.Name)
		r := events.Receiver{TokenSHA256: hashSecret(token), Audience: in.Receiver.Audience, Subject: in.Receiver.Subject, PushHosts: in.Receiver.PushHosts,
			CAPEM: in.Receiver.CAPEM, Tries: in.Receiver.Tries, PerMinute: in.Receiver.PerMinute}
		switch err := push.CheckReceiver(&r); {
		case err != nil:
			return nil, invalid("%v", err)
		case in.Push != nil || in.Secret != "" || in.Authorization != "":
			return nil, invalid("receiver: it says itself how it is sent what: no push, secret or authorization beside it")
		case events.StreamOf(in.Filter) != events.Access:
			return nil, invalid("filter: Security Event Tokens are of decisions: want one that begins with access, as access.> does")
		}
		want.Receiver, want.FromNow = &r, true
	}
	decide := func(s *access.State, env access.Env) ([]events.Event, error) {
		if err := mustMay(s, env.Now, c.who.User, "create", "consumer"); err != nil {
			return nil, err
		}
		return access.CreateConsumer(s, env, want)
	}
	could, err := b.could(c, decide)
	if err != nil {
		return nil, err
	}
	consumer := could[0].Data.(*events.ConsumerCreated)
	if want.Receiver != nil {
		return b.addReceiver(c, consumer, token, decide)
	}
	if want.Push != nil {
		return b.addPushed(c, in, consumer, want.Push, decide)
	}
	made := b.cfg.Consumers
	if err := made.Journal.CreateConsumer(c.Context(), *consumer); err != nil {
		return nil, unreachable(err)
	}
	if err := b.do(c.Context(), c.who, decide); err != nil {
		return nil, err
	}
	out := api.ConsumerMade{Name: consumer.Name, Stream: consumer.Stream, Filter: consumer.Filter}
	if made.Allowed != nil {
		out.Publish, out.Subscribe = made.Allowed(consumer.Name, consumer.Stream)
	}
	if made.Mint != nil {
		nats, err := made.Mint(consumer.Name, consumer.Stream)
		if err != nil {
			return nil, err
		}
		out.NATS = &nats
	}
	return created{out}, nil
}

// could is what a command would come to, for what has to be done before it.
func (b *Broker) could(c *call, decide decision) (es []events.Event, err error) {
	b.ledger.read(func(s *access.State, now time.Time) {
		es, err = decide(s, access.Env{Now: now, By: c.who.User, NewID: journal.NewID})
	})
	return es, err
}

func (b *Broker) getConsumers(c *call) (any, error) {
	consumers, err := b.consumers(c)
	return api.Consumers{Consumers: consumers}, err
}

// consumers are all of them, if the caller may see them.
func (b *Broker) consumers(c *call) ([]api.Consumer, error) {
	if err := b.require(c.who, "list", "consumer"); err != nil {
		return nil, err
	}
	out, streams := []api.Consumer{}, map[string]*access.Signals{}
	b.ledger.read(func(s *access.State, _ time.Time) {
		for _, name := range slices.Sorted(maps.Keys(s.Consumers)) {
			k := s.Consumers[name]
			if k == nil {
				continue
			}
			x := api.Consumer{Name: name, Stream: k.Stream, Filter: k.Filter, CreatedAt: k.CreatedAt, By: k.By,
				Push: (*api.Push)(k.Push), Suspended: k.Suspended, DeadLetters: len(k.SetAside)}
			if streams[name] = k.Signals; k.Signals != nil {
				x.StreamStatus = k.Signals.Status
			} else if k.Receiver != nil {
				x.StreamStatus = noStream
			}
			out = append(out, x)
		}
	})
	for i := range out {
		b.locate(c.Context(), &out[i], streams[out[i].Name])
	}
	return out, nil
}

// locate adds how far a consumer is, and what waits for one that polls.
func (b *Broker) locate(ctx context.Context, k *api.Consumer, stream *access.Signals) {
	if stream != nil && stream.Method == events.DeliverPoll {
		sets, err := b.vault.Unsettled(ctx, k.Name, stream.StreamID)
		if err != nil {
			k.Fault = err.Error()
			return
		}
		k.Unpolled = len(sets)
	}
	if k.StreamStatus == noStream || k.StreamStatus == events.StreamDisabled {
		return // nothing is kept for it
	}
	p, err := b.cfg.Consumers.Journal.PlaceOf(ctx, k.Stream, k.Name)
	if err != nil {
		k.Fault = err.Error()
		return
	}
	k.Pending, k.Unacknowledged, k.AckedTo = p.Pending, p.Unacknowledged, p.AckedTo
	if !p.LastAck.IsZero() {
		k.LastAck = &p.LastAck
	}
	if k.Push == nil {
		return
	}
	if failing, err := b.vault.Progress(ctx, k.Name); err != nil {
		k.Fault = err.Error()
	} else if failing != nil {
		k.Failing = (*api.Failing)(failing)
	}
}

// deleteConsumer ends the durable and destroys the secrets first: what is
// recorded as over is over.
func (b *Broker) deleteConsumer(c *call) (any, error) {
	name := c.PathValue("name")
	if err := b.require(c.who, "delete", "consumer"); err != nil {
		return nil, err
	}
	var is *access.Consumer
	b.ledger.read(func(s *access.State, _ time.Time) { is = s.Consumers[name] })
	if is != nil {
		err := b.cfg.Consumers.Journal.DeleteConsumer(c.Context(), is.Stream, name)
		if err == nil && (is.Push != nil || is.Receiver != nil) {
			err = b.vault.Forget(c.Context(), name)
		}
		if err != nil {
			return nil, unreachable(err)
		}
	}
	return nil, b.do(c.Context(), c.who, func(s *access.State, env access.Env) ([]events.Event, error) {
		if err := mustMay(s, env.Now, c.who.User, "delete", "consumer"); err != nil {
			return nil, err
		}
		return access.DeleteConsumer(s, env, name)
	})
}

// noStream is the status of a receiver's stream that there is not.
const noStream = "none"

// unreachable is for what consumers need and brokers have no certain right to.
func unreachable(err error) error {
	return &api.Error{Status: http.StatusServiceUnavailable, Code: api.CodeUnavailable,
		Message: err.Error(), Next: "postern consumers ls, once NATS is there and lets the broker manage consumers (docs/nats.md)"}
}
