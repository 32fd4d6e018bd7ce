package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
)

// trust finds the CA that the broker's certificate must be of: a file, a
// fingerprint, a former login, the system's roots, or the user's own eyes.
func (c *cli) trust(ctx context.Context, h home, url string, in loginInput) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if in.ca != "" {
		b, err := os.ReadFile(in.ca)
		if err != nil {
			return nil, fmt.Errorf("--ca-file: %w", err)
		}
		if !pool.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("--ca-file %s: no certificate in it", in.ca)
		}
		return pool, nil
	}
	if in.pin == "" {
		if pool.AppendCertsFromPEM(h.knownCA(url)) {
			_, err := fetchCA(ctx, url, &tls.Config{RootCAs: pool})
			if errors.As(err, new(*tls.CertificateVerificationError)) {
				err = fmt.Errorf("%s does not prove to be the one of your last sign-in: if whoever runs postern says that its CA is another one now, give --ca-file FILE or --ca-pin sha256:FINGERPRINT (%w)", url, err)
			}
			return pool, err
		}
		_, err := fetchCA(ctx, url, &tls.Config{})
		if err == nil {
			return nil, nil // the system's roots know it
		}
		if !errors.As(err, new(*tls.CertificateVerificationError)) {
			return nil, err
		}
	}
	if in.pin != "" {
		pinned, err := client.Pinned(strings.Fields(in.pin)...)
		if err != nil {
			return nil, fmt.Errorf("--ca-pin: %w", err)
		}
		ca, err := fetchCA(ctx, url, pinned)
		if err != nil {
			return nil, fmt.Errorf("--ca-pin: %w", err)
		}
		if !pool.AppendCertsFromPEM([]byte(ca.CA)) {
			return nil, fmt.Errorf("%s sent no CA certificate", url)
		}
		return pool, nil
	}
	// Nothing of what comes over this connection is believed but the certificate
	// whose fingerprint has been compared.
	ca, err := fetchCA(ctx, url, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(ca.CA))
	if block == nil || !pool.AppendCertsFromPEM(pem.EncodeToMemory(block)) {
		return nil, fmt.Errorf("%s sent no CA certificate", url)
	}
	sum := sha256.Sum256(block.Bytes)
	fingerprint := hex.EncodeToString(sum[:])
	if !isTerminal(c.stdin) {
		return nil, fmt.Errorf("the CA of %s is not known here: give --ca-file FILE or --ca-pin sha256:FINGERPRINT, from whoever runs postern", url)
	}
	c.say("The CA of %s is not known here. Its fingerprint is\n  sha256:%s", url, fingerprint)
	fmt.Fprint(c.stderr, "Is that what whoever runs postern told you? (yes/no) ")
	answer, err := c.line()
	if c.ctx.Err() != nil {
		return nil, err
	}
	if strings.TrimSpace(answer) != "yes" {
		return nil, errors.New("not signed in: the CA was not trusted")
	}
	return pool, nil
}

func fetchCA(ctx context.Context, url string, cfg *tls.Config) (api.CA, error) {
	b, err := client.New(url, cfg)
	if err != nil {
		return api.CA{}, err
	}
	return b.CA(ctx)
}

// password reads one line without showing it, or from stdin where that is no
// terminal. It is never an argument: those can be seen by others.
func (c *cli) password(prompt string) (string, error) {
	if f, ok := c.stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		shown, err := term.GetState(int(f.Fd()))
		if err != nil {
			return "", err
		}
		fmt.Fprint(c.stderr, prompt)
		b, err := orSignal(c.ctx, func() ([]byte, error) { return term.ReadPassword(int(f.Fd())) })
		if c.ctx.Err() != nil { // it is still read, and what is typed not shown
			err = errors.Join(err, term.Restore(int(f.Fd()), shown))
		}
		fmt.Fprintln(c.stderr)
		return string(b), err
	}
	line, err := c.line()
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", errors.New("nothing to read on stdin: a password, or a code")
	}
	return line, nil
}

// line reads one line from stdin. What follows is there for the next.
func (c *cli) line() (string, error) {
	if c.lines == nil {
		c.lines = bufio.NewReader(io.LimitReader(c.stdin, 16<<10))
	}
	return orSignal(c.ctx, func() (string, error) { return c.lines.ReadString('\n') })
}

func isTerminal(r any) bool {
	f, ok := r.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

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
