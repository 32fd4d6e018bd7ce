package broker

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/identity"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/events/signed"
	"github.com/posternhq/postern/events/trouble"
)

const (
	// keyTTL is how long a signing key is good, keyRotation after how long
	// another takes its place.
	keyTTL      = 30 * 24 * time.Hour
	keyRotation = 7 * 24 * time.Hour
	// keyLook is how often it is looked whether either is due.
	keyLook = 5 * time.Second
)

// signing signs what this broker appends to ACCESS. Every start and every
// rotation makes a new key, which never leaves memory. Its times are those of
// the machine and not of Config.Clock: the stream's clock judges them.
type signing struct {
	ca      *identity.CA
	journal *journal.Journal
	// rotating is held while next is published: one at a time.
	rotating sync.Mutex
	// current signs; next is being published, by an event that it signs itself.
	current, next atomic.Pointer[signed.Signer]
}

func newSigning(ca *identity.CA, j *journal.Journal) *signing {
	s := &signing{ca: ca, journal: j}
	j.SignWith(s.sign)
	return s
}

func (s *signing) sign(channel string, event []byte) []byte {
	by := s.current.Load()
	if next := s.next.Load(); next != nil && channel == keyChannel(next) {
		by = next
	}
	if by == nil {
		return event // before Run: readers refuse it
	}
	return by.Sign(channel, event)
}

func keyChannel(k *signed.Signer) string { return (&events.KeyPublished{KeyID: k.ID()}).Channel() }

// rotate makes a key, publishes it, and then signs with it.
func (s *signing) rotate(ctx context.Context) error {
	s.rotating.Lock()
	defer s.rotating.Unlock()
	next, err := signed.NewSigner()
	if err != nil {
		return err
	}
	now := time.Now().UTC().Truncate(time.Second)
	key := signed.Key{ID: next.ID(), Public: next.Public(), NotBefore: now.Add(-time.Minute), NotAfter: now.Add(keyTTL)}
	s.next.Store(next)
	if err := s.publish(ctx, key, key.NotAfter, access.Head{}); err != nil {
		return err
	}
	s.current.Store(next)
	return nil
}

// publish has the CA vouch for a key and appends that after head.
func (s *signing) publish(ctx context.Context, key signed.Key, until time.Time, head access.Head) error {
	der, err := s.ca.Signing().IssueSigner(key.Public, key.ID, key.NotBefore, until)
	if err == nil {
		_, err = s.journal.AppendIf(ctx, head.Seq, events.Event{Meta: events.Meta{Sequence: head.Revision + 1}, Data: &events.KeyPublished{
			KeyID: key.ID, Certificate: base64.StdEncoding.EncodeToString(der), NotBefore: key.NotBefore, NotAfter: key.NotAfter,
		}})
	}
	if err != nil {
		return fmt.Errorf("publish signing key %s: %w", key.ID, err)
	}
	return nil
}

// keepSigning rotates the key until ctx ends: when it is time, and when another
// CA signs, which then vouches for the keys of before, too.
func (b *Broker) keepSigning(ctx context.Context) error {
	look := time.NewTicker(keyLook)
	defer look.Stop()
	ca, rotated := b.ca.SHA256(), time.Now()
	var said trouble.Said
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
		switch signing := b.ca.SHA256(); {
		case signing != ca:
			if err := b.renewKeys(ctx); err == nil {
				ca, rotated, said = signing, time.Now(), trouble.Said{}
			} else if ctx.Err() == nil && said.News(err) {
				b.log.Error().Err(err).Msg("the new CA does not vouch for all signing keys; trying again")
			}
		case rotationDue(rotated, time.Now()):
			if err := b.signing.rotate(ctx); err == nil {
				rotated, said = time.Now(), trouble.Said{}
			} else if ctx.Err() == nil && said.News(err) {
				b.log.Error().Err(err).Msg("the signing key is not renewed; trying again")
			}
		}
	}
}

// rotationDue is whether a key that was made at a time is to be replaced: after a while, and
// when the clock was set back, because by the stream's clock its time may not have come
// then. Not by the monotonic clock, which stands still while the machine sleeps.
func rotationDue(made, now time.Time) bool {
	age := now.Round(0).Sub(made.Round(0))
	return age > keyRotation || age < 0
}

// renewKeys has the CA that signs now vouch for a new key, which then signs that it
// vouches for all others: a reader who knows that CA alone believes in nothing else of
// what they signed.
func (b *Broker) renewKeys(ctx context.Context) error {
	if err := b.signing.rotate(ctx); err != nil {
		return err
	}
	seq, err := b.cfg.Journal.Last(ctx, events.Access)
	if err == nil {
		err = b.ledger.reach(ctx, seq) // those that other brokers published
	}
	if err != nil {
		return fmt.Errorf("catch up: %w", err)
	}
	for _, key := range b.ledger.keys().All() {
		var head access.Head
		b.ledger.read(func(s *access.State, _ time.Time) {
			head = s.Head((&events.KeyPublished{KeyID: key.ID}).Channel())
		})
		until := key.NotAfter
		if soon := time.Now().Add(time.Hour); soon.After(until) {
			until = soon // a certificate must be good when it is read; the key's time is in the event
		}
		if err := b.signing.publish(ctx, key, until, head); err != nil && !errors.Is(err, journal.ErrConflict) { // then another broker did
			return err
		}
	}
	return nil
}
