// The AWS SDK for JavaScript v3 in the environment of `postern proxy aws`:
//   node client.mjs KEYS.json BIG-FILE
// Writes a line of JSON for each call that was answered:
// {"operation", "request_id", "attempts"}. Any surprise ends it with an error.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { createReadStream, readFileSync, statSync } from "node:fs";
import https from "node:https";
import { Readable } from "node:stream";
import {
  CreateBucketCommand, DeleteObjectsCommand, GetObjectCommand, HeadObjectCommand, PutObjectCommand, S3Client,
  paginateListObjectsV2,
} from "@aws-sdk/client-s3";
import { CreateTableCommand, DynamoDBClient, GetItemCommand, PutItemCommand, QueryCommand } from "@aws-sdk/client-dynamodb";
import { DescribeInstancesCommand, EC2Client } from "@aws-sdk/client-ec2";
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";
import { Upload } from "@aws-sdk/lib-storage";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { NodeHttpHandler } from "@smithy/node-http-handler";
import { HttpsProxyAgent } from "https-proxy-agent";

const keys = JSON.parse(readFileSync(process.argv[2], "utf8"));
const bigFile = process.argv[3];
const agent = new HttpsProxyAgent(process.env.HTTPS_PROXY, { keepAlive: true });
const tell = (operation, meta) =>
  console.log(JSON.stringify({ operation, request_id: meta.requestId ?? "", attempts: meta.attempts ?? 0 }));

// noted adds a middleware outside the retries, which sees each call once.
function noted(client) {
  client.middlewareStack.add(
    (next, context) => async (args) => {
      try {
        const result = await next(args);
        tell(context.commandName.replace(/Command$/, ""), result.output.$metadata);
        return result;
      } catch (e) {
        if (e.$metadata) tell(context.commandName.replace(/Command$/, ""), e.$metadata);
        throw e;
      }
    },
    { step: "initialize", priority: "high", name: "noted" },
  );
  return client;
}
const options = { requestHandler: new NodeHttpHandler({ httpsAgent: agent }) };
const s3 = noted(new S3Client(options));
const pathStyle = noted(new S3Client({ ...options, forcePathStyle: true }));
const Bucket = "javascript-sdk";

const sha256 = async (stream) => {
  const h = createHash("sha256");
  for await (const piece of stream) h.update(piece);
  return h.digest("hex");
};
const get = async (client, Key) => (await client.send(new GetObjectCommand({ Bucket, Key }))).Body.transformToString();

const me = await noted(new STSClient(options)).send(new GetCallerIdentityCommand({}));
assert.match(me.Arn, /:assumed-role\/PosternEngineer\/alice$/);

await s3.send(new CreateBucketCommand({ Bucket }));
for (const [i, Key] of keys.entries()) {
  const client = i % 2 ? s3 : pathStyle;
  await client.send(new PutObjectCommand({ Bucket, Key: "odd/" + Key, Body: Key }));
  assert.equal(await get(client, "odd/" + Key), Key);
}
const listed = [];
for await (const page of paginateListObjectsV2({ client: s3, pageSize: 5 }, { Bucket, Prefix: "odd/" })) {
  listed.push(...page.Contents.map((o) => o.Key.slice(4)));
}
assert.deepEqual(listed.sort(), [...keys].sort());

// Bodies: bytes, a stream of known length, one of unknown length in parts.
const bytes = randomBytes((3 << 20) + 11);
await s3.send(new PutObjectCommand({ Bucket, Key: "bytes", Body: bytes, ChecksumAlgorithm: "SHA256" }));
assert.equal(await sha256((await s3.send(new GetObjectCommand({ Bucket, Key: "bytes" }))).Body), createHash("sha256").update(bytes).digest("hex"));
const range = await s3.send(new GetObjectCommand({ Bucket, Key: "bytes", Range: "bytes=1000-1999" }));
assert.deepEqual(Buffer.from(await range.Body.transformToByteArray()), bytes.subarray(1000, 2000));

const want = await sha256(createReadStream(bigFile));
await s3.send(new PutObjectCommand({ Bucket, Key: "stream", Body: createReadStream(bigFile), ContentLength: statSync(bigFile).size }));
assert.equal(await sha256((await s3.send(new GetObjectCommand({ Bucket, Key: "stream" }))).Body), want);
await new Upload({
  client: s3, params: { Bucket, Key: "parts", Body: Readable.from(createReadStream(bigFile)) }, partSize: 8 << 20, queueSize: 4,
}).done();
const parts = await s3.send(new GetObjectCommand({ Bucket, Key: "parts" }));
assert.equal(parts.ContentLength, statSync(bigFile).size);
assert.equal(await sha256(parts.Body), want);
await s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects: [{ Key: "stream" }, { Key: "parts" }] } }));
await assert.rejects(s3.send(new HeadObjectCommand({ Bucket, Key: "stream" })), { name: "NotFound" });
await assert.rejects(s3.send(new GetObjectCommand({ Bucket, Key: "none" })), { name: "NoSuchKey" });

// Presigned, by a client that knows nothing of AWS.
const plain = (method, url, body) =>
  new Promise((resolve, reject) => {
    const r = https.request(url, { method, agent, headers: body ? { "content-length": Buffer.byteLength(body) } : {} }, async (a) => {
      a.setEncoding("utf8");
      resolve({ status: a.statusCode, id: a.headers["x-amz-request-id"], text: (await a.toArray()).join("") });
    });
    r.on("error", reject);
    r.end(body);
  });
const unnoted = new S3Client(options);
for (const Key of ["presigned", "pre signed+ü%/x//y"]) {
  const put = await plain("PUT", await getSignedUrl(unnoted, new PutObjectCommand({ Bucket, Key }), { expiresIn: 60 }), "by " + Key);
  assert.equal(put.status, 200, put.text);
  tell("PutObject", { requestId: put.id, attempts: 1 });
  const got = await plain("GET", await getSignedUrl(unnoted, new GetObjectCommand({ Bucket, Key }), { expiresIn: 60 }));
  assert.equal(got.status, 200, got.text);
  assert.equal(got.text, "by " + Key);
  tell("GetObject", { requestId: got.id, attempts: 1 });
}

const ddb = noted(new DynamoDBClient(options));
const TableName = "javascript-sdk";
await ddb.send(new CreateTableCommand({
  TableName, BillingMode: "PAY_PER_REQUEST",
  AttributeDefinitions: [{ AttributeName: "id", AttributeType: "S" }, { AttributeName: "n", AttributeType: "N" }],
  KeySchema: [{ AttributeName: "id", KeyType: "HASH" }, { AttributeName: "n", KeyType: "RANGE" }],
}));
for (const n of ["1", "2", "3"]) {
  await ddb.send(new PutItemCommand({ TableName, Item: { id: { S: "ü" }, n: { N: n }, big: { S: "x".repeat(100_000) } } }));
}
const item = await ddb.send(new GetItemCommand({ TableName, Key: { id: { S: "ü" }, n: { N: "2" } } }));
assert.equal(item.Item.n.N, "2");
const found = await ddb.send(new QueryCommand({
  TableName, KeyConditionExpression: "id = :id AND n > :n", ExpressionAttributeValues: { ":id": { S: "ü" }, ":n": { N: "1" } },
}));
assert.equal(found.Count, 2);

await noted(new EC2Client(options)).send(new DescribeInstancesCommand({}));
agent.destroy();
