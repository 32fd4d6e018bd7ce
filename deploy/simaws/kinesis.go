package simaws

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
)

// shards are Kinesis's data streams of one shard each, kept in memory: a restart
// empties them.
type shards struct {
	mu    sync.Mutex
	all   map[string]*shard // by the stream's ARN
	woken chan struct{}     // closed and made anew when a record arrives
}

type shard struct {
	name    string
	records []record
}

type record struct {
	SequenceNumber              string
	ApproximateArrivalTimestamp float64
	Data                        []byte
	PartitionKey                string
}

func newShards() *shards { return &shards{all: map[string]*shard{}, woken: make(chan struct{})} }

const onlyShard = "shardId-000000000000"

type kinesisInput struct {
	StreamName, StreamARN, ConsumerName, ConsumerARN, ShardId, PartitionKey string

	Data             []byte
	StartingPosition struct{ Type, SequenceNumber string }
}

// serveKinesis: https://docs.aws.amazon.com/kinesis/latest/APIReference/
func (s *Sim) serveKinesis(c *call) error {
	name, ok := strings.CutPrefix(c.r.Header.Get("X-Amz-Target"), "Kinesis_20131202.")
	if !ok || c.proto != protoJSON {
		return s.serveUnknown(c)
	}
	c.event.source = "kinesis.amazonaws.com"
	c.event.nameIt(name)
	c.event.data = name == "PutRecord" || name == "SubscribeToShard"
	var in kinesisInput
	if err := json.Unmarshal(c.body, &in); err != nil {
		return failure(http.StatusBadRequest, "SerializationException", "the request body is not what "+name+" takes")
	}
	arn, asked := in.StreamARN, in.ConsumerARN
	if stream, _, ok := strings.Cut(in.ConsumerARN, "/consumer/"); ok {
		arn = stream
	}
	if arn == "" {
		arn = "arn:" + partitionOf(c.ep.region, "aws") + ":kinesis:" + c.ep.region + ":" + c.who.account + ":stream/" + in.StreamName
	}
	if asked == "" {
		asked = arn
	}
	c.event.dataARN = asked
	if err := c.authorize("kinesis:"+name, asked); err != nil {
		return err
	}
	k := s.kinesis
	k.mu.Lock()
	defer k.mu.Unlock()
	if name == "CreateStream" {
		k.all[arn] = &shard{name: in.StreamName}
		return c.json("1.1", map[string]any{})
	}
	x := k.all[arn]
	if x == nil {
		return failure(http.StatusBadRequest, "ResourceNotFoundException", "Stream "+arn+" not found.")
	}
	switch name {
	case "DescribeStreamSummary":
		return c.json("1.1", map[string]any{"StreamDescriptionSummary": map[string]any{"StreamName": x.name, "StreamARN": arn, "StreamStatus": "ACTIVE",
			"RetentionPeriodHours": 24, "StreamCreationTimestamp": float64(c.at.Unix()), "EnhancedMonitoring": []any{}, "OpenShardCount": 1}})
	case "RegisterStreamConsumer":
		return c.json("1.1", map[string]any{"Consumer": map[string]any{"ConsumerName": in.ConsumerName, "ConsumerStatus": "ACTIVE",
			"ConsumerARN": fmt.Sprintf("%s/consumer/%s:%d", arn, in.ConsumerName, c.at.Unix()), "ConsumerCreationTimestamp": float64(c.at.Unix())}})
	case "PutRecord":
		r := record{SequenceNumber: fmt.Sprintf("%056d", len(x.records)+1), ApproximateArrivalTimestamp: float64(c.at.UnixMilli()) / 1000,
			Data: in.Data, PartitionKey: in.PartitionKey}
		x.records = append(x.records, r)
		close(k.woken)
		k.woken = make(chan struct{})
		return c.json("1.1", map[string]any{"ShardId": onlyShard, "SequenceNumber": r.SequenceNumber})
	case "SubscribeToShard":
		return k.subscribe(c, x, &in)
	}
	return failure(http.StatusBadRequest, "UnknownOperationException", "The simulated AWS does not have kinesis:"+name+".")
}

// subscribe tells of records as they arrive, for as long as the caller listens; mu
// is held, but for the time that it waits.
func (k *shards) subscribe(c *call, x *shard, in *kinesisInput) error {
	next := 0
	switch in.StartingPosition.Type {
	case "LATEST":
		next = len(x.records)
	case "TRIM_HORIZON":
	default:
		return failure(http.StatusBadRequest, "InvalidArgumentException", "The simulated AWS starts at LATEST or TRIM_HORIZON.")
	}
	if c.frame("initial-response", map[string]any{}) != nil {
		return nil // the caller is gone
	}
	for {
		records := append([]record{}, x.records[next:]...)
		next = len(x.records)
		woken := k.woken
		k.mu.Unlock()
		err := c.frame("SubscribeToShardEvent", map[string]any{"Records": records, "ContinuationSequenceNumber": fmt.Sprintf("%056d", next), "MillisBehindLatest": 0})
		if err == nil {
			select {
			case <-woken:
			case <-c.r.Context().Done():
				err = c.r.Context().Err()
			}
		}
		k.mu.Lock()
		if err != nil {
			return nil
		}
	}
}
