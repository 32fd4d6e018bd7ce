package proxy_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

// A form names one operation, however far back it does so a second time.
func TestFormNamesOneOperation(t *testing.T) {
	var arrived []string
	r := newRig(t, func(_ *proxy.Config, a *ststest.AWS) {
		a.Serve = func(_ http.ResponseWriter, r *http.Request, _ ststest.Key) {
			b, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			arrived = append(arrived, string(b))
		}
	})
	cl := r.client(r.session(func(s *events.SessionStarted) {
		s.Permissions = []events.Permission{{Role: "engineer", Effect: "Allow"}, {Role: "engineer", Effect: "Deny", Actions: []string{"sqs:DeleteQueue"}}}
	}))
	const list, del = "Action=ListQueues&Version=2012-11-05&QueueNamePrefix=", "ction=DeleteQueue&QueueUrl=https%3A%2F%2Fsqs.us-east-1.amazonaws.com%2F111122223333%2Fq"
	for _, much := range []string{strings.Repeat("p", 70_000), strings.Repeat("p", 2_000_000)} {
		arrived = nil
		for _, c := range []struct {
			query, body string
			status      int
		}{
			{"", list + much, http.StatusOK},
			{"", list + much + "&Attraction=DeleteQueue", http.StatusOK},
			{"", list + much + "&A" + del, http.StatusForbidden},
			{"", list + much + "&%41" + del + "&x=y", http.StatusForbidden},
			{"?Action=ListQueues&Version=2012-11-05", "QueueNamePrefix=" + much + "&A" + del, http.StatusForbidden},
		} {
			req := cl.call(t, "sqs", "POST", "https://sqs.us-east-1.amazonaws.com/"+c.query, c.body, http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}})
			if resp, answer := cl.do(t, req); resp.StatusCode != c.status || c.status != http.StatusOK && !strings.Contains(answer, "names its operation several times") {
				t.Errorf("%s, %d bytes that end with %s: %d %.200s", c.query, len(c.body), c.body[len(c.body)-20:], resp.StatusCode, answer)
			}
		}
		if len(arrived) != 2 || arrived[0] != list+much || arrived[1] != list+much+"&Attraction=DeleteQueue" {
			t.Errorf("%d arrived", len(arrived))
		}
	}
	r.clean()
}
