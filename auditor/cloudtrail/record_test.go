package cloudtrail

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/events/eventstest/datatest"
)

// Who is behind an identity, in every form that AWS documents
// (https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-user-identity.html).
func TestUser(t *testing.T) {
	for _, x := range []struct{ identity, name, rule string }{
		{`{"type":"IAMUser","principalId":"AIDA1","arn":"arn:aws:iam::123456789012:user/div/alice","userName":"alice"}`, "alice", "user_name"},
		{`{"type":"IAMUser","arn":"arn:aws:iam::123456789012:user/div/alice"}`, "alice", "arn"},
		{`{"type":"AssumedRole","principalId":"AROA1:bob@example.com","arn":"arn:aws:sts::123456789012:assumed-role/Ops/bob@example.com","userName":"Ops"}`, "bob@example.com", "role_session_name"},
		{`{"type":"AssumedRole","principalId":"AROA1:bob","arn":"arn:aws-us-gov:sts::123456789012:assumed-role/Ops/bob"}`, "bob", "role_session_name"},
		{`{"type":"AssumedRole","principalId":"AROA1:bob","arn":"arn:aws:sts::1:assumed-role/Opsbob"}`, "bob", "principal_id"},
		{`{"type":"AssumedRole","arn":"arn:aws:sts::1:assumed-role/Ops/s2","sessionContext":{"sourceIdentity":"carol"}}`, "carol", "source_identity"},
		{`{"type":"Root","principalId":"123456789012","arn":"arn:aws:iam::123456789012:root","userName":"my-alias"}`, "root", "root"},
		{`{"type":"FederatedUser","principalId":"123456789012:dan","arn":"arn:aws:sts::123456789012:federated-user/dan"}`, "dan", "arn"},
		{`{"type":"FederatedUser","principalId":"123456789012:dan"}`, "dan", "principal_id"},
		{`{"type":"SAMLUser","principalId":"qualifier:erin@x","userName":"erin@x","identityProvider":"q"}`, "erin@x", "user_name"},
		{`{"type":"WebIdentityUser","principalId":"accounts.google.com:app.apps.googleusercontent.com:1234","userName":"1234"}`, "1234", "user_name"},
		{`{"type":"IdentityCenterUser","accountId":"123456789012","onBehalfOf":{"userId":"94482488-3041-7026-18f3-be45837cd0e4","identityStoreArn":"arn:aws:identitystore::123456789012:identitystore/d-9067642ac7"}}`, "94482488-3041-7026-18f3-be45837cd0e4", "on_behalf_of"},
		{`{"type":"Directory","userName":"frank"}`, "frank", "user_name"},
		{`{"type":"AWSService","invokedBy":"ec2.amazonaws.com"}`, "ec2.amazonaws.com", "invoked_by"},
		{`{"type":"AWSAccount","principalId":"AROA1:grace","accountId":"123456789012"}`, "grace", "principal_id"},
		{`{"type":"AWSAccount","principalId":"123456789012","accountId":"123456789012"}`, "", ""},
		{`{"type":"Unknown","userName":"heidi"}`, "heidi", "user_name"},
		{`{"accountId":"123456789012","invokedBy":"secretsmanager.amazonaws.com"}`, "secretsmanager.amazonaws.com", "invoked_by"},
		{`{"type":"SomethingNew","userName":"ivan"}`, "ivan", "user_name"},
		{`"odd"`, "", ""},
		{`{"type":["odd"],"sessionContext":7}`, "", ""},
	} {
		r, err := Parse([]byte(`{"eventName":"X","userIdentity":` + x.identity + `}`))
		if err != nil {
			t.Errorf("%s: %v", x.identity, err)
			continue
		}
		if name, rule := r.Identity.User(); name != x.name || rule != x.rule {
			t.Errorf("%s: %q by %q, want %q by %q", x.identity, name, rule, x.name, x.rule)
		}
	}
}

func TestParseForgives(t *testing.T) {
	r, err := Parse([]byte(`{"eventName":"X","eventTime":"2024-06-02 20:16:32.123456789","readOnly":"true","managementEvent":1,"errorCode":404,"resources":[{"arn":"a"},{"ARN":"b"},{"resourceName":"c"},{}],"responseElements":"x","userIdentity":{"accountId":"123456789012"},"requestID":null}`))
	if err != nil {
		t.Fatal(err)
	}
	want := time.Date(2024, 6, 2, 20, 16, 32, 123456000, time.UTC)
	if !r.EventTime.Equal(want) || !bool(r.ReadOnly) || bool(r.ManagementEvent) || r.ErrorCode != "404" || fmt.Sprint(r.Resources) != "[a b c]" ||
		r.RecipientAccountID != "123456789012" || r.RequestID != "" || !strings.HasPrefix(string(r.EventID), "sha256-") {
		t.Errorf("%+v", r)
	}
	for _, bad := range []string{``, `7`, `[]`, `{}`, `{"a":1}`, `{"eventName":`} {
		if _, err := Parse([]byte(bad)); !errors.Is(err, ErrNotRecord) {
			t.Errorf("Parse(%q): %v", bad, err)
		}
	}
}

