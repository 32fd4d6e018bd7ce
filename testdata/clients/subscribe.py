"""boto3 in the environment of `postern proxy aws`: subscribe.py

Subscribes to the shard of a new Kinesis stream, puts records into it, and writes
each as it comes over the subscription; then "waiting", and how that ended."""
import boto3

kinesis = boto3.client("kinesis")
kinesis.create_stream(StreamName="clients", ShardCount=1)
arn = kinesis.describe_stream_summary(StreamName="clients")["StreamDescriptionSummary"]["StreamARN"]
consumer = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="tail")["Consumer"]["ConsumerARN"]
events = iter(kinesis.subscribe_to_shard(
    ConsumerARN=consumer, ShardId="shardId-000000000000", StartingPosition={"Type": "LATEST"})["EventStream"])
for text in ("one", "two", "three"):
    kinesis.put_record(StreamName="clients", PartitionKey="p", Data=text.encode())
    records = []
    while not records:
        records = next(events)["SubscribeToShardEvent"]["Records"]
    for record in records:
        print(record["Data"].decode(), flush=True)
print("waiting", flush=True)
try:
    for event in events:
        print("more", event, flush=True)
    print("ended", flush=True)
except Exception as e:
    print("cut:", type(e).__name__, flush=True)
