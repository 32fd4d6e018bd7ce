package query_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
)

// operations are a few of AWS's, as its tables have them.
func operations(yield func(query.Operation) bool) {
	for _, o := range []query.Operation{
		{Service: "s3", SigningName: "s3", Endpoint: "s3", Prefix: "s3", Name: "ListBuckets", Actions: []string{"s3:ListAllMyBuckets"}},
		{Service: "s3", SigningName: "s3", Endpoint: "s3", Prefix: "s3", Name: "ListObjectsV2", Actions: []string{"s3:ListBucket"}},
		{Service: "s3", SigningName: "s3", Endpoint: "s3", Prefix: "s3", Name: "HeadObject", Actions: []string{"s3:GetObject"}},
		{Service: "s3", SigningName: "s3", Endpoint: "s3", Prefix: "s3", Name: "GetObject", Actions: []string{"s3:GetObject"}},
		{Service: "lambda", SigningName: "lambda", Endpoint: "lambda", Prefix: "lambda", Name: "ListFunctions", Actions: []string{"lambda:ListFunctions"}},
		{Service: "cloudwatch", SigningName: "monitoring", Endpoint: "monitoring", Prefix: "cloudwatch", Name: "GetMetricData", Actions: []string{"cloudwatch:GetMetricData"}},
		{Service: "connect", SigningName: "connect", Endpoint: "connect", Prefix: "connect", Name: "GetMetricData", Actions: []string{"connect:GetMetricData"}},
	} {
		if !yield(o) {
			return
		}
	}
}

// CloudTrail's records are found by IAM's names of actions and services, though
// CloudTrail has others.
func TestRecordsByAction(t *testing.T) {
	c, dsn := tables(t)
	for i, r := range []string{"s3 ListBuckets", "s3 ListObjects", "s3 HeadObject", "s3 GetObject", "lambda ListFunctions20150331", "monitoring GetMetricData", "connect GetMetricData", "signin ConsoleLogin"} {
		source, name, _ := strings.Cut(r, " ")
		exec(t, c, `INSERT INTO cloudtrail_rows (event_time, recipient_account_id, event_id, event_source, event_name, present, verdict, identity_account_id)
			VALUES (now64(6) - ?, '123456789012', ?, ?, ?, 1, ?, '210987654321')`, i, r, source+".amazonaws.com", name, []string{"bypass", ""}[i/7])
	}
	a := query.New(embeddedtest.Open(t, embeddedtest.ReaderDSN(t, dsn)), nil)
	a.Knows(operations)
	for _, x := range []struct {
		f    query.Filter
		want string
	}{
		{query.Filter{Action: "s3:ListAllMyBuckets"}, "s3 ListBuckets"},
		{query.Filter{Action: "s3:ListBuckets"}, "s3 ListBuckets"},
		{query.Filter{Action: "s3:ListBucket"}, "s3 ListObjects"},
		{query.Filter{Action: "ListObjectsV2"}, "s3 ListObjects"},
		{query.Filter{Action: "ListObjects"}, "s3 ListObjects"},
		{query.Filter{Action: "s3:GetObject"}, "s3 HeadObject, s3 GetObject"},
		{query.Filter{Action: "GetObject"}, "s3 GetObject"},
		{query.Filter{Action: "s3:*"}, "s3 ListBuckets, s3 ListObjects, s3 HeadObject, s3 GetObject"},
		{query.Filter{Action: "s3:List*"}, "s3 ListBuckets, s3 ListObjects"},
		{query.Filter{Action: "s3:*MyBuckets"}, "s3 ListBuckets"},
		{query.Filter{Action: "*ObjectsV2"}, "s3 ListObjects"},
		{query.Filter{Action: "lambda:ListFunctions"}, "lambda ListFunctions20150331"},
		{query.Filter{Action: "ListFunctions"}, "lambda ListFunctions20150331"},
		{query.Filter{Action: "lambda:*Functions"}, "lambda ListFunctions20150331"},
		{query.Filter{Action: "ListFunctions20150331"}, "lambda ListFunctions20150331"},
		{query.Filter{Action: "cloudwatch:GetMetricData"}, "monitoring GetMetricData"},
		{query.Filter{Action: "monitoring:GetMetricData"}, "monitoring GetMetricData"},
		{query.Filter{Action: "GetMetricData"}, "monitoring GetMetricData, connect GetMetricData"},
		{query.Filter{Action: "signin:ConsoleLogin"}, "signin ConsoleLogin"},
		{query.Filter{Action: "ec2:GetObject"}, ""},
		{query.Filter{Service: "cloudwatch"}, "monitoring GetMetricData"},
		{query.Filter{Service: "monitoring"}, "monitoring GetMetricData"},
		{query.Filter{Service: "cloud*"}, "monitoring GetMetricData"},
		{query.Filter{Service: "s*"}, "s3 ListBuckets, s3 ListObjects, s3 HeadObject, s3 GetObject, signin ConsoleLogin"},
		{query.Filter{Service: "s3", Account: "12345*", Action: "s3:ListBucket"}, "s3 ListObjects"},
		{query.Filter{Service: "s3", Account: "2109*", Action: "s3:ListBucket"}, "s3 ListObjects"},
		{query.Filter{Account: "3*"}, ""},
		{query.Filter{Outcome: "unrelated"}, "signin ConsoleLogin"},
		{query.Filter{Outcome: "unrelated", Service: "s3"}, ""},
	} {
		page, err := a.Search(t.Context(), x.f)
		if err != nil {
			t.Fatalf("%+v: %v", x.f, err)
		}
		var got []string
		for _, e := range page.Entries {
			got = append(got, e.CloudTrail.EventID)
		}
		if strings.Join(got, ", ") != x.want {
			t.Errorf("%+v: found %q, want %q", x.f, got, x.want)
		}
	}
}

