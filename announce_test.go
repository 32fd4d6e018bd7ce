package main

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/events/trouble"
)

// toldBroker takes announcements, but the second.
type toldBroker struct {
	at        []time.Duration
	start     time.Time
	withdrawn bool
}

func (b *toldBroker) Announce(context.Context, api.Announcement) (api.Announced, error) {
	b.at = append(b.at, time.Since(b.start))
	if len(b.at) == 2 {
		return api.Announced{}, errors.New("away")
	}
	return api.Announced{ExpiresAt: time.Now().Add(30 * time.Minute)}, nil
}

func (b *toldBroker) Withdraw(ctx context.Context, _ string) error {
	b.withdrawn = ctx.Err() == nil
	return nil
}

func TestProxyAnnouncesWhileItServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &toldBroker{start: time.Now()}
		a := &announcement{broker: b, ready: make(chan struct{}), log: zerolog.Nop()}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- a.Run(ctx) }()
		<-a.Ready()
		time.Sleep(time.Minute)
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		want := []time.Duration{0, announceAgain, announceAgain + announceRetry, 2*announceAgain + announceRetry, 3*announceAgain + announceRetry}
		if !slices.Equal(b.at, want) {
			t.Errorf("announced at %v, want %v", b.at, want)
		}
		if !b.withdrawn {
			t.Error("it did not withdraw")
		}
	})
}

// silentBroker never answers.
type silentBroker struct{}

func (silentBroker) Announce(ctx context.Context, _ api.Announcement) (api.Announced, error) {
	<-ctx.Done()
	return api.Announced{}, ctx.Err()
}

func (silentBroker) Withdraw(context.Context, string) error { return nil }

// That a broker does not answer is said, once in a while.
func TestProxyCannotAnnounce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		a := &announcement{broker: silentBroker{}, ready: make(chan struct{}), log: zerolog.New(&said)}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- a.Run(ctx) }()
		time.Sleep(trouble.Again / 2)
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(said.String(), "cannot announce this proxy"); n != 1 {
			t.Errorf("said %d times:\n%s", n, said.String())
		}
	})
}
