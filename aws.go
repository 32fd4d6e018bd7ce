package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/posternhq/postern/proxy/local"
)

func (c *cli) aws() *cobra.Command {
	return &cobra.Command{
		Use:   "aws [--app A] [--request [--reason T]] ARGS…",
		Short: "The AWS CLI through postern; arguments are passed on, the exit code is kept",
		Long: `The AWS CLI through postern; arguments are passed on, the exit code is kept.

With --request, a denial that an access request would mend makes that request,
waits for the decision and runs the command again. Exit code 3: it was denied;
4: nobody decided in time, or it was dropped.`,
		// From the first argument that is not postern's on, all are the AWS CLI's.
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			var app, reason string
			var asks bool
			rest, err := c.ownFlags(args, map[string]*string{"app": &app, "reason": &reason}, map[string]*bool{"request": &asks})
			if err != nil {
				return err
			}
			if len(rest) == 0 || rest[0] == "-h" || rest[0] == "--help" {
				return cmd.Help()
			}
			if asks {
				return c.runAsking(cmd.Context(), app, reason, append([]string{"aws"}, rest...))
			}
			if awsCommand(rest) == "codecommit credential-helper" {
				return c.gitCredentials(cmd.Context(), app, rest)
			}
			return c.withHelper(cmd.Context(), []string{app}, 0, func(env []local.Var, s []*appSession) error {
				return c.runAWS(cmd.Context(), env, s[0], rest)
			})
		},
	}
}

// ownFlags takes postern's flags off the front of args: those with a value and
// those without.
func (c *cli) ownFlags(args []string, own map[string]*string, plain map[string]*bool) ([]string, error) {
	own["home"], own["identity"], own["format"] = &c.homeDir, &c.identity, &c.format
	for len(args) > 0 {
		if set := plain[strings.TrimPrefix(args[0], "--")]; set != nil && strings.HasPrefix(args[0], "--") {
			*set, args = true, args[1:]
			continue
		}
		name, value, has := strings.Cut(args[0], "=")
		target, mine := own[strings.TrimPrefix(name, "--")]
		if !strings.HasPrefix(name, "--") || !mine {
			break
		}
		if !has {
			if len(args) < 2 {
				return nil, usageError{fmt.Errorf("%s needs a value", name)}
			}
			value, args = args[1], args[1:]
		}
		if name = strings.TrimPrefix(name, "--"); value == "" && slices.Contains(saying, name) {
			return nil, emptyFlag(name)
		}
		*target, args = value, args[1:]
	}
	return args, nil
}

func (c *cli) exec() *cobra.Command {
	var apps []string
	cmd := &cobra.Command{
		Use:   "exec [--app A] -- CMD ARGS…",
		Short: "Run a command in an environment that goes to AWS through postern",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withHelper(cmd.Context(), appNames(apps), 0, func(env []local.Var, _ []*appSession) error {
				return c.runIn(cmd.Context(), env, args)
			})
		},
	}
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().StringArrayVar(&apps, "app", nil, "app whose session to use; several become profiles of that name")
	return cmd
}

func (c *cli) proxy() *cobra.Command {
	cmd := &cobra.Command{Use: "proxy", Short: "Local proxies"}
	var apps []string
	var port int
	aws := &cobra.Command{
		Use:   "aws [-p PORT] [--app A]",
		Short: "Local HTTPS proxy to AWS; prints the environment that uses it",
		Args:  cobra.NoArgs, Annotations: knows(environmentFormats),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkPort(port); err != nil {
				return err
			}
			err := c.withHelper(cmd.Context(), appNames(apps), port, func(env []local.Var, s []*appSession) error {
				if err := c.printEnvironment(env); err != nil {
					return err
				}
				if len(s) > 1 && slices.ContainsFunc(regionVars, func(name string) bool { return os.Getenv(name) != "" }) {
					c.say("AWS_REGION or AWS_DEFAULT_REGION is set here: all profiles work in that region, unless you unset it.")
				}
				for _, x := range s {
					c.say("%s as %s until %s. Stop with Ctrl-C.", x.App, x.AWSRoleARN, until(x.ExpiresAt))
				}
				<-cmd.Context().Done()
				return nil
			})
			return ifTaken(err, "another port with --port")
		},
	}
	aws.Flags().IntVarP(&port, "port", "p", 0, "port on loopback; 0 chooses one")
	aws.Flags().StringArrayVar(&apps, "app", nil, "app whose session to use")
	cmd.AddCommand(aws)
	return cmd
}

// checkPort tells whether a --port can be one; 0 stands for any.
func checkPort(port int) error {
	if port < 0 || port > 65535 {
		return usageError{fmt.Errorf("--port=%d: %s", port, aPort)}
	}
	return nil
}

func appNames(flags []string) []string {
	if len(flags) == 0 {
		return []string{""}
	}
	return flags
}

