package simaws

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/google/uuid"
)

const (
	// signinTokenLife: "valid for 15 minutes".
	signinTokenLife = 15 * time.Minute
	consoleCookie   = "sim-console"
)

// serveSignin is the federation endpoint:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_enable-console-custom-url.html
func (s *Sim) serveSignin(c *call) {
	c.requestID = uuid.NewString()
	c.w.Header().Set("X-Amzn-Requestid", c.requestID)
	if c.path != "/federation" || c.r.Method != http.MethodGet && c.r.Method != http.MethodPost {
		http.Error(c.w, "the simulated AWS sign-in has /federation only", http.StatusNotFound)
		return
	}
	c.r.Body = http.MaxBytesReader(c.w, c.r.Body, 1<<20)
	if err := c.r.ParseForm(); err != nil {
		http.Error(c.w, "bad form", http.StatusBadRequest)
		return
	}
	var err error
	switch action := c.r.Form.Get("Action"); action {
	case "getSigninToken":
		err = s.getSigninToken(c)
	case "login":
		err = s.consoleLogin(c)
	default:
		err = fmt.Errorf("unknown Action %q", action)
	}
	if err != nil {
		// AWS answers 400 and says nothing; the reason is a kindness to whoever
		// debugs against the simulation.
		http.Error(c.w, err.Error(), http.StatusBadRequest)
	}
}

