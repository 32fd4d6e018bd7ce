package auditor_test

import (
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/posternhq/postern/auditor"
	"github.com/posternhq/postern/auditor/cloudtrail"
	"github.com/posternhq/postern/auditor/tlog"
	"github.com/posternhq/postern/deploy/simaws"
	"github.com/posternhq/postern/events"
)

// The logs are in a bucket, whole, before their checkpoints are published, and go
// on there when the auditor's disk was lost but for the key.
func TestLogBucket(t *testing.T) {
	c := newTrailCloud(t)
	if err := c.PutBucket(simaws.Bucket{Account: trailAccount, Region: "eu-west-1", Name: "evidence"}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ca := newAuthority(t)
	keeps := func(a *auditor.Config) {
		a.DataDir = dir
		a.Listen = "127.0.0.1:0"
		a.TLS = &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: ca.pool(), Certificates: []tls.Certificate{ca.issue("auditor")}}
		a.Notary = auditor.NotaryConfig{Name: "example.com/postern", PublishEvery: 50 * time.Millisecond,
			Bucket: "s3://evidence/a1", BucketAWS: cloudtrail.AWSConfig{Region: "us-east-1", Dial: c.Addr(), CAFile: c.CAFile()}}
	}
	w := newWorld(t, keeps)
	w.tell(time.Now().UTC())
	cfg := c.cfg
	cfg.Region = "eu-west-1"
	bucket := &tlog.Bucket{Client: s3.NewFromConfig(cfg), Name: "evidence", Prefix: "a1/"}
	check := func() {
		t.Helper()
		w.settle(events.Streams()...)
		last, err := w.j.Last(t.Context(), events.Audit)
		if err != nil {
			t.Fatal(err)
		}
		status, err := ca.client(w, "sec", "auditor").LogStatus(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		var at tlog.Checkpoint
		w.until("the bucket has a checkpoint of all of AUDIT", func() bool {
			at, err = status.Key.Latest(t.Context(), events.Audit, bucket.Tiles(events.Audit))
			return err == nil && at.Size == last
		})
		n := uint64(0)
		for l, err := range tlog.Walk(t.Context(), bucket.Tiles(events.Audit), 0, at, nil) {
			if err != nil {
				t.Fatalf("leaf %d in the bucket: %v", l.Seq, err)
			}
			n++
		}
		if n != last {
			t.Errorf("%d leaves in the bucket, %d events", n, last)
		}
	}
	check()
	w.stop()
	for _, stream := range events.Streams() {
		if err := os.RemoveAll(filepath.Join(dir, "log", stream)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	w.say("late", "", &events.AWSRequestDenied{AWSRequest: awsRequest("R9", "alice", time.Now().UTC()), Code: "AccessDenied", Cause: "rule", Reason: "no rule allows it"})
	w.start(keeps)
	check()
}
