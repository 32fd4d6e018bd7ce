package proxy

import (
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/proxy/grants"
	"github.com/posternhq/postern/proxy/sts"
)

// internal serves the proxy's own endpoints.
func (p *Proxy) internal(w http.ResponseWriter, r *http.Request, user string, unknown error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", p.health)
	mux.HandleFunc("POST /v1/console", func(w http.ResponseWriter, r *http.Request) {
		if unknown != nil {
			problem(w, http.StatusUnauthorized, unknown.Error()+". Run: postern login")
			return
		}
		p.console(w, r, user)
	})
	mux.ServeHTTP(w, r)
}

func (p *Proxy) health(w http.ResponseWriter, r *http.Request) {
	select {
	case <-p.ready:
		answer(w, http.StatusOK, map[string]string{"status": "ready"})
	default:
		problem(w, http.StatusServiceUnavailable, "the proxy has not read the ACCESS stream to its end yet")
	}
}

type consoleRequest struct {
	SessionID   string `json:"session_id"`
	Destination string `json:"destination"`
}

type consoleAnswer struct {
	URL             string    `json:"url"`
	ExpiresAt       time.Time `json:"expires_at"`
	DurationSeconds int64     `json:"duration_seconds"`
	Notice          string    `json:"notice,omitempty"`
}

// console opens the AWS console for a session: decide, obtain the link, record
// it, hand it out.
func (p *Proxy) console(w http.ResponseWriter, r *http.Request, user string) {
	var in consoleRequest
	dec := json.NewDecoder(io.LimitReader(r.Body, 64<<10))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		problem(w, http.StatusBadRequest, "read request: "+err.Error())
		return
	}
	now := p.now()
	watch, d := p.grants.Watch(in.SessionID, user, now, func(grants.Decision) {})
	about := events.AWSRequest{
		RequestID: journal.NewID(), ReceivedAt: now.UTC(), User: user, SessionID: in.SessionID,
		Service: "signin", Operation: "GetSigninToken", Method: r.Method, Host: r.Host, Path: r.URL.Path,
		ClientAddr: r.RemoteAddr, UserAgent: r.UserAgent(), Proxy: p.cfg.Name,
	}
	c := &call{p: p, about: about}
	c.know(&d)
	deny := func(cause, reason, rule, lock string, status int) {
		p.recorder.later(c.event(&events.AWSRequestDenied{AWSRequest: c.about, Code: "AccessDenied", Cause: cause, Reason: reason, Rule: rule, LockID: lock}), true)
		problem(w, status, reason)
	}
	if watch == nil {
		status := http.StatusForbidden
		if d.Cause() == grants.CauseStale {
			status = http.StatusServiceUnavailable
		}
		deny(d.Cause(), d.Reason(), d.Rule(), d.LockID(), status)
		return
	}
	watch.Stop()
	if role := narrowed(c.session); role != "" {
		deny(grants.CauseRule, "role "+role+" narrows what this session may do, which the console cannot: use the AWS CLI through postern", "role "+role+" narrows", "", http.StatusForbidden)
		return
	}
	link, err := p.holder.Console(r.Context(), c.session, c.cause, in.Destination)
	if err != nil {
		status := http.StatusForbidden
		if e, ok := errors.AsType[*sts.Error](err); ok && e.Temporary {
			status = http.StatusServiceUnavailable
		}
		c.recordFailure("credentials", "AccessDenied", err.Error())
		problem(w, status, err.Error())
		return
	}
	s := c.session
	if err := p.recorder.now(r.Context(), c.event(&events.AWSConsoleOpened{
		SessionID: s.SessionID, User: user, App: s.App, AWSRoleARN: s.AWSRoleARN, Account: s.Account,
		RoleSessionName: s.RoleSessionName, AccessKeyID: link.AccessKeyID, Destination: link.Destination,
		ExpiresAt: link.ExpiresAt.UTC(), ClientAddr: r.RemoteAddr, Proxy: p.cfg.Name,
	})); err != nil {
		problem(w, http.StatusServiceUnavailable, "the console link could not be recorded, so it is not handed out; try again: "+err.Error())
		return
	}
	answer(w, http.StatusOK, consoleAnswer{
		URL: link.URL, ExpiresAt: link.ExpiresAt.UTC(), DurationSeconds: int64(link.ExpiresAt.Sub(p.now()).Seconds()), Notice: link.Notice,
	})
}

// narrowed names a role that permits less than everything, "" if none does.
func narrowed(s *events.SessionStarted) string {
	for _, p := range s.Permissions {
		if p.DryRun {
			continue
		}
		if p.Effect != "Allow" || len(p.Actions)+len(p.Resources)+len(p.Regions) > 0 {
			return p.Role
		}
	}
	return ""
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client that is gone needs no answer
}

func problem(w http.ResponseWriter, status int, reason string) {
	answer(w, status, map[string]string{"error": reason})
}

// serverLog turns net/http's complaints, mostly about failed handshakes, into
// debug lines.
func serverLog(l zerolog.Logger) *log.Logger { return log.New(debugLog{l}, "", 0) }

type debugLog struct{ log zerolog.Logger }

func (d debugLog) Write(b []byte) (int, error) {
	d.log.Debug().Msg(strings.TrimSpace(string(b)))
	return len(b), nil
}