func (s *Sim) getSigninToken(c *call) error {
	var creds struct {
		ID     string `json:"sessionId"`
		Secret string `json:"sessionKey"`
		Token  string `json:"sessionToken"`
	}
	if err := json.Unmarshal([]byte(c.r.Form.Get("Session")), &creds); err != nil {
		return errors.New("the parameter Session is not a JSON object of sessionId, sessionKey and sessionToken")
	}
	who, err := s.iam.session(ordinarySession, creds.ID, creds.Token, c.at)
	if err != nil {
		return fmt.Errorf("the session's credentials: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(who.secret), []byte(creds.Secret)) != 1 {
		return errors.New("the session's credentials: wrong secret key")
	}
	if !who.isRole() {
		return errors.New("the session's credentials are not of a role")
	}
	if c.ep.partition != who.partition {
		return errors.New("the session's credentials belong to another partition")
	}
	until := who.expires
	if v := c.r.Form.Get("SessionDuration"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 900 || n > 43200 {
			return errors.New("SessionDuration is not between 900 and 43200 seconds")
		}
		// Credentials from role chaining are good for one hour at most.
		if who.chained && n > 3600 {
			return errors.New("SessionDuration is more than 3600 seconds, and the credentials come from role chaining")
		}
		until = c.at.Add(time.Duration(n) * time.Second)
	}
	inner, err := s.iam.open("session", creds.Token)
	if err != nil {
		return err
	}
	inner.Kind, inner.ConsoleUntil, inner.Expires = "signin", until, c.at.Add(signinTokenLife)
	token, err := s.iam.seal(inner)
	if err != nil {
		return err
	}
	s.recordSignin(c, who, "GetSigninToken", map[string]any{"GetSigninToken": "Success"}, nil)
	c.answer(http.StatusOK, "application/json", fmt.Appendf(nil, `{"SigninToken":%q}`, token))
	return nil
}

func (s *Sim) consoleLogin(c *call) error {
	dest, err := url.Parse(c.r.Form.Get("Destination"))
	if err != nil || dest.Scheme != "https" || dest.User != nil {
		return errors.New("the parameter Destination is not an https URL")
	}
	if ep, ok := parseHost(dest.Host); !ok || ep.kind != hostConsole {
		return fmt.Errorf("the destination %q is not a page of the AWS console", dest.Host)
	}
	tok, err := s.iam.open("signin", c.r.Form.Get("SigninToken"))
	if err != nil {
		return fmt.Errorf("SigninToken: %w", err)
	}
	if !c.at.Before(tok.Expires) {
		return errors.New("SigninToken: older than 15 minutes")
	}
	who, err := s.iam.identityOf(tok)
	if err != nil {
		return fmt.Errorf("SigninToken: %w", err)
	}
	tok.Kind, tok.Expires = "console", tok.ConsoleUntil
	cookie, err := s.iam.seal(tok)
	if err != nil {
		return err
	}
	s.recordSignin(c, who, "ConsoleLogin", map[string]any{"ConsoleLogin": "Success"},
		map[string]any{"LoginTo": dest.String(), "MobileVersion": "No", "MFAUsed": "No"})
	http.SetCookie(c.w, &http.Cookie{Name: consoleCookie, Value: url.QueryEscape(cookie), Domain: pageDomain(c.ep.partition), Path: "/",
		Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: max(1, int(tok.ConsoleUntil.Sub(c.at)/time.Second))})
	http.Redirect(c.w, c.r, dest.String(), http.StatusFound)
	return nil
}

func pageDomain(partition string) string {
	switch partition {
	case "aws-cn":
		return "amazonaws.cn"
	case "aws-us-gov":
		return "amazonaws-us-gov.com"
	}
	return "aws.amazon.com"
}

var consolePage = template.Must(template.New("console").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Simulated AWS console</title>
<style>body{font:16px system-ui;margin:3rem auto;max-width:44rem}dt{color:#555}dd{margin:0 0 1rem;font-family:monospace;overflow-wrap:anywhere}</style>
<h1>Simulated AWS console</h1>
<p>You asked for <code>{{.Page}}</code>.</p>
<dl><dt>Signed in as</dt><dd id="arn">{{.ARN}}</dd><dt>Account</dt><dd id="account">{{.Account}}</dd>
{{with .SourceIdentity}}<dt>Source identity</dt><dd id="source-identity">{{.}}</dd>{{end}}
<dt>Until</dt><dd id="until">{{.Until}}</dd></dl>
`))

// serveConsole shows who is signed in, which is all that this console does.
func (s *Sim) serveConsole(c *call) {
	cookie, err := c.r.Cookie(consoleCookie)
	if err != nil {
		http.Error(c.w, "not signed in: come through the federation URL", http.StatusForbidden)
		return
	}
	raw, _ := url.QueryUnescape(cookie.Value)
	tok, err := s.iam.open("console", raw)
	if err == nil && !c.at.Before(tok.Expires) {
		err = errTokenExpired
	}
	var who *identity
	if err == nil {
		who, err = s.iam.identityOf(tok)
	}
	if err != nil {
		http.Error(c.w, "not signed in: the console session's "+err.Error(), http.StatusForbidden)
		return
	}
	c.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	err = consolePage.Execute(c.w, map[string]string{"Page": "https://" + c.r.Host + c.r.URL.RequestURI(), "ARN": who.arn(),
		"Account": who.account, "SourceIdentity": who.sourceIdentity, "Until": tok.Expires.Format(time.RFC3339)})
	if err != nil {
		s.log.Debug().Err(err).Msg("console page")
	}
}

// recordSignin: https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-aws-console-sign-in-events.html
func (s *Sim) recordSignin(c *call, who *identity, name string, response, additional map[string]any) {
	user := userIdentity(who)
	if name == "ConsoleLogin" {
		delete(user, "accessKeyId") // a person signs in, not a key
	}
	s.trail.take(trailRecord{
		EventVersion: "1.11", UserIdentity: user, EventTime: c.at.Format(time.RFC3339),
		EventSource: "signin.amazonaws.com", EventName: name, AWSRegion: c.ep.region, SourceIPAddress: c.sourceIP(),
		UserAgent: c.r.UserAgent(), ResponseElements: response, AdditionalEventData: additional,
		EventID: uuid.NewString(), EventType: "AwsConsoleSignIn", ManagementEvent: true,
		RecipientAccountID: who.account, EventCategory: "Management", TLSDetails: tlsDetails(c.r),
	}, false, "", true)
}
