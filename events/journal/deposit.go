package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// issuedBucket is the JetStream bucket in which proxies leave for one another what
// they handed out; its stream is KV_postern_issued.
const issuedBucket = "postern_issued"

// longestDeposit is when whatever is in the bucket is forgotten, whatever its own
// end: no credentials of AWS's last longer.
const longestDeposit = 13 * time.Hour

func setUpDeposits(ctx context.Context, js jetstream.JetStream, replicas int) error {
	_, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: issuedBucket, Description: "what proxies handed out, sealed for one another",
		History: 1, Storage: jetstream.FileStorage, Replicas: replicas,
		TTL: longestDeposit, LimitMarkerTTL: time.Second, // and with it, an end for each value
	})
	if err != nil {
		return fmt.Errorf("set up bucket %s: %w", issuedBucket, err)
	}
	return nil
}

// Deposit leaves a value under a key, which is one token of a subject, for whoever
// may read the bucket of what was issued, until ttl is over. A key has one value:
// the error of a second wraps ErrConflict.
func (j *Journal) Deposit(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	msg := nats.NewMsg("$KV." + issuedBucket + "." + key)
	msg.Data = value
	_, err := j.conn.Load().js.PublishMsg(ctx, msg, jetstream.WithExpectStream("KV_"+issuedBucket),
		jetstream.WithExpectLastSequencePerSubject(0), jetstream.WithMsgTTL(max(ttl.Truncate(time.Second), time.Second)))
	if err != nil {
		return bucketError("write", key, err)
	}
	return nil
}

// Deposited returns the value that was left under a key. Without one the error
// wraps ErrNoKey. The stream's leader answers: what was left before is seen.
func (j *Journal) Deposited(ctx context.Context, key string) ([]byte, error) {
	m, err := j.conn.Load().fromLeader(ctx, "KV_"+issuedBucket, map[string]string{"last_by_subj": "$KV." + issuedBucket + "." + key})
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound), err == nil && len(m.Data) == 0: // it ended
		err = ErrNoKey
	case err == nil:
		return m.Data, nil
	}
	return nil, bucketError("read", key, err)
}
