package simaws

import (
	"compress/gzip"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// TestTrailClients: what the AWS CLI makes of trails, their digests, their
// queue and LookupEvents.
func TestTrailClients(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	f := newSim(t, func(c *Config) { c.Clock = func() time.Time { return now } })
	f.bucket(t, "logs")
	f.bucket(t, "seen")
	f.bucket(t, "unseen")
	trail := Trail{Account: testAccount, HomeRegion: "us-east-1", Name: "main", Bucket: "logs", Prefix: "p", MultiRegion: true, Digests: true,
		Selectors: `[{"ReadWriteType":"All","IncludeManagementEvents":true,"DataResources":[{"Type":"AWS::S3::Object","Values":["arn:aws:s3:::seen/"]}]}]`}
	if err := f.PutTrail(trail); err != nil {
		t.Fatal(err)
	}
	aws := newRunner(t, f, "aws")
	queue := strings.TrimSpace(aws.must("sqs", "create-queue", "--queue-name", "trail", "--query", "QueueUrl", "--output", "text"))
	if err := f.Notify("logs", queue, "s3"); err != nil {
		t.Fatal(err)
	}
	for _, b := range []string{"seen", "unseen"} {
		aws.must("s3api", "put-object", "--bucket", b, "--key", "k")
	}
	for range 3 { // three hours of digests
		aws.must("iam", "list-roles")
		if err := f.Flush(); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Minute)
		if _, err := f.Digest(); err != nil {
			t.Fatal(err)
		}
	}
	got := aws.must("sqs", "receive-message", "--queue-url", queue, "--max-number-of-messages", "10", "--attribute-names", "All")
	for _, want := range []string{"p/AWSLogs/" + testAccount + "/CloudTrail/us-east-1/", "ApproximateReceiveCount", "CloudTrail-Digest"} {
		if !strings.Contains(strings.ReplaceAll(got, "%2F", "/"), want) {
			t.Errorf("the queue's messages lack %s: %s", want, got)
		}
	}
	var logs strings.Builder
	for _, key := range strings.Fields(aws.must("s3api", "list-objects-v2", "--bucket", "logs", "--prefix", "p/AWSLogs/"+testAccount+"/CloudTrail/", "--query", "Contents[].Key", "--output", "text")) {
		logs.WriteString(f.trailObject(t, "logs", key))
	}
	if !strings.Contains(logs.String(), `"bucketName":"seen"`) || strings.Contains(logs.String(), `"bucketName":"unseen"`) {
		t.Error("the trail's selectors were not asked about data events")
	}
	out := aws.must("cloudtrail", "validate-logs", "--trail-arn", trail.ARN(), "--start-time", now.Add(-time.Hour).UTC().Format(time.RFC3339), "--end-time", now.Add(time.Minute).UTC().Format(time.RFC3339))
	if !strings.Contains(out, "3/3 digest files valid") || !strings.Contains(out, "log files valid") || strings.Contains(out, "INVALID") {
		t.Errorf("validate-logs: %s", out)
	}
	if out := aws.must("cloudtrail", "lookup-events", "--max-items", "60"); !strings.Contains(out, "ListRoles") || strings.Contains(out, "PutObject") {
		t.Errorf("lookup-events: %s", out)
	}
	if out := aws.must("cloudtrail", "get-event-selectors", "--trail-name", "main"); !strings.Contains(out, "arn:aws:s3:::seen/") {
		t.Errorf("get-event-selectors: %s", out)
	}
	handle := strings.TrimSpace(aws.must("sqs", "receive-message", "--queue-url", queue, "--visibility-timeout", "60", "--query", "Messages[0].ReceiptHandle", "--output", "text"))
	if handle != "None" {
		t.Errorf("a message at work was given out again: %s", handle)
	}
}

func (f *fixture) trailObject(t *testing.T, bucket, key string) string {
	t.Helper()
	b := f.s3.bucket(bucket)
	o := b.acquire(key)
	if o == nil {
		t.Fatalf("no object %s", key)
	}
	defer b.release(o)
	return gunzipped(t, b.dataFile(o.Segments[0].File))
}

// TestTrailFaults: what is dropped, doubled and delayed on demand, counted.
func TestTrailFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Sim{}
		dir := t.TempDir()
		var err error
		if s.trail, err = openTrail(dir+"/trail", dir+"/tmp", time.Second, time.Now); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); s.trail.run(ctx, zerolog.Nop()) }()
		s.SetTrailFaults(TrailFaults{DropEvery: 10, DoubleEvery: 4, DelayEvery: 5, Delay: time.Minute})
		for range 20 {
			s.trail.take(testRecord(testAccount, "us-east-1"), false, "", true)
		}
		count := func() (n int) {
			files, err := filepath.Glob(dir + "/trail/AWSLogs/*/CloudTrail/*/*/*/*/*.json.gz")
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				n += strings.Count(gunzipped(t, f), "GetObject")
			}
			return n
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		// Of 20, 2 are dropped (10, 20), 2 are late (5, 15), 4 come twice (4, 8, 12, 16).
		if n := count(); n != 20-2-2+4 {
			t.Errorf("%d in time", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := count(); n != 20-2+4 {
			t.Errorf("%d in the end", n)
		}
		cancel()
		<-done
	})
}

// TestTrailHours: digests come at the full hour of CloudTrail's clock.
func TestTrailHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		tr, err := openTrail(dir+"/trail", dir+"/tmp", time.Second, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		var keys []string
		tr.put = func(_, key string, _ []byte, _ map[string]string) error { keys = append(keys, key); return nil }
		tr.state.Trails = []*trailState{{Trail: Trail{Account: testAccount, HomeRegion: "us-east-1", Name: "t", Bucket: "b", Digests: true}, Chains: map[string]*digestChain{}}}
		tr.state.Trails[0].chain(testAccount, "us-east-1", time.Now())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); tr.run(ctx, zerolog.Nop()) }()
		time.Sleep(3*time.Hour + time.Minute)
		synctest.Wait()
		cancel()
		<-done
		if len(keys) != 3 {
			t.Errorf("%d digests in three hours: %q", len(keys), keys)
		}
		for _, k := range keys {
			if !strings.HasSuffix(k, "0000Z.json.gz") {
				t.Errorf("%s is not of a full hour", k)
			}
		}
	})
}

func gunzipped(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	return readAll(t, z)
}
