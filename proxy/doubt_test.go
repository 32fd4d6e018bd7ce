package proxy_test

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"
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
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://dynamodb.us-east-1.amazonaws.com/", strings.NewReader(x.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Amz-Target", "DynamoDB_20120810.GetItem")
		req.Header.Set("Content-Type", "application/x-amz-json-1.0")
		sum := sha256.Sum256([]byte(x.body))
		if err := c.signer.SignHTTP(t.Context(), helperKey, req, hex.EncodeToString(sum[:]), "dynamodb", "us-east-1", time.Now()); err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Postern-Session", c.session)
		resp, answer := c.do(t, req)
		said := strings.ReplaceAll(answer, `\"`, `"`)
		if resp.StatusCode != http.StatusForbidden || !strings.Contains(said, x.reason) {
			t.Errorf("%s: %d %s", x.body, resp.StatusCode, answer)
		}
	}
}