// Several accounts may have a record of one event id and time: pages have each once,
// whatever their size, and an id that is not enough is said to be so.
func TestOneIDInSeveralAccounts(t *testing.T) {
	c, dsn := tables(t)
	var want []string
	for _, account := range []string{"333333333333", "222222222222", "111111111111"} {
		exec(t, c, `INSERT INTO cloudtrail_rows (event_time, recipient_account_id, event_id, event_source, event_name, present) VALUES ('2026-03-01 12:00:00', ?, 'E', 'sts.amazonaws.com', 'AssumeRole', 1)`, account)
		want = append(want, account+"/E")
	}
	exec(t, c, `INSERT INTO cloudtrail_rows (event_time, recipient_account_id, event_id, event_source, event_name, present) VALUES ('2026-03-01 11:00:00', '111111111111', 'F', 'sts.amazonaws.com', 'AssumeRole', 1)`)
	want = append(want, "111111111111/F")
	a := query.New(embeddedtest.Open(t, embeddedtest.ReaderDSN(t, dsn)), nil)
	for limit := 1; limit <= 4; limit++ {
		var got []string
		for f := (query.Filter{Limit: limit}); ; {
			page, err := a.Search(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Entries {
				got = append(got, e.CloudTrail.RecipientAccountID+"/"+e.CloudTrail.EventID)
			}
			if f.Cursor = page.Next; f.Cursor == "" {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("by pages of %d: %v, want %v", limit, got, want)
		}
	}
	if _, err := a.Show(t.Context(), "E"); err == nil || !strings.Contains(err.Error(), "111111111111/E or 222222222222/E or 333333333333/E") {
		t.Errorf("an id of three: %v", err)
	}
	for _, id := range []string{"222222222222/E", "111111111111/F", "F"} {
		d, err := a.Show(t.Context(), id)
		if err != nil || !strings.HasSuffix(d.CloudTrail.RecipientAccountID+"/"+d.CloudTrail.EventID, id) {
			t.Errorf("%s: %+v, %v", id, d, err)
		}
		if _, err := a.Why(t.Context(), id); err != nil {
			t.Errorf("why %s: %v", id, err)
		}
	}
	if _, err := a.Show(t.Context(), "444444444444/E"); !errors.Is(err, query.ErrNotFound) {
		t.Errorf("of no such account: %v", err)
	}
	// What an earlier version gave: the time, and the id.
	if _, err := a.Search(t.Context(), query.Filter{Cursor: "MTc3MjM2NjQwMDAwMDAwMCBF"}); err != nil {
		t.Error(err)
	}
}

// An id of something else than a call says where to ask for it.
func TestIDOfNoCall(t *testing.T) {
	c, dsn := tables(t)
	exec(t, c, `INSERT INTO access_request_rows (request_id, user, created_at) VALUES ('R', 'alice', now64(9))`)
	exec(t, c, `INSERT INTO session_rows (session_id, user, started_at, started_event_id) VALUES ('S', 'alice', now64(6), 'E')`)
	a := query.New(embeddedtest.Open(t, embeddedtest.ReaderDSN(t, dsn)), nil)
	for id, says := range map[string]string{"R": "report --request R", "S": "search --session S", "X": "nothing has the id"} {
		if _, err := a.Show(t.Context(), id); !errors.Is(err, query.ErrNotFound) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// What is asked for wrongly is refused, and answered neither with nothing nor with a
// failure.
func TestBadQuestions(t *testing.T) {
	_, dsn := tables(t)
	a := query.New(embeddedtest.Open(t, embeddedtest.ReaderDSN(t, dsn)), nil)
	search := func(f query.Filter) error { _, err := a.Search(t.Context(), f); return err }
	findings := func(f query.FindingFilter) error { _, err := a.Findings(t.Context(), f); return err }
	coverage := func(since string) error { _, err := a.Coverage(t.Context(), since); return err }
	for what, err := range map[string]error{
		"outcome": search(query.Filter{Outcome: "nonsense"}), "outcome ": search(query.Filter{Outcome: "proxied", RequestID: "R1"}), " outcome": search(query.Filter{Outcome: "exported", SessionID: "S1"}), "until": search(query.Filter{Since: "now", Until: "1h"}),
		"state": findings(query.FindingFilter{State: "OPEN"}), "since": search(query.Filter{Since: "2300-01-01"}), "since ": coverage("1899-12-31"),
	} {
		var bad *query.BadInput
		if !errors.As(err, &bad) || bad.Field != strings.TrimSpace(what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, since := range []string{"2200-01-01", "1970-01-01"} {
		if err := errors.Join(search(query.Filter{Since: since}), coverage(since), findings(query.FindingFilter{Since: since})); err != nil {
			t.Errorf("since %s: %v", since, err)
		}
	}
	for _, age := range []string{"99999d", "99999w"} {
		if at, err := query.Time("since", age, time.Now()); err == nil {
			t.Errorf("%s ago is %v", age, at)
		}
	}
}
