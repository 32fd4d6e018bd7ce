package query_test

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	ulids "github.com/oklog/ulid/v2"

	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
)

// A search, page by page, finds what its filter says of the merged views and nothing
// else, newest first: while calls and their verdicts are rows of different parts, with
// rows that came twice, and when all are merged.
func TestSearchAgrees(t *testing.T) {
	c, dsn := tables(t)
	w := world{rows: 6000}
	const open = `INSERT INTO request_rows (received_at, request_id, outcome, user, account, service, action) SELECT received_at + 1, concat('OPEN', request_id), '%s', user, account, service, action FROM requests WHERE modulo(cityHash64(request_id), 60) = %d`
	for _, q := range slices.Concat(w.statements(0, 2500), w.statements(2500, 3500), w.statements(2000, 200)) { // some twice
		exec(t, c, q)
	}
	exec(t, c, fmt.Sprintf(open, "admitted", 1))
	exec(t, c, fmt.Sprintf(open, "completed", 2))
	exec(t, c, fmt.Sprintf(open, "failed", 3))
	exec(t, c, `INSERT INTO request_rows (received_at, request_id, outcome, user, account, service, operation, action, also)
		SELECT received_at + 2, concat('ALSO', request_id), 'completed', user, account, 's3', 'PutObject', 's3:PutObject', ['s3:PutObjectTagging', 's3:PutObjectAcl'] FROM requests WHERE modulo(cityHash64(request_id), 60) = 4`)
	var user, other, place string
	if err := c.QueryRow(t.Context(), `SELECT user FROM requests GROUP BY user ORDER BY count() DESC, user LIMIT 1`).Scan(&user); err != nil {
		t.Fatal(err)
	}
	if err := c.QueryRow(t.Context(), `SELECT splitByChar('/', resources[1])[1] FROM requests WHERE resources[1] LIKE 'arn:aws:s3:::%/%' ORDER BY received_at LIMIT 1`).Scan(&place); err != nil {
		t.Fatal(err)
	}
	// What is known of a call by its end alone, in a row apart from that with its verdict.
	exec(t, c, `INSERT INTO request_rows (received_at, request_id, outcome, user, verdict) SELECT max(received_at) - INTERVAL 1 DAY, 'HALF', 'admitted', 'halver', 'missing' FROM requests`)
	exec(t, c, `INSERT INTO request_rows (received_at, request_id, outcome, user, resources) SELECT received_at, request_id, 'completed', user, ['arn:half'] FROM requests WHERE request_id = 'HALF'`)
	// Whose records are, where they name somebody else, in a row apart from theirs.
	exec(t, c, `INSERT INTO cloudtrail_rows (event_time, recipient_account_id, event_id, verdict, judged, lent_to)
		SELECT event_time, recipient_account_id, event_id, 'bypass', '1\tno_request\t', if(modulo(cityHash64(event_id), 2) = 0, 'zoë', 'zoé') FROM cloudtrail WHERE verdict = '' AND modulo(cityHash64(event_id), 7) < 3`)
	if err := c.QueryRow(t.Context(), `SELECT user FROM requests WHERE verdict = 'missing' ORDER BY received_at LIMIT 1`).Scan(&other); err != nil {
		t.Fatal(err)
	}
	const unpaired, none = "verdict NOT IN ('matched', 'mismatched')", "0"
	tests := []struct {
		name         string
		f            query.Filter
		ours, theirs string
	}{
		{"all", query.Filter{}, "1", unpaired},
		{"user", query.Filter{User: user}, "user = '" + user + "'", "federated_user = '" + user + "' AND " + unpaired},
		{"users", query.Filter{User: user[:5] + "*"}, "user LIKE '" + user[:5] + "%'", "federated_user LIKE '" + user[:5] + "%' AND " + unpaired},
		{"user by another name", query.Filter{User: "zoë"}, none, "lent_to = 'zoë'"},
		{"users by another name", query.Filter{User: "zo*"}, none, "lent_to != ''"},
		{"user by another name and more", query.Filter{User: "zoë", Service: "s3"}, none, "lent_to = 'zoë' AND event_source = 's3.amazonaws.com'"},
		{"bypass by another name", query.Filter{User: "zoë", Outcome: "bypass"}, none, "lent_to = 'zoë'"},
		{"bypass by another name and more", query.Filter{User: "zoë", Outcome: "bypass", Service: "s3"}, none, "lent_to = 'zoë' AND event_source = 's3.amazonaws.com'"},
		{"unrelated by another name", query.Filter{User: "zoë", Outcome: "unrelated"}, none, none},
		{"nobody", query.Filter{User: "nobody"}, none, none},
		{"role", query.Filter{AWSRole: "Role1"}, "endsWith(aws_role_arn, '/Role1')", "endsWith(issuer_arn, '/Role1') AND " + unpaired},
		{"an action", query.Filter{Action: "dynamodb:GetItem"}, "action = 'dynamodb:GetItem'", "event_source = 'dynamodb.amazonaws.com' AND event_name = 'GetItem' AND " + unpaired},
		{"operation", query.Filter{Action: "GetItem"}, "operation = 'GetItem'", "event_name = 'GetItem' AND " + unpaired},
		{"actions", query.Filter{Action: "s3:Get*"}, "action LIKE 's3:Get%'", "event_source = 's3.amazonaws.com' AND event_name LIKE 'Get%' AND " + unpaired},
		{"an action besides", query.Filter{Action: "s3:PutObjectAcl"}, "startsWith(request_id, 'ALSO')", none},
		{"actions besides", query.Filter{Action: "*:*Acl"}, "startsWith(request_id, 'ALSO')", none},
		{"an action besides is no operation", query.Filter{Action: "PutObjectAcl"}, none, none},
		{"resource", query.Filter{Resource: "*data/y=*"}, "arrayExists(r -> r LIKE '%data/y=%', resources)", "arrayExists(r -> r LIKE '%data/y=%', resources) AND " + unpaired},
		{"in a place", query.Filter{Resource: "arn:aws:s3:::team*/y=*"}, "arrayExists(r -> r LIKE 'arn:aws:s3:::team%/y=%', resources)", "arrayExists(r -> r LIKE 'arn:aws:s3:::team%/y=%', resources) AND " + unpaired},
		{"in one place", query.Filter{Resource: place + "/*"}, "arrayExists(r -> r LIKE '" + place + "/%', resources)", "arrayExists(r -> r LIKE '" + place + "/%', resources) AND " + unpaired},
		{"a resource", query.Filter{Resource: place}, "has(resources, '" + place + "')", "has(resources, '" + place + "') AND " + unpaired},
		{"nowhere", query.Filter{Resource: "arn:aws:s3:::nowhere/*"}, none, none},
		{"matched", query.Filter{Outcome: "matched", User: user}, "verdict = 'matched' AND user = '" + user + "'", none},
		{"missing", query.Filter{Outcome: "missing"}, "verdict = 'missing'", none},
		{"awaiting", query.Filter{Outcome: "awaiting"}, "verdict = 'awaiting'", none},
		{"awaiting of one", query.Filter{Outcome: "awaiting", Service: "s3"}, "verdict = 'awaiting' AND service = 's3'", none},
		{"missing of one", query.Filter{Outcome: "missing", User: other}, "verdict = 'missing' AND user = '" + other + "'", none},
		{"missing of a service", query.Filter{Outcome: "missing", Service: "s3"}, "verdict = 'missing' AND service = 's3'", none},
		{"missing of nobody", query.Filter{Outcome: "missing", User: "nobody"}, none, none},
		{"mismatched in an account", query.Filter{Outcome: "mismatched", Account: "1*"}, "verdict = 'mismatched'", none},
		{"matched of an action", query.Filter{Outcome: "matched", Action: "dynamodb:GetItem"}, "verdict = 'matched' AND action = 'dynamodb:GetItem'", none},
		{"awaiting of users", query.Filter{Outcome: "awaiting", User: user[:5] + "*"}, "verdict = 'awaiting' AND user LIKE '" + user[:5] + "%'", none},
		{"awaiting since", query.Filter{Outcome: "awaiting", Since: "20d", Until: "10d"}, "verdict = 'awaiting' AND received_at >= now64(6) - INTERVAL 20 DAY AND received_at < now64(6) - INTERVAL 10 DAY", none},
		{"not logged", query.Filter{Outcome: "not_logged"}, none, none},
		{"missing, half merged", query.Filter{Outcome: "missing", Resource: "arn:half"}, "request_id = 'HALF'", none},
		{"console by name", query.Filter{Outcome: "console", FederatedUser: "user*", Service: "s3"}, none, "verdict = 'console' AND event_source = 's3.amazonaws.com'"},
		{"admitted", query.Filter{Outcome: "admitted"}, "outcome = 'admitted'", none},
		{"denied", query.Filter{Outcome: "denied", Service: "s3"}, "outcome = 'denied' AND service = 's3'", none},
		{"console", query.Filter{Outcome: "console"}, none, "verdict = 'console'"},
		{"unrelated", query.Filter{Outcome: "unrelated", Service: "s3"}, none, "verdict = '' AND event_source = 's3.amazonaws.com'"},
		{"bypass of one", query.Filter{Outcome: "console", User: user}, none, "verdict = 'console' AND federated_user = '" + user + "'"},
	}
	ask := query.New(embeddedtest.Open(t, embeddedtest.ReaderDSN(t, dsn)), nil)
	for _, state := range []string{"apart", "merged"} {
		if state == "merged" {
			exec(t, c, `OPTIMIZE TABLE request_rows FINAL`)
			exec(t, c, `OPTIMIZE TABLE cloudtrail_rows FINAL`)
		}
		for _, test := range tests {
			t.Run(state+"/"+test.name, func(t *testing.T) {
				var want []string
				rows, err := c.Query(t.Context(), `SELECT id FROM (SELECT received_at AS at, request_id AS id FROM requests WHERE `+test.ours+`
					UNION ALL SELECT event_time AS at, event_id AS id FROM cloudtrail WHERE `+test.theirs+`) ORDER BY at DESC, id DESC`)
				if err != nil {
					t.Fatal(err)
				}
				defer rows.Close()
				for rows.Next() {
					var id string
					if err := rows.Scan(&id); err != nil {
						t.Fatal(err)
					}
					want = append(want, id)
				}
				if (len(want) == 0) != (test.ours == none && test.theirs == none) {
					t.Fatalf("%d are asked for", len(want))
				}
				f := test.f
				f.Limit = 1 + len(want)/4
				if diff := cmp.Diff(want, searched(t, ask, f)); diff != "" {
					t.Errorf("-want +got:\n%.2000s", diff)
				}
			})
		}
	}
}

