package push

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/posternhq/postern/events"
)

// Stream is what a receiver made of its stream (OpenID SSF 1.0, section 8.1.1).
type Stream struct {
	ID string
	// Since is the sequence in ACCESS after which its events stand.
	Since uint64
	// Requested are URIs of event types; none are all.
	Requested []string
	// Removed tells whether it wanted to hear nothing of a user when the event of a
	// sequence came to stand.
	Removed func(user string, at uint64) bool
}

// Supported are the types of events that there are, by URI.
func Supported() []string {
	return []string{sessionRevoked, credentialChange, accountDisabled, accountEnabled, accountPurged}
}

// Delivered are those of what a receiver requested.
func Delivered(requested []string) []string {
	if len(requested) == 0 {
		return Supported()
	}
	return slices.DeleteFunc(Supported(), func(uri string) bool { return !slices.Contains(requested, uri) })
}

// wants reports whether a signal of the event of a sequence belongs into the stream.
func (s *Stream) wants(x signal, at uint64) bool {
	return s == nil || slices.Contains(Delivered(s.Requested), x.kind) && !s.Removed(x.user, at)
}

// CheckReceiver refuses what no receiver can make a stream of, and fills in what was
// left out.
func CheckReceiver(r *events.Receiver) error {
	const anywhere = "https://receiver.invalid/"
	as := events.Push{Protocol: events.PushSSF, URL: anywhere, Tries: r.Tries, PerMinute: r.PerMinute, CAPEM: r.CAPEM, Audience: r.Audience, Subject: r.Subject}
	if err := Check(&as, events.Access); err != nil {
		return err
	}
	r.Tries, r.Subject = as.Tries, as.Subject
	for _, h := range r.PushHosts {
		if u, err := CheckURL("https://" + h + "/"); err != nil || u.Hostname() != h || strings.ContainsAny(h, "*/") {
			return fmt.Errorf("push_hosts: %q is no host name", h)
		}
	}
	if len(r.PushHosts) == 0 && (r.CAPEM != "" || r.PerMinute != 0) {
		return errors.New("ca_pem, per_minute: they are for push, which takes push_hosts")
	}
	return nil
}
