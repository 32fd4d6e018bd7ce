package awsreq

import (
	"bufio"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/posternhq/postern/events/eventstest/datatest"
)

// tsv reads a gzipped table without its heading.
func tsv(t testing.TB, name string) [][]string {
	var out [][]string
	s := bufio.NewScanner(datatest.Gunzip(t, "data/"+name))
	for s.Scan() {
		out = append(out, strings.Split(s.Text(), "\t"))
	}
	if s.Err() != nil || len(out) < 2 {
		t.Fatalf("%s: %d lines, %v", name, len(out), s.Err())
	}
	return out[1:]
}

var pathLabel = regexp.MustCompile(`\{[^}]+\}`)

// every builds a request for an operation as AWS's SDKs send it, its labels filled.
func every(tab *Table, f, endpoint []string, fill string) *Input {
	protocol, target, op, method, uri := f[4], f[5], f[6], f[7], f[8]
	h, err := tab.ParseHost(endpoint[9])
	if err != nil {
		return nil
	}
	in := &Input{Method: method, Host: &h, Header: http.Header{}, BodyComplete: true, Account: account,
		SigningName: endpoint[3], SigningRegion: endpoint[4]}
	uri = strings.TrimSuffix(endpoint[10], "/") + uri
	switch {
	case strings.HasPrefix(protocol, "rest"):
	case protocol == "smithy-rpc-v2-cbor":
		in.Header.Set("Smithy-Protocol", "rpc-v2-cbor")
		uri = "/service/" + target + "/operation/" + op
	case protocol == "json":
		in.Header.Set("X-Amz-Target", target+"."+op)
		in.Header.Set("Content-Type", "application/x-amz-json-1.1")
		in.Body = []byte("{}")
	default:
		in.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
		in.Body = []byte("Action=" + op + "&Version=2010-01-01")
		if f[0] == "elb" { // shares its host with its successor
			in.Body = []byte("Action=" + op + "&Version=2012-06-01")
		}
	}
	path, query, _ := strings.Cut(uri, "?")
	in.Path = pathLabel.ReplaceAllStringFunc(path, func(l string) string {
		if strings.HasSuffix(l, "+}") {
			return strings.ReplaceAll(fill, "%2F", "/")
		}
		return fill
	})
	in.RawQuery = query
	return in
}

// usEndpoints gives one endpoint for each service, us-east-1's where there is one.
func usEndpoints(t *testing.T) map[string][]string {
	endpoints := map[string][]string{}
	for _, e := range tsv(t, "aws-endpoints.tsv.gz") {
		if o := endpoints[e[0]]; o == nil || o[7] != "us-east-1" && e[7] == "us-east-1" {
			endpoints[e[0]] = e
		}
	}
	return endpoints
}

// TestEveryOperation builds every operation's request anew, with labels that hold
// spaces, pluses, encoded slashes, ARNs and words that are literals elsewhere, and
// reads it back. S3's are in TestRecognizeS3: their hosts say part of it.
func TestEveryOperation(t *testing.T) {
	tab := newTable(t)
	endpoints := usEndpoints(t)
	wrong, total := 0, 0
	for _, fill := range []string{"x", "a%20b%2Bc", "v1%2Fitems", "arn%3Aaws%3Aservice%3Aus-east-1%3A123456789012%3Athing%2Fabc", "%C3%A9..", "tags"} {
		for _, f := range tsv(t, "aws-operations.tsv.gz") {
			e := endpoints[f[0]]
			if e == nil || f[0] == "s3" {
				continue
			}
			in := every(tab, f, e, fill)
			if in == nil {
				t.Errorf("%s: host %s", f[0], e[9])
				continue
			}
			total++
			if r := tab.Lookup(in); r.Operation != f[6] || r.Ambiguous {
				wrong++
				t.Logf("%s %s is read as %s %q (ambiguous %v): %s %s?%s", f[0], f[6], r.Service, r.Operation, r.Ambiguous, in.Method, in.Path, in.RawQuery)
			}
		}
	}
	t.Logf("%d of %d wrong", wrong, total)
	if wrong > 0 || total < 100000 {
		t.Errorf("each of them is to be read as itself")
	}
}
