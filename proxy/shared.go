package proxy

import (
	"context"
	"errors"
	"regexp"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/singleflight"

	"github.com/posternhq/postern/events/journal"
)

const (
	// unknownFor is how long an access key id that nobody left is not asked for
	// again. What is handed out is left before its holder has it, so this hides
	// nothing from anybody.
	unknownFor = 5 * time.Minute
	// unknownAtOnce bounds how many of those are remembered.
	unknownAtOnce = 4096
	// askFor bounds a question to the streams.
	askFor = 5 * time.Second
)

// shared is where proxies leave for one another what they handed out and what
// works without postern: the user's session token is AWS's own and cannot hold it.
// Values are sealed as session tokens are, and end with the credentials.
type shared struct {
	journal *journal.Journal
	tickets *tickets
	now     func() time.Time
	log     zerolog.Logger

	asking  singleflight.Group
	mu      sync.Mutex
	unknown map[string]time.Time // until when
}

// accessKeyForm is what access key ids look like, and one token of a subject.
var accessKeyForm = regexp.MustCompile(`^[A-Za-z0-9]{16,128}$`)

// leave lets the other proxies know of credentials, before anybody has them.
func (s *shared) leave(ctx context.Context, x *issued) error {
	if !accessKeyForm.MatchString(x.AccessKeyID) {
		return errors.New("AWS gave an access key id of an unknown form")
	}
	value, err := s.tickets.seal(x)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	return s.journal.Deposit(ctx, x.AccessKeyID, []byte(value), x.expires.Sub(s.now()))
}

// find looks for what another proxy left; nil if nothing is to be had.
func (s *shared) find(ctx context.Context, accessKeyID string) *issued {
	if !accessKeyForm.MatchString(accessKeyID) || s.isUnknown(accessKeyID) {
		return nil
	}
	// Who asks first may go away; the answer is for all.
	ctx = context.WithoutCancel(ctx)
	found, err, _ := s.asking.Do(accessKeyID, func() (any, error) {
		ctx, cancel := context.WithTimeout(ctx, askFor)
		defer cancel()
		value, err := s.journal.Deposited(ctx, accessKeyID)
		if err != nil {
			return nil, err
		}
		return s.tickets.open(string(value))
	})
	switch {
	case err == nil:
		return found.(*issued)
	case errors.Is(err, journal.ErrNoKey), errors.Is(err, errTicket):
		s.forget(accessKeyID)
	}
	if !errors.Is(err, journal.ErrNoKey) {
		s.log.Warn().Err(err).Str("access_key_id", accessKeyID).Msg("looking for credentials that another proxy handed out")
	}
	return nil
}

func (s *shared) isUnknown(accessKeyID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now().Before(s.unknown[accessKeyID])
}

func (s *shared) forget(accessKeyID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unknown == nil || len(s.unknown) >= unknownAtOnce {
		s.unknown = map[string]time.Time{}
	}
	s.unknown[accessKeyID] = s.now().Add(unknownFor)
}