func zipped(parts ...string) []byte {
	var b bytes.Buffer
	for _, p := range parts {
		z := gzip.NewWriter(&b)
		_, _ = io.WriteString(z, p)
		_ = z.Close()
	}
	return b.Bytes()
}

// What is wrong with a file is said, with how far it was read.
func TestRead(t *testing.T) {
	const one = `{"eventName":"A"}`
	whole := zipped(`{"Records":[` + one + `,` + one + `]}`)
	long := `{"Records":[{"eventName":"` + strings.Repeat("x", maxRecord+2<<20) + `"}]}`
	for _, x := range []struct {
		name    string
		file    []byte
		records int
		reason  string
	}{
		{"gzip", whole, 2, ""},
		{"plain", []byte(`{"Records":[` + one + `]}` + "\n"), 1, ""},
		{"no records", zipped(`{"Records":[]}`), 0, ""},
		{"other keys", zipped(`{"v":{"Records":[1]},"Records":[` + one + `],"z":[1]}`), 1, ""},
		{"two members", zipped(`{"Records":[`+one+`,`, one+`]}`), 2, ""},
		{"bytes after gzip", append(bytes.Clone(whole), "junk"...), 2, "file is cut off, or has bytes after its end"},
		{"more bytes after gzip", append(bytes.Clone(whole), "much more junk"...), 2, "bytes after the end of the gzip data"},
		{"a member after the end", append(bytes.Clone(whole), zipped(one)...), 2, "has { after its end"},
		{"cut off", whole[:len(whole)-9], 2, "file is cut off, or has bytes after its end"},
		{"cut off in the list", zipped(`{"Records":[` + one + `,`), 1, "file is cut off"},
		{"checksum", flip(whole, len(whole)-6), 2, "gzip checksum does not match"},
		{"empty", nil, 0, "file is empty or cut off"},
		{"a list", zipped(`[]`), 0, "starts with [, not with an object"},
		{"no Records", zipped(`{"a":1}`), 0, "has no Records"},
		{"Records is no list", zipped(`{"Records":{}}`), 0, "its Records is not a list"},
		{"Records twice", zipped(`{"Records":[],"Records":[]}`), 0, "has Records twice"},
		{"no record", zipped(`{"Records":[` + one + `,7]}`), 1, "record 1: not a CloudTrail record: no JSON object"},
		{"no records among records", zipped(`{"Records":[` + one + `,7,` + one + `,{"a":1},` + one + `]}`), 3, "record 1: not a CloudTrail record: no JSON object, and 1 more records"},
		{"no record, then no JSON", zipped(`{"Records":[7,` + one + `,{"eventName":01}]}`), 1, "record 2: invalid JSON"},
		{"a byte order mark", []byte("\xef\xbb\xbf" + `{"Records":[` + one + `]}`), 1, ""},
		{"looked up", []byte(`{"Events":[{"EventId":"1","CloudTrailEvent":"{\"eventName\":\"A\"} "},{"CloudTrailEvent":7}]}`), 1, "record 1: not a CloudTrail record: no JSON object"},
		{"no JSON", zipped(`{"Records":[` + one + `,{"eventName":01}]}`), 1, "record 1: invalid JSON"},
		{"deep", zipped(`{"Records":[` + one + `,` + strings.Repeat(`[`, 2000) + `]}`), 1, "record 1: JSON is nested too deeply"},
		{"keys with escapes", zipped(`{"\u0052ecords":[` + one + `]}`), 1, ""},
		{"lines", zipped(one + "\n" + one + "\n" + one), 3, ""},
		{"lines, some of which are no record", zipped(one + "\n7\n{}\n" + one + "\n"), 2, "line 2: not a CloudTrail record: no JSON object, and 1 more lines"},
		{"lines cut off", zipped(one + "\n" + one[:9]), 1, "file is cut off"},
		{"lines, some of which are no JSON", zipped(one + "\n{\"eventName\":01}\n" + one + "\n{\"eventName\":\n" + one + "\n{\"a\":{\n" + one + "\n"), 4, "line 2: invalid JSON, and 2 more lines"},
		{"lines, the first of which is no JSON", zipped("{\"eventName\":x\n" + one + "\n"), 1, "line 1: invalid JSON"},
		{"lines, one nested too deeply", zipped(one + "\n" + strings.Repeat(`{"a":`, 2000) + "\n" + one + "\n"), 2, "line 2: JSON is nested too deeply"},
		{"a record without end", zipped(long), 0, "a record is longer than 4194304 bytes"},
	} {
		n := 0
		_, err := read(bytes.NewReader(x.file), nil, func(int, []byte, *Record) error {
			n++
			return nil
		})
		var bad *FileError
		switch {
		case x.reason == "":
			if err != nil || n != x.records {
				t.Errorf("%s: %d records, %v", x.name, n, err)
			}
		case !errors.As(err, &bad) || bad.Reason != x.reason || bad.Records != x.records || n != x.records:
			t.Errorf("%s: after %d records: %v, want after %d: %s", x.name, n, err, x.records, x.reason)
		}
	}
}

