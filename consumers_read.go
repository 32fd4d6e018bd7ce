package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/posternhq/postern/auditor/evidence"
	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/events/ocsf"
)

// reading is where and as whom a consumer reads.
type reading struct {
	creds, url, ca string
	noFollow       bool
}

func (c *cli) consumersRead() *cobra.Command {
	var in reading
	read := &cobra.Command{
		Use: "read --creds FILE --nats URL", Short: "Print what a consumer gets, and acknowledge it", Args: cobra.NoArgs,
		Long: "Print what a consumer gets, one event a line, and acknowledge each once it is\n" +
			"printed, so that every event comes at least once: as CloudEvents\n" +
			"(--format=cloudevents, the default), OCSF 1.8.0 (--format=ocsf), or with stream,\n" +
			"sequence, subject and time (--format=record), which postern events verify takes.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var line func(journal.Entry) ([]byte, error)
			switch c.format {
			case "text", "cloudevents":
				line = func(e journal.Entry) ([]byte, error) { return append(e.Raw, '\n'), nil }
			case "ocsf":
				line = func(e journal.Entry) ([]byte, error) {
					b, err := ocsf.ConvertAt(e.Raw, events.Place{Stream: e.Stream, Sequence: e.Seq, Subject: e.Channel, StoredAt: e.StoredAt})
					return append(b, '\n'), err
				}
			case "record":
				line = func(e journal.Entry) ([]byte, error) {
					return evidence.Delivered{Stream: e.Stream, Seq: e.Seq, Subject: e.Channel, StoredAt: e.StoredAt, Event: e.Raw}.Line()
				}
			default:
				return usageError{fmt.Errorf("--format=%s: this command knows cloudevents, ocsf and record", c.format)}
			}
			return in.each(cmd.Context(), func(_ context.Context, e journal.Entry) error {
				b, err := line(e)
				if err != nil {
					return err
				}
				_, err = c.stdout.Write(b)
				return err
			})
		},
	}
	in.flags(read)
	return read
}

func (in *reading) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&in.creds, "creds", "", "file with the credentials that postern consumers add made")
	f.StringVar(&in.url, "nats", "", "address of NATS, such as tls://nats.example.com:4222")
	f.StringVar(&in.ca, "nats-ca", "", "file with the CA of its certificate (default: the system's)")
	f.BoolVar(&in.noFollow, "no-follow", false, "end after the last event there is")
	_ = cmd.MarkFlagRequired("creds")
	_ = cmd.MarkFlagRequired("nats")
}

// each hands what the consumer gets to handle.
func (in *reading) each(ctx context.Context, handle func(context.Context, journal.Entry) error) error {
	creds, err := orSignal(ctx, func() ([]byte, error) { return os.ReadFile(in.creds) })
	if err != nil {
		return err
	}
	name, stream, err := embedded.ReadsBy(creds)
	if err != nil {
		return fmt.Errorf("%s: %w", in.creds, err)
	}
	nc, err := connectNATS(in.url, in.creds, in.ca)
	if err != nil {
		return err
	}
	defer nc.Close()
	j, err := journal.New(nc, "/postern/consumer/"+name)
	if err != nil {
		return err
	}
	return j.Read(ctx, stream, name, !in.noFollow, handle)
}
