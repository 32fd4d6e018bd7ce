package proxy_test

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

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
	call := func(target, body string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://secretsmanager.us-east-1.amazonaws.com/", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Amz-Target", "secretsmanager."+target)
		req.Header.Set("Content-Type", "application/x-amz-json-1.1")
		sum := sha256.Sum256([]byte(body))
		if err := c.signer.SignHTTP(t.Context(), helperKey, req, hex.EncodeToString(sum[:]), "secretsmanager", "us-east-1", time.Now()); err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Postern-Session", c.session)
		if resp, answer := c.do(t, req); resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %s", target, resp.StatusCode, answer)
		}
		if n := <-got; n != int64(len(body)) {
			t.Errorf("%s: AWS got %d bytes of %d", target, n, len(body))
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
