package auditor

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/auditor/correlate"
	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// Copies that wait in the store are found there by their places in the stream.
func TestRecallCopies(t *testing.T) {
	s, err := store.New(store.Config{DSN: embeddedtest.ClickHouse(t), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	sink, err := s.Sink(t.Context(), events.CloudTrail)
	if err != nil {
		t.Fatal(err)
	}
	var entries []journal.Entry
	for i := range 5 {
		id := fmt.Sprint("E", i+1)
		e := events.Event{Meta: events.Meta{ID: id, Source: "/s", Time: time.Now().UTC()}, Data: &events.CloudTrailRecordReceived{
			RecipientAccountID: "222222222222", EventID: id, Region: "eu-central-1", EventSource: "s3.amazonaws.com", File: "f",
			Record: json.RawMessage(`{"eventVersion":"1.11","userIdentity":{"type":"AWSAccount","principalId":"AROAOPS:alice","accountId":"111111111111"},"eventTime":"2026-03-01T12:00:00Z","eventSource":"s3.amazonaws.com","eventName":"GetObject","requestID":"A","sharedEventID":"s` + id + `","eventID":"` + id + `","recipientAccountId":"222222222222"}`)}}
		raw, err := events.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, journal.Entry{Event: e, Stream: events.CloudTrail, Seq: uint64(i + 1), StoredAt: e.Time, Raw: raw})
	}
	if _, err := sink.Write(t.Context(), entries, nil); err != nil {
		t.Fatal(err)
	}
	found, err := recall(t.Context(), s.Conn(), correlate.Doubt{Copies: []uint64{2, 5}})
	if err != nil {
		t.Fatal(err)
	}
	var got string
	for _, r := range found.Copies {
		got += fmt.Sprintf("%s/%s of %s at %d; ", r.Account, r.EventID, r.RequestID, r.Seq)
	}
	if want := "222222222222/E2 of A at 2; 222222222222/E5 of A at 5; "; got != want {
		t.Errorf("found %s", got)
	}
	// And by the request that they are of, with all that they say of the caller.
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	found, err = recall(t.Context(), s.Conn(), correlate.Doubt{Requests: []correlate.Request{{ID: "R", ReceivedAt: at, AWSRequestID: "A"}}})
	if err != nil {
		t.Fatal(err)
	}
	if len(found.Records) != 5 {
		t.Fatalf("found %d records", len(found.Records))
	}
	for _, r := range found.Records {
		if r.IdentityAccount != "111111111111" || r.RoleID != "AROAOPS" || r.SessionName != "alice" || r.User != "alice" || !r.EventTime.Equal(at) {
			t.Errorf("found %+v", r)
		}
	}
	// What became of one, for another account's record of the same event.
	findings, err := s.Sink(t.Context(), events.Findings)
	if err != nil {
		t.Fatal(err)
	}
	v := events.Event{Meta: events.Meta{ID: "v", Source: "/s", Time: at}, Data: &events.VerdictReached{Verdict: events.Bypass, Rule: "no_request", RecipientAccountID: "222222222222", EventID: "E1", EventTime: at, At: at}}
	raw, err := events.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := findings.Write(t.Context(), []journal.Entry{{Event: v, Stream: events.Findings, Seq: 1, StoredAt: at, Raw: raw}}, nil); err != nil {
		t.Fatal(err)
	}
	found, err = recall(t.Context(), s.Conn(), correlate.Doubt{Records: []correlate.Record{
		{Account: "111111111111", EventID: "O1", SharedEventID: "sE1", EventTime: at}, {Account: "111111111111", EventID: "O2", SharedEventID: "sE2", EventTime: at}}})
	if err != nil {
		t.Fatal(err)
	}
	if len(found.Shared) != 1 || found.Shared["sE1"] != events.Bypass {
		t.Errorf("what became of the same events: %v", found.Shared)
	}
}

// Records of keys that were passed on are found a page at a time, and after a restart the
// keys, by when their records were judged, however old these are.
func TestRecallPassedOn(t *testing.T) {
	s, err := store.New(store.Config{DSN: embeddedtest.ClickHouse(t), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	at, now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), time.Now().UTC()
	write := func(stream string, payloads ...events.Payload) {
		t.Helper()
		sink, err := s.Sink(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		var entries []journal.Entry
		for i, p := range payloads {
			e := events.Event{Meta: events.Meta{ID: fmt.Sprint(stream, i), Source: "/s", Time: now}, Data: p}
			raw, err := events.Encode(e)
			if err != nil {
				t.Fatal(err)
			}
			entries = append(entries, journal.Entry{Event: e, Stream: stream, Seq: uint64(i + 1), StoredAt: now, Raw: raw})
		}
		if _, err := sink.Write(t.Context(), entries, nil); err != nil {
			t.Fatal(err)
		}
	}
	record := func(account, id, key, gives string) events.Payload {
		return &events.CloudTrailRecordReceived{RecipientAccountID: account, EventID: id, Region: "eu-central-1", EventSource: "sts.amazonaws.com", File: "f",
			Record: json.RawMessage(`{"eventVersion":"1.11","userIdentity":{"type":"AssumedRole","principalId":"AROAADMIN:any","arn":"arn:aws:sts::111111111111:assumed-role/Admin/any","accountId":"111111111111","accessKeyId":"` + key +
				`"},"eventTime":"2026-03-01T12:00:00Z","eventSource":"sts.amazonaws.com","eventName":"AssumeRole","responseElements":{"credentials":{"accessKeyId":"` + gives + `"}},"sharedEventID":"s` + id[:2] + `","requestID":"A` + id[:2] + `","eventID":"` + id + `","recipientAccountId":"` + account + `"}`)}
	}
	write(events.CloudTrail, record("111111111111", "E1", "ASIAGOT", ""), record("222222222222", "E1-copy", "", ""), record("111111111111", "E2", "ASIAGOT", ""),
		record("111111111111", "E3", "ASIAGOT", ""), record("222222222222", "E0", "ASIAGOT", ""), record("111111111111", "E4", "ASIAELSE", ""), record("111111111111", "E5", "ASIAOURS", "ASIAGOT"))
	judged := func(account, id, rule string) events.Payload {
		return &events.VerdictReached{Verdict: events.Bypass, Rule: rule, RecipientAccountID: account, EventID: id, EventTime: at, At: now}
	}
	write(events.Findings, judged("111111111111", "E1", "no_request"), judged("222222222222", "E1-copy", "shared_event"), judged("111111111111", "E5", "no_request"))
	for handed, want := range map[bool]string{true: "E1 E2 +E1-copy; E3 E0 +; +; ", false: "E2 E3 +; E0 +; "} {
		d := correlate.Doubt{PassedOn: []correlate.Credential{{AccessKeyID: "ASIAGOT", HandedOut: handed, IssuedAt: at}}, PassedOnLimit: 2}
		got := ""
		for more := true; more; {
			found, err := recall(t.Context(), s.Conn(), d)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range found.PassedOn {
				got += r.EventID + " "
				d.PassedOnAfter = correlate.Cursor{Time: r.EventTime, ID: r.ID()}
			}
			got += "+"
			for _, r := range found.SameEvents {
				if r.EventID != "E1" {
					got += r.EventID
				}
			}
			got += "; "
			more = len(found.PassedOn) == 2
		}
		if got != want {
			t.Errorf("handed out %v: found %s", handed, got)
		}
	}
	// The rule comes with the verdict.
	found, err := recall(t.Context(), s.Conn(), correlate.Doubt{Records: []correlate.Record{{Account: "222222222222", EventID: "E1-copy", EventTime: at}}})
	if x := found.Judged[correlate.RecordID{Account: "222222222222", EventID: "E1-copy"}]; err != nil || x.Verdict != events.Bypass || x.Rule != "shared_event" {
		t.Errorf("judged as %+v, %v", x, err)
	}
	j := &judge{state: correlate.New(correlate.Config{})}
	if err := j.restorePassedOn(t.Context(), s.Conn(), now); err != nil {
		t.Fatal(err)
	}
	var asked []correlate.Credential
	for range 2 { // the second is after what is over was forgotten
		_, err = j.state.Advance(correlate.Clock{Now: now, Requests: now, Records: now}, func(d correlate.Doubt) (correlate.Found, error) {
			asked = append(asked, d.PassedOn...)
			return correlate.Found{}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(asked) != 1 || asked[0].AccessKeyID != "ASIAGOT" || !asked[0].ExpiresAt.After(now) {
		t.Errorf("keys after a restart: %+v", asked)
	}
}
