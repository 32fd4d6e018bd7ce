package evidence_test

import (
	"bytes"
	"compress/gzip"
	"crypto"
	"crypto/md5"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/auditor/evidence"
	"github.com/posternhq/postern/auditor/tlog"
	"github.com/posternhq/postern/events"
)

// signedTrail is a log file of two records, with the events about it and about the
// digest file that vouches for it, signed as CloudTrail signs.
func signedTrail(t *testing.T, key *rsa.PrivateKey) (file []byte, record *events.CloudTrailRecordReceived, received *events.CloudTrailFileReceived, digest *events.CloudTrailDigestChecked) {
	t.Helper()
	records := [][]byte{[]byte(`{"eventName":"ListUsers","eventID":"E0"}`), []byte(`{"eventName":"GetObject","eventID":"E1","requestID":"AWS1"}`)}
	file = []byte(`{"Records":[` + string(bytes.Join(records, []byte(","))) + `]}`)
	sum := sha256.Sum256(file)
	hash := hex.EncodeToString(sum[:])
	const bucket, log, object = "trail", "AWSLogs/1/CloudTrail/x.json.gz", "AWSLogs/1/CloudTrail-Digest/d.json.gz"
	content := fmt.Appendf(nil, `{"digestEndTime":"2026-03-01T13:00:00Z","digestStartTime":"2026-03-01T12:00:00Z","digestS3Bucket":%q,"digestS3Object":%q,"digestPublicKeyFingerprint":"f00d","previousDigestSignature":null,"logFiles":[{"s3Bucket":%q,"s3Object":%q,"hashValue":%q}]}`,
		bucket, object, bucket, log, hash)
	digestSum := sha256.Sum256(content)
	signed := sha256.Sum256([]byte(strings.Join([]string{"2026-03-01T13:00:00Z", bucket + "/" + object, hex.EncodeToString(digestSum[:]), "null"}, "\n")))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, signed[:])
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	name := "s3://" + bucket + "/" + log
	return file,
		&events.CloudTrailRecordReceived{RecipientAccountID: "1", EventID: "E1", Region: "r", EventSource: "s3.amazonaws.com", File: name, Position: 1, Record: records[1]},
		&events.CloudTrailFileReceived{File: name, Records: 2, SHA256: hash},
		&events.CloudTrailDigestChecked{Account: "1", Region: "r", Trail: "t", HomeRegion: "r", Bucket: bucket, Key: object, StartTime: time.Unix(1, 0), EndTime: time.Unix(2, 0), Verdict: events.DigestValid, Logs: 1,
			SHA256: hex.EncodeToString(digestSum[:]), Signature: hex.EncodeToString(signature),
			Content: base64.StdEncoding.EncodeToString(packed.Bytes()), PublicKey: base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&key.PublicKey))}
}

// fingerprint is that of ListPublicKeys, of a key as it gives one.
func fingerprint(key string) string {
	der, _ := base64.StdEncoding.DecodeString(key)
	sum := md5.Sum(der)
	return hex.EncodeToString(sum[:])
}

