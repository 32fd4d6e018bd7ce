package store_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// The two events of a tunnel are one row, in whatever order and however often
// they come.
func TestTunnelRows(t *testing.T) {
	s := migrated(t)
	at := time.Now().UTC().Truncate(time.Microsecond)
	about := func(id string) events.AWSRequest {
		return events.AWSRequest{RequestID: id, ReceivedAt: at, User: "alice", SessionID: "S1", Service: "ssmmessages",
			Operation: "OpenDataChannel", Method: "CONNECT", Host: "h:443", Proxy: "p"}
	}
	opened := &events.AWSTunnelOpened{AWSRequest: about("T1"), StartRequestID: "R1", StartOperation: "StartSession", Role: "engineer", DryRun: &events.DryRun{Rule: "role contractor denies ssmmessages:*"}}
	closed := &events.AWSTunnelClosed{AWSRequest: about("T1"), StartRequestID: "R1", StartOperation: "StartSession",
		ClosedAt: at.Add(2 * time.Second), SentBytes: 10, ReceivedBytes: 20, DurationMicros: 2_000_000, Interrupted: "lock", InterruptedDetail: "lock L1"}
	running := &events.AWSTunnelOpened{AWSRequest: about("T2"), StartRequestID: "R2", StartOperation: "ExecuteCommand"}
	k, err := s.Sink(t.Context(), events.Audit)
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range []events.Payload{closed, opened, running, closed} {
		e := journal.Entry{Event: events.Event{Meta: events.Meta{ID: fmt.Sprint("id", i), Source: "/s", Time: at}, Data: d}, Stream: events.Audit, Channel: d.Channel(), Seq: uint64(i + 1), StoredAt: at, Raw: []byte("{}")}
		if _, err := k.Write(t.Context(), []journal.Entry{e}, nil); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := s.Conn().Query(t.Context(), `SELECT tunnel_id, state, opened_at, closed_at, user, session_id, role, rule, start_request_id, start_operation, sent_bytes, received_bytes, duration_us, interrupted, interrupted_detail FROM tunnels ORDER BY tunnel_id`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got []string
	for rows.Next() {
		var id, state, user, session, role, rule, start, operation, interrupted, detail string
		var from time.Time
		var to *time.Time
		var sent, received, duration int64
		if err := rows.Scan(&id, &state, &from, &to, &user, &session, &role, &rule, &start, &operation, &sent, &received, &duration, &interrupted, &detail); err != nil {
			t.Fatal(err)
		}
		took := time.Duration(0)
		if to != nil {
			took = to.Sub(from)
		}
		got = append(got, fmt.Sprint(id, state, from.Equal(at), took, user, session, role, rule, start, operation, sent, received, duration, interrupted, detail))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		fmt.Sprint("T1", "closed", true, 2*time.Second, "alice", "S1", "engineer", "role contractor denies ssmmessages:*", "R1", "StartSession", 10, 20, 2_000_000, "lock", "lock L1"),
		fmt.Sprint("T2", "open", true, time.Duration(0), "alice", "S1", "", "", "R2", "ExecuteCommand", 0, 0, 0, "", ""),
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("rows are\n%v, want\n%v", got, want)
	}
	// The query of the documentation is one that works.
	doc, err := os.ReadFile("../../docs/tunnels.md")
	if err != nil {
		t.Fatal(err)
	}
	_, query, _ := strings.Cut(string(doc), "```sql\n")
	query, _, _ = strings.Cut(query, "```")
	if n := count(t, s, "SELECT count() FROM ("+query+")"); n != 2 {
		t.Errorf("%d rows of the documented query", n)
	}
}
