package awserr_test

import (
	"encoding/json"
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/posternhq/postern/proxy/awserr"
)

func scope(service string) string {
	return "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLEPOSTERN01/20260101/us-east-1/" + service + "/aws4_request, SignedHeaders=host, Signature=00"
}

func TestProtocols(t *testing.T) {
	for _, c := range []struct {
		name, method, url string
		header            map[string]string
		contentType, body string // body: how it begins
	}{
		{"s3 signed", "GET", "https://b.s3.us-east-1.amazonaws.com/k", map[string]string{"Authorization": scope("s3")}, "application/xml", "<Error><Code>"},
		{"s3 of a custom host", "GET", "https://minio.internal/k", map[string]string{"Authorization": scope("s3")}, "application/xml", "<Error><Code>"},
		{"s3 presigned", "GET", "https://b.s3.us-east-1.amazonaws.com/k?X-Amz-Credential=A%2F20260101%2Fus-east-1%2Fs3%2Faws4_request", nil, "application/xml", "<Error><Code>"},
		{"s3 anonymous", "GET", "https://b.s3.us-east-1.amazonaws.com/k", nil, "application/xml", "<Error><Code>"},
		{"s3 anonymous, old host", "GET", "https://b.s3-us-west-2.amazonaws.com/k", nil, "application/xml", "<Error><Code>"},
		{"s3 with SigV4A", "GET", "https://m.mrap.accesspoint.s3-global.amazonaws.com/k", map[string]string{"Authorization": "AWS4-ECDSA-P256-SHA256 Credential=A/20260101/s3/aws4_request, SignedHeaders=host, Signature=00"}, "application/xml", "<Error><Code>"},
		{"s3 express", "GET", "https://b--use1-az4--x-s3.s3express-use1-az4.us-east-1.amazonaws.com/k", map[string]string{"Authorization": scope("s3express")}, "application/xml", "<Error><Code>"},
		{"s3 control", "GET", "https://111122223333.s3-control.us-east-1.amazonaws.com/v20180820/jobs", map[string]string{"Authorization": scope("s3")}, "application/xml", "<ErrorResponse><Error><Type>Sender</Type>"},
		{"s3 on outposts", "GET", "https://s3-outposts.us-east-1.amazonaws.com/S3Outposts/ListEndpoints", map[string]string{"Authorization": scope("s3-outposts")}, "application/json", `{"__type":`},
		{"s3 outposts access point", "GET", "https://ap-1.op-1.s3-outposts.us-east-1.amazonaws.com/k", map[string]string{"Authorization": scope("s3-outposts")}, "application/xml", "<Error><Code>"},
		{"s3 tables", "GET", "https://s3tables.us-east-1.amazonaws.com/buckets", map[string]string{"Authorization": scope("s3tables")}, "application/json", `{"__type":`},
		{"sts presigned", "GET", "https://sts.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Credential=A%2F20260101%2Fus-east-1%2Fsts%2Faws4_request", nil, "text/xml", "<ErrorResponse><Error><Type>Sender</Type>"},
		{"ec2", "POST", "https://ec2.us-east-1.amazonaws.com/", map[string]string{"Authorization": scope("ec2"), "Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}, "text/xml;charset=UTF-8", "<Response><Errors><Error><Code>"},
		{"ec2 unsigned", "POST", "https://ec2.us-east-1.amazonaws.com/", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, "text/xml;charset=UTF-8", "<Response><Errors><Error><Code>"},
		{"json 1.0", "POST", "https://dynamodb.us-east-1.amazonaws.com/", map[string]string{"X-Amz-Target": "DynamoDB_20120810.GetItem", "Content-Type": "application/x-amz-json-1.0"}, "application/x-amz-json-1.0", `{"__type":`},
		{"json 1.1", "POST", "https://kinesis.us-east-1.amazonaws.com/", map[string]string{"X-Amz-Target": "Kinesis_20131202.ListStreams", "Content-Type": "application/x-amz-json-1.1"}, "application/x-amz-json-1.1", `{"__type":`},
		{"cbor", "POST", "https://monitoring.us-east-1.amazonaws.com/service/X/operation/Y", map[string]string{"Smithy-Protocol": "rpc-v2-cbor"}, "application/cbor", "\xa2\x66__type\x6cAccessDenied\x67message"},
		{"nonsense", "POST", "https://x.us-east-1.amazonaws.com/?%zz", map[string]string{"Authorization": "AWS4-HMAC-SHA256 Credential=/////"}, "application/json", `{"__type":`},
	} {
		r := httptest.NewRequest(c.method, c.url, nil)
		for k, v := range c.header {
			r.Header.Set(k, v)
		}
		w := httptest.NewRecorder()
		awserr.Write(w, r, awserr.Error{Code: "AccessDenied", Message: "no", RequestID: "R"})
		body := strings.TrimPrefix(w.Body.String(), xml.Header)
		if got := w.Header().Get("Content-Type"); w.Code != 403 || got != c.contentType || !strings.HasPrefix(body, c.body) {
			t.Errorf("%s: %d %s %q, want %s %q", c.name, w.Code, got, body, c.contentType, c.body)
		}
	}
}

func TestHeadHasNoBody(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		awserr.Write(w, r, awserr.Error{Code: "AccessDenied", Message: "no\r\nX-Evil: 1", RequestID: "R"})
	}))
	defer srv.Close()
	req, err := http.NewRequest(http.MethodHead, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", scope("s3"))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	h := resp.Header
	if err != nil || len(b) != 0 || resp.StatusCode != 403 || h.Get("X-Amz-Error-Message") != "no  X-Evil: 1" || h.Get("X-Evil") != "" {
		t.Errorf("%d %q %v %v", resp.StatusCode, b, h, err)
	}
}

// Whatever the message is, the answer parses, and keeps every character that
// the encoding can carry.
func FuzzWrite(f *testing.F) {
	for _, s := range []string{"", "plain", message, "a\x00b\x01\xff\xfe", "]]>&amp;", strings.Repeat("x", 300), strings.Repeat("y", 70000)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, msg string) {
		e := awserr.Error{Code: "AccessDenied", Message: msg, RequestID: "R"}
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", scope("s3"))
		w := httptest.NewRecorder()
		awserr.Write(w, r, e)
		var x struct{ Code, Message, RequestId string }
		if err := xml.Unmarshal(w.Body.Bytes(), &x); err != nil || x.Code != e.Code || x.RequestId != "R" {
			t.Errorf("xml of %q: %v, %+v", msg, err, x)
		}
		r.Header.Set("Authorization", scope("lambda"))
		w = httptest.NewRecorder()
		awserr.Write(w, r, e)
		var j struct{ Message string }
		if err := json.Unmarshal(w.Body.Bytes(), &j); err != nil || utf8.ValidString(msg) && j.Message != msg {
			t.Errorf("json of %q: %v, %+v", msg, err, j)
		}
		r.Header.Set("Smithy-Protocol", "rpc-v2-cbor")
		w = httptest.NewRecorder()
		awserr.Write(w, r, e)
		if b := w.Body.String(); utf8.ValidString(msg) && !strings.HasSuffix(b, msg) {
			t.Errorf("cbor of %q: %q", msg, b)
		}
	})
}
