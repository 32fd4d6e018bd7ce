package proxy

import (
	"encoding/json"
	"log"
	"net/http"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy/grants"
)

// internal serves the proxy's own endpoints.
func (p *Proxy) internal(w http.ResponseWriter, r *http.Request, user string, unknown error) {
	mux := http.NewServeMux()
	for path, e := range p.endpoints() {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if unknown != nil && !e.open {
				problem(w, http.StatusUnauthorized, unknown.Error()+". Run: postern login")
				return
			}
			e.serve(w, r, user)
		})
	}
	mux.ServeHTTP(w, r)
}

// endpoint is one of the proxy's own; openapi.yaml describes every one of them.
type endpoint struct {
	open  bool // to who has no valid sign-in
	serve func(w http.ResponseWriter, r *http.Request, user string)
}

func (p *Proxy) endpoints() map[string]endpoint {
	return map[string]endpoint{
		"GET /healthz":         {true, p.health},
		"GET /v1/openapi.json": {true, p.describe},
		"POST /v1/console":     {false, p.console},
		"POST /v1/tokens":      {false, p.token},
		"POST /v1/credentials": {false, p.export},
	}
}

func (p *Proxy) health(w http.ResponseWriter, _ *http.Request, _ string) {
	if why := p.grants.Refuses(p.now()); why != "" {
		problem(w, http.StatusServiceUnavailable, "the proxy refuses calls: "+why)
		return
	}
	answer(w, http.StatusOK, map[string]string{"status": "ready"})
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
	if !read(w, r, &in) {
		return
	}
	c := p.ask(w, r, user, in.SessionID)
	c.about.Service, c.about.Operation = "signin", "GetSigninToken"
	stop, ok := c.open()
	if !ok {
		return
	}
	defer stop()
	if role := narrowed(c.session, false); role != "" {
		c.deny(denial{cause: grants.CauseRule, rule: "role " + role + " narrows", reason: "role " + role + " narrows what this session may do, which the console cannot: use the AWS CLI through postern"})
		return
	}
	link, err := p.holder.Console(c.ctx, c.session, c.cause, in.Destination)
	if err != nil {
		c.failCredentials(err)
		return
	}
	s := c.session
	if !c.recorded(&events.AWSConsoleOpened{
		SessionID: s.SessionID, User: user, App: s.App, AWSRoleARN: s.AWSRoleARN, Account: s.Account,
		RoleSessionName: s.RoleSessionName, AccessKeyID: link.AccessKeyID, Destination: link.Destination,
		ExpiresAt: link.ExpiresAt.UTC(), ClientAddr: r.RemoteAddr, Proxy: p.cfg.Name, DryRun: narrowing(c.session, "the console cannot"),
	}) {
		return
	}
	answer(w, http.StatusOK, consoleAnswer{
		URL: link.URL, ExpiresAt: link.ExpiresAt.UTC(), DurationSeconds: int64(link.ExpiresAt.Sub(p.now()).Seconds()), Notice: link.Notice,
	})
}

// narrowed names a role that permits less than everything, "" if none does. Roles
// in dry run count if strict.
func narrowed(s *events.SessionStarted, strict bool) string {
	for _, p := range s.Permissions {
		if p.DryRun && !strict {
			continue
		}
		if p.Effect != "Allow" || len(p.Actions)+len(p.Resources)+len(p.Regions) > 0 {
			return p.Role
		}
	}
	return ""
}

// narrowing is what a role in dry run would have refused because something cannot
// be narrowed, nil if none would.
func narrowing(s *events.SessionStarted, what string) *events.DryRun {
	role := narrowed(s, true)
	if role == "" {
		return nil
	}
	return &events.DryRun{Rule: "role " + role + " narrows", Reason: "role " + role + " narrows what this session may do, which " + what}
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