// AWS's signature leads to the record itself, and whatever is between them can't
// be changed, even by who holds the log's key.
func TestSignedByAWS(t *testing.T) {
	aws, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	type parts struct {
		file     []byte
		record   *events.CloudTrailRecordReceived
		received *events.CloudTrailFileReceived
		digest   *events.CloudTrailDigestChecked
	}
	reseal := func(p *parts) { // as one would who changes all that is postern's
		sum := sha256.Sum256(p.file)
		p.received.SHA256 = hex.EncodeToString(sum[:])
	}
	for _, c := range []struct {
		name   string
		change func(p *parts)
		signed bool
		says   string // of the refusal
	}{
		{"as it was", func(*parts) {}, true, ""},
		{"no log file", func(p *parts) { p.file = nil }, false, ""},
		{"no digest file", func(p *parts) { p.digest.Content, p.digest.PublicKey = "", "" }, false, ""},
		{"a digest that was not valid", func(p *parts) { p.digest.Verdict = events.DigestInvalid }, false, ""},
		{"record changed", func(p *parts) { p.record.Record = []byte(`{"eventName":"PutObject","eventID":"E1"}`) }, false, "record E1 is not what the log file"},
		{"record of another place", func(p *parts) { p.record.Position = 0 }, false, "record E1 is not what the log file"},
		{"record and log file changed", func(p *parts) {
			p.file = bytes.Replace(p.file, []byte("GetObject"), []byte("PutObject"), 1)
			p.record.Record = bytes.Replace(p.record.Record, []byte("GetObject"), []byte("PutObject"), 1)
			reseal(p)
		}, false, ""},
		{"signature of another file", func(p *parts) { p.digest.Signature = strings.Repeat("00", 256) }, false, "signature does not hold"},
		{"another key", func(p *parts) {
			p.digest.PublicKey = base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&other.PublicKey))
		}, false, "signature does not hold"},
		{"a digest of another place", func(p *parts) { p.digest.Key = "elsewhere" }, false, "not the one that the report is on"},
		{"another digest's sum", func(p *parts) { p.digest.SHA256 = strings.Repeat("0", 64) }, false, "not the one that the report is on"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p parts
			p.file, p.record, p.received, p.digest = signedTrail(t, aws)
			c.change(&p)
			key, err := tlog.LoadKey(filepath.Join(t.TempDir(), "key"), "example.com/postern")
			if err != nil {
				t.Fatal(err)
			}
			logs := map[string][]byte{}
			if p.file != nil {
				sum := sha256.Sum256(p.file)
				logs[hex.EncodeToString(sum[:])] = p.file
			}
			if c.says != "" {
				b := evidence.Bundle{Logs: logs}
				for i, payload := range []events.Payload{p.received, p.record, p.digest} {
					body, err := events.Encode(events.Event{Meta: events.Meta{ID: fmt.Sprint(i), Source: "/test", Time: time.Unix(1, 0)}, Data: payload})
					if err != nil {
						t.Fatal(err)
					}
					b.Items = append(b.Items, evidence.Item{Stream: events.CloudTrail, Seq: uint64(i + 1), Body: body})
				}
				if _, err := b.Summary(); err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%v, want %q", err, c.says)
				}
				return
			}
			_, b := packed(t, key, p.received, p.record, p.digest)
			b.Logs = logs
			out, err := b.Pack(key)
			if err != nil {
				t.Fatal(err)
			}
			read, err := evidence.Open(out, key.Public())
			if err != nil {
				t.Fatal(err)
			}
			s, err := read.Summary()
			if err != nil || s.Records[0].SignedByAWS != c.signed {
				t.Errorf("signed by AWS: %v, want %v; %v", s.Records[0].SignedByAWS, c.signed, err)
			}
			if c.signed && (s.Digests[0].SignedBy != fingerprint(p.digest.PublicKey) || s.Files[0].Digest != p.digest.Key || !s.Files[0].Included) {
				t.Errorf("%+v, %+v", s.Digests, s.Files)
			}
		})
	}
}

// A log file whose object was written again, and taken in again, lends nothing of AWS's
// signature to what is in the other content, and hinders no bundle.
func TestLogFileWrittenAgain(t *testing.T) {
	aws, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	file, record, received, digest := signedTrail(t, aws)
	forged := *record
	forged.EventID, forged.Position, forged.Record = "E9", 0, []byte(`{"eventName":"ListBuckets","eventID":"E9"}`)
	other := []byte(`{"Records":[` + string(forged.Record) + `]}`)
	sum := sha256.Sum256(other)
	again := events.CloudTrailFileReceived{File: received.File, Records: 1, SHA256: hex.EncodeToString(sum[:])}
	for _, c := range []struct {
		name string
		logs map[string][]byte
		all  []events.Payload
		want map[string]bool // signed, by event id
	}{
		{"both", map[string][]byte{received.SHA256: file, again.SHA256: other}, []events.Payload{received, record, digest, &again, &forged}, map[string]bool{"E1": true, "E9": false}},
		{"the other's record alone", map[string][]byte{received.SHA256: file, again.SHA256: other}, []events.Payload{received, digest, &again, &forged}, map[string]bool{"E9": false}},
		{"the first one's alone", map[string][]byte{received.SHA256: file, again.SHA256: other}, []events.Payload{received, record, digest, &again}, map[string]bool{"E1": true}},
		{"the first content can't be had", map[string][]byte{again.SHA256: other}, []events.Payload{received, record, digest, &again, &forged}, map[string]bool{"E1": false, "E9": false}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := evidence.Bundle{Logs: c.logs}
			for i, payload := range c.all {
				body, err := events.Encode(events.Event{Meta: events.Meta{ID: fmt.Sprint(i), Source: "/test", Time: time.Unix(1, 0)}, Data: payload})
				if err != nil {
					t.Fatal(err)
				}
				b.Items = append(b.Items, evidence.Item{Stream: events.CloudTrail, Seq: uint64(i + 1), Body: body})
			}
			s, err := b.Summary()
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]bool{}
			for _, r := range s.Records {
				got[r.EventID] = r.SignedByAWS
			}
			if !maps.Equal(got, c.want) {
				t.Errorf("signed by AWS: %v, want %v", got, c.want)
			}
		})
	}
}
