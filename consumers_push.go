package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
	"github.com/posternhq/postern/events"
)

// pushFlags are of what consumers are sent.
type pushFlags struct {
	webhook, ssf                          string
	push                                  api.Push
	caFile, secretFile, authorizationFile string
	noConsent, receiver                   bool
	pushHosts                             []string
}

func (p *pushFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&p.webhook, "webhook", "", "send the events to this https address, signed (https://www.standardwebhooks.com)")
	f.StringVar(&p.ssf, "ssf", "", "send decisions as Security Event Tokens to this https address (OpenID SSF, CAEP, RISC)")
	f.BoolVar(&p.receiver, "ssf-receiver", false, "print a token by which a receiver makes and manages its stream of them itself, polled or pushed")
	f.StringSliceVar(&p.pushHosts, "push-host", nil, "host that such a receiver may have them pushed to (default: it may only poll)")
	f.StringVar(&p.push.Format, "body", "", "what a webhook is sent: cloudevents or ocsf (default cloudevents)")
	f.IntVar(&p.push.Batch, "batch", 0, "send a webhook up to so many events at once, as a JSON array")
	f.StringSliceVar(&p.push.Audience, "audience", nil, "audience of the Security Event Tokens")
	f.StringVar(&p.push.Subject, "subject", "", "how Security Event Tokens name users: iss_sub or email (default iss_sub)")
	f.IntVar(&p.push.Tries, "tries", 0, "set an event aside that was refused so often (default 12)")
	f.IntVar(&p.push.PerMinute, "per-minute", 0, "send no more requests than this in a minute")
	f.StringVar(&p.caFile, "endpoint-ca", "", "file with the CA of the endpoint's certificate (default: the system's)")
	f.StringVar(&p.secretFile, "secret-file", "", "file with the webhook's secret, whsec_… (default: one is made)")
	f.StringVar(&p.authorizationFile, "authorization-file", "", "file with the value of the header Authorization, such as: Bearer …")
	f.BoolVar(&p.noConsent, "no-consent", false, "do not ask the webhook whether it wants the events (OPTIONS)")
	cmd.MarkFlagsMutuallyExclusive("webhook", "ssf", "ssf-receiver")
}

// fitting are the flags of `consumers add` that are not for every kind of consumer, and
// the kinds that each is for.
var fitting = map[string][]string{
	"body": {"webhook"}, "batch": {"webhook"}, "secret-file": {"webhook"}, "no-consent": {"webhook"},
	"authorization-file": {"webhook", "ssf"},
	"endpoint-ca":        {"webhook", "ssf", "ssf-receiver"},
	"tries":              {"webhook", "ssf", "ssf-receiver"},
	"per-minute":         {"webhook", "ssf", "ssf-receiver"},
	"audience":           {"ssf", "ssf-receiver"}, "subject": {"ssf", "ssf-receiver"},
	"push-host": {"ssf-receiver"},
	"from-now":  {"", "webhook"}, // Security Event Tokens are of now
	"out":       {"", "webhook", "ssf-receiver"},
}

// check refuses flags that would say nothing.
func (p *pushFlags) check(f *pflag.FlagSet) (err error) {
	kind, described := "", "credentials for NATS"
	for _, k := range []string{"webhook", "ssf", "ssf-receiver"} {
		if f.Changed(k) {
			kind, described = k, "--"+k
		}
	}
	f.VisitAll(func(flag *pflag.Flag) {
		kinds, some := fitting[flag.Name]
		switch {
		case err != nil, !flag.Changed:
		case some && !slices.Contains(kinds, kind):
			err = usageError{fmt.Errorf("--%s: it is not for %s", flag.Name, described)}
		case flag.Value.String() == "" || flag.Value.String() == "[]" || flag.Value.Type() == "int" && flag.Value.String() == "0":
			err = usageError{fmt.Errorf("--%s: it says nothing: give a value, or leave it out", flag.Name)}
		}
	})
	return err
}

