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
