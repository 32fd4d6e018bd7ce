package cloudtrail

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// notification is what a message of a queue speaks of.
type notification struct {
	objects []s3Object
	// record is a single CloudTrail event of EventBridge, id the message's there.
	record json.RawMessage
	id     string
}

type s3Object struct{ bucket, key string }

// parseNotification reads a message: a notification of S3
// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html),
// plain or through SNS, one of CloudTrail's own through SNS
// (https://docs.aws.amazon.com/awscloudtrail/latest/userguide/configure-sns-notifications-for-cloudtrail.html),
// or an event of EventBridge, of S3 or a CloudTrail record
// (https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-service-event-cloudtrail.html).
// One that speaks of nothing, such as the test messages of S3 and CloudTrail, has neither
// objects nor a record.
func parseNotification(body []byte) (notification, error) {
	return parseMessage(body, 0)
}

// validationMessage is what CloudTrail sends to a topic that it is given, to see whether it may.
const validationMessage = "CloudTrail validation message."

// maxEnvelopes is how often a message may be wrapped in another: S3 in SNS, in
// SNS once more.
const maxEnvelopes = 3

func parseMessage(body []byte, depth int) (notification, error) {
	var m struct {
		// SNS
		Type    string
		Message *string
		// S3
		Event   string
		Records []struct {
			EventSource string `json:"eventSource"`
			EventName   string `json:"eventName"`
			S3          *struct {
				Bucket struct {
					Name string `json:"name"`
				} `json:"bucket"`
				Object struct {
					Key string `json:"key"`
				} `json:"object"`
			} `json:"s3"`
		}
		// CloudTrail
		S3Bucket    string          `json:"s3Bucket"`
		S3ObjectKey json.RawMessage `json:"s3ObjectKey"`
		// EventBridge
		ID         string          `json:"id"`
		Source     string          `json:"source"`
		DetailType string          `json:"detail-type"`
		Detail     json.RawMessage `json:"detail"`
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return notification{}, fmt.Errorf("no notification: %w", err)
	}
	var n notification
	switch {
	case m.Message != nil && m.Type == "Notification":
		if depth >= maxEnvelopes {
			return n, errors.New("no notification: too many envelopes of SNS")
		}
		if *m.Message == validationMessage {
			return n, nil
		}
		return parseMessage([]byte(*m.Message), depth+1)
	case m.Event == "s3:TestEvent":
		return n, nil
	case m.S3Bucket != "":
		var keys []string
		if err := json.Unmarshal(m.S3ObjectKey, &keys); err != nil {
			return n, fmt.Errorf("a notification of CloudTrail without a list of keys: %w", err)
		}
		for _, k := range keys {
			n.objects = append(n.objects, s3Object{m.S3Bucket, k})
		}
	case m.DetailType == "Object Created":
		var d struct {
			Bucket struct {
				Name string `json:"name"`
			} `json:"bucket"`
			Object struct {
				Key string `json:"key"`
			} `json:"object"`
		}
		if err := json.Unmarshal(m.Detail, &d); err != nil {
			return n, fmt.Errorf("an event of S3 that can't be read: %w", err)
		}
		n.objects = append(n.objects, s3Object{d.Bucket.Name, d.Object.Key})
	case m.Source == "aws.s3" && strings.HasPrefix(m.DetailType, "Object "):
		return n, nil // as of ObjectRemoved, or tags and the like
	case m.DetailType != "":
		if _, err := Parse(m.Detail); err != nil {
			return n, fmt.Errorf("an event of EventBridge, %q: %w", m.DetailType, err)
		}
		n.record, n.id = m.Detail, m.ID
	case len(m.Records) > 0:
		for i, r := range m.Records {
			if r.S3 == nil {
				return n, fmt.Errorf("record %d of the notification is not of S3", i)
			}
			if strings.HasPrefix(r.EventName, "ObjectRemoved") {
				continue // what is gone the digest files miss
			}
			key, err := url.QueryUnescape(r.S3.Object.Key)
			if err != nil {
				return n, fmt.Errorf("record %d of the notification: key: %w", i, err)
			}
			n.objects = append(n.objects, s3Object{r.S3.Bucket.Name, key})
		}
	default:
		return n, errors.New("neither a notification of S3, SNS or CloudTrail nor an event of EventBridge")
	}
	for _, o := range n.objects {
		if o.bucket == "" || o.key == "" {
			return notification{}, errors.New("the notification names no object")
		}
	}
	return n, nil
}
