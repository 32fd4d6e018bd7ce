package embedded_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
)

// TestPermissionMatrix publishes and subscribes as each component and looks at
// what the server says to it.
func TestPermissionMatrix(t *testing.T) {
	n := embeddedtest.StartNATS(t)
	makeStreams(t, embeddedtest.Connect(t, n, "admin", embedded.Admin()))

	// Nobody but the administrator may do these.
	privileged := []string{
		"$JS.API.STREAM.CREATE.ACCESS", "$JS.API.STREAM.CREATE.X", "$JS.API.STREAM.UPDATE.ACCESS", "$JS.API.STREAM.DELETE.ACCESS",
		"$JS.API.STREAM.PURGE.ACCESS", "$JS.API.STREAM.MSG.DELETE.ACCESS", "$JS.API.STREAM.SNAPSHOT.AUDIT",
		"$JS.API.STREAM.RESTORE.ACCESS", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST",
		"$JS.API.CONSUMER.DURABLE.CREATE.ACCESS.x", "$JS.API.CONSUMER.PAUSE.AUDIT.auditor",
		"$JS.API.ACCOUNT.PURGE.x", "$SYS.REQ.SERVER.PING", "$KV.x", "anything",
		embedded.InboxPrefix("admin") + ".x", "_INBOX.x",
	}
	for _, c := range []struct {
		name             string
		perms            embedded.Permissions
		allowed, refused []string
	}{
		{
			"broker", embedded.Broker(),
			[]string{
				"access.user.1", "$JS.API.STREAM.INFO.ACCESS", "$JS.API.CONSUMER.CREATE.ACCESS.x",
				"$JS.API.CONSUMER.CREATE.AUDIT.broker-held.audit.held.>", "$JS.API.CONSUMER.MSG.NEXT.AUDIT.broker-held",
			},
			[]string{
				"$JS.API.CONSUMER.CREATE.AUDIT.broker-held", "$JS.API.CONSUMER.CREATE.AUDIT.broker-held.audit.>", "$JS.API.CONSUMER.MSG.NEXT.AUDIT.auditor", "$JS.ACK.AUDIT.auditor.1",
				"audit.a", "cloudtrail.a", "findings.a", "$JS.API.STREAM.INFO.AUDIT", "$JS.API.CONSUMER.CREATE.AUDIT.x",
				"$JS.API.STREAM.MSG.GET.CLOUDTRAIL", "$JS.API.DIRECT.GET.FINDINGS.findings.seed",
			},
		},
		{
			"proxy", embedded.Proxy(),
			[]string{"audit.a.b", "postern.rates", "$KV.postern_issued.ASIA1", "$JS.API.STREAM.MSG.GET.KV_postern_issued", "$JS.API.CONSUMER.CREATE.ACCESS.x.access.>", "$JS.API.CONSUMER.MSG.NEXT.ACCESS.x", "$JS.ACK.ACCESS.x.1"},
			[]string{
				"access.user.1", "cloudtrail.a", "findings.a", "$JS.API.CONSUMER.CREATE.AUDIT.x", "postern.x", "postern.rates.x",
				"$JS.API.STREAM.INFO.KV_postern_issued", "$JS.API.CONSUMER.CREATE.KV_postern_issued.x", "$JS.API.STREAM.PURGE.KV_postern_issued",
				"$JS.API.CONSUMER.MSG.NEXT.AUDIT.auditor", "$JS.ACK.AUDIT.auditor.1", "$JS.API.DIRECT.GET.AUDIT", "$JS.API.STREAM.MSG.GET.AUDIT",
			},
		},
		{
			"auditor", embedded.Auditor(),
			[]string{
				"cloudtrail.a", "findings.a", "$JS.API.CONSUMER.CREATE.AUDIT.auditor", "$JS.ACK.AUDIT.auditor.1",
				"$JS.API.CONSUMER.MSG.NEXT.CLOUDTRAIL.x", "$JS.API.STREAM.INFO.FINDINGS", "$JS.API.STREAM.INFO.ACCESS",
			},
			[]string{"access.user.1", "audit.a"},
		},
		{
			"siem", embedded.Consumer("siem", "AUDIT"),
			[]string{
				"$JS.API.CONSUMER.INFO.AUDIT.siem", "$JS.API.CONSUMER.MSG.NEXT.AUDIT.siem",
				"$JS.ACK.AUDIT.siem.1", "$JS.API.INFO",
			},
			[]string{
				"access.user.1", "audit.request.1", "cloudtrail.a", "findings.a",
				"$JS.API.CONSUMER.CREATE.AUDIT.siem", "$JS.API.CONSUMER.CREATE.AUDIT.siem.audit.request.>", "$JS.API.CONSUMER.CREATE.AUDIT",
				"$JS.API.CONSUMER.MSG.NEXT.AUDIT.auditor", "$JS.ACK.AUDIT.auditor.1", "$JS.API.CONSUMER.DELETE.AUDIT.siem",
				"$JS.API.STREAM.MSG.GET.AUDIT", "$JS.API.DIRECT.GET.AUDIT", "$JS.API.DIRECT.GET.AUDIT.audit.seed",
				"$JS.API.STREAM.INFO.AUDIT", "$JS.API.STREAM.INFO.ACCESS", "$JS.API.CONSUMER.MSG.NEXT.ACCESS.siem", "$JS.API.CONSUMER.LIST.AUDIT", "$JS.API.CONSUMER.NAMES.AUDIT",
			},
		},
		{
			"consumers", embedded.Consumers(),
			[]string{"$JS.API.CONSUMER.CREATE.AUDIT.siem.audit.denied.>", "$JS.API.CONSUMER.DELETE.FINDINGS.siem", "$JS.API.CONSUMER.INFO.ACCESS.siem"},
			[]string{"access.user.1", "audit.a", "$JS.API.CONSUMER.MSG.NEXT.AUDIT.siem", "$JS.API.STREAM.MSG.GET.AUDIT", "$JS.API.CONSUMER.CREATE.KV_postern_sealed.x"},
		},
		{
			"push", embedded.Push(),
			[]string{"$JS.API.CONSUMER.MSG.NEXT.AUDIT.siem", "$JS.API.CONSUMER.RESET.FINDINGS.siem", "$JS.ACK.CLOUDTRAIL.siem.1"},
			[]string{"access.user.1", "audit.a", "findings.x", "$JS.API.CONSUMER.MSG.NEXT.KV_postern_sealed.x"},
		},
		{"nobody", embedded.Permissions{}, nil, []string{"access.user.1", "$JS.API.INFO"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			try := func(verb string, do func(*nats.Conn, string) error, subject string, allowed bool) {
				t.Helper()
				nc := embeddedtest.Connect(t, n, c.name, c.perms, quiet)
				defer nc.Close()
				if err := do(nc, subject); err != nil {
					t.Fatal(err)
				}
				if err := nc.Flush(); err != nil { // the refusal, if any, comes before the answer to this
					t.Fatal(err)
				}
				err := nc.LastError()
				switch {
				case allowed && err != nil:
					t.Errorf("%s %s: %v", verb, subject, err)
				case !allowed && !errors.Is(err, nats.ErrPermissionViolation):
					t.Errorf("%s %s: %v, want a permission violation", verb, subject, err)
				}
			}
			publish := func(nc *nats.Conn, s string) error { return nc.Publish(s, nil) }
			subscribe := func(nc *nats.Conn, s string) error { _, err := nc.SubscribeSync(s); return err }
			for _, s := range c.allowed {
				try("publish to", publish, s, true)
			}
			proxy := c.name == "proxy"
			if !proxy { // what proxies hand out, and tell one another
				c.refused = append(c.refused, "postern.rates", "$KV.postern_issued.ASIA1", "$JS.API.STREAM.MSG.GET.KV_postern_issued",
					"$JS.API.DIRECT.GET.KV_postern_issued.$KV.postern_issued.ASIA1", "$JS.API.CONSUMER.CREATE.KV_postern_issued.x", "$JS.API.STREAM.INFO.KV_postern_issued")
			}
			for _, s := range append(c.refused, privileged...) {
				try("publish to", publish, s, false)
			}
			try("subscribe to", subscribe, embedded.InboxPrefix(c.name)+".x", true)
			try("subscribe to", subscribe, "postern.rates", proxy)
			for _, s := range []string{">", "postern.>", "access.>", "audit.>", "$JS.>", "$JS.ACK.>", "_INBOX.>", embedded.InboxPrefix("admin") + ".>"} {
				try("subscribe to", subscribe, s, false)
			}
		})
	}
}