func flip(b []byte, i int) []byte {
	b = bytes.Clone(b)
	b[i] ^= 0xff
	return b
}

// Single records of other collections, some of them invented: all are read.
func TestOtherCollections(t *testing.T) {
	for _, name := range datatest.Glob(t, "data/cloudtrail/*.ndjson.gz") {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(z)
		lines.Buffer(nil, 8<<20)
		for n := 1; lines.Scan(); n++ {
			r, err := Parse(lines.Bytes())
			if err != nil {
				t.Errorf("%s:%d: %v", filepath.Base(name), n, err)
				continue
			}
			var plain struct {
				EventName    string `json:"eventName"`
				UserIdentity struct {
					Type     string `json:"type"`
					ARN      string `json:"arn"`
					UserName string `json:"userName"`
				} `json:"userIdentity"`
			}
			if err := json.Unmarshal(lines.Bytes(), &plain); err != nil {
				t.Fatal(err)
			}
			user, _ := r.Identity.User()
			if string(r.EventName) != plain.EventName || string(r.Identity.Type) != plain.UserIdentity.Type {
				t.Errorf("%s:%d: %s by %s, is %+v", filepath.Base(name), n, r.EventName, r.Identity.Type, plain)
			}
			// Invented records have assumed roles without a session: nobody's name.
			parts := strings.Split(plain.UserIdentity.ARN, "/")
			switch {
			case plain.UserIdentity.Type == "IAMUser" && plain.UserIdentity.UserName != "" && user != plain.UserIdentity.UserName,
				plain.UserIdentity.Type == "AssumedRole" && strings.HasPrefix(parts[0], "arn:aws:sts:") && len(parts) == 3 && user != parts[2]:
				t.Errorf("%s:%d: user %q, is %+v", filepath.Base(name), n, user, plain)
			}
		}
		if err := lines.Err(); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"Records":[{"eventName":"A"},{}]}`))
	f.Add(zipped(`{"Records":[{"eventName":"A"}`, `]}`))
	f.Add(zipped(`{"Records":[],"x":{"Records":[1]}}`))
	f.Add([]byte(`{"Records":[{"eventName":"A"}]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		_, err := read(bytes.NewReader(b), nil, func(position int, r []byte, _ *Record) error {
			if position < n {
				t.Fatalf("record %d came as %d", n, position)
			}
			if !json.Valid(r) {
				t.Fatalf("record %d is not JSON: %q", n, r)
			}
			n++
			return nil
		})
		var bad *FileError
		if err != nil && (!errors.As(err, &bad) || bad.Records != n || bad.Reason == "") {
			t.Fatalf("after %d records: %#v", n, err)
		}
		// A plain file that is taken is JSON as a whole, with that many records.
		if err == nil && b[0] != 0x1f && bytes.Contains(b, []byte(`"Records"`)) {
			var whole map[string]json.RawMessage
			var records []json.RawMessage
			b = bytes.TrimPrefix(b, byteOrderMark)
			if json.Unmarshal(b, &whole) != nil || json.Unmarshal(whole["Records"], &records) != nil || len(records) != n {
				t.Fatalf("took %q with %d records", b, n)
			}
		}
	})
}

// A record's time is read as AWS writes it and as others pass it on; where it can't
// be, the record is of 1970, wherever and whenever it comes from.
func TestRecordTime(t *testing.T) {
	for _, x := range []struct{ eventTime, want string }{
		{`"2026-03-01T12:00:00Z"`, "2026-03-01T12:00:00Z"},
		{`"2026-03-01T14:00:00+02:00"`, "2026-03-01T12:00:00Z"},
		{`"2026-03-01 12:00:00"`, "2026-03-01T12:00:00Z"},
		{`"2026-03-01 12:00:00Z"`, "2026-03-01T12:00:00Z"},
		{`"2026-03-01 12:00:00.5"`, "2026-03-01T12:00:00.5Z"},
		{`1772366400`, "2026-03-01T12:00:00Z"},
		{`1772366400.5`, "2026-03-01T12:00:00.5Z"},
		{`1772366400500`, "2026-03-01T12:00:00.5Z"},
		{`"1772366400"`, "2026-03-01T12:00:00Z"},
		{`"redacted"`, "1970-01-01T00:00:00Z"},
		{`null`, "1970-01-01T00:00:00Z"},
		{`7`, "1970-01-01T00:00:00Z"},
		{`1e300`, "1970-01-01T00:00:00Z"},
		{`"NaN"`, "1970-01-01T00:00:00Z"},
		{`{"$date":1}`, "1970-01-01T00:00:00Z"},
		{`"1601-01-01T00:00:00Z"`, "1970-01-01T00:00:00Z"},
		{`"9999-01-01T00:00:00Z"`, "1970-01-01T00:00:00Z"},
	} {
		r, err := Parse([]byte(`{"eventName":"X","eventTime":` + x.eventTime + `}`))
		if err != nil {
			t.Fatal(err)
		}
		if got := r.EventTime.Format(time.RFC3339Nano); got != x.want {
			t.Errorf("%s is of %s, want %s", x.eventTime, got, x.want)
		}
	}
}