// searched are the ids of all that fits, page after page.
func searched(t *testing.T, a *query.Asker, f query.Filter) (ids []string) {
	t.Helper()
	for {
		page, err := a.Search(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entries {
			if e.Request != nil {
				ids = append(ids, e.Request.RequestID)
			} else {
				ids = append(ids, e.CloudTrail.EventID)
			}
		}
		if f.Cursor = page.Next; f.Cursor == "" {
			return ids
		}
	}
}

// Calls on a resource are found however long ago they were, those after wide windows without
// any, too.
func TestSearchForARareResource(t *testing.T) {
	c, dsn := tables(t)
	const rows = 300_000 // several times what is looked at first
	at := fmt.Sprintf("now64(6) - INTERVAL 1 DAY - toIntervalSecond(8 * (%d - number))", rows)
	resources := "[if(number % 20000 = 7 AND NOT number BETWEEN 100000 AND 260000, 'arn:rare', concat('arn:', toString(number % 1000)))]"
	exec(t, c, fmt.Sprintf(`INSERT INTO request_rows (received_at, request_id, outcome, resources) SELECT %s, concat('R', toString(number)), 'completed', %s FROM numbers(%d)`, at, resources, rows))
	exec(t, c, fmt.Sprintf(`INSERT INTO cloudtrail_rows (event_time, recipient_account_id, event_id, present, resources) SELECT %s, '1', concat('E', toString(number)), 1, %s FROM numbers(%d) WHERE number < 200000`, at, resources, rows))
	a := query.New(embeddedtest.Open(t, embeddedtest.ReaderDSN(t, dsn)), nil)
	var want []string
	if err := c.QueryRow(t.Context(), `SELECT groupArray(id) FROM (SELECT id FROM (SELECT received_at AS at, request_id AS id FROM requests WHERE has(resources, 'arn:rare')
		UNION ALL SELECT event_time AS at, event_id AS id FROM cloudtrail WHERE has(resources, 'arn:rare')) ORDER BY at DESC, id DESC)`).Scan(&want); err != nil || len(want) != 12 {
		t.Fatal(want, err)
	}
	for _, limit := range []int{1, 3, 100} {
		if diff := cmp.Diff(want, searched(t, a, query.Filter{Resource: "arn:rare", Limit: limit})); diff != "" {
			t.Errorf("%d at a time (-want +got):\n%s", limit, diff)
		}
	}
}

// Calls are found by their id and by the access request that they rest on, however long
// after it they came; an id that nothing has finds nothing.
func TestSearchByRequest(t *testing.T) {
	c, dsn := tables(t)
	now := time.Now().UTC()
	id := func(at time.Time) string { return ulids.MustNew(ulids.Timestamp(at), rand.Reader).String() }
	asked, called := id(now.Add(-72*time.Hour)), id(now.Add(-time.Hour))
	exec(t, c, `INSERT INTO access_request_rows (request_id, user, created_at) VALUES (?, 'alice', now64(9) - INTERVAL 3 DAY)`, asked)
	exec(t, c, `INSERT INTO request_rows (received_at, request_id, outcome, user, access_request_ids) VALUES (now64(6) - INTERVAL 1 HOUR, ?, 'completed', 'alice', [?])`, called, asked)
	exec(t, c, `INSERT INTO request_rows (received_at, request_id, outcome, user) VALUES (now64(6), 'X', 'completed', 'alice')`)
	a := query.New(embeddedtest.Open(t, embeddedtest.ReaderDSN(t, dsn)), nil)
	for _, x := range []struct {
		f    query.Filter
		want string
	}{
		{query.Filter{RequestID: called}, called},
		{query.Filter{RequestID: asked}, called},
		{query.Filter{RequestID: asked, Since: "30m"}, ""},
		{query.Filter{RequestID: id(now.Add(-time.Hour))}, ""},
		{query.Filter{RequestID: "X"}, "X"},
		{query.Filter{RequestID: "nowhere"}, ""},
	} {
		page, err := a.Search(t.Context(), x.f)
		if err != nil {
			t.Fatalf("%+v: %v", x.f, err)
		}
		var got []string
		for _, e := range page.Entries {
			got = append(got, e.Request.RequestID)
		}
		if strings.Join(got, " ") != x.want {
			t.Errorf("%+v: found %q, want %q", x.f, got, x.want)
		}
	}
}
