// Conversations in signed events over HTTP/2, with the AWS SDK for JavaScript v3 in the
// environment of `postern proxy aws`. Writes a line for each of them: {"operation",
// "request_id"}, whether it has ended or waits ("ended" or "waiting"), and, for one that
// waited and was cut, {"cut"}. Any surprise ends it with an error.
import assert from "node:assert/strict";
import http from "node:http";
import tls from "node:tls";
import { BedrockRuntimeClient, InvokeModelWithBidirectionalStreamCommand } from "@aws-sdk/client-bedrock-runtime";
import { StartStreamTranscriptionCommand, TranscribeStreamingClient } from "@aws-sdk/client-transcribe-streaming";
import { NodeHttp2Handler } from "@smithy/node-http-handler";

const tell = (line) => console.log(JSON.stringify(line));

// through connects to a host by CONNECT, which the SDK's handler of HTTP/2 can't itself.
const through = (host) =>
  new Promise((resolve, reject) => {
    const proxy = new URL(process.env.HTTPS_PROXY);
    http.request({ host: proxy.hostname, port: proxy.port, method: "CONNECT", path: `${host}:443` })
      .on("error", reject)
      .on("connect", (answer, socket) => {
        const t = tls.connect({ socket, servername: host, ALPNProtocols: ["h2"] });
        t.on("error", reject).once("secureConnect", () => resolve(t));
      })
      .end();
  });

// Said is what the client says, as it says it.
class Said {
  queue = [];
  wake = () => {};
  say(event) {
    this.queue.push(event);
    this.wake();
  }
  async *[Symbol.asyncIterator]() {
    for (;;) {
      while (this.queue.length) {
        const event = this.queue.shift();
        if (event === null) return;
        yield event;
      }
      await new Promise((resolve) => (this.wake = resolve));
    }
  }
}

// converse says texts, each once the one before is answered; heard checks an answer. The
// answers to come are returned.
async function converse(Client, host, command, said, event, heard) {
  const socket = await through(host);
  const client = new Client({
    requestHandler: new NodeHttp2Handler({ disableConcurrentStreams: true, nodeHttp2ConnectOptions: { createConnection: () => socket } }),
    maxAttempts: 1,
  });
  const texts = ["one", "two".repeat(10_000), "ü"];
  said.say(event(texts[0])); // send waits for the first answer
  const result = await client.send(command);
  tell({ operation: command.constructor.name.replace(/Command$/, ""), request_id: result.$metadata.requestId });
  const answers = (result.TranscriptResultStream ?? result.body)[Symbol.asyncIterator]();
  for (const [i, text] of texts.entries()) {
    if (i > 0) said.say(event(text));
    heard((await answers.next()).value, text);
  }
  return answers;
}

const region = process.env.AWS_REGION;
const services = [
  (said) =>
    converse(TranscribeStreamingClient, `transcribestreaming.${region}.amazonaws.com`,
      new StartStreamTranscriptionCommand({ LanguageCode: "en-US", MediaEncoding: "pcm", MediaSampleRateHertz: 16000, AudioStream: said }), said,
      (text) => ({ AudioEvent: { AudioChunk: Buffer.from(text) } }),
      (got, text) => assert.equal(got.TranscriptEvent.Transcript.Results[0].Alternatives[0].Transcript, `${Buffer.byteLength(text)} bytes`)),
  (said) =>
    converse(BedrockRuntimeClient, `bedrock-runtime.${region}.amazonaws.com`,
      new InvokeModelWithBidirectionalStreamCommand({ modelId: "amazon.nova-sonic-v1:0", body: said }), said,
      (text) => ({ chunk: { bytes: Buffer.from(text) } }),
      (got, text) => assert.equal(Buffer.from(got.chunk.bytes).toString(), text)),
];
for (const service of services) {
  const said = new Said();
  const answers = await service(said);
  said.say(null);
  assert.ok((await answers.next()).done);
  tell("ended");
}
const open = [];
for (const service of services) {
  open.push(await service(new Said()));
  tell("waiting");
}
for (const answers of open) {
  await answers.next().then(
    ({ value, done }) => assert.fail(`answered after the lock: ${done} ${JSON.stringify(value)}`),
    (e) => tell({ cut: String(e) }),
  );
}
process.exit(0); // a session of HTTP/2 may linger
