"""LiveKit's client for Python, calls an egress API as an application does.

    call.py URL API_KEY API_SECRET METHOD JSON

METHOD is one of the API's, `StartWebEgress` for instance; JSON is its request as protobuf JSON. Prints the answer as protobuf
JSON, or `{"error": {"code", "msg", "status"}}` and ends with 1.
"""

import asyncio
import json
import re
import sys

import aiohttp
from google.protobuf.json_format import MessageToDict, Parse
from livekit import api

# A request has the name of its method, except for these.
REQUESTS = {
    "StartRoomCompositeEgress": api.RoomCompositeEgressRequest,
    "StartWebEgress": api.WebEgressRequest,
    "StartParticipantEgress": api.ParticipantEgressRequest,
    "StartTrackCompositeEgress": api.TrackCompositeEgressRequest,
    "StartTrackEgress": api.TrackEgressRequest,
}


async def main(url: str, key: str, secret: str, method: str, text: str) -> int:
    request = Parse(text, (REQUESTS.get(method) or getattr(api, f"{method}Request"))())
    # StartWebEgress is `start_web_egress`.
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", method).lower()
    # The default timeout is ten seconds, shorter than livekit-server's.
    timeout = aiohttp.ClientTimeout(total=60)
    async with api.LiveKitAPI(url, key, secret, timeout=timeout) as livekit:
        try:
            answer = await getattr(livekit.egress, name)(request)
        except api.TwirpError as error:
            print(json.dumps({"error": {"code": error.code, "msg": error.message, "status": error.status}}))
            return 1
    print(json.dumps(MessageToDict(answer)))
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:6])))
