package cloudtrail

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/posternhq/postern/events/eventstest/datatest"
)

// BenchmarkParse reads log files into normalised records, on one core, beside
// plain gunzip of the same files by the same library: 5 records a file, as
// delivered in the median, and 622, the most seen.
func BenchmarkParse(b *testing.B) {
	records := realRecords(b)
	for _, perFile := range []int{5, 622} {
		var files [][]byte
		size := 0
		for at := 0; at < 5000; at += perFile {
			var text bytes.Buffer
			text.WriteString(`{"Records":[`)
			for i := range perFile {
				if i > 0 {
					text.WriteByte(',')
				}
				text.Write(records[(at+i)%len(records)])
			}
			text.WriteString(`]}`)
			size += text.Len()
			files = append(files, zipped(text.String()))
		}
		run := func(name string, one func(io.Reader) error) {
			b.Run(fmt.Sprintf("%s/%d", name, perFile), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					for _, f := range files {
						if err := one(bytes.NewReader(f)); err != nil {
							b.Fatal(err)
						}
					}
				}
			})
		}
		var z gzip.Reader
		run("gunzip", func(r io.Reader) error {
			if err := z.Reset(r); err != nil {
				return err
			}
			_, err := io.Copy(io.Discard, &z)
			return err
		})
		normalised := func(_ int, _ []byte, r *Record) error {
			r.Identity.User()
			r.Identity.RoleSession()
			return nil
		}
		run("rows", func(r io.Reader) error {
			_, err := read(r, nil, normalised)
			return err
		})
		run("rows-and-hash", func(r io.Reader) error {
			_, err := read(r, sha256.New(), normalised)
			return err
		})
	}
}

// realRecords are those of the real log files, else a made-up one.
func realRecords(tb testing.TB) [][]byte {
	files, err := filepath.Glob(datatest.Path("data/cloudtrail/invictus/CloudTrail/*.json.gz"))
	if err != nil {
		tb.Fatal(err)
	}
	var out [][]byte
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := read(f, nil, func(_ int, raw []byte, _ *Record) error { out = append(out, bytes.Clone(raw)); return nil }); err != nil {
			tb.Fatal(err)
		}
		_ = f.Close()
	}
	if len(out) == 0 {
		out = append(out, []byte(`{"eventVersion":"1.08","userIdentity":{"type":"AssumedRole","principalId":"AROA:u","arn":"arn:aws:sts::123456789012:assumed-role/Ops/u","accountId":"123456789012","accessKeyId":"ASIA","sessionContext":{"sessionIssuer":{"type":"Role","arn":"arn:aws:iam::123456789012:role/Ops"},"attributes":{"creationDate":"2026-01-01T00:00:00Z"}}},"eventTime":"2026-01-01T00:00:00Z","eventSource":"ec2.amazonaws.com","eventName":"DescribeInstances","awsRegion":"eu-central-1","requestParameters":{"filterSet":{"items":[{"name":"n","valueSet":{"items":[{"value":"1"}]}}]}},"responseElements":null,"requestID":"r","eventID":"e","recipientAccountId":"123456789012"}`))
	}
	return out
}

// reference is Parse in terms of encoding/json.
func reference(b []byte) (*Record, bool) {
	object := func(b json.RawMessage) map[string]json.RawMessage {
		var m map[string]json.RawMessage
		if len(b) > 0 && b[0] == '{' {
			_ = json.Unmarshal(b, &m)
		}
		return m
	}
	text := func(b json.RawMessage) string {
		var s string
		switch {
		case len(b) == 0 || string(b) == "null":
			return ""
		case b[0] == '"':
			_ = json.Unmarshal(b, &s)
			return s
		}
		return string(b)
	}
	flag := func(b json.RawMessage) bool { return string(b) == "true" || strings.EqualFold(string(b), `"true"`) }
	if !json.Valid(b) || b[0] != '{' {
		return nil, false
	}
	m := object(b)
	i := object(m["userIdentity"])
	s := object(i["sessionContext"])
	issuer := object(s["sessionIssuer"])
	r := &Record{
		EventVersion: text(m["eventVersion"]), EventSource: text(m["eventSource"]), EventName: text(m["eventName"]), AWSRegion: text(m["awsRegion"]),
		SourceIPAddress: text(m["sourceIPAddress"]), UserAgent: text(m["userAgent"]), ErrorCode: text(m["errorCode"]), ErrorMessage: text(m["errorMessage"]),
		RequestID: text(m["requestID"]), EventID: text(m["eventID"]), EventType: text(m["eventType"]), EventCategory: text(m["eventCategory"]),
		RecipientAccountID: text(m["recipientAccountId"]), SharedEventID: text(m["sharedEventID"]), VPCEndpointID: text(m["vpcEndpointId"]),
		ReadOnly: flag(m["readOnly"]), ManagementEvent: flag(m["managementEvent"]), FromConsole: flag(m["sessionCredentialFromConsole"]),
		Identity: Identity{
			Type: text(i["type"]), PrincipalID: text(i["principalId"]), ARN: text(i["arn"]), AccountID: text(i["accountId"]),
			AccessKeyID: text(i["accessKeyId"]), UserName: text(i["userName"]), InvokedBy: text(i["invokedBy"]),
			Session:    Session{SourceIdentity: text(s["sourceIdentity"]), Issuer: Issuer{Type: text(issuer["type"]), ARN: text(issuer["arn"]), UserName: text(issuer["userName"])}},
			OnBehalfOf: Behalf{UserID: text(object(i["onBehalfOf"])["userId"])},
		},
		Response:          Response{IssuedAccessKeyID: text(object(object(m["responseElements"])["credentials"])["accessKeyId"])},
		OriginalRequestID: text(object(m["addendum"])["originalRequestID"]),
		EventTime:         parseTime(text(m["eventTime"])),
	}
	var list []json.RawMessage
	_ = json.Unmarshal(m["resources"], &list)
	for _, x := range list {
		var arn, name string
		// ARN and arn are one name: the last one counts.
		d := json.NewDecoder(bytes.NewReader(x))
		if t, _ := d.Token(); t != json.Delim('{') {
			continue
		}
		for d.More() {
			k, _ := d.Token()
			var v json.RawMessage
			_ = d.Decode(&v)
			switch k {
			case "ARN", "arn":
				arn = text(v)
			case "resourceName":
				name = text(v)
			}
		}
		if arn == "" {
			arn = name
		}
		if arn != "" {
			r.Resources = append(r.Resources, arn)
		}
	}
	if r.EventName == "" && r.EventType == "" && r.EventSource == "" {
		return nil, false
	}
	return r, true
}
