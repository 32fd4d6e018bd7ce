package simaws

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// queues are SQS's standard queues, kept in memory: a restart empties them.
type queues struct {
	mu    sync.Mutex
	all   map[string]*queue // by URL
	woken chan struct{}     // closed and made anew when a message arrives
}

type queue struct {
	account, region, name string
	visibility            time.Duration
	messages              []*queueMessage
	deleted               int
}

type queueMessage struct {
	id, body, receipt string
	visible           time.Time
	received          int
	sent              time.Time
}

func newQueues() *queues { return &queues{all: map[string]*queue{}, woken: make(chan struct{})} }

func (q *queue) url() string {
	return "https://sqs." + q.region + ".amazonaws.com/" + q.account + "/" + q.name
}

func (q *queue) arn() string {
	return "arn:" + partitionOf(q.region, "aws") + ":sqs:" + q.region + ":" + q.account + ":" + q.name
}

// PutQueue creates a queue and returns its URL. visibility 0 means 30 s.
func (s *Sim) PutQueue(account, region, name string, visibility time.Duration) (string, error) {
	if !accountID.MatchString(account) || !regionLabel.MatchString(region) || name == "" {
		return "", fmt.Errorf("simaws: queue %q of account %q in %q: want a name, 12 digits and a region", name, account, region)
	}
	if visibility == 0 {
		visibility = 30 * time.Second
	}
	q := &queue{account: account, region: region, name: name, visibility: visibility}
	s.sqs.mu.Lock()
	defer s.sqs.mu.Unlock()
	if old := s.sqs.all[q.url()]; old != nil {
		old.visibility = visibility
	} else {
		s.sqs.all[q.url()] = q
	}
	return q.url(), nil
}

// Send puts a message into a queue.
func (s *Sim) Send(queueURL, body string) error {
	qs := s.sqs
	qs.mu.Lock()
	defer qs.mu.Unlock()
	q := qs.all[queueURL]
	if q == nil {
		return fmt.Errorf("simaws: no queue %s", queueURL)
	}
	qs.send(q, body)
	return nil
}

// send adds a message; mu is held.
func (qs *queues) send(q *queue, body string) *queueMessage {
	m := &queueMessage{id: uuid.NewString(), body: body, sent: time.Now()}
	q.messages = append(q.messages, m)
	close(qs.woken)
	qs.woken = make(chan struct{})
	return m
}

// Queued counts a queue's messages: those waiting, those at work with somebody,
// and those that were deleted.
func (s *Sim) Queued(queueURL string) (waiting, inFlight, deleted int) {
	s.sqs.mu.Lock()
	defer s.sqs.mu.Unlock()
	q := s.sqs.all[queueURL]
	if q == nil {
		return 0, 0, 0
	}
	for _, m := range q.messages {
		if m.visible.After(time.Now()) {
			inFlight++
		} else {
			waiting++
		}
	}
	return waiting, inFlight, q.deleted
}

