package main

import (
	"context"
	"fmt"
	"path"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/posternhq/postern/proxy/local"
)

func (c *cli) creds() *cobra.Command {
	var app string
	cmd := &cobra.Command{
		Use:   "creds [--app A]",
		Short: "AWS credentials that work without postern, where a role allows that",
		Long: "AWS credentials that work without postern, for what is left of the session.\n" +
			"Each issue is recorded; a role must have options.real_credentials: [export].\n\n" +
			"Without --format it prints what credential_process of an AWS profile wants:\n\n" +
			"  [profile prod]\n  credential_process = postern creds --app prod",
		Args: cobra.NoArgs, Annotations: knows(environmentFormats),
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, s, err := c.sessionOn(cmd.Context(), app, "")
			if err != nil {
				return err
			}
			got, notice, err := p.exported(cmd.Context(), s)
			if err != nil {
				return err
			}
			if notice != "" {
				c.say("%s", notice)
			}
			return c.printCredentials(s, got)
		},
	}
	cmd.PersistentFlags().StringVar(&app, "app", "", "app whose session to use")
	var port int
	var imds bool
	serve := &cobra.Command{
		Use:   "serve [--app A] [-p PORT] [--imds]",
		Short: "Serve them to the AWS SDKs of this machine; prints the environment that asks here",
		Long: "Serve them to the AWS SDKs of this machine as the agent of ECS does, guarded by a\n" +
			"token in a file of yours, or with --imds as the metadata service of EC2 does\n" +
			"(version 2), which every program of this machine may ask.",
		Args: cobra.NoArgs, Annotations: knows(environmentFormats),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.serveCreds(cmd.Context(), app, port, imds) },
	}
	serve.Flags().IntVarP(&port, "port", "p", 0, "port on loopback; 0 chooses one")
	serve.Flags().BoolVar(&imds, "imds", false, "as EC2's metadata service")
	cmd.AddCommand(serve)
	return cmd
}

func (c *cli) sessionOn(ctx context.Context, app, role string) (*profile, *appSession, error) {
	p, err := c.profile()
	if err != nil {
		return nil, nil, err
	}
	b, err := p.broker()
	if err != nil {
		return nil, nil, err
	}
	s, err := p.sessionAs(ctx, b, app, role)
	return p, s, err
}

// exported asks the proxy for credentials that work without it, and for what there is to
// say of them.
func (p *profile) exported(ctx context.Context, s *appSession) (_ local.Exported, notice string, _ error) {
	var got struct {
		AccessKeyID     string    `json:"access_key_id"`
		SecretAccessKey string    `json:"secret_access_key"`
		SessionToken    string    `json:"session_token"`
		ExpiresAt       time.Time `json:"expires_at"`
		Notice          string    `json:"notice"`
	}
	err := p.askProxy(ctx, s.SessionID, "/v1/credentials", map[string]string{"session_id": s.SessionID}, &got)
	return local.Exported{AccessKeyID: got.AccessKeyID, SecretAccessKey: got.SecretAccessKey, SessionToken: got.SessionToken, Expires: got.ExpiresAt}, got.Notice, err
}

func (c *cli) printCredentials(s *appSession, got local.Exported) error {
	expires := got.Expires.UTC().Format(time.RFC3339)
	switch c.format {
	case "text", "json", "yaml":
		// https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html
		v := struct {
			Version                                                int
			AccessKeyId, SecretAccessKey, SessionToken, Expiration string
		}{1, got.AccessKeyID, got.SecretAccessKey, got.SessionToken, expires}
		if c.format == "text" {
			return writeJSON(c.stdout, v)
		}
		return c.print(v, nil)
	}
	return c.printEnvironment(withRegion(s.Region, []local.Var{
		{Name: "AWS_ACCESS_KEY_ID", Value: got.AccessKeyID},
		{Name: "AWS_SECRET_ACCESS_KEY", Value: got.SecretAccessKey},
		{Name: "AWS_SESSION_TOKEN", Value: got.SessionToken},
		{Name: "AWS_CREDENTIAL_EXPIRATION", Value: expires},
	}))
}

func (c *cli) serveCreds(ctx context.Context, app string, port int, imds bool) error {
	if err := checkPort(port); err != nil {
		return err
	}
	listen := fmt.Sprintf("127.0.0.1:%d", port)
	if err := isFree(ctx, listen); err != nil { // said before any are handed out
		return ifTaken(fmt.Errorf("credential server: %w", err), "another port with --port")
	}
	p, s, err := c.sessionOn(ctx, app, "")
	if err != nil {
		return err
	}
	first, _, err := p.exported(ctx, s) // what is wrong is said now, rather than to an SDK
	if err != nil {
		return err
	}
	dir, free, err := p.ownDir(ctx, "creds")
	if err != nil {
		return err
	}
	defer free()
	server, err := local.NewCredentialServer(local.CredentialServerConfig{
		Listen: listen, Metadata: imds, Role: path.Base(s.AWSRoleARN), Dir: dir, Have: first,
		Fetch: func(ctx context.Context) (local.Exported, error) {
			// Its user may have signed in and started a session since.
			who, by := p, s
			if p.file != "" {
				if now, err := c.profile(); err == nil && now.dir == p.dir {
					who = now
				}
			}
			if now, err := who.running(s.App); err == nil && now != nil && now.AWSRoleARN == s.AWSRoleARN {
				by = now
			}
			got, _, err := who.exported(ctx, by)
			return got, err
		},
		Log: c.warnings(),
	})
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return server.Run(ctx) })
	select {
	case <-server.Ready():
	case <-ctx.Done():
		return g.Wait()
	}
	if err := c.printEnvironment(withRegion(s.Region, server.Env())); err != nil {
		return err
	}
	c.say("Credentials of %s until %s. Stop with Ctrl-C.", s.AWSRoleARN, until(s.ExpiresAt))
	if imds {
		c.say("Every program and user of this machine can have them.")
	}
	return g.Wait()
}
