"""Calls AWS through the HTTP proxy in argv[1] and prints, one JSON object a
line, what botocore made of each answer."""
import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.serialize import SERIALIZERS

CBOR = "smithy-rpc-v2-cbor"


def client(service, session=boto3, **kw):
    return session.client(
        service, region_name="eu-central-1", use_ssl=False,
        aws_access_key_id="AKIAEXAMPLEPOSTERN01",
        aws_secret_access_key="example-secret-key-not-real-000000000000",
        config=Config(proxies={"http": sys.argv[1]}), **kw)


def speaking_cbor(service):
    """A session that speaks Smithy RPC v2 CBOR to a service: botocore 1.43 knows it,
    and takes JSON wherever a service has both."""
    session = boto3.session.Session()
    loader = session._session.get_component("data_loader")
    loader.load_service_model(service, "service-2")["metadata"].update(protocols=[CBOR])  # it keeps them
    return session


CALLS = {
    "s3 get": lambda: client("s3").get_object(Bucket="bucket", Key="key"),
    "s3 put": lambda: client("s3").put_object(Bucket="bucket", Key="key", Body=b"x" * 100),
    "s3 head": lambda: client("s3").head_object(Bucket="bucket", Key="key"),
    "s3control": lambda: client("s3control").list_jobs(AccountId="111122223333"),
    "ec2": lambda: client("ec2").describe_instances(),
    "sts": lambda: client("sts").get_caller_identity(),
    "iam": lambda: client("iam").list_users(),
    "dynamodb": lambda: client("dynamodb").list_tables(),
    "kinesis": lambda: client("kinesis").list_streams(),
    "sqs": lambda: client("sqs").list_queues(),
    "lambda": lambda: client("lambda").list_functions(),
    "cloudwatch": lambda: client("cloudwatch").list_metrics(),
    "route53": lambda: client("route53").list_hosted_zones(),
    "cloudfront": lambda: client("cloudfront").list_distributions(),
    "cloudsearchdomain": lambda: client(
        "cloudsearchdomain", endpoint_url="http://search-x.eu-central-1.cloudsearch.amazonaws.com",
    ).search(query="q" * 10),
}

if CBOR in SERIALIZERS:
    CALLS["cloudwatch, CBOR"] = lambda: client("cloudwatch", speaking_cbor("cloudwatch")).list_metrics()

for name, call in CALLS.items():
    got = {"name": name}
    try:
        call()
    except ClientError as e:
        m = e.response["ResponseMetadata"]
        got |= {"code": e.response["Error"]["Code"], "message": e.response["Error"].get("Message", ""),
                "status": m["HTTPStatusCode"], "retries": m.get("RetryAttempts", 0),
                "request_id": m.get("RequestId", "")}
    print(json.dumps(got))
