"""boto3 in the environment of `postern proxy aws`: client.py KEYS.json BIG-FILE

Writes a line of JSON for each call that was answered:
{"operation", "request_id", "attempts"}. Any surprise ends it with an error."""
import hashlib
import io
import json
import os
import ssl
import sys
import tempfile
import threading
import urllib.request

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

with open(sys.argv[1], encoding="utf-8") as f:
    keys = json.load(f)
big_file = sys.argv[2]
BUCKET = "boto3-sdk"
lock = threading.Lock()


def tell(operation, request_id, attempts):
    with lock:
        print(json.dumps({"operation": operation, "request_id": request_id, "attempts": attempts}), flush=True)


def after(parsed, model, **_):
    meta = parsed["ResponseMetadata"]
    tell(model.name, meta.get("RequestId", ""), 1 + meta.get("RetryAttempts", 0))


def client(service, **config):
    c = boto3.client(service, config=Config(**config))
    # Told of by the client once a call, failed ones included.
    c.meta.events.register("after-call", after)
    return c


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def equal(got, want):
    if got != want:
        raise AssertionError(f"{got!r:.300} is not {want!r:.300}")


def fails(code, call, **args):
    try:
        call(**args)
    except ClientError as e:
        return equal(e.response["Error"]["Code"], code)
    raise AssertionError(f"{call} did not fail")


equal(client("sts").get_caller_identity()["Arn"].split(":", 5)[5], "assumed-role/PosternEngineer/alice")

ways = {
    "default": client("s3"),
    "signed payload": client("s3", signature_version="s3v4", s3={"payload_signing_enabled": True, "addressing_style": "virtual"},
                             request_checksum_calculation="when_required"),
    "signed payload, path": client("s3", signature_version="s3v4", s3={"payload_signing_enabled": True, "addressing_style": "path"}),
    "unsigned, path": client("s3", s3={"addressing_style": "path", "payload_signing_enabled": False}),
    "sha256 trailer, virtual": client("s3", s3={"addressing_style": "virtual"}),
    "region of its own": client("s3", s3={"us_east_1_regional_endpoint": "regional"}),
}
s3 = ways["default"]
s3.create_bucket(Bucket=BUCKET)
for i, (name, c) in enumerate(ways.items()):
    body = os.urandom(200_000 + i)
    more = {"ChecksumAlgorithm": "SHA256"} if "sha256" in name else {}
    c.put_object(Bucket=BUCKET, Key=f"ways/{name}", Body=body, **more)
    equal(c.get_object(Bucket=BUCKET, Key=f"ways/{name}")["Body"].read(), body)
    c.put_object(Bucket=BUCKET, Key=f"ways/{name}", Body=io.BytesIO(body), **more)
    equal(c.get_object(Bucket=BUCKET, Key=f"ways/{name}", Range="bytes=10-19")["Body"].read(), body[10:20])
    for key in keys[i % 2::2]:
        c.put_object(Bucket=BUCKET, Key=f"odd{i}/{key}", Body=key.encode())
        equal(c.get_object(Bucket=BUCKET, Key=f"odd{i}/{key}")["Body"].read().decode(), key)
listed = [o["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="odd1/", PaginationConfig={"PageSize": 4})
          for o in page["Contents"]]
equal(sorted(listed), sorted("odd1/" + k for k in keys[1::2]))

s3.put_object(Bucket=BUCKET, Key="described", Body=b"", Metadata={"a": "b", "two-words": "x"})
equal(s3.head_object(Bucket=BUCKET, Key="described")["Metadata"], {"a": "b", "two-words": "x"})

transfer = TransferConfig(multipart_threshold=8 << 20, multipart_chunksize=8 << 20, max_concurrency=8)
s3.upload_file(big_file, BUCKET, "big", Config=transfer)
with tempfile.TemporaryDirectory() as d:
    s3.download_file(BUCKET, "big", d + "/back", Config=transfer)
    equal(sha256(d + "/back"), sha256(big_file))
s3.copy({"Bucket": BUCKET, "Key": "big"}, BUCKET, "copy ü+", Config=transfer)
equal(s3.head_object(Bucket=BUCKET, Key="copy ü+")["ContentLength"], os.path.getsize(big_file))
s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "big"}, {"Key": "copy ü+"}]})
fails("404", s3.head_object, Bucket=BUCKET, Key="big")
fails("NoSuchKey", s3.get_object, Bucket=BUCKET, Key="big")

# Presigned, by a client that knows nothing of AWS.
web = urllib.request.build_opener(
    urllib.request.ProxyHandler({"https": os.environ["HTTPS_PROXY"]}),
    urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"])))
for style in ("virtual", "path"):
    signer = boto3.client("s3", config=Config(signature_version="s3v4", s3={"addressing_style": style}))
    for key in ("presigned", "pre signed+ü%/x//y"):
        where = {"Bucket": BUCKET, "Key": key}
        for method, operation, body in (("PUT", "put_object", b"by " + key.encode()), ("GET", "get_object", None)):
            url = signer.generate_presigned_url(operation, Params=where, ExpiresIn=60)
            request = urllib.request.Request(url, data=body, method=method)
            if body:
                request.add_header("Content-Type", "")
            with web.open(request) as answer:
                got = answer.read()
                tell({"PUT": "PutObject", "GET": "GetObject"}[method], answer.headers["x-amz-request-id"], 1)
        equal(got, b"by " + key.encode())

ddb = client("dynamodb")
ddb.create_table(TableName=BUCKET, BillingMode="PAY_PER_REQUEST", AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
                 KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}])
ddb.put_item(TableName=BUCKET, Item={"id": {"S": "ü"}, "blob": {"B": bytes(range(256))}})
equal(ddb.get_item(TableName=BUCKET, Key={"id": {"S": "ü"}})["Item"]["blob"]["B"], bytes(range(256)))
equal(ddb.query(TableName=BUCKET, KeyConditionExpression="id = :i", ExpressionAttributeValues={":i": {"S": "ü"}})["Count"], 1)
fails("ResourceNotFoundException", ddb.get_item, TableName="no-such-table", Key={"id": {"S": "x"}})

ec2 = client("ec2")
equal(ec2.describe_instances(Filters=[{"Name": "tag:team", "Values": ["a b+c&d=ü"]}])["Reservations"], [])
fails("InvalidInstanceID.NotFound", ec2.describe_instances, InstanceIds=["i-00000000000000000"])
