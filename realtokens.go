package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy/local"
)

// What the AWS CLI signs by itself, for somebody who is not AWS's API, it signs
// with keys that are worth nothing there. These commands run the AWS CLI and
// have the proxy sign anew what it prints.

// tokenWish and tokenGift are what the proxy is asked for, and gives.
type tokenWish struct {
	SessionID string `json:"session_id"`
	Kind      string `json:"kind"`
	URL       string `json:"url"`
	Cluster   string `json:"cluster,omitempty"`
}

type tokenGift struct {
	URL       string    `json:"url"`
	Username  string    `json:"username"`
	Password  string    `json:"password"`
	ExpiresAt time.Time `json:"expires_at"`
}

func (p *profile) token(ctx context.Context, wish tokenWish) (tokenGift, error) {
	var gift tokenGift
	return gift, p.askProxy(ctx, wish.SessionID, "/v1/tokens", wish, &gift)
}

// runAWS runs the AWS CLI for a session.
func (c *cli) runAWS(ctx context.Context, env []local.Var, s *appSession, args []string) error {
	argv := append([]string{"aws"}, args...)
	if asksHelp(args) {
		return c.runIn(ctx, env, argv) // with its pager
	}
	var edit func(context.Context, *profile, *appSession, []string, string) (string, error)
	switch awsCommand(args) {
	case "eks get-token":
		edit = c.eksToken
	case "eks update-kubeconfig":
		edit = c.kubeconfig
	case "rds generate-db-auth-token":
		edit = c.rdsToken
	case "s3 presign":
		edit = c.presigned
	default:
		return c.runIn(ctx, env, argv)
	}
	p, err := c.profile()
	if err != nil {
		return err
	}
	var printed bytes.Buffer
	captured := *c
	captured.stdout = &printed
	text := ""
	if err = captured.runIn(ctx, env, argv); err == nil {
		text, err = edit(ctx, p, s, args, printed.String())
	}
	_, unwritten := fmt.Fprint(c.stdout, text)
	return errors.Join(err, unwritten)
}

// asksHelp tells `aws SERVICE OPERATION help` from the value of an option.
func asksHelp(args []string) bool {
	n := len(args)
	return n > 1 && args[n-1] == "help" && !strings.HasPrefix(args[n-2], "-")
}

// oneURL tells a URL, or a token made of one, from all else that the AWS CLI may
// print in its place, such as the skeleton of its input.
func oneURL(text string) bool { return len(strings.Fields(text)) == 1 }

// awsCommand is the service and the operation among the AWS CLI's arguments.
func awsCommand(args []string) string {
	var words []string
	for i := 0; i < len(args) && len(words) < 2; i++ {
		switch {
		case !strings.HasPrefix(args[i], "-"):
			words = append(words, args[i])
		case slices.Contains(awsOptions, args[i]):
			i++
		}
	}
	return strings.Join(words, " ")
}

// awsOptions are the AWS CLI's global options that take a value
// (https://docs.aws.amazon.com/cli/latest/reference/#options).
var awsOptions = []string{"--endpoint-url", "--output", "--query", "--profile", "--region", "--color", "--ca-bundle",
	"--cli-read-timeout", "--cli-connect-timeout", "--cli-binary-format"}

// option is the value of one of the AWS CLI's options, "" if it is not there.
func option(args []string, name string) string {
	for i, a := range args {
		if v, ok := strings.CutPrefix(a, name+"="); ok {
			return v
		}
		if a == name && i+1 < len(args) {
			return args[i+1]
		}
	}
	return ""
}

var (
	eksTokenForm = regexp.MustCompile(`k8s-aws-v1\.[A-Za-z0-9_-]+`)
	eksTimeForm  = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)
)

