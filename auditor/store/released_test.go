package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// Every released schema is a file of testdata/released: its tables and views as
// ClickHouse wrote them, and rows. Each of them migrates forward and answers.
// Before a release, the file of its version is written by
//
//	POSTERN_WRITE_RELEASED=v0.2 go test -run TestReleased ./auditor/store
func TestReleased(t *testing.T) {
	t.Parallel()
	if version := os.Getenv("POSTERN_WRITE_RELEASED"); version != "" {
		writeReleased(t, filepath.Join("testdata", "released", version+".sql"))
	}
	files, err := filepath.Glob("testdata/released/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatal("no released schemas: ", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".sql"), func(t *testing.T) {
			s := open(t, embeddedtest.ClickHouse(t))
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for q := range strings.SplitSeq(strings.TrimSuffix(string(text), ";\n"), ";\n") {
				if err := s.Conn().Exec(t.Context(), q); err != nil {
					t.Fatalf("%.80s: %v", q, err)
				}
			}
			for range 2 {
				if err := s.Migrate(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			askStory(t, s)
			tellStory(t, s) // all of it again, as doubled deliveries: nothing changes
			askStory(t, s)
		})
	}
}

// storyTime is long after what trails are kept for by anybody's retention.
var storyTime = time.Date(2096, 3, 1, 12, 0, 0, 0, time.UTC)

// story is one of everything that questions are asked about.
func story() []events.Payload {
	at := storyTime
	r := func(id string) events.AWSRequest {
		return events.AWSRequest{RequestID: id, ReceivedAt: at.Add(time.Minute), User: "alice", SessionID: "S1", AccessRequestIDs: []string{"Q1"}, App: "awsconsole",
			AWSRoleARN: "arn:aws:iam::111122223333:role/Ops", RoleSessionName: "alice", AccessKeyID: "ASIAOURS", Account: "111122223333", Partition: "aws", Region: "eu-central-1",
			Service: "s3", SigningName: "s3", Operation: "ListObjectsV2", Action: "s3:ListBucket", AccessLevel: "List", Resources: []string{"arn:aws:s3:::bucket"},
			Method: "GET", Host: "bucket.s3.eu-central-1.amazonaws.com", Path: "/", ClientAddr: "10.0.0.1:1234", UserAgent: "aws-cli/2", Proxy: "p1"}
	}
	record := func(event, request string) *events.CloudTrailRecordReceived {
		raw := fmt.Sprintf(`{"eventVersion":"1.11","userIdentity":{"type":"AssumedRole","principalId":"AROAX:alice","arn":"arn:aws:sts::111122223333:assumed-role/Ops/alice","accountId":"111122223333","accessKeyId":"ASIAOURS","sessionContext":{"sessionIssuer":{"type":"Role","arn":"arn:aws:iam::111122223333:role/Ops"}}},"eventTime":"%s","eventSource":"s3.amazonaws.com","eventName":"ListObjects","awsRegion":"eu-central-1","requestID":"%s","eventID":"%s","readOnly":true,"eventType":"AwsApiCall","recipientAccountId":"111122223333","eventCategory":"Data"}`,
			at.Add(time.Minute).Format(time.RFC3339), request, event)
		return &events.CloudTrailRecordReceived{RecipientAccountID: "111122223333", EventID: event, Region: "eu-central-1", EventSource: "s3.amazonaws.com", File: "f", Record: json.RawMessage(raw)}
	}
	soon := at.Add(time.Hour)
	return []events.Payload{
		&events.RequestCreated{RequestID: "Q1", User: "alice", Roles: []string{"dev"}, Reason: "work", TTL: 3600, ExpiresAt: soon},
		&events.RequestReviewed{RequestID: "Q1", Reviewer: "bob", Verdict: "approve"},
		&events.RequestApproved{RequestID: "Q1", User: "alice", Roles: []string{"dev"}, Reviewers: []string{"bob"}, AccessExpiresAt: soon},
		&events.SessionStarted{SessionID: "S1", User: "alice", App: "awsconsole", Roles: []events.RoleRef{{Name: "dev", Revision: 1}}, RequestIDs: []string{"Q1"},
			AWSRoleARN: "arn:aws:iam::111122223333:role/Ops", Account: "111122223333", RoleSessionName: "alice", StartedAt: at, ExpiresAt: soon},
		&events.SessionEnded{SessionID: "S1", User: "alice", By: "alice", Reason: "logout"},
		&events.LockPlaced{LockID: "L1", Target: events.LockTarget{Kind: "user", Name: "mallory"}, By: "admin"},
		&events.AWSRequestAdmitted{AWSRequest: r("R1"), Role: "dev"},
		&events.AWSRequestCompleted{AWSRequest: r("R1"), Status: 200, AWSRequestID: "AWS1"},
		&events.AWSRequestDenied{AWSRequest: r("R2"), Cause: "role", Reason: "no role allows it", Code: "AccessDenied"},
		record("E1", "AWS1"), record("E2", "AWS2"),
		&events.VerdictReached{RequestID: "R1", RequestAt: at.Add(time.Minute), Verdict: events.Missing, Rule: "overdue", At: at},
		&events.VerdictReached{RequestID: "R1", RequestAt: at.Add(time.Minute), RecipientAccountID: "111122223333", EventID: "E1", EventTime: at.Add(time.Minute), Verdict: events.Matched, Rule: "request_id", At: at},
		&events.VerdictReached{RecipientAccountID: "111122223333", EventID: "E2", EventTime: at.Add(time.Minute), Verdict: events.Bypass, Rule: "role", At: at},
		&events.FindingOpened{FindingID: "bypass/E2", Kind: "bypass", Severity: "high", User: "alice", RecipientAccountID: "111122223333", EventID: "E2", Summary: "around postern", OpenedAt: at},
	}
}

