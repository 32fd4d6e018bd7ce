package main

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/broker"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/events/trouble"
)

// announcer is a broker as a proxy sees it.
type announcer interface {
	Announce(context.Context, api.Announcement) (api.Announced, error)
	Withdraw(ctx context.Context, addr string) error
}

// beside is the broker of this process, for a proxy of it.
type beside struct {
	broker *broker.Broker
	proxy  string
}

func (b beside) Announce(ctx context.Context, in api.Announcement) (api.Announced, error) {
	return b.broker.Announce(ctx, b.proxy, in)
}

func (b beside) Withdraw(ctx context.Context, addr string) error {
	return b.broker.Withdraw(ctx, b.proxy, addr)
}

const (
	// announceRetry is the wait after an announcement that failed.
	announceRetry = 5 * time.Second
	// announceAgain is the wait after one that was taken: another process of the same
	// name may have withdrawn it. One that still holds is no event.
	announceAgain = 15 * time.Second
	// announceTimeout bounds each.
	announceTimeout = 10 * time.Second
)

// announcement tells the broker where users reach a proxy for as long as it runs.
type announcement struct {
	broker announcer
	says   api.Announcement
	log    zerolog.Logger
	ready  chan struct{} // closed after the first try

	said trouble.Said
}

// Ready is closed once the broker was told, or could not be.
func (a *announcement) Ready() <-chan struct{} { return a.ready }

// Run announces, and again and again, so that an announcement that is gone is made
// anew, until ctx ends. Then it withdraws.
func (a *announcement) Run(ctx context.Context) error {
	for first := true; ; first = false {
		wait := a.announce(ctx)
		if first {
			close(a.ready)
		}
		select {
		case <-time.After(wait):
			continue
		case <-ctx.Done():
		}
		break
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), announceTimeout)
	defer cancel()
	if err := a.broker.Withdraw(last, a.says.Addr); err != nil {
		a.log.Warn().Err(err).Msg("the broker does not know that this proxy stops; users may try it for a while")
	}
	return nil
}

// announce announces once and returns when to do so again.
func (a *announcement) announce(ctx context.Context) time.Duration {
	try, cancel := context.WithTimeout(ctx, announceTimeout)
	defer cancel()
	out, err := a.broker.Announce(try, a.says)
	if err != nil {
		if ctx.Err() == nil && a.said.News(err) { // else it is told to stop
			a.log.Warn().Err(err).Msg("cannot announce this proxy to the broker yet; trying again")
		}
		return announceRetry
	}
	if a.said.Over() {
		a.log.Info().Msg("this proxy is announced to the broker")
	}
	return min(max(time.Until(out.ExpiresAt)/3, announceRetry), announceAgain)
}

// says is what a proxy announces.
func (p *ProxyConfig) says() api.Announcement {
	out := api.Announcement{Addr: p.PublicAddr}
	for _, r := range p.Apps.Resources {
		out.Apps = append(out.Apps, api.AppSelector{Labels: r.Labels})
	}
	return out
}
