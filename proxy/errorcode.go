package proxy

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"io"
	"net/http"
	"strings"
)

// maxSaid bounds what is kept of an answer to look for an error's code in, in bytes.
const maxSaid = 4 << 10

// mayFail tells whether an answer's body may hold an error. S3 begins its answer
// to some operations before it knows how they end ("CompleteMultipartUpload" in
// the Amazon S3 API Reference).
func mayFail(status int, operation string) bool {
	if status >= http.StatusMultipleChoices { // S3's redirects are errors, too
		return true
	}
	switch operation {
	case "CompleteMultipartUpload", "CopyObject", "UploadPartCopy":
		return status == http.StatusOK
	}
	return false
}

// errorCode reads the code of AWS's error, "" where there is none or it cannot be
// told: from the headers that carry it, else from the beginning of the body.
func (f *flight) errorCode() string {
	h := f.answer.Header
	code := h.Get("X-Amzn-Errortype")
	if code == "" {
		code = h.Get("X-Amz-Error-Code")
	}
	if code == "" {
		code = codeIn(h.Get("Content-Type"), plainly(h.Get("Content-Encoding"), f.said))
	}
	return shape(code)
}

// plainly is the beginning of a body without its encoding, nothing where that is not known.
// Go's clients accept gzip unasked.
func plainly(encoding string, body []byte) []byte {
	switch strings.ToLower(encoding) {
	case "":
		return body
	case "gzip":
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil
		}
		plain, _ := io.ReadAll(io.LimitReader(z, maxSaid)) // it may be cut off
		return plain
	}
	return nil
}

// shape is an error's name. The JSON protocols send "Code", "Code:uri" or
// "namespace#Code"
// (https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html#operation-error-serialization).
func shape(code string) string {
	if i := strings.LastIndexByte(code, '#'); i >= 0 {
		code = code[i+1:]
	}
	code, _, _ = strings.Cut(code, ":")
	if len(code) > 128 {
		return ""
	}
	return code
}

// codeIn reads the code that a body names: <Code> within <Error> in the XML
// protocols, "__type" or "code" in those of JSON and CBOR.
func codeIn(contentType string, body []byte) string {
	switch {
	case len(body) == 0:
	case strings.Contains(contentType, "json"):
		var e struct {
			Type  string          `json:"__type"`
			Code  string          `json:"code"`
			Error json.RawMessage // what services of the query protocol answer who accepts JSON
		}
		// A longer body is cut, and names its type first if it has one.
		if json.Unmarshal(body, &e) != nil {
			e.Type = between(body, `"__type":"`, `"`)
		}
		if e.Type == "" && e.Code == "" {
			_ = json.Unmarshal(e.Error, &e) // it may be a text
		}
		return cmp.Or(e.Type, e.Code)
	case strings.Contains(contentType, "cbor"):
		return textAfter(body, "__type")
	default:
		if _, within, ok := bytes.Cut(body, []byte("<Error>")); ok {
			return between(within, "<Code>", "</Code>")
		}
	}
	return ""
}

func between(b []byte, start, end string) string {
	_, b, ok := bytes.Cut(b, []byte(start))
	if !ok {
		return ""
	}
	b, _, ok = bytes.Cut(b, []byte(end))
	if !ok {
		return ""
	}
	return string(b)
}

// textAfter reads the CBOR text string of less than 64 KiB that follows key, however
// long the head of either is (RFC 8949, section 3.1).
func textAfter(b []byte, key string) string {
	_, b, ok := bytes.Cut(b, []byte(key))
	if !ok || len(b) == 0 {
		return ""
	}
	n := 0
	switch head := b[0]; {
	case head >= 0x60 && head < 0x78:
		n, b = int(head-0x60), b[1:]
	case head == 0x78 && len(b) > 1:
		n, b = int(b[1]), b[2:]
	case head == 0x79 && len(b) > 2:
		n, b = int(binary.BigEndian.Uint16(b[1:])), b[3:]
	}
	if n > len(b) {
		return ""
	}
	return string(b[:n])
}