// into completes what is asked for.
func (p *pushFlags) into(cmd *cobra.Command, in *api.NewConsumer) error {
	ctx := cmd.Context()
	if err := p.check(cmd.LocalNonPersistentFlags()); err != nil {
		return err
	}
	switch {
	case p.webhook != "":
		p.push.Protocol, p.push.URL = events.PushWebhook, p.webhook
	case p.ssf != "":
		p.push.Protocol, p.push.URL = events.PushSSF, p.ssf
		in.FromNow = true // what is long over is no signal
		if in.Filter == "" {
			in.Filter = events.StreamSubjects(events.Access)
		}
	case p.receiver:
		if in.Filter == "" {
			in.Filter = events.StreamSubjects(events.Access)
		}
	}
	if in.Filter == "" {
		return usageError{errors.New(`required flag(s) "filter" not set`)}
	}
	if p.push.Protocol == "" && !p.receiver {
		return nil
	}
	var err error
	if p.caFile != "" {
		pem, err := os.ReadFile(p.caFile)
		if err != nil {
			return err
		}
		p.push.CAPEM = string(pem)
	}
	if p.receiver {
		in.Receiver = &api.Receiver{Audience: p.push.Audience, Subject: p.push.Subject, PushHosts: p.pushHosts, Tries: p.push.Tries, PerMinute: p.push.PerMinute, CAPEM: p.push.CAPEM}
		return nil
	}
	in.Push, in.SkipConsent = &p.push, p.noConsent
	if in.Secret, err = secretIn(ctx, p.secretFile); err != nil {
		return err
	}
	in.Authorization, err = secretIn(ctx, p.authorizationFile)
	return err
}

// secretIn reads the one line of a file; no file is "".
func secretIn(ctx context.Context, path string) (string, error) {
	if path == "" {
		return "", nil
	}
	b, err := orSignal(ctx, func() ([]byte, error) { return os.ReadFile(path) })
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(b))
	if text == "" || strings.ContainsAny(text, "\r\n") {
		return "", fmt.Errorf("%s: want one line", path)
	}
	return text, nil
}

// printPushed tells of a consumer that is sent its events.
func (c *cli) printPushed(made api.ConsumerMade, out *outFile) error {
	if made.Push != nil {
		c.say("Events of %s that fit %s are sent to %s.", made.Stream, made.Filter, made.Push.URL)
	} else {
		c.say("Receiver %s makes its stream by the API that /.well-known/ssf-configuration of the broker names, with this bearer token.", made.Name)
	}
	switch {
	case made.Push != nil && made.Push.Protocol == events.PushSSF:
		c.say("The receiver finds the keys by /.well-known/ssf-configuration of the broker. Test it: postern consumers verify %s", made.Name)
	case out != nil:
		if err := out.write(made.Secret + "\n"); err != nil {
			return fmt.Errorf("%w; the consumer is made: postern consumers rotate %s makes another secret", err, made.Name)
		}
		made.Secret = ""
		c.say("Its secret is in %s.", out.f.Name())
	}
	return c.print(made, func(w *tabwriter.Writer) {
		if made.Secret != "" {
			fmt.Fprintln(w, made.Secret)
		}
	})
}

func (c *cli) consumersRotate() *cobra.Command {
	var in api.RotateSecret
	var out, file string
	cmd := &cobra.Command{
		Use: "rotate NAME [--token] [--out FILE]", Short: "Have another secret sign what a consumer is sent", Args: cobra.ExactArgs(1),
		Long: "Have another secret sign what a consumer is sent. The former one of a webhook signs,\n" +
			"too, for --overlap; that of Security Event Tokens is published so long. With --token\n" +
			"it is the bearer token by which a receiver manages its stream that is replaced.",
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
			var err error
			if in.Secret, err = secretIn(cmd.Context(), file); err != nil {
				return err
			}
			to, err := newOutFile(out)
			if err != nil {
				return err
			}
			defer to.close()
			made, err := b.RotateSecret(cmd.Context(), args[0], in)
			if err != nil {
				return err
			}
			if to != nil && made.Secret != "" {
				if err := to.write(made.Secret + "\n"); err != nil {
					return fmt.Errorf("%w; the secret is another one now: rotate once more", err)
				}
				made.Secret = ""
			}
			c.say("The former secret holds until %s.", made.FormerUntil.Local().Format(time.DateTime))
			return c.print(made, func(w *tabwriter.Writer) {
				if made.Secret != "" {
					fmt.Fprintln(w, made.Secret)
				}
			})
		}),
	}
	cmd.Flags().StringVar(&out, "out", "", "write the secret to this file")
	cmd.Flags().StringVar(&file, "secret-file", "", "file with the webhook's secret, whsec_… (default: one is made)")
	cmd.Flags().BoolVar(&in.Token, "token", false, "make another bearer token of a receiver")
	cmd.Flags().StringVar(&in.Overlap, "overlap", "24h", "how long the former one holds")
	return cmd
}

