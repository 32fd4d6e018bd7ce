package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
	"github.com/posternhq/postern/deploy/embedded"
)

func (c *cli) apps() *cobra.Command {
	cmd := &cobra.Command{Use: "apps", Short: "AWS apps: list them, start and end sessions"}
	var role, request string
	login := &cobra.Command{
		Use: "login [--aws-role NAME|ARN] [--request-id ID] APP", Short: "Start a session on an app", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := c.profile()
			if err != nil {
				return err
			}
			p.prove = c.provesFactor(true)
			s, err := p.start(cmd.Context(), args[0], role, request)
			if err != nil {
				return err
			}
			c.say("Session on %s as %s until %s.", s.App, s.AWSRoleARN, until(s.ExpiresAt))
			c.say("Next: postern aws sts get-caller-identity")
			if c.format == "text" {
				return nil
			}
			return c.print(s, nil)
		},
	}
	login.Flags().StringVar(&role, "aws-role", "", "IAM role to use, by name or ARN, where the app has several")
	login.Flags().StringVar(&request, "request-id", "", "access request that allows it, where several do")
	cmd.AddCommand(
		&cobra.Command{Use: "ls", Short: "The apps that your roles reach, with their AWS roles", Args: cobra.NoArgs, RunE: c.appsLs},
		login,
		&cobra.Command{Use: "logout [APP]", Short: "End what your sign-in runs on APP, or on all apps", Args: cobra.MaximumNArgs(1), RunE: c.appsLogout},
	)
	return cmd
}

