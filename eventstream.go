package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

func (c *cli) events() *cobra.Command {
	cmd := &cobra.Command{Use: "events", Short: "The event streams"}
	var in tailInput
	tail := &cobra.Command{
		Use: "tail [--subject S] [--since D]", Short: "Print events as they come, one JSON object a line", Args: cobra.NoArgs,
		Long: "Print events as they come, one JSON object a line: as CloudEvents\n" +
			"(--format=cloudevents, the default) or their data alone (--format=json).",
		RunE: func(cmd *cobra.Command, _ []string) error { return c.tail(cmd.Context(), in) },
	}
	f := tail.Flags()
	f.StringVar(&in.subject, "subject", "audit.>", "NATS subject with wildcards, such as 'access.lock.>' or 'audit.denied.>'")
	f.DurationVar(&in.since, "since", 0, "begin with events of this long ago; 0: only new ones")
	f.BoolVar(&in.once, "no-follow", false, "end after the last event there is")
	f.StringVar(&in.url, "nats-url", envOr("POSTERN_NATS_URL", ""), "address of NATS (nats_url in ready.json)")
	f.StringVar(&in.creds, "nats-creds", envOr("POSTERN_NATS_CREDS", ""), "credentials file (nats_creds in ready.json)")
	cmd.AddCommand(tail)
	return cmd
}

type tailInput struct {
	subject, url, creds string
	since               time.Duration
	once                bool
}

func (c *cli) tail(ctx context.Context, in tailInput) error {
	if in.url == "" {
		return usageError{errors.New("where is NATS? give --nats-url and --nats-creds, or POSTERN_NATS_URL and POSTERN_NATS_CREDS")}
	}
	stream := events.StreamOf(in.subject)
	if stream == "" {
		return usageError{fmt.Errorf("--subject %q: want access.…, audit.…, cloudtrail.… or findings.…", in.subject)}
	}
	var data func(journal.Entry) any
	switch c.format {
	case "text", "cloudevents":
		data = func(e journal.Entry) any { return json.RawMessage(e.Raw) }
	case "json":
		data = func(e journal.Entry) any { return e.Data }
	default:
		return usageError{fmt.Errorf("--format=%s: this command knows cloudevents and json", c.format)}
	}
	nc, err := connectNATS(in.url, in.creds, "")
	if err != nil {
		return err
	}
	defer nc.Close()
	j, err := journal.New(nc, "/postern/cli")
	if err != nil {
		return err
	}
	last, err := j.Last(ctx, stream)
	if err != nil {
		return err
	}
	from := last
	if in.since > 0 {
		from = 0
	}
	entries := j.Follow(ctx, stream, from, in.subject)
	if in.once {
		entries = j.Replay(ctx, stream, in.subject)
	}
	begin := time.Now().Add(-in.since)
	out := json.NewEncoder(c.stdout)
	for e, err := range entries {
		if err != nil && e.Seq == 0 {
			return err
		}
		if err != nil {
			c.say("%v", err) // an event of a later version: shown as it is
		}
		if in.since > 0 && e.StoredAt.Before(begin) {
			continue
		}
		if err := out.Encode(data(e)); err != nil {
			return err
		}
	}
	return nil
}

// connectNATS connects with a credentials file, for as long as the process
// lives: it keeps trying when the server goes away.
func connectNATS(url, credsFile, caFile string) (*nats.Conn, error) {
	opts := []nats.Option{nats.Name("postern"), nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond), nats.Timeout(5 * time.Second)}
	if credsFile != "" {
		creds, err := os.ReadFile(credsFile)
		if err != nil {
			return nil, fmt.Errorf("nats credentials: %w", err)
		}
		own, err := embedded.ClientOptions(creds)
		if err != nil {
			return nil, fmt.Errorf("nats credentials %s: %w", credsFile, err)
		}
		opts = append(opts, own...)
	}
	if caFile != "" {
		opts = append(opts, nats.RootCAs(caFile))
	}
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS at %s: %w", url, err)
	}
	return nc, nil
}
