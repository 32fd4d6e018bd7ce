package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/posternhq/postern/auditor/client"
	"github.com/posternhq/postern/auditor/evidence"
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
		Annotations: knows([]string{"text", "cloudevents", "json", "ocsf"}),
		PreRunE:     sinceIn(&since),
		RunE: c.withAuditor(func(cmd *cobra.Command, a *client.Client, _ []string) error {
			if _, err := events.FilterStream(subject); err != nil {
				return usageError{fmt.Errorf("--subject: %w", err)}
			}
			line := func(p events.Place, raw []byte) ([]byte, error) { return p.Line(raw), nil }
			switch c.format {
			case "json":
				line = func(p events.Place, raw []byte) ([]byte, error) {
					var ce struct{ Data json.RawMessage }
					err := json.Unmarshal(raw, &ce)
					if err == nil && ce.Data == nil {
						err = errors.New("it has no data")
					}
					return p.Line(ce.Data), err
				}
			case "ocsf":
				line = func(_ events.Place, raw []byte) ([]byte, error) {
					b, err := ocsf.Convert(raw)
					return append(b, '\n'), err
				}
			}
			out := &eventPrinter{c: c, line: line}
			err := a.Records(cmd.Context(), subject, since, !once, func(d evidence.Delivered) error { return out.print(d.Place(), d.Body()) })
			return errors.Join(err, out.leftOut())
		}),
	}
	f := tail.Flags()
	f.StringVar(&subject, "subject", "audit.>", "NATS subject with wildcards, such as 'access.lock.>' or 'audit.denied.>'")
	f.StringVar(&since, "since", "", "begin at a time (RFC 3339) or an age such as 2h; without it only new events")
	f.BoolVar(&once, "no-follow", false, "end after the last event there is")
	cmd.AddCommand(tail, c.eventsVerify())
	return cmd
}
