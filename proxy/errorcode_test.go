package proxy

import "testing"

func TestCodeIn(t *testing.T) {
	for _, c := range []struct{ contentType, body, want string }{
		{"application/xml", `<?xml version="1.0" encoding="UTF-8"?><Error><Code>NoSuchKey</Code><Message>x</Message></Error>`, "NoSuchKey"},
		{"text/xml", `<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Sender</Type><Code>NoSuchEntity</Code></Error></ErrorResponse>`, "NoSuchEntity"},
		{"text/xml;charset=UTF-8", `<Response><Errors><Error><Code>UnauthorizedOperation</Code></Error></Errors></Response>`, "UnauthorizedOperation"},
		{"application/xml", `<CompleteMultipartUploadResult><Code>x</Code></CompleteMultipartUploadResult>`, ""},
		{"application/xml", `<Error><Code>Cut`, ""},
		{"application/x-amz-json-1.0", `{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException","message":"x"}`, "ResourceNotFoundException"},
		{"application/x-amz-json-1.1", `{"__type":"ValidationException","message":"x`, "ValidationException"},
		{"application/json", `{"code":"BadRequest:http://internal/","message":"x"}`, "BadRequest"},
		{"application/json", `[1]`, ""},
		{"application/json", `{"Error":{"Code":"ExpiredToken","Message":"x","Type":"Sender"},"RequestId":"r"}`, "ExpiredToken"},
		{"application/json", `{"error":"invalid_grant","error_description":"x"}`, ""},
		{"application/cbor", "\xbf\x66__type\x78\x21aws.protocoltests#InvalidGreeting\x67message\x62hi\xff", "InvalidGreeting"},
		{"application/cbor", "\xa1\x79\x00\x06__type\x79\x00\x02hi", "hi"},
		{"application/cbor", "\xbf\x66__type\x78\x20cut", ""},
		{"application/cbor", "\xbf\x66__type\x79\x00", ""},
		{"text/html", "", ""},
	} {
		if got := shape(codeIn(c.contentType, []byte(c.body))); got != c.want {
			t.Errorf("%s %q: %q, want %q", c.contentType, c.body, got, c.want)
		}
	}
}

func FuzzCodeIn(f *testing.F) {
	f.Add("application/cbor", []byte("\xbf\x66__type\x62hi\xff"))
	f.Add("application/json", []byte(`{"__type":"a#b"}`))
	f.Add("text/xml", []byte("<Error><Code>a</Code>"))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		if got := codeIn(contentType, body); len(got) > 3*len(body) {
			t.Errorf("%q out of %q", got, body)
		}
	})
}
