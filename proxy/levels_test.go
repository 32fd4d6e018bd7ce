package proxy_test

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/posternhq/postern/events"
)

// A role that only reads writes nothing by a statement, and a level that a role denies
// is denied whether a call asks for it by its name or brings it along.
func TestLevelOfEachAction(t *testing.T) {
	r := newRig(t, withEcho)
	reads := r.client(r.session(func(s *events.SessionStarted) {
		s.Permissions = []events.Permission{{Role: "reader", Effect: "Allow", Actions: []string{"@Read", "@List"}}}
	}))
	writes := r.client(r.session(func(s *events.SessionStarted) {
		s.Permissions = []events.Permission{
			{Role: "writer", Effect: "Allow", Actions: []string{"@Read", "@List", "@Write"}},
			{Role: "writer", Effect: "Deny", Actions: []string{"@Permissions management", "@Tagging"}},
		}
	}))
	statement := func(c *client, operation, body string) *http.Request {
		return c.call(t, "dynamodb", "POST", "https://dynamodb.us-east-1.amazonaws.com/", body, target("DynamoDB_20120810."+operation, "1.0"))
	}
	put := func(url string, header ...string) *http.Request {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		writes.sign(t, req, "UNSIGNED-PAYLOAD")
		return req
	}
	const object, bucket = "https://bucket.s3.us-east-1.amazonaws.com/k", "https://bucket.s3.us-east-1.amazonaws.com/"
	create := func(body string) *http.Request {
		sum := sha256.Sum256([]byte(body))
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, bucket, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		return writes.sign(t, req, hex.EncodeToString(sum[:]))
	}
	var want, got [][3]string // as recorded
	for _, c := range []struct {
		name          string
		client        *client
		req           *http.Request
		status        int
		action, level string
		also          string
	}{
		{"select", reads, statement(reads, "ExecuteStatement", `{"Statement":"SELECT * FROM \"t\""}`), 200, "dynamodb:PartiQLSelect", "Read", ""},
		{"delete", reads, statement(reads, "ExecuteStatement", `{"Statement":"DELETE FROM \"t\" WHERE id='1'"}`), 403, "dynamodb:PartiQLDelete", "Write", ""},
		{"insert", reads, statement(reads, "ExecuteStatement", `{"Statement":"INSERT INTO \"t\" VALUE {'id':'1'}"}`), 403, "dynamodb:PartiQLInsert", "Write", ""},
		{"batch", reads, statement(reads, "BatchExecuteStatement", `{"Statements":[{"Statement":"SELECT * FROM t"},{"Statement":"UPDATE t SET a=1"}]}`), 403, "dynamodb:PartiQLSelect", "Write", "dynamodb:PartiQLUpdate"},
		{"transaction", reads, statement(reads, "ExecuteTransaction", `{"TransactStatements":[{"Statement":"DELETE FROM t"}]}`), 403, "dynamodb:PartiQLDelete", "Write", ""},
		{"unclear", reads, statement(reads, "ExecuteStatement", `{"Statement":"/**/ DELETE FROM t"}`), 403, "dynamodb:PartiQLSelect", "Write", "dynamodb:PartiQLInsert dynamodb:PartiQLUpdate dynamodb:PartiQLDelete"},
		{"put", writes, put(object), 200, "s3:PutObject", "Write", ""},
		{"put with an ACL", writes, put(object, "X-Amz-Acl", "public-read"), 403, "s3:PutObject", "Permissions management", "s3:PutObjectAcl"},
		{"put with a grant", writes, put(object, "X-Amz-Grant-Read", "uri=x"), 403, "s3:PutObject", "Permissions management", "s3:PutObjectAcl"},
		{"put with tags", writes, put(object, "X-Amz-Tagging", "a=b"), 403, "s3:PutObject", "Write", "s3:PutObjectTagging"},
		{"put with a hold", writes, put(object, "X-Amz-Object-Lock-Legal-Hold", "ON"), 200, "s3:PutObject", "Write", "s3:PutObjectLegalHold"},
		{"bucket with an ACL", writes, put(bucket, "X-Amz-Acl", "public-read"), 403, "s3:CreateBucket", "Permissions management", "s3:PutBucketAcl"},
		{"bucket", writes, create("<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>"), 200, "s3:CreateBucket", "Write", ""},
		{"bucket with nothing", writes, put(bucket), 200, "s3:CreateBucket", "Write", ""},
		{"bucket with tags", writes, create("<CreateBucketConfiguration><Tags><Tag><Key>a</Key><Value>b</Value></Tag></Tags></CreateBucketConfiguration>"), 403, "s3:CreateBucket", "Write", "s3:TagResource"},
		{"statement", writes, statement(writes, "ExecuteStatement", `{"Statement":"DELETE FROM t"}`), 200, "dynamodb:PartiQLDelete", "Write", ""},
	} {
		want = append(want, [3]string{c.action, c.level, c.also})
		resp, body := c.client.do(t, c.req)
		if resp.StatusCode != c.status {
			t.Errorf("%s: %d %s, want %d", c.name, resp.StatusCode, body, c.status)
		}
	}
	for _, e := range r.audit() {
		switch d := e.Data.(type) {
		case *events.AWSRequestAdmitted:
			got = append(got, recorded(&d.AWSRequest))
		case *events.AWSRequestDenied:
			got = append(got, recorded(&d.AWSRequest))
		}
	}
	inOrder := cmpopts.SortSlices(func(a, b [3]string) bool { return slices.Compare(a[:], b[:]) < 0 }) // denials may wait for others
	if d := cmp.Diff(want, got, inOrder); d != "" {
		t.Errorf("recorded (-want +got): %s", d)
	}
}

func recorded(a *events.AWSRequest) [3]string {
	return [3]string{a.Action, a.AccessLevel, strings.Join(a.Also, " ")}
}
