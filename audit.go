package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/posternhq/postern/auditor/client"
	"github.com/posternhq/postern/auditor/query"
)

func (c *cli) audit() *cobra.Command {
	cmd := &cobra.Command{Use: "audit", Short: "What happened, and whether AWS agrees"}
	cmd.AddCommand(c.auditSearch(), c.auditShow(), c.auditWhy(), c.auditCoverage(), c.auditFindings(), c.auditPolicy(), c.auditSQL(),
		c.auditIngest(), c.auditValidate(), c.auditDeadLetters(), c.auditReport(), c.auditVerify(), c.auditTokens())
	return cmd
}

// withAuditor gives a command a client that asks as the user.
func (c *cli) withAuditor(do func(cmd *cobra.Command, a *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		p, err := c.profile()
		if err != nil {
			return err
		}
		b, err := p.broker()
		if err != nil {
			return err
		}
		status, err := b.Status(cmd.Context())
		if err != nil {
			return err
		}
		if status.AuditorAddr == "" {
			return errors.New("the broker knows of no auditor: set broker.auditor_addr")
		}
		tlsConfig, err := p.TLSConfig()
		if err != nil {
			return err
		}
		// No proxy: HTTPS_PROXY may lead to AWS through postern.
		hc := &http.Client{Transport: &http.Transport{TLSClientConfig: tlsConfig, ForceAttemptHTTP2: true}}
		if user := cmd.Flags().Lookup("user"); user != nil && user.Changed {
			if err := c.asRecorded(cmd.Context(), b, user); err != nil {
				return err
			}
		}
		return do(cmd, client.New("https://"+status.AuditorAddr, hc), args)
	}
}

// beforeAsking checks what a command asks before anything else is done.
func beforeAsking(check func(now time.Time) error) func(*cobra.Command, []string) error {
	return func(*cobra.Command, []string) error { return badFlag(check(time.Now())) }
}

// sinceIn checks a flag --since.
func sinceIn(since *string) func(*cobra.Command, []string) error {
	return beforeAsking(func(now time.Time) error {
		_, err := query.Time("since", *since, now)
		return err
	})
}

// badFlag names the flag that an error in what was asked is about.
func badFlag(err error) error {
	if bad, ok := errors.AsType[*query.BadInput](err); ok {
		return usageError{fmt.Errorf("--%s: %s", strings.ReplaceAll(bad.Field, "_", "-"), bad.Reason)}
	}
	return err
}

// utc is a time as tables show it and as --since and --until read it.
func utc(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }
