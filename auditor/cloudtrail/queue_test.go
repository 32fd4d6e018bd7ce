package cloudtrail

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/posternhq/postern/deploy/simaws"
	"github.com/posternhq/postern/events"
)

// on counts what is on CLOUDTRAIL.
func (c *cloud) on() (records, files, rejected, replayed int, digests []*events.CloudTrailDigestChecked) {
	c.t.Helper()
	ids := map[string]bool{}
	if err := c.h.all(c.t.Context(), events.CloudTrail, func(p events.Payload) {
		switch d := p.(type) {
		case *events.CloudTrailRecordReceived:
			ids[d.RecipientAccountID+"/"+d.EventID] = true
			records++
		case *events.CloudTrailFileReceived:
			files++
		case *events.CloudTrailMessageRejected:
			rejected++
		case *events.CloudTrailLetterReplayed:
			replayed++
		case *events.CloudTrailDigestChecked:
			digests = append(digests, d)
		}
	}); err != nil {
		c.t.Fatal(err)
	}
	if records != len(ids) {
		c.t.Errorf("%d records, %d of them different", records, len(ids))
	}
	return
}

// drain reads a queue until it has nothing to give out.
func (c *cloud) drain(q *Queue) {
	c.t.Helper()
	q.wait = 0
	for {
		n, err := q.Once(c.t.Context())
		if err != nil {
			c.t.Fatal(err)
		}
		if n == 0 {
			return
		}
	}
}

func (c *cloud) queue(name string) *Queue {
	c.t.Helper()
	url, err := c.PutQueue(c.account, home, name, 0)
	if err != nil {
		c.t.Fatal(err)
	}
	return NewQueue(c.in, url)
}

// In every form of notification, files and digests are taken in, and the
// messages deleted.
func TestQueueForms(t *testing.T) {
	c := newCloud(t)
	want := 0
	for _, form := range []string{"s3", "sns", "cloudtrail", "eventbridge"} {
		c.t = t
		q := c.queue("q-" + form)
		bucket := "trail-" + form
		if err := c.PutBucket(simaws.Bucket{Account: c.account, Region: home, Name: bucket}); err != nil {
			t.Fatal(err)
		}
		if err := c.Notify(bucket, q.url, form); err != nil {
			t.Fatal(err)
		}
		tr := c.trail(form, 2)
		c.drain(q)
		c.DeleteTrail(tr)
		want += 4
		records, files, rejected, _, digests := c.on()
		_, _, deleted := c.Queued(q.url)
		told := 6
		if form == "cloudtrail" { // which does not tell of digests
			told = 4
		}
		if records != want || files != want || rejected != 0 || deleted != told {
			t.Errorf("%s: %d records in %d files, want %d; %d set aside, %d messages deleted", form, records, files, want, rejected, deleted)
		}
		for _, d := range digests {
			if d.Verdict != events.DigestValid || d.Reason != "" || len(d.LogsInvalid) > 0 {
				t.Errorf("%s: %+v", form, d)
			}
		}
	}
}

// A single record by EventBridge, and the same one in a file later, are one.
func TestEventBridgeRecord(t *testing.T) {
	c := newCloud(t)
	q := c.queue("q")
	const record = `{"eventVersion":"1.11","eventName":"RunInstances","eventSource":"ec2.amazonaws.com","eventID":"e1","awsRegion":"us-east-1","recipientAccountId":"111122223333","userIdentity":{"type":"Root"}}`
	if err := c.Send(q.url, `{"version":"0","id":"m1","detail-type":"AWS API Call via CloudTrail","source":"aws.ec2","detail":`+record+`}`); err != nil {
		t.Fatal(err)
	}
	c.drain(q)
	if _, err := c.in.ingester.File(t.Context(), "x.json", strings.NewReader(`{"Records":[`+record+`]}`), nil); err != nil {
		t.Fatal(err)
	}
	if records, _, rejected, _, _ := c.on(); records != 1 || rejected != 0 {
		t.Errorf("%d records, %d set aside", records, rejected)
	}
}

// What can't be understood is set aside at once, what can't be taken in after
// some tries; both can be replayed.
func TestDeadLetters(t *testing.T) {
	c := newCloud(t)
	q := c.queue("q")
	tr := c.trail("main", 1)
	c.DeleteTrail(tr)
	key := c.keys(tr.Bucket, "/CloudTrail/")[0]
	body, meta := c.get(tr.Bucket, key)
	c.remove(tr.Bucket, key)
	notification := fmt.Sprintf(`{"Records":[{"eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{"bucket":{"name":%q},"object":{"key":%q}}}]}`, tr.Bucket, key)
	for _, body := range []string{
		notification, `not JSON`, `{}`, `{"Records":[{"s3":{"bucket":{"name":"b"},"object":{}}}]}`, `{"detail-type":"AWS API Call via CloudTrail","detail":7}`,
		`{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"b"}`, // S3's own test: nothing to do
		`{"Records":[{"eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"trail-main"},"object":{"key":"some/other.txt"}}}]}`,
	} {
		if err := c.Send(q.url, body); err != nil {
			t.Fatal(err)
		}
	}
	c.drain(q)
	_, _, rejected, _, _ := c.on()
	if waiting, working, deleted := c.Queued(q.url); rejected != 5 || waiting+working != 0 || deleted != 7 {
		t.Errorf("%d set aside, want 5; %d and %d left in the queue, %d deleted", rejected, waiting, working, deleted)
	}
	// The object is back: the message can be replayed, the garbage can not.
	c.put(tr.Bucket, key, body, meta)
	taken := 0
	for e, err := range c.j.Replay(t.Context(), events.CloudTrail) {
		if err != nil {
			t.Fatal(err)
		}
		d, ok := e.Data.(*events.CloudTrailMessageRejected)
		if !ok {
			continue
		}
		res, err := c.in.Replay(t.Context(), Letter{ID: e.ID, Kind: "message", Source: d.Queue, Body: d.Body}, "alice")
		if err == nil {
			taken += res.Records
		} else if d.Body == notification {
			t.Error(err)
		}
	}
	if _, _, _, replayed, _ := c.on(); taken != 1 || replayed != 1 {
		t.Errorf("%d records taken in, %d letters replayed", taken, replayed)
	}
}

// An object that can't be taken in keeps out none of those that a message names besides. What
// S3 tells of objects that are there, or were, and CloudTrail's test message are passed over.
func TestOneObjectKeepsOutNoOther(t *testing.T) {
	c := newCloud(t)
	q := c.queue("q")
	tr := c.trail("main", 1)
	keys := c.keys(tr.Bucket, "/CloudTrail/")
	c.DeleteTrail(tr)
	c.remove(tr.Bucket, keys[0])
	for _, body := range []string{
		fmt.Sprintf(`{"s3Bucket":%q,"s3ObjectKey":[%q,%q]}`, tr.Bucket, keys[0], keys[1]),
		fmt.Sprintf(`{"source":"aws.s3","detail-type":"Object Deleted","detail":{"version":"0","bucket":{"name":%q},"object":{"key":%q},"reason":"DeleteObject"}}`, tr.Bucket, keys[0]),
		fmt.Sprintf(`{"source":"aws.s3","detail-type":"Object Tags Added","detail":{"version":"0","bucket":{"name":%q},"object":{"key":%q}}}`, tr.Bucket, keys[1]),
		`{"Type":"Notification","MessageId":"1","TopicArn":"arn:aws:sns:us-east-1:111122223333:t","Message":"CloudTrail validation message.","Timestamp":"2026-03-01T12:00:00.000Z"}`,
	} {
		if err := c.Send(q.url, body); err != nil {
			t.Fatal(err)
		}
	}
	c.drain(q)
	records, files, rejected, _, _ := c.on()
	if _, _, deleted := c.Queued(q.url); records != 1 || files != 1 || rejected != 1 || deleted != 4 {
		t.Errorf("%d records in %d files, want 1; %d messages set aside, want 1; %d deleted", records, files, rejected, deleted)
	}
}

// While a message is at work it stays hidden, however long that takes; it is
// deleted when its records are durable, and not before.
func TestVisibility(t *testing.T) {
	c := newCloud(t)
	q := c.queue("q")
	q.wait, q.visibility = 1, time.Second
	tr := c.trail("main", 1)
	if err := c.Notify(tr.Bucket, q.url, "s3"); err != nil {
		t.Fatal(err)
	}
	// A journal that has to wait for us: nothing is durable until then.
	slow := &slowHistory{History: c.h, hold: make(chan struct{}), held: make(chan struct{})}
	c.in.history = slow
	if _, err := c.Digest(); err != nil { // its check asks the history
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := q.Once(t.Context()); err != nil {
			t.Error(err)
		}
	})
	<-slow.held
	other := NewQueue(c.in, q.url)
	other.wait, other.visibility = 3, time.Second
	if n, err := other.Once(t.Context()); n != 0 || err != nil { // three times the visibility later
		t.Errorf("a message at work was given out again: %d, %v", n, err)
	}
	if _, _, deleted := c.Queued(q.url); deleted != 0 {
		t.Error("a message was deleted before it was taken in")
	}
	close(slow.hold)
	wg.Wait()
	if waiting, working, deleted := c.Queued(q.url); waiting+working != 0 || deleted != 1 {
		t.Errorf("%d waiting, %d at work, %d deleted", waiting, working, deleted)
	}
}

type slowHistory struct {
	History
	once       sync.Once
	held, hold chan struct{}
}

func (h *slowHistory) LastDigest(ctx context.Context, c Chain, before time.Time) (*events.CloudTrailDigestChecked, error) {
	h.once.Do(func() { close(h.held) })
	<-h.hold
	return h.History.LastDigest(ctx, c, before)
}

func FuzzNotification(f *testing.F) {
	f.Add([]byte(`{"Records":[{"s3":{"bucket":{"name":"b"},"object":{"key":"a%2Fb+c"}}}]}`))
	f.Add([]byte(`{"Type":"Notification","Message":"{\"s3Bucket\":\"b\",\"s3ObjectKey\":[\"k\"]}"}`))
	f.Add([]byte(`{"detail-type":"Object Created","detail":{"bucket":{"name":"b"},"object":{"key":"k"}}}`))
	f.Add([]byte(`{"id":"1","detail-type":"AWS Console Sign In via CloudTrail","detail":{"eventName":"ConsoleLogin"}}`))
	f.Add([]byte(`{"Event":"s3:TestEvent"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := parseNotification(b)
		if err != nil {
			return
		}
		for _, o := range n.objects {
			if o.bucket == "" || o.key == "" {
				t.Fatalf("%q names %+v", b, o)
			}
		}
		if n.record != nil {
			if _, err := Parse(n.record); err != nil {
				t.Fatal(err)
			}
		}
	})
}
