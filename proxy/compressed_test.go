package proxy_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

// What SDKs send to CloudWatch compressed is decided and recorded by what it says, and
// arrives as it was sent.
func TestCompressed(t *testing.T) {
	var arrived []string
	r := newRig(t, func(c *proxy.Config, a *ststest.AWS) {
		c.RecordParameters = []string{"cloudwatch:PutMetricData"}
		a.Serve = func(_ http.ResponseWriter, r *http.Request, _ ststest.Key) {
			b, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			arrived = append(arrived, string(b))
		}
	})
	cl := r.client(r.session(func(s *events.SessionStarted) {
		s.Permissions = []events.Permission{{Role: "engineer", Effect: "Allow", Actions: []string{"cloudwatch:PutMetricData", "cloudwatch:ListMetrics"}}}
	}))
	packed := func(text string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, err := io.WriteString(z, text)
		if err == nil {
			err = z.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	call := func(query, body string) int {
		t.Helper()
		resp, _ := cl.do(t, cl.call(t, "monitoring", "POST", "https://monitoring.us-east-1.amazonaws.com/"+query, body,
			http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}, "Content-Encoding": {"gzip"}}))
		return resp.StatusCode
	}
	put := "Action=PutMetricData&Version=2010-08-01&Namespace=app"
	small, large := packed(put), packed(put+strings.Repeat("&MetricData.member.1.MetricName=m", 10_000))
	for _, body := range []string{small, large} {
		if status := call("", body); status != http.StatusOK {
			t.Errorf("PutMetricData: %d", status)
		}
	}
	if len(arrived) != 2 || arrived[0] != small || arrived[1] != large {
		t.Errorf("AWS got other bytes than were sent: %.200q", arrived)
	}
	for what, c := range map[string][2]string{
		"another operation": {"", packed("Action=DeleteAlarms&Version=2010-08-01&AlarmNames.member.1=a")},
		"two operations":    {"?Action=ListMetrics&Version=2010-08-01", packed("Action=DeleteAlarms&AlarmNames.member.1=a")},
	} {
		if status := call(c[0], c[1]); status != http.StatusForbidden {
			t.Errorf("%s: %d", what, status)
		}
	}
	es := r.audit()
	admitted := payloads[*events.AWSRequestAdmitted](es)
	if len(admitted) != 2 || admitted[0].Operation != "PutMetricData" || admitted[1].Operation != "PutMetricData" || !strings.Contains(string(admitted[0].Parameters), `"app"`) {
		t.Error(shown(admitted))
	}
	r.clean()
}
