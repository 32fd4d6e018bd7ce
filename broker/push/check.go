package push

import (
	"errors"
	"fmt"

	"github.com/posternhq/postern/events"
)

const (
	defaultTries = 12
	maxTries     = 1000
	// maxBatch is the most events of one request.
	maxBatch = 256
)

// Check refuses what cannot be sent and fills in what was left out. Stream is the
// one that is read.
func Check(p *events.Push, stream string) error {
	if _, err := CheckURL(p.URL); err != nil {
		return err
	}
	e, err := newEndpoint(p.URL, p.CAPEM, "")
	if err != nil {
		return err
	}
	e.close()
	if p.Tries == 0 {
		p.Tries = defaultTries
	}
	switch {
	case p.Tries < 1 || p.Tries > maxTries:
		return fmt.Errorf("tries: want 1 to %d", maxTries)
	case p.Batch < 0 || p.Batch > maxBatch:
		return fmt.Errorf("batch: want 1 to %d events", maxBatch)
	case p.PerMinute < 0:
		return errors.New("per_minute: want 1 or more requests")
	}
	switch p.Protocol {
	case events.PushWebhook:
		if p.Format == "" {
			p.Format = CloudEvents
		}
		switch {
		case p.Format != CloudEvents && p.Format != OCSF:
			return fmt.Errorf("format %q: want cloudevents or ocsf", p.Format)
		case len(p.Audience) > 0 || p.Subject != "":
			return errors.New("audience, subject: they are for --ssf")
		}
	case events.PushSSF:
		if p.Subject == "" {
			p.Subject = "iss_sub"
		}
		switch {
		case stream != events.Access:
			return errors.New("filter: Security Event Tokens are of decisions: want one that begins with access, as access.> does")
		case len(p.Audience) == 0:
			return errors.New("audience: want the receiver's, such as https://receiver.example.com")
		case p.Subject != "iss_sub" && p.Subject != "email":
			return fmt.Errorf("subject %q: want iss_sub or email", p.Subject)
		case p.Format != "" || p.Batch != 0:
			return errors.New("format, batch: they are for --webhook")
		}
	default:
		return fmt.Errorf("protocol %q: want webhook or ssf", p.Protocol)
	}
	return nil
}
