package proxy_test

import (
	"net/http"
	"strings"
	"testing"
)

// A request that can be read in two ways is refused with what is odd about it.
func TestDoubt(t *testing.T) {
	r := newRig(t, withEcho)
	c := r.client(r.session())
	for _, x := range []struct{ body, reason string }{
		{`{"TableName":"secret","TableName":"ok"}`, `the request names "TableName" twice, or in two spellings; AWS and postern might read it differently`},
		{`{"tablename":"ok","TableName":"secret"}`, `the request names "TableName" twice, or in two spellings`},
		{`{"TableName":"ok"}{`, `the request has a body that is not one JSON object`},
	} {
		resp, answer := c.do(t, c.call(t, "dynamodb", "POST", "https://dynamodb.us-east-1.amazonaws.com/", x.body, target("DynamoDB_20120810.GetItem", "1.0")))
		said := strings.ReplaceAll(answer, `\"`, `"`)
		if resp.StatusCode != http.StatusForbidden || !strings.Contains(said, x.reason) {
			t.Errorf("%s: %d %s", x.body, resp.StatusCode, answer)
		}
	}
}
