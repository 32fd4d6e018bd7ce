package cloudtrail

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/posternhq/postern/events"
)

const (
	// pollers receive side by side, each up to ten messages.
	pollers = 3
	// visibility is how long a message that is at work stays hidden; it is
	// extended every third of that while the work lasts.
	visibility = time.Minute
	// maxReceives is after how many failed tries a message is set aside.
	maxReceives = 5
	// maxBody is SQS's limit for a message, in bytes.
	maxBody = 256 << 10
)

// Queue takes in what the messages of one SQS queue speak of: notifications of
// S3, plain or through SNS, and events of EventBridge.
type Queue struct {
	in         *Intake
	url        string
	visibility time.Duration
	wait       int32 // seconds of a long poll
}

// NewQueue reads the queue at url.
func NewQueue(in *Intake, url string) *Queue {
	return &Queue{in: in, url: url, visibility: visibility, wait: 20}
}

// Run works until ctx ends. What goes wrong is logged and tried again.
func (q *Queue) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range pollers {
		wg.Go(func() {
			for pause := time.Second; ctx.Err() == nil; {
				_, err := q.Once(ctx)
				if err == nil {
					pause = time.Second
					continue
				}
				if ctx.Err() == nil {
					q.in.log.Warn().Err(err).Str("queue", q.url).Msg("queue can't be read; trying again")
				}
				select {
				case <-ctx.Done():
				case <-time.After(pause):
				}
				pause = min(2*pause, time.Minute)
			}
		})
	}
	wg.Wait()
	return nil
}

// Once receives messages, if need be waiting for them, and returns when they are
// done with, and how many they were.
func (q *Queue) Once(ctx context.Context) (int, error) {
	client, err := q.in.aws.queue(ctx)
	if err != nil {
		return 0, err
	}
	out, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl: &q.url, MaxNumberOfMessages: 10, WaitTimeSeconds: q.wait, VisibilityTimeout: int32(q.visibility / time.Second),
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameApproximateReceiveCount},
	})
	if err != nil {
		return 0, err
	}
	var wg sync.WaitGroup
	for _, m := range out.Messages {
		wg.Go(func() { q.handle(ctx, client, &m) })
	}
	wg.Wait()
	return len(out.Messages), nil
}

// handle takes one message in and deletes it when all of it is durable. One that
// can't be taken in is set aside; one that couldn't be this time comes again.
func (q *Queue) handle(ctx context.Context, client *sqs.Client, m *types.Message) {
	work, done := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { q.keep(work, client, m) })
	defer wg.Wait()
	defer done()
	log := q.in.log.With().Str("queue", q.url).Str("message", aws.ToString(m.MessageId)).Logger()

	_, err := q.in.message(ctx, q.url, []byte(aws.ToString(m.Body)))
	receives, _ := strconv.Atoi(m.Attributes[string(types.MessageSystemAttributeNameApproximateReceiveCount)])
	if err != nil {
		_, dead := errors.AsType[poison](err)
		if ctx.Err() != nil {
			return
		}
		if !dead && receives < maxReceives {
			log.Warn().Err(err).Int("receives", receives).Msg("message is not taken in; it comes again")
			return
		}
		if err := q.setAside(ctx, m, err.Error(), receives); err != nil {
			log.Warn().Err(err).Msg("message can't be set aside; it comes again")
			return
		}
		log.Warn().Err(err).Int("receives", receives).Msg("message set aside: postern audit dead-letters")
	}
	// What is durable should not come again because a shutdown was quicker.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if _, err := client.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &q.url, ReceiptHandle: m.ReceiptHandle}); err != nil {
		log.Warn().Err(err).Msg("message is taken in and can't be deleted; it comes again")
	}
}

// keep extends the time that a message stays hidden until ctx ends.
func (q *Queue) keep(ctx context.Context, client *sqs.Client, m *types.Message) {
	tick := time.NewTicker(q.visibility / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		_, err := client.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{
			QueueUrl: &q.url, ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: int32(q.visibility / time.Second),
		})
		if err != nil && ctx.Err() == nil {
			q.in.log.Warn().Err(err).Str("queue", q.url).Msg("a message at work can't be kept hidden; it may come twice")
		}
	}
}

func (q *Queue) setAside(ctx context.Context, m *types.Message, reason string, receives int) error {
	body := aws.ToString(m.Body)
	if len(body) > maxBody {
		body = body[:maxBody]
	}
	_, err := q.in.journal.Append(ctx, events.Event{
		Meta: events.Meta{ID: "rejected/" + aws.ToString(m.MessageId)},
		Data: &events.CloudTrailMessageRejected{Queue: q.url, MessageID: aws.ToString(m.MessageId), Body: body, Reason: reason, Receives: receives},
	})
	return err
}