func (c *cli) consumersDeadLetters() *cobra.Command {
	var replay string
	cmd := &cobra.Command{
		Use: "dead-letters NAME [--replay SEQUENCE|all]", Short: "Events that an endpoint would not take, with the reason", Args: cobra.ExactArgs(1),
		Long: "Events that an endpoint would not take, with the reason. --replay sends one, or all,\n" +
			"once more: in the order of the stream, but after what was sent since.",
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
			list, err := b.DeadLetters(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if replay != "" {
				return c.replayLetters(cmd.Context(), b, args[0], replay, list)
			}
			return c.print(list, func(w *tabwriter.Writer) {
				fmt.Fprintln(w, "SET ASIDE\tSTREAM\tSEQUENCE\tTRIES\tREASON\tEVENT")
				for _, l := range list {
					fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\n", l.SetAsideAt.Local().Format(time.DateTime), l.Stream, l.Sequence, l.Tries, oneLine(l.Reason), l.EventID)
				}
			})
		}),
	}
	cmd.Flags().StringVar(&replay, "replay", "", "send one by its sequence, or all, once more")
	return cmd
}

// replayed is what became of one event that was sent once more.
type replayed struct {
	Sequence uint64 `json:"sequence"`
	Error    string `json:"error,omitempty"`
}

func (c *cli) replayLetters(ctx context.Context, b *client.Client, name, which string, list []api.DeadLetter) error {
	var out []replayed
	if which == "all" {
		for _, l := range list {
			out = append(out, replayed{Sequence: l.Sequence})
		}
	} else {
		seq, err := strconv.ParseUint(which, 10, 64)
		if err != nil {
			return usageError{fmt.Errorf("--replay %s: want a sequence or all", which)}
		}
		out = []replayed{{Sequence: seq}}
	}
	failed := 0
	for i := range out {
		if err := b.ReplayDeadLetter(ctx, name, out[i].Sequence); err != nil {
			failed++
			out[i].Error = err.Error()
		}
	}
	if err := c.print(out, func(w *tabwriter.Writer) {
		fmt.Fprintln(w, "SEQUENCE\tERROR")
		for _, r := range out {
			fmt.Fprintf(w, "%d\t%s\n", r.Sequence, orDash(oneLine(r.Error)))
		}
	}); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d stay set aside", failed, len(out))
	}
	return nil
}

func (c *cli) consumersResume() *cobra.Command {
	return &cobra.Command{
		Use: "resume NAME", Short: "Send again to a consumer that was suspended", Args: cobra.ExactArgs(1),
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
			if err := b.ResumeConsumer(cmd.Context(), args[0]); err != nil {
				return err
			}
			c.say("What is due is sent to consumer %s again.", args[0])
			return nil
		}),
	}
}

func (c *cli) consumersVerify() *cobra.Command {
	var state string
	cmd := &cobra.Command{
		Use: "verify NAME", Short: "Send a receiver of Security Event Tokens a verification event", Args: cobra.ExactArgs(1),
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
			if err := b.VerifyConsumer(cmd.Context(), args[0], state); err != nil {
				return err
			}
			c.say("The receiver of %s took the verification event.", args[0])
			return nil
		}),
	}
	cmd.Flags().StringVar(&state, "state", "", "a text that comes back in the event")
	return cmd
}
