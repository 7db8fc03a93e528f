// LiveKit's client for Node.js, which uses JSON: prints its results from a service as JSON. See tests/it/livekit_clients.rs.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [task, peers, ...rest] = process.argv.slice(2);
const sdk = createRequire(`${peers}/`)("livekit-server-sdk");

/** Timeout of one call; the client's default is ten seconds. */
const OPTIONS = { requestTimeout: 60 };

const name = (info) => sdk.EgressStatus[info.status];

async function refusal(call) {
  try {
    await call;
  } catch (error) {
    return [error.code, error.message, error.status];
  }
  return null;
}

async function calls(url, key, secret) {
  const told = {};
  const client = new sdk.EgressClient(url, key, secret, OPTIONS);
  const s3 = new sdk.S3Upload({ accessKey: "k", secret: "s", bucket: "b" });
  const web = await client.startWebEgress(
    "https://example.com/",
    {
      file: new sdk.EncodedFileOutput({
        fileType: sdk.EncodedFileType.MP4,
        filepath: "a.mp4",
        output: { case: "s3", value: s3 },
      }),
      stream: new sdk.StreamOutput({ protocol: sdk.StreamProtocol.RTMP, urls: ["rtmp://a/b/c"] }),
    },
    { encodingOptions: sdk.EncodingOptionsPreset.H264_1080P_30 },
  );
  told.web = [name(web), web.request.value.url, web.request.value.fileOutputs.length, web.startedAt > 0n];
  const v2 = await client.startEgress(
    new sdk.StartEgressRequest({
      source: { case: "web", value: new sdk.WebSource({ url: "https://example.com/" }) },
      outputs: [
        new sdk.Output({ config: { case: "file", value: new sdk.FileOutput({ filepath: "b.mp4" }) } }),
      ],
    }),
  );
  told.v2 = [name(v2), v2.request.value.outputs.length];
  const room = await client.startRoomCompositeEgress(
    "my room",
    { file: new sdk.EncodedFileOutput({ filepath: "c.mp4" }) },
    { layout: "speaker" },
  );
  told.room = [name(room), room.roomName, room.request.value.layout];
  const ids = (infos) => infos.map((info) => info.egressId).join();
  told.listed = ids(await client.listEgress()) === ids([room, v2, web]);
  told.in_room = ids(await client.listEgress({ roomName: "my room", active: true })) === room.egressId;
  const updated = await client.updateStream(web.egressId, ["rtmp://d/e/f"]);
  told.updated = updated.streamResults.map((stream) => stream.url);
  told.layout = (await client.updateLayout(room.egressId, "grid")).egressId === room.egressId;
  told.no_layout = await refusal(client.updateLayout(web.egressId, "grid"));
  told.stopped = name(await client.stopEgress(web.egressId));
  told.unknown = await refusal(client.stopEgress("EG_unknown"));
  told.stranger = await refusal(new sdk.EgressClient(url, key, "not the secret", OPTIONS).listEgress());
  return told;
}

async function webhooks(key, secret) {
  const receiver = new sdk.WebhookReceiver(key, secret);
  const told = [];
  for (const { body, token } of JSON.parse(readFileSync(0, "utf8"))) {
    const event = await receiver.receive(body, token);
    told.push([event.event, name(event.egressInfo), event.id.startsWith("EV_"), event.createdAt > 0n]);
  }
  return told;
}

console.log(JSON.stringify(await (task === "calls" ? calls(...rest) : webhooks(...rest))));
