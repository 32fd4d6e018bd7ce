// The AWS SDK for JavaScript v3 at a multi-region access point, where it signs by SigV4A,
// in the environment of `postern proxy aws`:
//   node multiregion.mjs ACCESS-POINT-ARN KEYS.json
// Writes lines as client.mjs does.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import https from "node:https";
import "@aws-sdk/signature-v4a";
import { GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { NodeHttpHandler } from "@smithy/node-http-handler";
import { HttpsProxyAgent } from "https-proxy-agent";

const [Bucket, file] = process.argv.slice(2);
const agent = new HttpsProxyAgent(process.env.HTTPS_PROXY, { keepAlive: true });
const s3 = new S3Client({ requestHandler: new NodeHttpHandler({ httpsAgent: agent }) });
const tell = (operation, request_id, attempts) => console.log(JSON.stringify({ operation, request_id, attempts }));

s3.middlewareStack.add(
  (next) => (args) => {
    assert.match(args.request.headers.authorization, /^AWS4-ECDSA-P256-SHA256 /);
    return next(args);
  },
  { step: "deserialize", priority: "low", name: "signedBySigV4A" },
);
const send = async (command, operation) => {
  const out = await s3.send(command);
  tell(operation, out.$metadata.requestId, out.$metadata.attempts);
  return out;
};
const plain = (url) =>
  new Promise((resolve, reject) => {
    https.get(url, { agent }, async (a) => {
      a.setEncoding("utf8");
      resolve({ status: a.statusCode, id: a.headers["x-amz-request-id"], text: (await a.toArray()).join("") });
    }).on("error", reject);
  });
const keys = JSON.parse(readFileSync(file, "utf8"));
for (const key of keys) {
  const Key = "js/" + key;
  await send(new PutObjectCommand({ Bucket, Key, Body: key }), "PutObject");
  assert.equal(await (await send(new GetObjectCommand({ Bucket, Key }), "GetObject")).Body.transformToString(), key);
}
// The SDK presigns by the common runtime's signer only, and signs calls by it, too, where
// there is one.
await import("@aws-sdk/signature-v4-crt");
const crt = new S3Client({ requestHandler: new NodeHttpHandler({ httpsAgent: agent }) });
// It signs paths as normalised, which S3 doesn't: those that have nothing to normalise work.
for (const key of keys.filter((k) => !/(^|\/)(\.{0,2}\/|\.{1,2}$)/.test(k))) {
  const url = await getSignedUrl(crt, new GetObjectCommand({ Bucket, Key: "js/" + key }), { expiresIn: 60 });
  assert.match(url, /X-Amz-Algorithm=AWS4-ECDSA-P256-SHA256/);
  const got = await plain(url);
  assert.equal(got.status, 200, got.text);
  assert.equal(got.text, key);
  tell("GetObject", got.id, 1);
}
const put = await crt.send(new PutObjectCommand({ Bucket, Key: "crt", Body: "by the common runtime" }));
tell("PutObject", put.$metadata.requestId, put.$metadata.attempts);
agent.destroy();
