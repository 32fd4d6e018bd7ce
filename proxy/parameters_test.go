package proxy_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

// Parameters are recorded of the actions that the proxy is told of, without their
// secrets, and of no other.
func TestParameters(t *testing.T) {
	got := make(chan int64, 2)
	r := newRig(t, func(c *proxy.Config, a *ststest.AWS) {
		c.RecordParameters = []string{"secretsmanager:Put*"}
		a.Serve = func(_ http.ResponseWriter, r *http.Request, _ ststest.Key) { got <- r.ContentLength }
	})
	c := r.client(r.session())
	call := func(operation, body string) {
		req := c.call(t, "secretsmanager", "POST", "https://secretsmanager.us-east-1.amazonaws.com/", body, target("secretsmanager."+operation, "1.1"))
		if resp, answer := c.do(t, req); resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %s", operation, resp.StatusCode, answer)
		}
		if n := <-got; n != int64(len(body)) {
			t.Errorf("%s: AWS got %d bytes of %d", operation, n, len(body))
		}
	}
	call("PutSecretValue", `{"SecretId":"prod/db","SecretString":"hunter2"}`)
	call("GetSecretValue", `{"SecretId":"prod/db","VersionId":"v"}`)
	es := r.audit()
	admitted := payloads[*events.AWSRequestAdmitted](es)
	if len(admitted) != 2 {
		t.Fatalf("%d admitted", len(admitted))
	}
	if got, want := string(admitted[0].Parameters), `{"SecretId":"prod/db","SecretString":"[redacted]"}`; got != want {
		t.Errorf("recorded %s, want %s", got, want)
	}
	if admitted[1].Parameters != nil {
		t.Errorf("recorded without being asked to: %s", admitted[1].Parameters)
	}
	for _, e := range es {
		if strings.Contains(string(e.Raw), "hunter2") {
			t.Errorf("the secret is in %s", e.Raw)
		}
	}
	r.clean()
}
