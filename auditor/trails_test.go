package auditor_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/auditor"
	"github.com/posternhq/postern/auditor/client"
	"github.com/posternhq/postern/auditor/cloudtrail"
	"github.com/posternhq/postern/auditor/evidence"
	"github.com/posternhq/postern/deploy/aws/awstest"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/deploy/simaws"
	"github.com/posternhq/postern/events"
)

// trailCloud is a simulated AWS whose CloudTrail has a clock of its own.
type trailCloud struct {
	*simaws.Sim
	t   *testing.T
	cfg aws.Config
	mu  sync.Mutex
	now time.Time
}

const trailAccount, trailBucket = "111122223333", "trail-main"

func newTrailCloud(t *testing.T) *trailCloud {
	c := &trailCloud{t: t, now: time.Now().Add(-24 * time.Hour).Truncate(time.Hour)}
	var err error
	c.Sim, err = simaws.New(simaws.Config{Dir: t.TempDir(), TrailDelay: -1, Log: zerolog.Nop(), TrailClock: func() time.Time {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.now
	}})
	if err != nil {
		t.Fatal(err)
	}
	embeddedtest.Run(t, c.Sim)
	key, err := c.AccessKey(trailAccount, "auditor")
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{"AWS_ACCESS_KEY_ID": key.ID, "AWS_SECRET_ACCESS_KEY": key.Secret, "AWS_CONFIG_FILE": os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true"} {
		t.Setenv(k, v)
	}
	pool := newAuthority(t).pool()
	pool.AppendCertsFromPEM(c.CAPEM())
	c.cfg = aws.Config{Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider(key.ID, key.Secret, ""),
		HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, DialContext: dialTo(c.Addr())}}}
	if err := c.PutBucket(simaws.Bucket{Account: trailAccount, Region: "us-east-1", Name: trailBucket}); err != nil {
		t.Fatal(err)
	}
	if err := c.PutTrail(simaws.Trail{Account: trailAccount, HomeRegion: "us-east-1", Name: "main", Bucket: trailBucket, Digests: true}); err != nil {
		t.Fatal(err)
	}
	return c
}

// hours lets time pass: each hour one call, one log file, one digest.
func (c *trailCloud) hours(n int) {
	c.t.Helper()
	for range n {
		if _, err := sts.NewFromConfig(c.cfg).GetCallerIdentity(c.t.Context(), &sts.GetCallerIdentityInput{}); err != nil {
			c.t.Fatal(err)
		}
		if err := c.Flush(); err != nil {
			c.t.Fatal(err)
		}
		c.mu.Lock()
		c.now = c.now.Add(time.Hour)
		c.mu.Unlock()
		if _, err := c.Digest(); err != nil {
			c.t.Fatal(err)
		}
	}
}

