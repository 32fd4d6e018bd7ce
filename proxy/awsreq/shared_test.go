package awsreq

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/posternhq/postern/events/eventstest/datatest"
)

func newTable(t testing.TB) *Table {
	t.Helper()
	tab, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

type sampleRequest struct {
	Service, Operation, Method, URL string
	Signing                         string `json:"signing_name"`
	Headers                         map[string]string
	Body                            []byte
}

func sample(t testing.TB) []sampleRequest {
	var out []sampleRequest
	for dec := json.NewDecoder(datatest.Gunzip(t, "data/aws-requests-sample.ndjson.gz")); dec.More(); {
		var s sampleRequest
		if err := dec.Decode(&s); err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

// input is what a proxy would pass for the request.
func (s *sampleRequest) input(t testing.TB, tab *Table) *Input {
	rest := strings.TrimPrefix(s.URL, "https://")
	host, target := rest, "/"
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		host, target = rest[:i], rest[i:]
	}
	h, err := tab.ParseHost(host)
	if err != nil {
		t.Errorf("%s %s: %v", s.Service, s.Operation, err)
		return nil
	}
	in := &Input{Method: s.Method, Host: &h, Header: http.Header{}, Body: s.Body, BodyComplete: true, Account: "123456789012"}
	in.Path, in.RawQuery, _ = strings.Cut(target, "?")
	for k, v := range s.Headers {
		in.Header.Set(k, v)
	}
	if a := in.Header.Get("Authorization"); a != "" {
		_, cred, _ := strings.Cut(a, "Credential=")
		cred, _, _ = strings.Cut(cred, ",")
		f := strings.Split(cred, "/")
		in.SigningName = f[len(f)-2]
		if len(f) == 5 {
			in.SigningRegion = f[2]
		}
	}
	return in
}

func TestSampleOperations(t *testing.T) {
	tab := newTable(t)
	reqs := sample(t)
	signed, right, service, shown := 0, 0, 0, 0
	for _, s := range reqs {
		in := s.input(t, tab)
		if in == nil {
			continue
		}
		r := tab.Lookup(in)
		if in.SigningName == "" {
			continue
		}
		// Before Timestream's operations botocore asks for the endpoint: that is
		// the request recorded, under the operation's name.
		if strings.HasSuffix(in.Header.Get("X-Amz-Target"), ".DescribeEndpoints") {
			s.Operation = "DescribeEndpoints"
		}
		signed++
		if r.Operation == s.Operation {
			right++
		} else if shown++; shown < 60 {
			t.Logf("%s %s read as %s %q (ambiguous %v): %s %s", s.Service, s.Operation, r.Service, r.Operation, r.Ambiguous, s.Method, s.URL)
		}
		if r.Service == s.Service {
			service++
		}
		// Amazon Location's first API shares hosts with its successors.
		if in.Host.SigningName != in.SigningName && in.SigningName != "geo" || in.Host.SigningRegion != in.SigningRegion {
			t.Errorf("%s %s: host %s gives %s %s, scope is %s %s", s.Service, s.Operation, in.Host.Name,
				in.Host.SigningName, in.Host.SigningRegion, in.SigningName, in.SigningRegion)
		}
	}
	share := float64(right) / float64(max(signed, 1))
	t.Logf("operation right for %d of %d signed requests (%.4f), service for %d", right, signed, share, service)
	if share < 0.999 {
		t.Errorf("bar is 0.999")
	}
}

func TestEveryEndpoint(t *testing.T) {
	tab := newTable(t)
	type scope struct{ name, region string }
	want := map[string][]scope{}
	first := true
	for sc := bufio.NewScanner(datatest.Gunzip(t, "data/aws-endpoints.tsv.gz")); sc.Scan(); {
		if first {
			first = false
			continue
		}
		f := strings.Split(sc.Text(), "\t")
		want[f[9]] = append(want[f[9]], scope{f[3], f[4]})
	}
	wrong, shown := 0, 0
	for host, scopes := range want {
		h, err := tab.ParseHost(host)
		ok := false
		for _, s := range scopes {
			ok = ok || s.name == h.SigningName && s.region == h.SigningRegion
		}
		if !ok {
			wrong++
			if shown++; shown < 40 {
				t.Logf("%s: %v %s %s, want one of %v", host, err, h.SigningName, h.SigningRegion, scopes[:1])
			}
		}
	}
	t.Logf("%d of %d hosts right", len(want)-wrong, len(want))
	if wrong > 0 {
		t.Errorf("%d hosts wrong", wrong)
	}
}