func quiet(o *nats.Options) error {
	o.AsyncErrorCB = func(*nats.Conn, *nats.Subscription, error) {}
	return nil
}

// TestComponentsCanWork does through nats.go what each component does all day.
func TestComponentsCanWork(t *testing.T) {
	n := embeddedtest.StartNATS(t)
	makeStreams(t, embeddedtest.Connect(t, n, "admin", embedded.Admin()))
	for _, c := range []struct {
		name          string
		perms         embedded.Permissions
		writes, reads []string
	}{
		{"broker", embedded.Broker(), []string{"access.user.2"}, []string{"ACCESS"}},
		{"proxy", embedded.Proxy(), []string{"audit.request.2"}, []string{"ACCESS"}},
		{"auditor", embedded.Auditor(), []string{"cloudtrail.2", "findings.2"}, []string{"ACCESS", "AUDIT", "CLOUDTRAIL", "FINDINGS"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			js := stream(t, embeddedtest.Connect(t, n, c.name, c.perms))
			for _, subject := range c.writes {
				if _, err := js.Publish(t.Context(), subject, nil, jetstream.WithExpectLastSequencePerSubject(0)); err != nil {
					t.Errorf("publish to %s: %v", subject, err)
				}
			}
			for _, name := range c.reads {
				s, err := js.Stream(t.Context(), name)
				if err != nil {
					t.Fatal(err)
				}
				seed := strings.ToLower(name) + ".seed"
				if msg, err := s.GetLastMsgForSubject(t.Context(), seed); err != nil || string(msg.Data) != "seed" {
					t.Errorf("last message of %s: %v, %v", seed, msg, err)
				}
				ordered, err := s.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{})
				if err != nil {
					t.Fatal(err)
				}
				wantSeed(t, ordered)
				filtered, err := s.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{FilterSubjects: []string{seed}})
				if err != nil {
					t.Fatal(err)
				}
				wantSeed(t, filtered)
				durable, err := s.CreateOrUpdateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: c.name, AckPolicy: jetstream.AckExplicitPolicy})
				if err != nil {
					t.Fatal(err)
				}
				if err := wantSeed(t, durable).DoubleAck(t.Context()); err != nil {
					t.Errorf("acknowledge: %v", err)
				}
			}
		})
	}
}

