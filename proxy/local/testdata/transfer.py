"""Uploads argv[1] with boto3 and downloads it to argv[2], and reads a DynamoDB
item; all through the environment."""
import sys

import boto3

s3 = boto3.client("s3")
with open(sys.argv[1], "rb") as f:
    s3.put_object(Bucket="bucket", Key="dir/a key+ü.bin", Body=f)
with open(sys.argv[2], "wb") as f:
    for chunk in s3.get_object(Bucket="bucket", Key="dir/a key+ü.bin")["Body"].iter_chunks(1 << 20):
        f.write(chunk)
print(boto3.client("dynamodb").get_item(TableName="t", Key={"id": {"S": "1"}})["Item"]["id"]["S"])
