package auditor_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/auditor"
	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/events/signed"
)

// Whoever has credentials that may publish to ACCESS leaves rows that say so and a
// critical finding each, and makes neither sessions nor locks nor requests.
func TestForgedDecisions(t *testing.T) {
	server := embeddedtest.StartNATS(t)
	if err := journal.Setup(t.Context(), embeddedtest.Connect(t, server, "test", embedded.Admin()), journal.StreamsConfig{DuplicateWindow: 100 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	ca := newAuthority(t)
	broker := eventstest.Open(t, embeddedtest.Connect(t, server, "broker", embedded.Broker()))
	w := &world{t: t, dsn: embeddedtest.ClickHouse(t), nc: embeddedtest.Connect(t, server, "intruder", embedded.Broker())}
	w.conn = embeddedtest.Open(t, w.dsn)
	w.j = eventstest.Open(t, embeddedtest.Connect(t, server, "auditor", embedded.Auditor()))
	verified := func(c *auditor.Config) {
		c.BrokerCA, c.Listen = ca.pool(), "127.0.0.1:0"
		c.TLS = &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool(), Certificates: []tls.Certificate{ca.issue("auditor")}}
	}
	w.start(verified)

	key, err := signed.NewSigner()
	if err != nil {
		t.Fatal(err)
	}
	broker.SignWith(key.Sign)
	decide := func(revision uint64, p events.Payload) {
		t.Helper()
		if _, err := broker.Append(t.Context(), events.Event{Meta: events.Meta{Sequence: revision}, Data: p}); err != nil {
			t.Fatal(err)
		}
	}
	forge := func(sign *signed.Signer, revision uint64, channel string, p events.Payload) {
		t.Helper()
		raw, err := events.Encode(events.Event{Meta: events.Meta{ID: journal.NewID(), Source: "/postern/broker/x", Time: time.Now(), Sequence: revision}, Data: p})
		if err != nil {
			t.Fatal(err)
		}
		if sign != nil {
			raw = sign.Sign(p.Channel(), raw)
		}
		w.raw(channel, string(raw))
	}
	cert := ca.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "key"}, UnknownExtKeyUsage: []asn1.ObjectIdentifier{signed.Purpose()}}, ca.cert, key.Public())
	published := &events.KeyPublished{KeyID: key.ID(), NotAfter: time.Now().Add(time.Hour), Certificate: base64.StdEncoding.EncodeToString(cert.Raw)}
	lock := &events.LockPlaced{LockID: "L", Target: events.LockTarget{Kind: "user", Name: "alice"}, By: "admin"}
	session := &events.SessionStarted{SessionID: "S", User: "alice", StartedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)}
	decide(1, published)
	decide(1, session)
	decide(1, lock)
	w.settle(events.Access)
	copied := func(channel string) string {
		var raw string
		if err := w.conn.QueryRow(t.Context(), `SELECT raw FROM events WHERE stream = 'ACCESS' AND channel = ?`, channel).Scan(&raw); err != nil {
			t.Fatal(err)
		}
		return raw
	}
	again := copied(lock.Channel())

	stranger, err := signed.NewSigner()
	if err != nil {
		t.Fatal(err)
	}
	lifted := &events.LockLifted{LockID: "L", By: "admin"}
	forge(nil, 2, lifted.Channel(), lifted)                                                                      // unsigned
	forge(stranger, 2, lifted.Channel(), lifted)                                                                 // by nobody's key
	forge(nil, 1, "access.session.F", &events.SessionStarted{SessionID: "F", User: "mallory"})                   // unsigned
	forge(nil, 1, "access.request.F", &events.RequestCreated{RequestID: "F", User: "mallory"})                   // unsigned
	forge(nil, 1, "access.session.G", &events.AWSRequestAdmitted{AWSRequest: events.AWSRequest{RequestID: "G"}}) // of another stream
	w.raw("access.lock.L", "what?")                                                                              // no event
	w.raw("access.lock.M", again)                                                                                // for another subject
	w.raw("access.lock.L", again)                                                                                // a copy, after a restart too
	const forged = 8
	w.settle(events.Access)
	w.stop()
	w.start(verified)
	w.raw("access.lock.L", again)
	decide(2, &events.LockPlaced{LockID: "L", Target: lock.Target, Message: "still", By: "admin"})
	w.settle(events.Access, events.Findings)
	w.exact(events.Access)

	type row struct {
		signature, reason string
		n                 uint64
	}
	var got []row
	rows, err := w.conn.Query(t.Context(), `SELECT signature, if(signature = 'unsigned', '', signature_reason), count() FROM access_events GROUP BY ALL ORDER BY ALL`)
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var r row
		if err := rows.Scan(&r.signature, &r.reason, &r.n); err != nil {
			t.Fatal(err)
		}
		got = append(got, r)
	}
	want := []row{
		{"invalid", "it is a copy of an older event: it is revision 1, and 1 is the last", 2},
		{"invalid", "its signature is wrong: it was changed, or made for another subject", 1},
		{"unsigned", "", 6},
		{"valid", "", 4},
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(row{})); d != "" {
		t.Error(d)
	}
	for _, q := range []string{
		`SELECT toUInt64(count() = 1) FROM locks WHERE state = 'active' AND lock_id = 'L'`,
		`SELECT toUInt64(count() = 1) FROM locks`,
		`SELECT toUInt64(count() = 1 AND any(session_id) = 'S') FROM sessions`,
		`SELECT toUInt64(count() = 0) FROM access_requests`,
		`SELECT toUInt64(count() = 0) FROM requests`,
	} {
		if w.count(q) != 1 {
			t.Errorf("not so: %s", q)
		}
	}
	if n := w.count(`SELECT count() FROM findings WHERE kind = 'forged_decision' AND severity = 'critical' AND state = 'open'
		AND toUInt64(splitByChar('/', finding_id)[3]) IN (SELECT seq FROM access_events WHERE NOT genuine) AND summary LIKE '%no broker decided%'`); n != forged+1 {
		t.Errorf("%d findings, want %d", n, forged+1)
	}
	if n := w.count(`SELECT count() FROM events WHERE stream = 'FINDINGS' AND type LIKE 'io.postern.finding.opened.%'`); n != forged+1 {
		t.Errorf("opened %d times, want %d", n, forged+1)
	}

	// Whoever calls a decision forged in the ledger, or what is forged a decision, is found.
	checks := func() string {
		t.Helper()
		faults, err := ca.client(w, "sec", "auditor").Checks(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, f := range faults {
			out = append(out, f.String())
		}
		return strings.Join(out, "\n")
	}
	if wrong := checks(); wrong != "" {
		t.Errorf("untouched: %s", wrong)
	}
	for _, q := range []string{
		`ALTER TABLE events UPDATE signature = 'invalid' WHERE stream = 'ACCESS' AND seq = 3`,
		`ALTER TABLE events UPDATE signature = 'valid', signature_reason = '' WHERE stream = 'ACCESS' AND seq = 4`,
		`ALTER TABLE events UPDATE signature = '' WHERE stream = 'ACCESS' AND seq = 5`,
	} {
		if err := w.conn.Exec(t.Context(), q+` SETTINGS mutations_sync = 1`); err != nil {
			t.Fatal(err)
		}
	}
	wrong := checks()
	for _, want := range []string{
		"ACCESS 3: derived in the clickhouse: signature: a broker decided it",
		"ACCESS 4: derived in the clickhouse: signature: no broker decided it: ",
		"ACCESS 5: derived in the clickhouse: signature: no broker decided it: ",
	} {
		if !strings.Contains(wrong, want) {
			t.Errorf("found %q, want %q", wrong, want)
		}
	}
}
