package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/posternhq/postern/auditor/client"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/ocsf"
)

func (c *cli) events() *cobra.Command {
	cmd := &cobra.Command{Use: "events", Short: "The event streams"}
	var subject, since string
	var once bool
	tail := &cobra.Command{
		Use: "tail [--subject S] [--since D]", Short: "Print events as they come, one JSON object a line", Args: cobra.NoArgs,
		Long: "Print events as they come, one JSON object a line: as CloudEvents\n" +
			"(--format=cloudevents, the default), their data alone (--format=json), or in\n" +
			"the words of OCSF 1.8.0 (--format=ocsf).",
		RunE: c.withAuditor(func(cmd *cobra.Command, a *client.Client, _ []string) error {
			if _, err := events.FilterStream(subject); err != nil {
				return usageError{fmt.Errorf("--subject: %w", err)}
			}
			line := func(e json.RawMessage) (json.RawMessage, error) { return e, nil }
			switch c.format {
			case "text", "cloudevents":
			case "json":
				line = func(e json.RawMessage) (json.RawMessage, error) {
					var ce struct{ Data json.RawMessage }
					return ce.Data, json.Unmarshal(e, &ce)
				}
			case "ocsf":
				line = func(e json.RawMessage) (json.RawMessage, error) { return ocsf.Convert(e) }
			default:
				return usageError{fmt.Errorf("--format=%s: this command knows cloudevents, json and ocsf", c.format)}
			}
			return a.Events(cmd.Context(), subject, since, !once, func(e json.RawMessage) error {
				b, err := line(e)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(c.stdout, "%s\n", b)
				return err
			})
		}),
	}
	f := tail.Flags()
	f.StringVar(&subject, "subject", "audit.>", "NATS subject with wildcards, such as 'access.lock.>' or 'audit.denied.>'")
	f.StringVar(&since, "since", "", "begin at a time (RFC 3339) or an age such as 2h; without it only new events")
	f.BoolVar(&once, "no-follow", false, "end after the last event there is")
	cmd.AddCommand(tail, c.eventsVerify())
	return cmd
}
