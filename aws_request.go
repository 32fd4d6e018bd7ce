package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
	"github.com/posternhq/postern/proxy/local"
)

// Exit codes of what became of a request.
const (
	exitRequestDenied exitCode = 3
	exitRequestLapsed exitCode = 4
	exitInterrupted   exitCode = 130
)

// maxAsked bounds how often one command asks.
const maxAsked = 5

// wish is what would let a denied command through.
type wish struct {
	role, requestID string
	// session that was denied, nil where none could be started.
	session *appSession
}

// runAsking runs a command and, as long as it is denied what can be asked for,
// asks, waits and runs it again.
func (c *cli) runAsking(ctx context.Context, app, reason string, argv []string) error {
	var err error
	for range maxAsked {
		var w *wish
		if w, err = c.runOnce(ctx, app, argv); w == nil || ctx.Err() != nil {
			return err
		}
		if _, ran := errors.AsType[exitCode](err); !ran {
			c.say("postern: %v", err)
		}
		if reason == "" && w.requestID == "" && isTerminal(c.stdin) {
			if reason, err = c.askReason(w.role); err != nil {
				return err
			}
		}
		if err := c.obtain(ctx, w, app, reason); err != nil {
			return err
		}
	}
	return err
}

// runOnce runs the command and returns what would mend its denial, if it failed
// for one that can be mended.
func (c *cli) runOnce(ctx context.Context, app string, argv []string) (*wish, error) {
	var refused atomic.Pointer[local.Refusal]
	var session *appSession
	err := c.withHelper(ctx, []string{app}, 0, func(env []local.Var, s []*appSession) error {
		session = s[0]
		return c.runIn(ctx, env, argv)
	}, func(cfg *local.Config) { cfg.Refused = func(r local.Refusal) { refused.Store(&r) } })
	if err == nil {
		return nil, nil
	}
	if r := refused.Load(); r != nil {
		return &wish{role: r.Role, requestID: r.AccessRequest, session: session}, err
	}
	if e, ok := errors.AsType[*api.Error](err); ok && session == nil {
		switch {
		case e.RequestID != "":
			return &wish{requestID: e.RequestID}, err
		case len(e.RequestableRoles) > 0:
			return &wish{role: e.RequestableRoles[0]}, err
		}
	}
	return nil, err
}

func (c *cli) askReason(role string) (string, error) {
	fmt.Fprintf(c.stderr, "Reason for asking for role %s: ", role)
	line, err := c.line()
	if c.ctx.Err() != nil {
		return "", err
	}
	if line = strings.TrimSpace(line); line == "" && err != nil {
		return "", errors.New("no reason was given: use --reason")
	}
	return line, nil
}

// obtain asks for what is wished, waits for the decision, and starts a session
// on what was granted.
func (c *cli) obtain(ctx context.Context, w *wish, app, reason string) error {
	p, err := c.profile()
	if err != nil {
		return err
	}
	b, err := p.broker()
	if err != nil {
		return err
	}
	id := w.requestID
	if id == "" {
		r, err := b.CreateRequest(ctx, api.CreateRequest{Roles: []string{w.role}, Reason: reason})
		if err != nil {
			return err
		}
		id = r.ID
		c.say("Asked for role %s: request %s.", w.role, id)
	}
	r, err := c.awaitDecision(ctx, b, id)
	if err != nil {
		return err
	}
	switch r.State {
	case "approved", "promoted":
		c.say("Request %s was %s: running the command again.", id, r.State)
	case "denied":
		c.say("Request %s was denied%s.", id, byWhom(&r))
		return exitRequestDenied
	default:
		c.say("Request %s is %s: nobody approved it.", id, r.State)
		return exitRequestLapsed
	}
	switch {
	case r.Call != nil || r.State == "promoted" && w.session == nil:
	case w.session != nil:
		_, err = p.start(ctx, w.session.App, w.session.AWSRoleARN, granted(&r))
	case app != "":
		_, err = p.start(ctx, app, "", granted(&r))
	}
	return err
}

// granted is the request that a session can rest on; a membership is none.
func granted(r *api.Request) string {
	if r.State == "promoted" {
		return ""
	}
	return r.ID
}

func byWhom(r *api.Request) string {
	s := ""
	for _, v := range r.Reviews {
		if v.Verdict == "deny" {
			s += " by " + v.Reviewer
			if v.Reason != "" {
				s += ": " + oneLine(v.Reason)
			}
		}
	}
	return s
}

// awaitDecision waits until a request is decided. On a terminal something moves.
func (c *cli) awaitDecision(ctx context.Context, b *client.Client, id string) (api.Request, error) {
	const poll, erase = time.Second, "\r\x1b[K"
	spin := isTerminal(c.stderr)
	if !spin {
		c.say("Waiting for a decision on request %s: postern request review --approve %s (a reviewer).", id, id)
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var asked time.Time
	for began, frame := time.Now(), 0; ; frame++ {
		if time.Since(asked) >= poll {
			asked = time.Now()
			r, err := b.Request(ctx, id)
			if err != nil && !away(err) || err == nil && r.State != "pending" {
				if spin {
					fmt.Fprint(c.stderr, erase)
				}
				return r, err
			}
		}
		if spin {
			fmt.Fprintf(c.stderr, "%s%c waiting for a decision on request %s, %s (Ctrl-C leaves it open)", erase, `|/-\`[frame%4], id, time.Since(began).Round(time.Second))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.say("\nRequest %s stays open: postern request show %s", id, id)
			return api.Request{}, exitInterrupted
		}
	}
}