// Notify makes a bucket tell a queue of objects that are created in it, in the
// form of S3 ("s3"), of S3 through SNS ("sns"), of CloudTrail's own SNS
// notifications ("cloudtrail") or of EventBridge ("eventbridge").
func (s *Sim) Notify(bucketName, queueURL, form string) error {
	b := s.s3.bucket(bucketName)
	if b == nil {
		return fmt.Errorf("simaws: no bucket %q", bucketName)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.meta.NotifyQueue, b.meta.NotifyForm = queueURL, form
	return b.saveMeta()
}

// created tells of a new object.
func (s *Sim) created(b *bucket, o *object) {
	b.mu.RLock()
	meta := b.meta
	b.mu.RUnlock()
	if meta.NotifyQueue == "" {
		return
	}
	text := func(v any) string {
		raw, _ := json.Marshal(v) // maps and strings
		return string(raw)
	}
	type m = map[string]any
	now := s.now().Format(time.RFC3339)
	// https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
	body := text(m{"Records": []m{{
		"eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": meta.Region, "eventTime": now, "eventName": "ObjectCreated:Put",
		"s3": m{"s3SchemaVersion": "1.0", "configurationId": "trail", "bucket": m{"name": meta.Name, "arn": "arn:aws:s3:::" + meta.Name},
			"object": m{"key": url.QueryEscape(o.Key), "size": o.Size, "eTag": strings.Trim(o.ETag, `"`), "sequencer": randomFrom("0123456789ABCDEF", 18)}},
	}}})
	sns := func(message string) string {
		return text(m{"Type": "Notification", "MessageId": uuid.NewString(), "TopicArn": "arn:aws:sns:" + meta.Region + ":" + meta.Account + ":trail",
			"Subject": "Amazon S3 Notification", "Message": message, "Timestamp": now, "SignatureVersion": "1"})
	}
	switch meta.NotifyForm {
	case "sns":
		body = sns(body)
	case "cloudtrail":
		if strings.Contains(o.Key, "/CloudTrail-Digest/") {
			return // CloudTrail tells of log files alone
		}
		body = sns(text(m{"s3Bucket": meta.Name, "s3ObjectKey": []string{o.Key}}))
	case "eventbridge":
		body = text(m{"version": "0", "id": uuid.NewString(), "detail-type": "Object Created", "source": "aws.s3", "account": meta.Account,
			"time": now, "region": meta.Region, "detail": m{"version": "0", "bucket": m{"name": meta.Name}, "object": m{"key": o.Key, "size": o.Size}}})
	}
	_ = s.Send(meta.NotifyQueue, body) // a queue that is gone hears nothing
}

type sqsInput struct {
	QueueName, QueueNamePrefix, QueueUrl, MessageBody, ReceiptHandle string

	VisibilityTimeout                    *int
	MaxNumberOfMessages, WaitTimeSeconds int
	Attributes                           map[string]string
	Entries                              []struct {
		Id, ReceiptHandle string
		VisibilityTimeout int
	}
}

// serveSQS: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/
func (s *Sim) serveSQS(c *call) error {
	name, ok := strings.CutPrefix(c.r.Header.Get("X-Amz-Target"), "AmazonSQS.")
	if !ok || c.proto != protoJSON {
		return s.serveUnknown(c)
	}
	c.event.source = "sqs.amazonaws.com"
	c.event.nameIt(name)
	c.event.data = strings.Contains(name, "Message") // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/logging-using-cloudtrail.html
	var in sqsInput
	if err := json.Unmarshal(c.body, &in); err != nil {
		return failure(http.StatusBadRequest, "SerializationException", "the request body is not what "+name+" takes")
	}
	switch name {
	case "ListQueues":
		if err := c.authorize("sqs:ListQueues", "*"); err != nil {
			return err
		}
		return c.json("1.0", map[string]any{"QueueUrls": s.sqs.list(c.who.account, c.ep.region, in.QueueNamePrefix)})
	case "CreateQueue":
		in.QueueUrl = (&queue{account: c.who.account, region: c.ep.region, name: in.QueueName}).url()
		visibility, _ := strconv.Atoi(in.Attributes["VisibilityTimeout"])
		if err := c.authorize("sqs:CreateQueue", "*"); err != nil {
			return err
		}
		if _, err := s.PutQueue(c.who.account, c.ep.region, in.QueueName, time.Duration(visibility)*time.Second); err != nil {
			return failure(http.StatusBadRequest, "InvalidParameterValue", err.Error())
		}
		return c.json("1.0", map[string]any{"QueueUrl": in.QueueUrl})
	case "GetQueueUrl":
		in.QueueUrl = (&queue{account: c.who.account, region: c.ep.region, name: in.QueueName}).url()
	}
	qs := s.sqs
	qs.mu.Lock()
	q := qs.all[in.QueueUrl]
	qs.mu.Unlock()
	if q == nil {
		return failure(http.StatusBadRequest, "AWS.SimpleQueueService.NonExistentQueue", "The specified queue does not exist.")
	}
	c.event.dataARN = q.arn()
	if err := c.authorize("sqs:"+strings.TrimSuffix(name, "Batch"), q.arn()); err != nil {
		return err
	}
	if name == "ReceiveMessage" {
		return c.json("1.0", map[string]any{"Messages": qs.receive(c.r.Context(), q, &in)})
	}
	qs.mu.Lock()
	defer qs.mu.Unlock()
	var done []map[string]string
	switch name {
	case "GetQueueUrl":
		return c.json("1.0", map[string]any{"QueueUrl": q.url()})
	case "GetQueueAttributes":
		return c.json("1.0", map[string]any{"Attributes": map[string]string{"QueueArn": q.arn(), "VisibilityTimeout": fmt.Sprint(q.visibility.Seconds()),
			"ApproximateNumberOfMessages": fmt.Sprint(len(q.messages))}})
	case "SendMessage":
		m := qs.send(q, in.MessageBody)
		return c.json("1.0", map[string]any{"MessageId": m.id, "MD5OfMessageBody": md5Hex(m.body)})
	case "DeleteMessage":
		q.remove(in.ReceiptHandle)
	case "DeleteMessageBatch":
		for _, e := range in.Entries {
			q.remove(e.ReceiptHandle)
			done = append(done, map[string]string{"Id": e.Id})
		}
	case "ChangeMessageVisibility":
		if in.VisibilityTimeout == nil || !q.show(in.ReceiptHandle, *in.VisibilityTimeout) {
			return failure(http.StatusBadRequest, "ReceiptHandleIsInvalid", "The input receipt handle is invalid.")
		}
	case "ChangeMessageVisibilityBatch":
		for _, e := range in.Entries {
			q.show(e.ReceiptHandle, e.VisibilityTimeout)
			done = append(done, map[string]string{"Id": e.Id})
		}
	default:
		return failure(http.StatusBadRequest, "UnknownOperationException", "The simulated AWS does not have sqs:"+name+".")
	}
	return c.json("1.0", map[string]any{"Successful": done, "Failed": []string{}})
}

// list returns the URLs of an account's queues, in order.
func (qs *queues) list(account, region, prefix string) []string {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	urls := []string{}
	for url, q := range qs.all {
		if q.account == account && q.region == region && strings.HasPrefix(q.name, prefix) {
			urls = append(urls, url)
		}
	}
	slices.Sort(urls)
	return urls
}

// receive waits for messages as long as the caller asked to.
func (qs *queues) receive(ctx context.Context, q *queue, in *sqsInput) []map[string]any {
	end := time.Now().Add(time.Duration(in.WaitTimeSeconds) * time.Second)
	for {
		qs.mu.Lock()
		now := time.Now()
		var out []map[string]any
		next := end
		for _, m := range q.messages {
			if m.visible.After(now) {
				if m.visible.Before(next) {
					next = m.visible
				}
				continue
			}
			if len(out) == max(in.MaxNumberOfMessages, 1) {
				break
			}
			visibility := q.visibility
			if in.VisibilityTimeout != nil {
				visibility = time.Duration(*in.VisibilityTimeout) * time.Second
			}
			m.received++
			m.receipt, m.visible = randomFrom(alnum, 40), now.Add(visibility)
			out = append(out, map[string]any{"MessageId": m.id, "ReceiptHandle": m.receipt, "Body": m.body, "MD5OfBody": md5Hex(m.body),
				"Attributes": map[string]string{"ApproximateReceiveCount": strconv.Itoa(m.received), "SentTimestamp": strconv.FormatInt(m.sent.UnixMilli(), 10)}})
		}
		woken := qs.woken
		qs.mu.Unlock()
		if len(out) > 0 || !now.Before(end) {
			return out
		}
		select {
		case <-ctx.Done():
			return nil
		case <-woken:
		case <-time.After(time.Until(next)):
		}
	}
}

// remove deletes by the receipt of any receive, as SQS does for the last one.
func (q *queue) remove(receipt string) {
	before := len(q.messages)
	q.messages = slices.DeleteFunc(q.messages, func(m *queueMessage) bool { return receipt != "" && m.receipt == receipt })
	q.deleted += before - len(q.messages)
}

func (q *queue) show(receipt string, seconds int) bool {
	for _, m := range q.messages {
		if m.receipt == receipt && receipt != "" {
			m.visible = time.Now().Add(time.Duration(seconds) * time.Second)
			return true
		}
	}
	return false
}

func md5Hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// json answers in one of the AWS JSON protocols' versions.
func (c *call) json(version string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	c.answer(http.StatusOK, "application/x-amz-json-"+version, raw)
	return nil
}