// withHelper runs the loopback helper for the sessions on apps while use runs,
// and leaves nothing of it on disk.
func (c *cli) withHelper(ctx context.Context, apps []string, port int, use func(env []local.Var, s []*appSession) error, change ...func(*local.Config)) error {
	p, err := c.profile()
	if err != nil {
		return err
	}
	b, err := p.broker()
	if err != nil {
		return err
	}
	var sessions []*appSession
	var configured []local.Session
	for _, app := range apps {
		s, err := p.session(ctx, b, app)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(sessions, func(other *appSession) bool { return other.App == s.App }) {
			continue // named twice
		}
		sessions = append(sessions, s)
		configured = append(configured, local.Session{ID: s.SessionID, App: s.App, Region: s.Region})
	}
	proxies, err := p.reachable(ctx, b, sessions)
	if err != nil {
		return err
	}
	tlsConfig, err := p.lastingTLS()
	if err != nil {
		return err
	}
	dir, free, err := p.ownDir(ctx, "proxy")
	if err != nil {
		return err
	}
	defer free()
	cfg := local.Config{
		Listen:    fmt.Sprintf("127.0.0.1:%d", port),
		ProxyAddr: proxies[0], OtherProxies: proxies[1:],
		ProxyTLS: tlsConfig,
		Sessions: configured, Successor: p.successor(sessions),
		KeySeed:  p.KeyPEM,
		CABundle: keptBundle(), NodeCerts: os.Getenv("NODE_EXTRA_CA_CERTS"), Through: keptProxy(),
		Dir: dir,
		Log: c.warnings(),
	}
	for _, f := range change {
		f(&cfg)
	}
	h, err := local.New(cfg)
	if err != nil {
		return err
	}
	// The helper outlives a signal for as long as the command that got it too.
	helperCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, helperCtx := errgroup.WithContext(helperCtx)
	g.Go(func() error { return h.Run(helperCtx) })
	select {
	case <-h.Ready():
	case <-helperCtx.Done():
		return g.Wait()
	}
	region := "" // with several, it is the profiles' to say: one in the environment would go before theirs
	if len(sessions) == 1 {
		region = sessions[0].Region
	}
	env := environment(h, region)
	if len(sessions) > 1 {
		file, err := writeProfiles(dir, h, sessions)
		if err != nil {
			stop()
			return errors.Join(err, g.Wait())
		}
		env = append(env, local.Var{Name: "AWS_SHARED_CREDENTIALS_FILE", Value: file})
	}
	err = use(env, sessions)
	stop()
	return errors.Join(err, g.Wait())
}

// writeProfiles writes a shared credentials file with a profile for each app, so
// that one client reaches several accounts: Terraform by provider aliases with
// `profile`, the AWS CLI by --profile. The first is the default, too, which has its
// region from here.
func writeProfiles(dir string, h *local.Helper, sessions []*appSession) (string, error) {
	var b strings.Builder
	write := func(name string, s *appSession) {
		fmt.Fprintf(&b, "[%s]\n", name)
		for _, v := range h.SessionEnv(s.SessionID) {
			switch v.Name {
			case "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION":
				fmt.Fprintf(&b, "%s = %s\n", strings.ToLower(strings.Replace(v.Name, "AWS_REGION", "REGION", 1)), v.Value)
			}
		}
	}
	const first = "default"
	if !slices.ContainsFunc(sessions, func(s *appSession) bool { return s.App == first }) {
		write(first, sessions[0])
	}
	for _, s := range sessions {
		write(s.App, s)
	}
	file := filepath.Join(dir, "credentials")
	return file, writePrivateBytes(file, []byte(b.String()))
}

// environment is what makes a command's AWS SDK use the helper: what to set. A region of
// the user's own choice stays; with "" none is set.
func environment(h *local.Helper, region string) []local.Var {
	env := withRegion(region, slices.DeleteFunc(h.Env(), func(v local.Var) bool { return v.Default }))
	// Of endpoint_url in the user's configuration, too.
	// https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
	return append(env, local.Var{Name: "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", Value: "true"})
}

// regionVar says which region postern has set, so that nobody takes it for the
// user's choice.
const regionVar = "POSTERN_AWS_REGION"

var regionVars = []string{"AWS_REGION", "AWS_DEFAULT_REGION"}

// withRegion adds an app's region where the user has chosen none.
func withRegion(region string, env []local.Var) []local.Var {
	if region == "" || slices.ContainsFunc(regionVars, func(name string) bool {
		v := os.Getenv(name)
		return v != "" && !ofPostern(name, v)
	}) {
		return env
	}
	for _, name := range append([]string{regionVar}, regionVars...) {
		env = append(env, local.Var{Name: name, Value: region})
	}
	return env
}

// ofPostern tells a variable of the region that a postern around this one has set.
func ofPostern(name, value string) bool {
	return slices.Contains(regionVars, name) && value == os.Getenv(regionVar)
}

// warnings is where a helper tells of what its clients would not: lines for
// people, on stderr.
func (c *cli) warnings() zerolog.Logger {
	return zerolog.New(zerolog.ConsoleWriter{Out: c.stderr, NoColor: !isTerminal(c.stderr), PartsExclude: []string{zerolog.TimestampFieldName}}).Level(zerolog.WarnLevel)
}

