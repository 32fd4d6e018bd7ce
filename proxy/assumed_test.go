package proxy

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

const stsSays = `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><AssumedRoleUser><AssumedRoleId>AROA:alice</AssumedRoleId><Arn>arn:aws:sts::1:assumed-role/r/alice</Arn></AssumedRoleUser><Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>aws/secret+=</SecretAccessKey><SessionToken>token</SessionToken><Expiration>2026-03-01T12:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`

// https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateSession.html
const expressSays = `<?xml version="1.0" encoding="UTF-8"?><CreateSessionResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Credentials><SessionToken>token</SessionToken><SecretAccessKey>aws/secret+=</SecretAccessKey><AccessKeyId>ASIA</AccessKeyId><Expiration>2026-03-01T12:00:00Z</Expiration></Credentials></CreateSessionResult>`

// Whatever AWS says, what the user gets reads as the new secret and the new end,
// and has the old secret nowhere; or the user gets nothing.
func FuzzRewriteGiven(f *testing.F) {
	for _, s := range []string{
		stsSays,
		strings.Replace(stsSays, "<Credentials>", "<!-- aws/secret+= --><Credentials>", 1),
		strings.Replace(stsSays, "aws/secret+=", "<![CDATA[aws/secret+=]]>", 1),
		strings.Replace(stsSays, "aws/secret+=", "aws&#47;secret+=", 1),
		strings.Replace(stsSays, "<SecretAccessKey>", "<SecretAccessKey >", 1),
		strings.Replace(stsSays, "</Credentials>", "<SecretAccessKey>x</SecretAccessKey></Credentials>", 1),
		strings.Replace(stsSays, "2026-03-01T12:00:00Z", "soon", 1),
		"<AssumeRoleResponse/>", "", "{}",
		expressSays,
		strings.Replace(expressSays, "<Credentials>", stsSays+"<Credentials>", 1),
	} {
		f.Add([]byte(s))
	}
	end := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := readGiven(body)
		if err != nil {
			return
		}
		const secret = "LOOPBACK0000000000000000000000000000SEC"
		const token = "postern1.LOOPBACK"
		out, err := rewriteGiven(body, a, secret, token, end)
		if err != nil {
			return
		}
		b, err := readGiven(out)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		c := b.Credentials
		if c.SecretAccessKey != secret || !c.Expiration.Equal(end) || c.AccessKeyId != a.Credentials.AccessKeyId || c.SessionToken != token ||
			bytes.Contains(out, []byte(a.Credentials.SecretAccessKey)) {
			t.Errorf("%s\nbecame\n%s", body, out)
		}
	})
}

func TestRewriteGiven(t *testing.T) {
	a, err := readGiven([]byte(stsSays))
	if err != nil {
		t.Fatal(err)
	}
	out, err := rewriteGiven([]byte(stsSays), a, "", "", time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC))
	if want := strings.Replace(stsSays, "2026-03-01T12", "2026-02-01T00", 1); err != nil || string(out) != want {
		t.Errorf("handed out as it is: %v\n%s", err, out)
	}
}