// tellStory writes it as the auditor does, stream by stream.
func tellStory(t *testing.T, s *store.Store) {
	t.Helper()
	sinks := map[string]*store.Sink{}
	for _, d := range story() {
		stream := streamOf(d)
		if sinks[stream] == nil {
			k, err := s.Sink(t.Context(), stream)
			if err != nil {
				t.Fatal(err)
			}
			sinks[stream] = k
		}
		seq := sinks[stream].Floor() + 1
		e := events.Event{Meta: events.Meta{ID: fmt.Sprintf("%s-%d", stream, seq), Source: "/test", Time: storyTime, Sequence: seq}, Data: d}
		if r, ok := d.(*events.AWSRequestAdmitted); ok {
			e.CorrelationID = r.RequestID
		}
		raw, err := events.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		entry := journal.Entry{Event: e, Stream: stream, Channel: d.Channel(), Seq: seq, StoredAt: storyTime, Raw: raw}
		if _, err := sinks[stream].Write(t.Context(), []journal.Entry{entry}, store.Signatures{seq: {State: store.SignatureValid}}); err != nil {
			t.Fatal(err)
		}
	}
}

func streamOf(d events.Payload) string {
	switch first, _, _ := strings.Cut(d.Channel(), "."); first {
	case "access":
		return events.Access
	case "audit":
		return events.Audit
	case "cloudtrail":
		return events.CloudTrail
	}
	return events.Findings
}

// askStory asks every named question of it.
func askStory(t *testing.T, s *store.Store) {
	t.Helper()
	ctx := t.Context()
	a := query.New(s.Conn(), func() time.Time { return storyTime.Add(time.Hour) })
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	page, err := a.Search(ctx, query.Filter{User: "alice"})
	must(err)
	if len(page.Entries) != 3 {
		t.Errorf("search found %d calls of alice's, want 3", len(page.Entries))
	}
	for _, id := range []string{"R1", "AWS1", "E1"} {
		d, err := a.Show(ctx, id)
		must(err)
		if d.Request == nil || d.Request.RequestID != "R1" || d.CloudTrail == nil || len(d.CloudTrail.Record) == 0 || d.Verdict != "matched" ||
			d.Session == nil || d.Session.State != "ended" || d.Session.Roles[0] != "dev@1" || len(d.AccessRequests) != 1 || d.AccessRequests[0].State != "approved" {
			t.Errorf("show %s: %+v", id, d)
		}
	}
	chain, err := a.Why(ctx, "R1")
	must(err)
	var kinds []string
	for _, step := range chain.Steps {
		kinds = append(kinds, step.Kind)
	}
	if got := strings.Join(slices.Compact(kinds), " "); !strings.HasPrefix(got, "cloudtrail request decision session approval review access_request") {
		t.Errorf("why R1: %s", got)
	}
	c, err := a.Coverage(ctx, "")
	must(err)
	if c.Matched.Count != 1 || c.Missing.Count != 0 || c.Bypass.Count != 1 || c.Denied != 1 || c.Records != 2 || len(c.Offenders) != 1 {
		t.Errorf("coverage: %+v", c)
	}
	found, err := a.Findings(ctx, query.FindingFilter{State: "open"})
	must(err)
	if len(found.Findings) != 1 || found.Findings[0].Kind != "bypass" {
		t.Errorf("findings: %+v", found)
	}
	p, err := a.Policy(ctx, query.PolicyFilter{AWSRole: "Ops"}, func(string, string) ([]string, int) { return nil, 0 })
	must(err)
	if len(p.Used) != 1 || p.Used[0].Action != "s3:ListBucket" || p.Used[0].Calls != 1 {
		t.Errorf("policy: %+v", p)
	}
	for q, want := range map[string]uint64{
		`SELECT count() FROM locks WHERE state = 'active' AND target_name = 'mallory'`: 1,
		`SELECT count() FROM sessions`:        1,
		`SELECT count() FROM access_requests`: 1,
		`SELECT count() FROM requests`:        2,
		`SELECT count() FROM cloudtrail`:      2,
	} {
		if n := count(t, s, q); n != want {
			t.Errorf("%d, want %d: %s", n, want, q)
		}
	}
}

// writeReleased makes a file out of the present schema.
func writeReleased(t *testing.T, file string) {
	s := migrated(t)
	tellStory(t, s)
	var out strings.Builder
	strs := func(q string, args ...any) (list []string) {
		t.Helper()
		rows, err := s.Conn().Query(clickhouse.Context(context.Background()), q, args...)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var v string
			if err := rows.Scan(&v); err != nil {
				t.Fatal(err)
			}
			list = append(list, v)
		}
		return list
	}
	db := s.Database()
	for _, table := range strs(`SELECT name FROM system.tables WHERE database = ? AND name NOT LIKE '.inner%' ORDER BY engine LIKE '%View', name != 'access_events', name`, db) {
		create := strs("SELECT create_table_query FROM system.tables WHERE database = ? AND name = ?", db, table)[0]
		fmt.Fprintf(&out, "%s;\n", strings.ReplaceAll(create, db+".", ""))
	}
	for _, table := range strs(`SELECT name FROM system.tables WHERE database = ? AND engine NOT LIKE '%View' ORDER BY name`, db) {
		columns := strings.Join(strs("SELECT name FROM system.columns WHERE database = ? AND table = ? AND default_kind != 'ALIAS' ORDER BY position", db, table), ", ")
		for _, row := range strs(fmt.Sprintf("SELECT formatRow('Values', %s) FROM %s ORDER BY ALL", columns, table)) {
			fmt.Fprintf(&out, "INSERT INTO %s (%s) VALUES %s;\n", table, columns, strings.TrimSuffix(strings.TrimSpace(row), ","))
		}
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
