package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
)

func (c *cli) logout() *cobra.Command {
	return &cobra.Command{
		Use: "logout", Short: "End your sessions and remove every credential from disk", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := c.home()
			if err != nil {
				return err
			}
			p, err := c.profile()
			if err != nil {
				if c.identity != "" {
					return err
				}
				// Signed out or expired: what is on disk goes all the same.
				name, readErr := os.ReadFile(filepath.Join(h.dir, "current"))
				if readErr != nil {
					c.say("Not signed in.")
					return c.print(loggedOut{}, func(*tabwriter.Writer) {})
				}
				if err := errors.Join(os.RemoveAll(filepath.Join(h.dir, "profiles", filepath.Base(string(name)))),
					os.Remove(filepath.Join(h.dir, "current"))); err != nil {
					return err
				}
				return c.print(loggedOut{}, func(*tabwriter.Writer) {})
			}
			serial, err := p.serial()
			if err != nil {
				return err
			}
			out := loggedOut{User: p.User}
			var failed error
			out.SessionsEnded, failed = p.endSessions(cmd.Context(), "")
			removed := os.RemoveAll(p.dir)
			if c.identity == "" {
				removed = errors.Join(removed, os.Remove(filepath.Join(h.dir, "current")))
			}
			if err := errors.Join(failed, removed); err != nil {
				return err
			}
			if _, err := os.Stat(c.identity); c.identity != "" && err == nil {
				out.IdentityUntil = &p.ExpiresAt
				c.say("Ended the sessions of %s. The identity in %s stays there and holds until %s: postern sessions rm %s ends it.",
					p.User, c.identity, until(p.ExpiresAt), serial)
			} else {
				c.say("Signed out %s.", p.User)
			}
			return c.print(out, func(*tabwriter.Writer) {})
		},
	}
}

// loggedOut is what `postern logout` tells.
type loggedOut struct {
	User          string `json:"user"`
	SessionsEnded int    `json:"sessions_ended"`
	// IdentityUntil is until when an identity file holds that logging out leaves alone.
	IdentityUntil *time.Time `json:"identity_until,omitempty"`
}

// statusHere is what `postern status` knows: what the broker says, and what is here.
type statusHere struct {
	api.Status
	BrokerURL string        `json:"broker_url"`
	Sessions  []*appSession `json:"sessions,omitempty"`
}

func (c *cli) status() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Who you are, what you hold, and until when", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.profile()
			if err != nil {
				return err
			}
			b, err := p.broker()
			if err != nil {
				return err
			}
			s, err := b.Status(cmd.Context())
			if err != nil {
				return err
			}
			sessions, _ := p.sessions()
			return c.print(statusHere{s, p.BrokerURL, sessions}, func(w *tabwriter.Writer) {
				fmt.Fprintf(w, "User:\t%s\n", s.User)
				fmt.Fprintf(w, "Postern:\t%s\n", p.BrokerURL)
				fmt.Fprintf(w, "Roles:\t%s\n", orDash(strings.Join(s.Roles, ", ")))
				for _, g := range s.Granted {
					fmt.Fprintf(w, "Granted:\t%s by request %s until %s\n", strings.Join(append(g.Roles, g.Resources...), ", "), g.RequestID, until(g.ExpiresAt))
				}
				for _, l := range s.ReviewsDue {
					fmt.Fprintf(w, "Review:\taccess list %s: %s; by an owner: postern lists review %s\n", l.Name, listState(&l), l.Name)
				}
				for _, r := range s.ReviewsOwed {
					fmt.Fprintf(w, "Review owed:\t%s broke the glass for %s (%s): postern request review --approve|--deny %s\n", r.User, asks(&r), oneLine(r.Reason), r.ID)
				}
				fmt.Fprintf(w, "Device:\t%s\n", orDash(s.Device))
				fmt.Fprintf(w, "Valid until:\t%s\n", until(s.ExpiresAt))
				for _, x := range sessions {
					fmt.Fprintf(w, "Session:\t%s as %s until %s\n", x.App, x.AWSRoleARN, until(x.ExpiresAt))
				}
			})
		},
	}
}

// broker is a client of the broker that acts as the user.
func (p *profile) broker() (*client.Client, error) {
	tlsConfig, err := p.TLSConfig()
	if err != nil {
		return nil, err
	}
	return client.New(p.BrokerURL, tlsConfig)
}

// withBroker gives a command a client that acts as the user.
func (c *cli) withBroker(do func(cmd *cobra.Command, b *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		p, err := c.profile()
		if err != nil {
			return err
		}
		b, err := p.broker()
		if err != nil {
			return err
		}
		return do(cmd, b, args)
	}
}
