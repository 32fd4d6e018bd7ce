package awsreq

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A request that may be one of several actions is those that it says it is, and all of
// them where it does not say so plainly.
func TestStatements(t *testing.T) {
	tab := newTable(t)
	const (
		sel, ins, upd, del = "dynamodb:PartiQLSelect Read", "dynamodb:PartiQLInsert Write", "dynamodb:PartiQLUpdate Write", "dynamodb:PartiQLDelete Write"
		read, unload       = "timestream:Select Read", "timestream:Unload Write"
	)
	partiQL, query := []string{sel, ins, upd, del}, []string{read, unload}
	transact := []string{"dynamodb:PutItem Write", "dynamodb:UpdateItem Write", "dynamodb:DeleteItem Write", "dynamodb:ConditionCheckItem Read"}
	for _, c := range []struct {
		target, body string
		want         []string
	}{
		{"DynamoDB_20120810.ExecuteStatement", `{"Statement":"SELECT * FROM \"t\" WHERE id='1'"}`, []string{sel}},
		{"DynamoDB_20120810.ExecuteStatement", `{"Statement":" \n\tselect * from t;\n"}`, []string{sel}},
		{"DynamoDB_20120810.ExecuteStatement", `{"Statement":"S\u0045LECT * FROM t","Parameters":[{"M":{"Statement":{"S":"DELETE FROM t"}}}]}`, []string{sel}},
		{"DynamoDB_20120810.ExecuteStatement", `{"Statement":"DELETE FROM \"t\" WHERE id='1'"}`, []string{del}},
		{"DynamoDB_20120810.ExecuteStatement", `{"Statement":"Insert into t value {'id':'1'}"}`, []string{ins}},
		{"DynamoDB_20120810.ExecuteStatement", `{"Statement":"UPDATE t SET a=1"}`, []string{upd}},
		{"DynamoDB_20120810.ExecuteStatement", `{"Statement":"SELECT 1","Statement":"DELETE FROM t"}`, []string{sel, del}},
		{"DynamoDB_20120810.ExecuteStatement", `{"Statement":"SELECT 1","statement":"DELETE FROM t"}`, partiQL},
		{"DynamoDB_20120810.ExecuteStatement", `{"Statement":"SELECT 1"}{"Statement":"DELETE FROM t"}`, partiQL},
		{"DynamoDB_20120810.ExecuteStatement", `{"Statement":"SELECT 1; DELETE FROM t"}`, partiQL},
		{"DynamoDB_20120810.ExecuteStatement", `{"Statement":"/* SELECT */ DELETE FROM t"}`, partiQL},
		{"DynamoDB_20120810.ExecuteStatement", `{"Statement":"-- SELECT\nDELETE FROM t"}`, partiQL},
		{"DynamoDB_20120810.ExecuteStatement", `{"Statement":"\u00a0SELECT * FROM t"}`, partiQL},
		{"DynamoDB_20120810.ExecuteStatement", `{"Statement":"SELECTED * FROM t"}`, partiQL},
		{"DynamoDB_20120810.ExecuteStatement", `{"Statement":"SELECT"}`, partiQL},
		{"DynamoDB_20120810.ExecuteStatement", `{"Statement":""}`, partiQL},
		{"DynamoDB_20120810.ExecuteStatement", `{"Statement":["SELECT 1 "]}`, partiQL},
		{"DynamoDB_20120810.ExecuteStatement", `{"Statement":"SELECT 1 FROM t"`, partiQL},
		{"DynamoDB_20120810.ExecuteStatement", `{}`, partiQL},
		{"DynamoDB_20120810.ExecuteStatement", ``, partiQL},
		{"DynamoDB_20120810.BatchExecuteStatement", `{"Statements":[{"Statement":"SELECT * FROM t"},{"Statement":"SELECT * FROM u"}]}`, []string{sel}},
		{"DynamoDB_20120810.BatchExecuteStatement", `{"Statements":[{"Statement":"SELECT * FROM t"},{"Statement":"DELETE FROM u"}]}`, []string{sel, del}},
		{"DynamoDB_20120810.BatchExecuteStatement", `{"Statements":[{"Statement":"SELECT * FROM t"},{}]}`, partiQL},
		{"DynamoDB_20120810.BatchExecuteStatement", `{"Statements":[]}`, partiQL},
		{"DynamoDB_20120810.BatchExecuteStatement", `{"Statement":"SELECT * FROM t"}`, partiQL},
		{"DynamoDB_20120810.ExecuteTransaction", `{"TransactStatements":[{"Statement":"UPDATE t SET a=1"},{"Statement":"INSERT INTO t VALUE {}"}]}`, []string{ins, upd}},
		{"DynamoDB_20120810.ExecuteTransaction", `{"TransactStatements":[{"Statement":"EXISTS(SELECT * FROM t)"}]}`, partiQL},
		{"DynamoDB_20120810.TransactWriteItems", `{"TransactItems":[{"Put":{"TableName":"t"}},{"ConditionCheck":{"TableName":"t"}}]}`, []string{transact[0], transact[3]}},
		{"DynamoDB_20120810.TransactWriteItems", `{"TransactItems":[{"ConditionCheck":{"TableName":"t"}}]}`, transact[3:]},
		{"DynamoDB_20120810.TransactWriteItems", `{"TransactItems":[{"ConditionCheck":{"TableName":"t"}},{"Erase":{}}]}`, transact},
		{"DynamoDB_20120810.TransactWriteItems", `{"TransactItems":[{"ConditionCheck":{"TableName":"t"},"delete":{}}]}`, transact},
		{"Timestream_20181101.Query", `{"QueryString":"SELECT * FROM d.t"}`, []string{read}},
		{"Timestream_20181101.Query", `{"QueryString":"with x as (select 1) select * from x"}`, []string{read}},
		{"Timestream_20181101.Query", `{"QueryString":"UNLOAD (SELECT * FROM d.t) TO 's3://b'"}`, query},
		{"Timestream_20181101.Query", `{"QueryString":"(SELECT 1)"}`, query},
	} {
		host := "dynamodb"
		if strings.HasPrefix(c.target, "Timestream") {
			host = "query.timestream"
		}
		header := http.Header{"Content-Type": {"application/x-amz-json-1.0"}, "X-Amz-Target": {c.target}}
		in := request(t, tab, "POST https://"+host+".us-east-1.amazonaws.com/", header, c.body)
		r := tab.Recognize(in)
		if d := cmp.Diff(c.want, said(&r)); d != "" {
			t.Errorf("%s %s (-want +got): %s", c.target, c.body, d)
		}
		if level := r.Strongest(); (level == Read) != (len(c.want) == 1 && strings.HasSuffix(c.want[0], " Read")) {
			t.Errorf("%s %s: %s altogether", c.target, c.body, level)
		}
	}
	// A body that was not seen to its end, or is read otherwise, tells nothing.
	header := http.Header{"X-Amz-Target": {"DynamoDB_20120810.ExecuteStatement"}}
	in := request(t, tab, "POST https://dynamodb.us-east-1.amazonaws.com/", header, `{"Statement":"SELECT * FROM t"}`)
	in.BodyComplete = false
	if r := tab.Recognize(in); len(r.Also) != 3 {
		t.Errorf("a part of a body: %v", said(&r))
	}
	in.BodyComplete = true
	header.Set("Smithy-Protocol", "rpc-v2-cbor")
	if r := tab.Recognize(in); len(r.Also) != 3 {
		t.Errorf("CBOR: %v", said(&r))
	}
}

// said are a request's actions with their levels.
func said(r *Request) (out []string) {
	for _, a := range append([]Action{{r.Action, r.AccessLevel}}, r.Also...) {
		out = append(out, a.Name+" "+string(a.Level))
	}
	return out
}
