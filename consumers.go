package main

import (
	"cmp"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
	"github.com/posternhq/postern/events"
)

func (c *cli) consumers() *cobra.Command {
	cmd := &cobra.Command{
		Use: "consumers", Short: "Who outside reads which part of the event streams", Args: cobra.NoArgs,
		Long: "Who outside, such as a SIEM, reads which part of the event streams over NATS, by a\n" +
			"durable pull consumer and credentials of its own; or is sent it over HTTP, as a\n" +
			"webhook or a receiver of Security Event Tokens.",
	}
	cmd.AddCommand(c.consumersAdd(), c.consumersRead(), c.consumersRotate(), c.consumersDeadLetters(), c.consumersResume(), c.consumersVerify(), &cobra.Command{
		Use: "ls", Short: "Consumers and how far behind each is", Args: cobra.NoArgs,
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, _ []string) error {
			list, err := b.Consumers(cmd.Context())
			if err != nil {
				return err
			}
			return c.print(list, func(w *tabwriter.Writer) {
				fmt.Fprintln(w, "NAME\tFILTER\tPENDING\tUNACKNOWLEDGED\tACKNOWLEDGED TO\tLAST ACK\tSENT TO")
				for _, k := range list {
					last := k.Fault
					if k.LastAck != nil {
						last = k.LastAck.Local().Format(time.DateTime)
					}
					fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s %d\t%s\t%s\n", k.Name, k.Filter, k.Pending, k.Unacknowledged, k.Stream, k.AckedTo, orDash(last), orDash(sentTo(k)))
				}
			})
		}),
	}, &cobra.Command{
		Use: "rm NAME", Short: "End a consumer and what its credentials can do", Args: cobra.ExactArgs(1),
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
			if err := b.DeleteConsumer(cmd.Context(), args[0]); err != nil {
				return err
			}
			c.say("Consumer %s is gone; its credentials can do nothing any more.", args[0])
			return nil
		}),
	})
	return cmd
}

// sentTo says where a consumer's events go, and how.
func sentTo(k api.Consumer) string {
	if k.Push == nil && k.StreamStatus == "" {
		return ""
	}
	text := "its receiver has made no stream"
	if k.Push != nil {
		text = k.Push.Protocol + " " + cmp.Or(k.Push.URL, "by polling")
	}
	if k.StreamStatus != "" && k.StreamStatus != "none" && k.StreamStatus != events.StreamEnabled {
		text += "; " + k.StreamStatus + " by its receiver"
	}
	if k.Unpolled > 0 {
		text += fmt.Sprintf("; %d tokens not polled for or not acknowledged", k.Unpolled)
	}
	if k.DeadLetters > 0 {
		text += fmt.Sprintf("; %d dead letters", k.DeadLetters)
	}
	if k.Suspended != "" {
		return text + "; suspended: " + oneLine(k.Suspended)
	}
	if f := k.Failing; f != nil {
		text += fmt.Sprintf("; failing since %s, %d tries, next %s: %s", f.Since.Local().Format(time.DateTime), f.Tries, f.Next.Local().Format("15:04:05"), oneLine(f.Reason))
	}
	return text
}

func (c *cli) consumersAdd() *cobra.Command {
	var in api.NewConsumer
	var out string
	var push pushFlags
	add := &cobra.Command{
		Use: "add NAME --filter SUBJECT [--webhook URL | --ssf URL --audience A | --ssf-receiver --audience A] [--out FILE]", Short: "Let somebody read what fits a filter, and nothing else", Args: cobra.ExactArgs(1),
		Long: "Let somebody read what fits a filter, and nothing else. Their NATS credentials, or\n" +
			"the secret that signs what a webhook is sent, are printed now, or written to a file\n" +
			"of mode 0600, and never again. A name counts once: take another one for new\n" +
			"credentials.",
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
			in.Name = args[0]
			if err := push.into(cmd, &in); err != nil {
				return err
			}
			file, err := newOutFile(out)
			if err != nil {
				return err
			}
			defer file.close()
			made, err := b.NewConsumer(cmd.Context(), in)
			if err != nil {
				return err
			}
			if made.Push != nil || in.Receiver != nil {
				return c.printPushed(made, file)
			}
			if made.NATS == nil {
				c.say("Postern holds no key of your NATS account. Make a user called %s in an account that reaches\n"+
					"the streams by services alone (docs/consumers.md), with these permissions and no others.", made.Name)
			} else if file != nil {
				if err := file.write(made.NATS.Creds); err != nil {
					return fmt.Errorf("%w; the consumer is made: postern consumers rm %s, and add another", err, made.Name)
				}
				made.NATS.Creds = ""
				c.say("Credentials of %s are in %s.", made.Name, out)
			}
			if made.NATS != nil {
				c.say("Read consumer %s of stream %s at %s, inbox prefix _INBOX_%s.", made.Name, made.Stream, orDash(made.NATS.URL), made.Name)
			}
			return c.print(made, func(w *tabwriter.Writer) {
				if made.NATS != nil {
					fmt.Fprint(w, made.NATS.Creds)
					return
				}
				for _, s := range made.Publish {
					fmt.Fprintf(w, "publish\t%s\n", s)
				}
				for _, s := range made.Subscribe {
					fmt.Fprintf(w, "subscribe\t%s\n", s)
				}
			})
		}),
	}
	f := add.Flags()
	f.StringVar(&in.Filter, "filter", "", "NATS subject with wildcards, such as 'audit.denied.>'")
	f.BoolVar(&in.FromNow, "from-now", false, "leave out what the stream holds already")
	f.StringVar(&out, "out", "", "write the credentials, or the webhook's secret, to this file")
	push.add(add)
	return add
}