// keptBundle is the AWS_CA_BUNDLE that the user has, "" for none: one that a
// helper made which is gone is no longer meant.
func keptBundle() string {
	path := os.Getenv("AWS_CA_BUNDLE")
	if ofHelper(path, "aws-ca-*.pem") {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return ""
		}
	}
	return path
}

// keptProxy is how hosts other than AWS's are reached: as HTTPS_PROXY and NO_PROXY say,
// where they are the user's; nil where a helper has set them, which may be gone.
func keptProxy() func(*http.Request) (*url.URL, error) {
	if ofHelper(os.Getenv("AWS_CA_BUNDLE"), "aws-ca-*.pem") {
		return nil
	}
	return http.ProxyFromEnvironment
}

// ofHelper tells the files that helpers make for their clients, by name.
func ofHelper(path, name string) bool {
	made, _ := filepath.Match(name, filepath.Base(path)) // the patterns are well formed
	dir, _ := filepath.Match("proxy-*", filepath.Base(filepath.Dir(path)))
	return made && dir
}

// unset are variables that would lead an SDK around the helper or make it
// prefer other credentials.
var unset = []string{
	"AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_CREDENTIAL_EXPIRATION",
	"AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE",
	"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
	"NO_PROXY", "no_proxy", regionVar,
}

// environmentFormats are what printEnvironment knows.
var environmentFormats = []string{"text", "sh", "powershell", "json", "yaml", "dotenv", "env"}

// powershellQuotes are what PowerShell takes for single quotes; in text between such ones,
// one that stands for itself is doubled (about_Quoting_Rules).
var powershellQuotes = regexp.MustCompile(`['‘’‚‛]`)

// printEnvironment writes variables in one of environmentFormats.
func (c *cli) printEnvironment(env []local.Var) error {
	var b strings.Builder
	switch c.format {
	case "json", "yaml":
		m := map[string]string{}
		for _, v := range env {
			// ConvertFrom-Json of PowerShell refuses two names that differ in case alone.
			if _, twice := m[strings.ToUpper(v.Name)]; twice && c.format == "json" {
				continue
			}
			m[v.Name] = v.Value
		}
		return c.print(m, nil)
	case "dotenv": // for readers that take quotes and comments for such
		for _, v := range env {
			fmt.Fprintf(&b, "%s=%s\n", v.Name, shellQuote(v.Value))
		}
	case "env": // as env prints it, for readers that take all as it is
		for _, v := range env {
			fmt.Fprintf(&b, "%s=%s\n", v.Name, v.Value)
		}
	case "powershell":
		for _, v := range env {
			fmt.Fprintf(&b, "$env:%s = '%s'\n", v.Name, powershellQuotes.ReplaceAllString(v.Value, "$0$0"))
		}
	case "text", "sh":
		for _, v := range env {
			fmt.Fprintf(&b, "export %s=%s\n", v.Name, shellQuote(v.Value))
		}
	default:
		return c.checkFormat(environmentFormats)
	}
	_, err := io.WriteString(c.stdout, b.String())
	return err
}

// runIn runs a command with stdin, stdout and stderr of postern's own and
// returns its exit code as an error.
func (c *cli) runIn(ctx context.Context, env []local.Var, argv []string) error {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		if argv[0] == "aws" {
			return errors.New("the AWS CLI (aws) is not on PATH: install it, or use postern exec with another client")
		}
		// As shells do, so that who wraps postern can tell it from the command's own failure.
		c.say("postern: %v", err)
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
			return exitCode(127)
		}
		return exitCode(126)
	}
	cmd := exec.Command(path, argv[1:]...)
	cmd.WaitDelay = 10 * time.Second // for what it left behind that holds its output
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.stdin, c.stdout, c.stderr
	for _, kv := range os.Environ() {
		name, value, _ := strings.Cut(kv, "=")
		switch {
		case slices.Contains(unset, name), strings.HasPrefix(name, "AWS_ENDPOINT_URL"), ofPostern(name, value):
		// A service's API key, which goes before all keys of IAM: AWS_BEARER_TOKEN_BEDROCK.
		case strings.HasPrefix(name, "AWS_BEARER_TOKEN_"):
		case name == "AWS_SHARED_CREDENTIALS_FILE" && ofHelper(value, "credentials"): // of another helper, or of one that is gone
		default:
			cmd.Env = append(cmd.Env, kv)
		}
	}
	for _, v := range env {
		cmd.Env = append(cmd.Env, v.Name+"="+v.Value)
	}
	cmd.Env = append(cmd.Env, "AWS_EC2_METADATA_DISABLED=true")
	err = attend(ctx, cmd)
	var exited *exec.ExitError
	if errors.As(err, &exited) {
		if status, ok := exited.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return exitCode(128 + int(status.Signal()))
		}
		return exitCode(exited.ExitCode())
	}
	if err != nil && cmd.Process == nil && ctx.Err() == nil { // of another machine's kind, say
		c.say("postern: %v", err)
		return exitCode(126)
	}
	return err
}