func TestConsumerReadsItsPartOnly(t *testing.T) {
	n := embeddedtest.StartNATS(t)
	admin := stream(t, embeddedtest.Connect(t, n, "admin", embedded.Admin()))
	makeStreams(t, admin.Conn())
	for _, body := range []string{"first", "second"} {
		if _, err := admin.Publish(t.Context(), "audit.request.1", []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	made, err := admin.CreateConsumer(t.Context(), "AUDIT", jetstream.ConsumerConfig{
		Durable: "siem", FilterSubject: "audit.request.>", AckPolicy: jetstream.AckExplicitPolicy,
	})
	if err != nil {
		t.Fatal(err)
	}

	js := stream(t, embeddedtest.Connect(t, n, "siem", embedded.Consumer("siem", "AUDIT"), quiet))
	if _, err := js.AccountInfo(t.Context()); err != nil { // some client libraries begin with this
		t.Error(err)
	}
	cons, err := js.Consumer(t.Context(), "AUDIT", "siem")
	if err != nil {
		t.Fatal(err)
	}
	batch, err := cons.Fetch(2, jetstream.FetchMaxWait(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for msg := range batch.Messages() {
		got = append(got, string(msg.Data()))
		if err := msg.DoubleAck(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff([]string{"first", "second"}, got); diff != "" || batch.Error() != nil {
		t.Errorf("messages read (-want +got), %v:\n%s", batch.Error(), diff)
	}
	info, err := made.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.NumPending != 0 || info.NumAckPending != 0 {
		t.Errorf("%d messages pending and %d unacknowledged, want none", info.NumPending, info.NumAckPending)
	}
	if err := admin.DeleteConsumer(t.Context(), "AUDIT", "siem"); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Consumer(t.Context(), "AUDIT", "siem"); !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.Errorf("after it was deleted: %v", err)
	}
}

// TestConsumerCannotWriteByReply asks for answers on subjects of the streams:
// in one account, the server would store them there.
func TestConsumerCannotWriteByReply(t *testing.T) {
	n := embeddedtest.StartNATS(t)
	admin := stream(t, embeddedtest.Connect(t, n, "admin", embedded.Admin()))
	makeStreams(t, admin.Conn())
	if _, err := admin.CreateConsumer(t.Context(), "AUDIT", jetstream.ConsumerConfig{Durable: "siem", AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	nc := embeddedtest.Connect(t, n, "siem", embedded.Consumer("siem", "AUDIT"), quiet)
	for _, ask := range []string{"$JS.API.INFO", "$JS.API.CONSUMER.INFO.AUDIT.siem", "$JS.API.CONSUMER.MSG.NEXT.AUDIT.siem"} {
		for _, reply := range []string{"access.x", "audit.x", "cloudtrail.x", "findings.x"} {
			if err := nc.PublishRequest(ask, reply, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Answered after the ones before it: the API serves a connection's requests in order.
	if _, err := stream(t, nc).Consumer(t.Context(), "AUDIT", "siem"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ACCESS", "AUDIT", "CLOUDTRAIL", "FINDINGS"} {
		s, err := admin.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.CachedInfo().State.Msgs; got != 1 {
			t.Errorf("%s has %d messages, want the seed alone", name, got)
		}
	}
}

func wantSeed(t *testing.T, c jetstream.Consumer) jetstream.Msg {
	t.Helper()
	msg, err := c.Next(jetstream.FetchMaxWait(10 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if string(msg.Data()) != "seed" {
		t.Fatalf("read %q, want the seed", msg.Data())
	}
	return msg
}

// The sealed values lie where nobody's credentials but the brokers' reach, the
// administrator's of the streams included.
func TestSealedIsApart(t *testing.T) {
	n := embeddedtest.StartNATS(t)
	ctx := t.Context()
	js, err := jetstream.New(embeddedtest.Connect(t, n, "sealed", embedded.Sealed()))
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "secrets"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.PutString(ctx, "ca", "sealed"); err != nil {
		t.Fatal(err)
	}
	admin := embeddedtest.Connect(t, n, "admin", embedded.Admin())
	ajs, err := jetstream.New(admin)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ajs.KeyValue(ctx, "secrets"); !errors.Is(err, jetstream.ErrBucketNotFound) {
		t.Errorf("the streams' administrator sees the bucket: %v", err)
	}
	if err := admin.Publish("$KV.secrets.ca", []byte("overwritten")); err != nil {
		t.Fatal(err)
	}
	if err := admin.Flush(); err != nil {
		t.Fatal(err)
	}
	if e, err := kv.Get(ctx, "ca"); err != nil || string(e.Value()) != "sealed" {
		t.Errorf("after somebody else wrote there: %v, %v", e, err)
	}
}