func (c *cli) appsLs(cmd *cobra.Command, _ []string) error {
	p, err := c.profile()
	if err != nil {
		return err
	}
	b, err := p.broker()
	if err != nil {
		return err
	}
	apps, err := b.Apps(cmd.Context())
	if err != nil {
		return err
	}
	return c.print(apps, func(w *tabwriter.Writer) {
		fmt.Fprintln(w, "APP\tACCOUNT\tREGION\tAWS ROLE\tHOW")
		for _, a := range apps {
			for _, r := range a.AWSRoles {
				how := "by " + strings.Join(r.Roles, ", ")
				if len(r.RequestIDs) > 0 {
					how += " (request " + strings.Join(r.RequestIDs, ", ") + ")"
				}
				if len(r.AccessLists) > 0 {
					how += " (access list " + strings.Join(r.AccessLists, ", ") + ")"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", a.Name, orDash(a.AccountID), orDash(a.Region), r.ARN, how)
			}
			for _, r := range a.Requestable {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\tpostern request create --roles %s --reason …\n", a.Name, orDash(a.AccountID), orDash(a.Region), r.ARN, strings.Join(r.Roles, ","))
			}
		}
	})
}

func (c *cli) appsLogout(cmd *cobra.Command, args []string) error {
	p, err := c.profile()
	if err != nil {
		return err
	}
	app := ""
	if len(args) == 1 {
		app = args[0]
	}
	ended, err := p.endSessions(cmd.Context(), app)
	err = errors.Join(err, p.sweepAway(cmd.Context()))
	if err == nil && ended == 0 && app != "" {
		return fmt.Errorf("no session on %s", app)
	}
	if err == nil {
		c.say("Ended %d.", ended)
	}
	return err
}

// endSessions ends the sessions on an app ("" for all apps) that this sign-in has
// started, also those whose file another has taken the place of, and forgets them.
// It returns how many.
func (p *profile) endSessions(ctx context.Context, app string) (int, error) {
	b, err := p.broker()
	if err != nil {
		return 0, err
	}
	serial, err := p.serial()
	if err != nil {
		return 0, err
	}
	// Nobody starts one meanwhile that would then be forgotten.
	held, err := lockDir(ctx, filepath.Join(p.dir, "apps"))
	if err != nil {
		return 0, err
	}
	defer held.Close()
	files, err := p.sessions()
	if err != nil {
		return 0, err
	}
	apps := map[string]string{} // by session
	for _, s := range files {
		apps[s.SessionID] = s.App
	}
	running, failed := b.Sessions(ctx, "", "")
	for _, s := range running {
		if s.Certificate == serial {
			apps[s.ID] = s.App
		}
	}
	ended := 0
	for id, on := range apps {
		if app != "" && on != app {
			continue
		}
		if err := b.EndSession(ctx, id); err != nil {
			failed = errors.Join(failed, fmt.Errorf("session %s on %s goes on: %w", id, on, err))
		}
		ended++
	}
	for _, on := range apps {
		if app == "" || on == app {
			// The file goes even if the broker can't be told: see "every credential".
			failed = errors.Join(failed, p.removeApp(on))
		}
	}
	return ended, failed
}

// start begins a session and remembers it, while nobody else starts or ends one.
func (p *profile) start(ctx context.Context, app, role, request string) (*appSession, error) {
	held, err := lockDir(ctx, filepath.Join(p.dir, "apps"))
	if err != nil {
		return nil, err
	}
	defer held.Close()
	return p.begin(ctx, app, role, request)
}

// begin is start for who holds the lock.
func (p *profile) begin(ctx context.Context, app, role, request string) (*appSession, error) {
	b, err := p.broker()
	if err != nil {
		return nil, err
	}
	in := api.StartSession{App: app, AWSRole: role, RequestID: request}
	s, err := b.StartSession(ctx, in)
	var asks *api.Error
	if errors.As(err, &asks) && asks.Code == api.CodeNoFactor && len(asks.Details) > 0 {
		if err = p.prove(ctx, b, &in, asks); err == nil {
			s, err = b.StartSession(ctx, in)
		}
	}
	if err != nil {
		return nil, err
	}
	a := &appSession{SessionID: s.ID, App: s.App, AWSRoleARN: s.AWSRoleARN, Account: s.Account, Region: s.Region, ExpiresAt: s.ExpiresAt, RealCredentials: s.RealCredentials, Proxies: s.ProxyAddrs}
	if len(a.Proxies) == 0 { // for when the broker is away
		if status, err := b.Status(ctx); err == nil {
			a.Proxy = status.ProxyAddr
		}
	}
	return a, p.saveApp(a)
}

// session returns the session to use: the one on app, or the only one. Where
// there is none it starts one, if only one could be meant, and in place of one that
// lapsed one for the same IAM role.
func (p *profile) session(ctx context.Context, b *client.Client, app string) (*appSession, error) {
	s, err := p.running(app)
	if err != nil {
		return nil, err
	}
	if s != nil {
		if over, err := p.lapsed(ctx, b, s); err != nil || !over {
			return s, err
		}
	}
	// Of several that want one at once, one starts it.
	held, err := lockDir(ctx, filepath.Join(p.dir, "apps"))
	if err != nil {
		return nil, err
	}
	defer held.Close()
	now, err := p.running(app)
	switch {
	case err != nil:
		return nil, err
	case now == nil:
		return p.startMeant(ctx, app, "")
	case s == nil || now.SessionID != s.SessionID: // of another that wanted one
		return now, nil
	}
	fresh, err := p.begin(ctx, s.App, s.AWSRoleARN, "")
	if err != nil && ctx.Err() == nil {
		return s, nil // the proxy says why it is over, to the client in its words, and records that
	}
	return fresh, err
}

// sessionAs is session for an IAM role, by name or ARN; it starts one where what runs is
// for another role.
func (p *profile) sessionAs(ctx context.Context, b *client.Client, app, role string) (*appSession, error) {
	s, err := p.running(app)
	if err != nil {
		return nil, err
	}
	if role == "" || s != nil && (s.AWSRoleARN == role || strings.HasSuffix(s.AWSRoleARN, "/"+role)) {
		return p.session(ctx, b, app)
	}
	if s != nil {
		app = s.App
	}
	held, err := lockDir(ctx, filepath.Join(p.dir, "apps"))
	if err != nil {
		return nil, err
	}
	defer held.Close()
	return p.startMeant(ctx, app, role)
}

// lapsed says whether a session is over because what it rested on is gone, or is none
// that the broker knows; of another, it learns which proxies serve it by now. One that
// somebody ended is over until its user says otherwise. Where the broker is away, none is.
func (p *profile) lapsed(ctx context.Context, b *client.Client, s *appSession) (bool, error) {
	if p.absent.still() != nil {
		return false, nil
	}
	now, err := b.Session(ctx, s.SessionID)
	if no, ok := errors.AsType[*api.Error](err); ok && no.Code == api.CodeNotFound {
		return true, nil
	}
	if p.absent.excuses(ctx, err, s) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !slices.Equal(s.Proxies, now.ProxyAddrs) {
		s.Proxies = now.ProxyAddrs
		p.note(s)
	}
	return now.State == "ended" && now.EndedBy == "postern", nil
}

// note remembers what was learned of a session that goes on. Where somebody starts one right
// now, or the home can't be written, the next command learns it anew.
func (p *profile) note(s *appSession) {
	held, err := embedded.LockDir(filepath.Join(p.dir, "apps"))
	if err != nil {
		return
	}
	defer held.Close()
	if now, err := p.running(s.App); err == nil && now != nil && now.SessionID == s.SessionID { // no other by now
		_ = p.saveApp(s)
	}
}

// running returns the session on app, or the only one, nil where there is none.
func (p *profile) running(app string) (*appSession, error) {
	sessions, err := p.sessions()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, s := range sessions {
		if s.App == app {
			return s, nil
		}
		names = append(names, s.App)
	}
	if app == "" && len(sessions) == 1 {
		return sessions[0], nil
	}
	if app == "" && len(sessions) > 1 {
		return nil, fmt.Errorf("sessions run on %s: say which with --app", strings.Join(names, ", "))
	}
	return nil, nil
}

// startMeant starts a session on app, or on the only app that there is, for an IAM role,
// or the only one.
func (p *profile) startMeant(ctx context.Context, app, role string) (*appSession, error) {
	var names []string
	if app != "" {
		return p.begin(ctx, app, role, "")
	}
	b, err := p.broker()
	if err != nil {
		return nil, err
	}
	apps, err := b.Apps(ctx)
	if err != nil {
		return nil, err
	}
	var usable []api.App
	denied := &api.Error{Code: api.CodeDenied, Message: "AccessDenied: your roles reach no AWS app, and none that you could ask for"}
	for _, a := range apps {
		if len(a.AWSRoles) > 0 {
			usable = append(usable, a)
			names = append(names, a.Name)
		}
		for _, r := range a.Requestable {
			denied.Message = fmt.Sprintf("AccessDenied: your roles reach no AWS app. To ask for access: postern request create --roles %s --reason \"…\"", r.Roles[0])
			denied.RequestableRoles = r.Roles[:1]
		}
	}
	switch {
	case len(usable) == 1:
		return p.begin(ctx, usable[0].Name, role, "")
	case len(usable) > 1:
		return nil, fmt.Errorf("you reach %s: start a session with postern apps login APP, or say --app", strings.Join(names, ", "))
	}
	return nil, denied
}
