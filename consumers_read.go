package main

import (
	"context"
	"errors"
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
			"sequence, subject and time (--format=record), which postern events verify takes.\n" +
			"What is no event and can't be told in the words of OCSF is named on stderr and\n" +
			"acknowledged; the exit code is 1 then, and where --no-follow leaves events behind\n" +
			"that another reader has.",
		Annotations: knows([]string{"text", "cloudevents", "ocsf", "record"}),
		RunE: func(cmd *cobra.Command, _ []string) error {
			line := func(p events.Place, raw []byte) ([]byte, error) { return p.Line(raw), nil }
			switch c.format {
			case "ocsf":
				line = func(p events.Place, raw []byte) ([]byte, error) {
					b, err := ocsf.ConvertAt(raw, p)
					return append(b, '\n'), err
				}
			case "record":
				line = func(p events.Place, raw []byte) ([]byte, error) { return evidence.DeliveredOf(p, raw).Line() }
			}
			out := &eventPrinter{c: c, line: line}
			err := in.each(cmd.Context(), func(_ context.Context, e journal.Entry) error { return out.print(e.Place(), e.Raw) })
			return errors.Join(err, out.leftOut())
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

// eventPrinter prints events, one a line.
type eventPrinter struct {
	c    *cli
	line func(events.Place, []byte) ([]byte, error)
	left int // could not be told
}

// print passes over what can't be told, with a word on stderr: who may publish could
// stop a reader by it for good. The error is of writing.
func (p *eventPrinter) print(at events.Place, raw []byte) error {
	b, err := p.line(at, raw)
	if err != nil {
		p.left++
		p.c.say("postern: %s %d on %q is left out: %s", at.Stream, at.Sequence, at.Subject, oneLine(err.Error()))
		return nil
	}
	_, err = p.c.data().Write(b)
	return err
}

// leftOut is an error if anything was.
func (p *eventPrinter) leftOut() error {
	if p.left == 0 {
		return nil
	}
	return fmt.Errorf("%d events could not be told in this format: --format=cloudevents shows them all", p.left)
}
