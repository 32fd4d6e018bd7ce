package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/posternhq/postern/proxy/local"
)

// consoleLink is the proxy's answer to a wish for the console.
type consoleLink struct {
	URL             string    `json:"url"`
	ExpiresAt       time.Time `json:"expires_at"`
	DurationSeconds int64     `json:"duration_seconds"`
	Notice          string    `json:"notice,omitempty"`
}

func (c *cli) console() *cobra.Command {
	var app, role, destination string
	var onlyPrint bool
	cmd := &cobra.Command{
		Use: "console [--app A] [--aws-role R] [--print]", Short: "The AWS Management Console, signed in as you", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, s, err := c.sessionOn(cmd.Context(), app, role)
			if err != nil {
				return err
			}
			link, err := p.consoleLink(cmd.Context(), s.SessionID, destination)
			if err != nil {
				return err
			}
			if link.Notice != "" {
				c.say("%s", link.Notice)
			}
			if onlyPrint || c.format != "text" {
				return c.print(link, func(w *tabwriter.Writer) { fmt.Fprintln(w, link.URL) })
			}
			c.say("Opening the console as %s until %s.", s.AWSRoleARN, until(link.ExpiresAt))
			return openBrowser(cmd.Context(), link.URL, c.warnings())
		},
	}
	cmd.Flags().StringVar(&app, "app", "", "app whose session to use")
	cmd.Flags().StringVar(&role, "aws-role", "", "IAM role to use, by name or ARN")
	cmd.Flags().StringVar(&destination, "destination", "", "page of the console to open")
	cmd.Flags().BoolVar(&onlyPrint, "print", false, "print the link instead of opening it; whoever has it is you")
	return cmd
}

// consoleLink asks the proxy, which holds the AWS credentials, for a sign-in link.
func (p *profile) consoleLink(ctx context.Context, session, destination string) (*consoleLink, error) {
	link := new(consoleLink)
	return link, p.askProxy(ctx, session, "/v1/console", map[string]string{"session_id": session, "destination": destination}, link)
}

// openBrowser sends the desktop's browser to url. The link is a credential, and
// arguments can be seen by others: the browser is started on a loopback address
// that leads to it once, and no other user.
func openBrowser(ctx context.Context, url string, log zerolog.Logger) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	path := "/" + rand.Text()
	taken := make(chan struct{})
	var once sync.Once
	srv := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			first := false
			if r.URL.Path == path {
				once.Do(func() { first = true })
			}
			if !first {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("Referrer-Policy", "no-referrer")
			http.Redirect(w, r, url, http.StatusSeeOther)
			close(taken)
		}),
	}
	go func() { _ = srv.Serve(local.Own(l, log)) }()
	defer func() { _ = srv.Shutdown(context.WithoutCancel(ctx)) }()

	errNone := errors.New("no browser could be opened: use --print and open the link yourself")
	cmd := browserCommand(ctx, "http://"+l.Addr().String()+path)
	if cmd == nil || cmd.Start() != nil {
		return errNone
	}
	failed := make(chan struct{})
	go func() { // what opens links may be the browser itself, which stays
		if cmd.Wait() != nil {
			close(failed)
		}
	}()
	select {
	case <-taken:
		return nil
	case <-failed:
		select {
		case <-taken: // by another browser, that runs
			return nil
		default:
			return errNone
		}
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Minute):
		return errors.New("the browser did not come for the link: use --print and open it yourself")
	}
}