// eksToken signs the token of `aws eks get-token` anew, and has its client ask
// again before it ends.
func (c *cli) eksToken(ctx context.Context, p *profile, s *appSession, args []string, text string) (string, error) {
	token := eksTokenForm.FindString(text)
	url, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(token, "k8s-aws-v1."))
	if err != nil || token == "" {
		return text, err // --query may have left it out
	}
	cluster := option(args, "--cluster-name")
	if id := option(args, "--cluster-id"); id != "" {
		cluster = id
	}
	gift, err := p.token(ctx, tokenWish{SessionID: s.SessionID, Kind: events.CredentialEKS, URL: string(url), Cluster: cluster})
	if err != nil {
		return "", err
	}
	text = strings.ReplaceAll(text, token, "k8s-aws-v1."+base64.RawURLEncoding.EncodeToString([]byte(gift.URL)))
	return eksTimeForm.ReplaceAllStringFunc(text, func(at string) string {
		if t, err := time.Parse(time.RFC3339, at); err == nil && t.Before(gift.ExpiresAt) {
			return at
		}
		return gift.ExpiresAt.UTC().Format(time.RFC3339)
	}), nil
}

// rdsToken signs the token of `aws rds generate-db-auth-token` anew: a presigned
// URL without its scheme.
func (c *cli) rdsToken(ctx context.Context, p *profile, s *appSession, _ []string, text string) (string, error) {
	if !oneURL(text) {
		return text, nil
	}
	gift, err := p.token(ctx, tokenWish{SessionID: s.SessionID, Kind: events.CredentialRDS, URL: "https://" + strings.TrimSpace(text)})
	if err != nil {
		return "", err
	}
	return strings.TrimPrefix(gift.URL, "https://") + "\n", nil
}

// presigned makes a URL that works anywhere where a role allows that, and says
// what the URL is good for.
func (c *cli) presigned(ctx context.Context, p *profile, s *appSession, _ []string, text string) (string, error) {
	if !oneURL(text) {
		return text, nil
	}
	if !slices.Contains(s.RealCredentials, events.CredentialURL) {
		c.say("The URL works through postern: postern exec --app %s -- sh -c 'curl --cacert \"$AWS_CA_BUNDLE\" \"URL\"'. One that works anywhere needs a role with options.real_credentials: [%s].", s.App, events.CredentialURL)
		return text, nil
	}
	gift, err := p.token(ctx, tokenWish{SessionID: s.SessionID, Kind: events.CredentialURL, URL: strings.TrimSpace(text)})
	if err != nil {
		return "", err
	}
	c.say("The URL works anywhere until %s.", until(gift.ExpiresAt))
	return gift.URL + "\n", nil
}

// gitCredentials is `aws codecommit credential-helper`, as Git calls it
// (https://git-scm.com/docs/gitcredentials#_custom_helpers): attributes come on
// stdin, and user name and password go to stdout.
func (c *cli) gitCredentials(ctx context.Context, app string, args []string) error {
	if args[len(args)-1] != "get" {
		return nil // there is nothing to store or to erase
	}
	attr, err := orSignal(ctx, func() (map[string]string, error) {
		attr := map[string]string{}
		for s := bufio.NewScanner(c.stdin); s.Scan() && s.Text() != ""; {
			name, value, _ := strings.Cut(s.Text(), "=")
			attr[name] = value
		}
		return attr, nil
	})
	if err != nil {
		return err
	}
	if !strings.HasPrefix(attr["host"], "git-codecommit") {
		return nil // another helper's
	}
	if attr["path"] == "" {
		return errors.New("git does not say which repository it means: git config --global credential.UseHttpPath true")
	}
	p, s, err := c.sessionOn(ctx, app, "")
	if err != nil {
		return err
	}
	gift, err := p.token(ctx, tokenWish{SessionID: s.SessionID, Kind: events.CredentialCodeCommit, URL: attr["protocol"] + "://" + attr["host"] + "/" + attr["path"]})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.stdout, "username=%s\npassword=%s\n", gift.Username, gift.Password)
	return err
}
