// LiveKit's client for Node.js, calls an egress API as an application does.
//
//     node --input-type=module --eval "$(cat call.mjs)" URL API_KEY API_SECRET METHOD JSON
//
// METHOD is one of the API's; JSON is its request as protobuf JSON. Prints the answer as protobuf JSON, or
// `{"error": {"code", "msg", "status"}}` and ends with 1. It is evaluated, not run as a file, so that the client is found in
// the working directory's node_modules.
import { EgressClient, StartEgressRequest, WebEgressRequest } from 'livekit-server-sdk';

const [url, key, secret, method, text] = process.argv.slice(-5);
// The default timeout is ten seconds, shorter than livekit-server's.
const client = new EgressClient(url, key, secret, { requestTimeout: 60 });
const request = JSON.parse(text);
const message = (answer) => answer.toJson();

const calls = {
  StartWebEgress: async () => {
    const wanted = WebEgressRequest.fromJson(request);
    const outputs = {
      file: wanted.fileOutputs[0],
      stream: wanted.streamOutputs[0],
      segments: wanted.segmentOutputs[0],
      images: wanted.imageOutputs[0],
    };
    return message(await client.startWebEgress(wanted.url, outputs, { ...wanted, encodingOptions: wanted.options.value }));
  },
  StartEgress: async () => message(await client.startEgress(StartEgressRequest.fromJson(request))),
  ListEgress: async () => ({ items: (await client.listEgress(request)).map(message) }),
  StopEgress: async () => message(await client.stopEgress(request.egressId)),
  UpdateStream: async () =>
    message(await client.updateStream(request.egressId, request.addOutputUrls, request.removeOutputUrls)),
  UpdateLayout: async () => message(await client.updateLayout(request.egressId, request.layout)),
};

try {
  console.log(JSON.stringify(await calls[method]()));
} catch (error) {
  // Anything else is an error of this script.
  if (!('code' in error) || typeof error.status !== 'number') throw error;
  console.log(JSON.stringify({ error: { code: error.code, msg: error.message, status: error.status } }));
  process.exitCode = 1;
}
