package simaws

import (
	"compress/gzip"
	"os"
	"strings"
	"testing"
	"time"
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
	data, err := os.Open(b.dataFile(o.Segments[0].File))
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	z, err := gzip.NewReader(data)
	if err != nil {
		t.Fatal(err)
	}
	return readAll(t, z)
}
