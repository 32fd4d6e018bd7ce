package sts

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/posternhq/postern/events"
)

// Console is a link that signs its bearer in to the AWS Management Console. The
// link is a secret, good for 15 minutes; what it opens ends at ExpiresAt.
type Console struct {
	URL         string
	Destination string
	ExpiresAt   time.Time
	AccessKeyID string
	// Notice is what the user should know up front, "" if nothing.
	Notice string
}

// consoles are the sign-in and console hosts of a partition
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_enable-console-custom-url.html,
// https://docs.aws.amazon.com/govcloud-us/latest/UserGuide/govcloud-console.html,
// https://docs.amazonaws.cn/en_us/aws/latest/userguide/endpoints-Beijing.html).
var consoles = map[string]struct{ signin, console string }{
	"aws":        {"signin.aws.amazon.com", "console.aws.amazon.com"},
	"aws-us-gov": {"signin.amazonaws-us-gov.com", "console.amazonaws-us-gov.com"},
	"aws-cn":     {"signin.amazonaws.cn", "console.amazonaws.cn"},
}

// otherConsoles are the consoles of single services that are not below the
// partition's console, all of AWS's own
// (https://docs.aws.amazon.com/health/latest/ug/getting-started-health-dashboard.html,
// https://docs.aws.amazon.com/awsconsolehelpdocs/latest/gsg/dns-configuration-console-signin.html).
var otherConsoles = map[string][]string{
	"console.aws.amazon.com": {"health.aws.amazon.com", "phd.aws.amazon.com", "lightsail.aws.amazon.com", "quicksight.aws.amazon.com"},
}

// Console assumes the session's role and turns the credentials into a sign-in
// link to destination: a URL of the partition's console, a path in it, or "" for
// its first page. Cause is the id of the session.started event. The console
// session lasts as long as the session, at most 12 hours, or one hour where
// postern's own credentials are temporary (role chaining).
func (h *Holder) Console(ctx context.Context, s *events.SessionStarted, cause, destination string) (Console, error) {
	partition := s.Partition
	if partition == "" {
		partition = "aws"
	}
	hosts, ok := consoles[partition]
	if !ok {
		return Console{}, &Error{Reason: fmt.Sprintf("partition %s has no console sign-in that postern knows", partition)}
	}
	dest, err := consoleDestination(hosts.console, destination)
	if err != nil {
		return Console{}, err
	}
	now := h.cfg.Now()
	rest := s.ExpiresAt.Sub(now)
	if rest < shortest {
		return Console{}, &Error{Reason: fmt.Sprintf("the session ends in %s, and AWS opens no console for less than 15 minutes: start a new one with `postern apps login %s`",
			max(rest, 0).Truncate(time.Second), s.App)}
	}
	creds, err := h.assume(ctx, s, rest)
	if err != nil {
		return Console{}, err
	}
	if err := h.record(ctx, h.issued(s, creds, "console"), cause); err != nil {
		return Console{}, err
	}
	c := Console{Destination: dest, AccessKeyID: creds.AccessKeyID, ExpiresAt: creds.Expires}
	q := url.Values{"Action": {"getSigninToken"}}
	if creds.Chained {
		// AWS takes no SessionDuration then: the console lasts as long as the
		// credentials.
		c.Notice = "this console session ends " + ChainedEnd
	} else {
		// AWS counts in whole seconds.
		d := max(shortest, (min(rest, longest, creds.Expires.Sub(now)) + time.Second - 1).Truncate(time.Second))
		q.Set("SessionDuration", strconv.Itoa(int(d/time.Second)))
		c.ExpiresAt = now.Add(d)
	}
	if c.ExpiresAt.After(s.ExpiresAt) {
		c.ExpiresAt = s.ExpiresAt
	}
	token, err := h.signinToken(ctx, hosts.signin, q, creds)
	if err != nil {
		return Console{}, err
	}
	c.URL = "https://" + hosts.signin + "/federation?" + url.Values{
		"Action": {"login"}, "Issuer": {"postern"}, "Destination": {dest}, "SigninToken": {token},
	}.Encode()
	return c, nil
}

// signinToken exchanges credentials for a sign-in token.
func (h *Holder) signinToken(ctx context.Context, host string, q url.Values, c Credentials) (string, error) {
	session, err := json.Marshal(map[string]string{
		"sessionId": c.AccessKeyID, "sessionKey": c.SecretAccessKey, "sessionToken": c.SessionToken,
	})
	if err != nil {
		return "", &Error{Reason: "encode console session", err: err}
	}
	q.Set("Session", string(session))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/federation?"+q.Encode(), nil)
	if err != nil {
		return "", &Error{Reason: "build console sign-in request"}
	}
	resp, err := h.plain.Do(req)
	if err != nil {
		// The error of http.Client has the URL in it, and so the secrets.
		return "", &Error{Temporary: true, Reason: fmt.Sprintf("AWS sign-in at %s could not be reached: %s", host, cause(err))}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", &Error{Temporary: true, Reason: fmt.Sprintf("AWS sign-in at %s broke off", host)}
	}
	var out struct{ SigninToken string }
	if resp.StatusCode != http.StatusOK || json.Unmarshal(body, &out) != nil || out.SigninToken == "" {
		return "", &Error{Temporary: resp.StatusCode >= 500,
			Reason: fmt.Sprintf("AWS sign-in at %s refused the role's credentials with HTTP status %d", host, resp.StatusCode)}
	}
	return out.SigninToken, nil
}

// consoleDestination makes a URL of the console, and of nothing else: the link
// must not lead a signed-in user elsewhere.
func consoleDestination(console, destination string) (string, error) {
	switch {
	case destination == "":
		return "https://" + console + "/", nil
	case !strings.Contains(destination, "://"):
		destination = "https://" + console + "/" + strings.TrimLeft(destination, "/")
	}
	u, err := url.Parse(destination)
	if err != nil || u.Scheme != "https" || u.User != nil || u.Port() != "" ||
		u.Hostname() != console && !strings.HasSuffix(u.Hostname(), "."+console) && !slices.Contains(otherConsoles[console], u.Hostname()) {
		return "", &Error{Reason: fmt.Sprintf("destination %.200q is no page of https://%s", destination, strings.Join(append([]string{console}, otherConsoles[console]...), ", https://"))}
	}
	return u.String(), nil
}
