package awserr

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"strings"
)

func (p protocol) contentType() string {
	switch p {
	case json10:
		return "application/x-amz-json-1.0"
	case json11:
		return "application/x-amz-json-1.1"
	case rpcCBOR:
		return "application/cbor"
	case restJSON:
		return "application/json"
	case ec2Query:
		return "text/xml;charset=UTF-8"
	case query:
		return "text/xml"
	}
	return "application/xml"
}

func (p protocol) body(e Error) []byte {
	switch p {
	case s3XML:
		// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
		return xmlDocument(element{"Error", "", []element{
			{"Code", e.Code, nil}, {"Message", e.Message, nil},
			{"RequestId", e.RequestID, nil}, {"HostId", e.RequestID, nil}}})
	case ec2Query:
		// https://docs.aws.amazon.com/ec2/latest/devguide/errors-overview.html
		return xmlDocument(element{"Response", "", []element{
			{"Errors", "", []element{{"Error", "", []element{
				{"Code", e.Code, nil}, {"Message", e.Message, nil}}}}},
			{"RequestID", e.RequestID, nil}}})
	case query, restXML, s3ControlXML:
		// https://smithy.io/2.0/aws/protocols/aws-query-protocol.html
		root := element{"ErrorResponse", "", []element{
			{"Error", "", []element{{"Type", fault(e.Status), nil},
				{"Code", e.Code, nil}, {"Message", e.Message, nil}}},
			{"RequestId", e.RequestID, nil}}}
		if p == s3ControlXML {
			root.children = append(root.children, element{"HostId", e.RequestID, nil})
		}
		return xmlDocument(root)
	case rpcCBOR:
		return cborMap("__type", e.Code, "message", e.Message)
	}
	b, err := json.Marshal(struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}{e.Code, e.Message})
	if err != nil { // two strings always marshal
		return []byte(`{}`)
	}
	return b
}

type element struct {
	name, text string
	children   []element
}

func xmlDocument(root element) []byte {
	var b bytes.Buffer
	b.WriteString(xml.Header)
	root.write(&b)
	return b.Bytes()
}

// write escapes the text; what XML cannot carry at all becomes U+FFFD.
func (e element) write(b *bytes.Buffer) {
	b.WriteString("<" + e.name + ">")
	_ = xml.EscapeText(b, []byte(e.text)) // a bytes.Buffer takes everything
	for _, c := range e.children {
		c.write(b)
	}
	b.WriteString("</" + e.name + ">")
}

// cborMap encodes a map of text to text (RFC 8949, section 3).
func cborMap(pairs ...string) []byte {
	b := cborHead(nil, 5, len(pairs)/2)
	for _, s := range pairs {
		s = strings.ToValidUTF8(s, "\uFFFD")
		b = append(cborHead(b, 3, len(s)), s...)
	}
	return b
}

// cborHead encodes a major type with its argument, n < 2^32.
func cborHead(b []byte, major byte, n int) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n < 1<<8:
		return append(b, major|24, byte(n))
	case n < 1<<16:
		return append(b, major|25, byte(n>>8), byte(n))
	}
	return append(b, major|26, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}