// The whole way, through a queue into the tables, over restarts of the auditor:
// trails, files, digests, findings that are opened and resolved once, dead letters.
func TestTrailFromAWS(t *testing.T) {
	c := newTrailCloud(t)
	queue, err := c.PutQueue(trailAccount, "us-east-1", "trail", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Notify(trailBucket, queue, "s3"); err != nil {
		t.Fatal(err)
	}
	template := awstest.Load(t, "trail", map[string]string{"AWS::AccountId": trailAccount, "Bucket.Arn": "arn:aws:s3:::" + trailBucket,
		"Queue.Arn": "arn:aws:sqs:us-east-1:" + trailAccount + ":trail", "AuditorPrincipalArn": "arn:aws:iam::" + trailAccount + ":user/auditor"})
	role := template.Role("Auditor")
	if err := c.PutRole(role); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ca := newAuthority(t)
	reads := func(a *auditor.Config) {
		a.DataDir = dir
		a.Listen = "127.0.0.1:0"
		a.TLS = &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool(), Certificates: []tls.Certificate{ca.issue("auditor")}}
		a.Trail = &auditor.TrailConfig{AWS: cloudtrail.AWSConfig{Region: "us-east-1", Dial: c.Addr(), CAFile: c.CAFile(), RoleARN: role.ARN}, Queues: []string{queue}}
	}
	w := newWorld(t, reads)
	empty := func() {
		t.Helper()
		w.until("the queue is empty", func() bool { a, b, _ := c.Queued(queue); return a+b == 0 })
		w.settle(events.CloudTrail, events.Findings)
	}
	c.hours(3)
	empty()
	w.until("trails are known", func() bool {
		return w.count(`SELECT count() FROM trails WHERE name = 'main' AND event_selectors != '' AND logging AND validation`) == 1
	})
	if f, d, o := w.count(`SELECT count() FROM trail_files WHERE etag != ''`), w.count(`SELECT count() FROM trail_digests WHERE verdict = 'valid' AND reason = '' AND empty(logs_invalid)`), w.count(`SELECT count() FROM findings`); f < 3 || d != 3 || o != 0 {
		t.Fatalf("%d files, %d digests, %d findings", f, d, o)
	}

	// A bundle has AWS's own signatures on the record.
	var record string
	if err := w.conn.QueryRow(t.Context(), `SELECT event_id FROM cloudtrail WHERE event_name = 'GetCallerIdentity' ORDER BY event_time LIMIT 1`).Scan(&record); err != nil {
		t.Fatal(err)
	}
	admin := ca.client(w, "admin", "admin")
	status, err := admin.LogStatus(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, logs := range []bool{true, false} {
		packed, err := admin.Bundle(t.Context(), record, "", "", false, logs)
		if err != nil {
			t.Fatal(err)
		}
		b, err := evidence.Open(packed, status.Key)
		if err != nil {
			t.Fatal(err)
		}
		s, err := b.Summary()
		if err != nil || len(s.Records) != 1 || s.Records[0].SignedByAWS != logs || s.Files[0].Digest == "" || s.Files[0].Included != logs {
			t.Fatalf("bundle of %s with log files %v: %+v, %+v, %+v, %v", record, logs, s.Records, s.Files, s.Digests, err)
		}
	}

	// While the auditor is away, a log and two digests go.
	w.stop()
	c.hours(3)
	ctx := t.Context()
	bucket := s3.NewFromConfig(c.cfg)
	list, err := bucket.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(trailBucket)})
	if err != nil {
		t.Fatal(err)
	}
	var logs, digests []string
	for _, o := range list.Contents {
		if strings.Contains(*o.Key, "/CloudTrail-Digest/") {
			digests = append(digests, *o.Key)
		} else {
			logs = append(logs, *o.Key)
		}
	}
	lost, err := bucket.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(trailBucket), Key: &logs[len(logs)-1]})
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(lost.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{digests[3], digests[4], logs[len(logs)-1]} {
		if _, err := bucket.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(trailBucket), Key: &key}); err != nil {
			t.Fatal(err)
		}
	}
	w.start(reads)
	empty()
	tampered := func() uint64 {
		return w.count(`SELECT count() FROM findings WHERE kind = 'trail_tampered' AND state = 'open'`)
	}
	w.until("three findings", func() bool { return tampered() == 3 })
	audit := ca.client(w, "ann", "auditor")
	v, err := audit.Validate(ctx, client.Bucket{Address: "s3://" + trailBucket, Since: "30d"}, nil)
	if err != nil || v.DigestsValid != 4 || v.DigestsInvalid != 1 || v.LogsInvalid != 1 || len(v.Problems) != 3 {
		t.Errorf("validate: %+v, %v", v, err)
	}
	w.settle(events.CloudTrail, events.Findings)
	if n := w.count(`SELECT count() FROM events WHERE stream = 'FINDINGS' AND type = 'io.postern.finding.opened.v1'`); n != 3 {
		t.Errorf("findings were opened %d times", n)
	}

	// The notification of a log file that is gone is a dead letter until it is back.
	letters, err := audit.DeadLetters(ctx)
	if err != nil || len(letters) != 1 {
		t.Fatalf("dead letters: %+v, %v", letters, err)
	}
	if _, err := bucket.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(trailBucket), Key: &logs[len(logs)-1], Body: bytes.NewReader(body)}); err != nil {
		t.Fatal(err)
	}
	done, err := audit.Replay(ctx, "")
	taken := 0
	for _, d := range done {
		taken += d.Records
	}
	if err != nil || len(done) != 1 || taken == 0 {
		t.Errorf("replay: %+v, %v", done, err)
	}
	if letters, err = audit.DeadLetters(ctx); err != nil || len(letters) != 0 {
		t.Errorf("dead letters after the replay: %d, %v", len(letters), err)
	}
	if v, err = audit.Validate(ctx, client.Bucket{Address: "s3://" + trailBucket}, nil); err != nil || v.LogsInvalid != 0 {
		t.Errorf("validate: %+v, %v", v, err)
	}
	w.until("one finding is resolved", func() bool { return tampered() == 2 })

	// The newest digest file goes, which nothing in the bucket names, and comes back.
	newest, err := bucket.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(trailBucket), Key: &digests[5]})
	if err != nil {
		t.Fatal(err)
	}
	if body, err = io.ReadAll(newest.Body); err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(trailBucket), Key: &digests[5]}); err != nil {
		t.Fatal(err)
	}
	bad := func() uint64 { return w.count(`SELECT countIf(verdict != 'valid' OR reason != '') FROM trail_digests`) }
	if v, err = audit.Validate(ctx, client.Bucket{Address: "s3://" + trailBucket + "/AWSLogs/", Since: "30d"}, nil); err != nil || v.DigestsInvalid != 2 || bad() != 2 {
		t.Errorf("the newest digest file is gone: %+v, %v, %d rows", v, err, bad())
	}
	w.until("a finding about it", func() bool { return tampered() == 3 })
	if _, err := bucket.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(trailBucket), Key: &digests[5], Body: bytes.NewReader(body), Metadata: newest.Metadata}); err != nil {
		t.Fatal(err)
	}
	if v, err = audit.Validate(ctx, client.Bucket{Address: "s3://" + trailBucket}, nil); err != nil || v.DigestsInvalid != 1 || bad() != 2 {
		t.Errorf("the newest digest file is back: %+v, %v, %d rows", v, err, bad())
	}
	w.until("it is resolved", func() bool { return tampered() == 2 })
	if v, err = audit.Validate(ctx, client.Bucket{Address: "s3://" + trailBucket, Since: "2026-01-01", Until: "2250-01-01"}, nil); err != nil || v.DigestsInvalid != 1 {
		t.Errorf("up to a time far away: %+v, %v", v, err)
	}
	if v, err = audit.Validate(ctx, client.Bucket{Address: "s3://" + trailBucket, Since: "2250-01-01"}, nil); err != nil || v.Checked() {
		t.Errorf("from a time far away: %+v, %v", v, err)
	}
	if v, err = audit.Validate(ctx, client.Bucket{Address: "s3://" + trailBucket + "/AWSLog/"}, nil); err != nil || v.Checked() {
		t.Errorf("a prefix that nothing has: %+v, %v", v, err)
	}

	p, err := audit.IngestBucket(ctx, client.Bucket{Address: "s3://" + trailBucket, Account: trailAccount, Region: "us-east-1"}, nil)
	if err != nil || p.Files != 0 || p.Known != len(logs) {
		t.Errorf("a bucket that is known: %+v, %v", p, err)
	}
	var refused *client.Error
	if _, err := audit.IngestBucket(ctx, client.Bucket{Address: "s3://x", Since: "soon"}, nil); !errors.As(err, &refused) || refused.Field != "since" {
		t.Errorf("a bad time: %v", err)
	}
	for _, do := range []func(*client.Client) error{
		func(a *client.Client) error { _, err := a.DeadLetters(ctx); return err },
		func(a *client.Client) error { _, err := a.Replay(ctx, ""); return err },
		func(a *client.Client) error {
			_, err := a.Validate(ctx, client.Bucket{Address: "s3://x"}, nil)
			return err
		},
		func(a *client.Client) error {
			_, err := a.IngestBucket(ctx, client.Bucket{Address: "s3://x"}, nil)
			return err
		},
	} {
		if err := do(ca.client(w, "eve", "engineer")); !errors.As(err, &refused) || refused.Status != http.StatusForbidden {
			t.Errorf("without a reader's role: %v", err)
		}
	}
	w.exact(events.CloudTrail)
}

func dialTo(addr string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}
}
