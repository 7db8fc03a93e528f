"""LiveKit's client for Python, which uses protobuf: prints its results from a service as JSON. See tests/it/livekit_clients.rs."""

import asyncio
import json
import sys

import aiohttp
from livekit import api

# Timeout of one call; the client's default is ten seconds.
TIMEOUT = aiohttp.ClientTimeout(total=60)


def name(info):
    return api.EgressStatus.Name(info.status)


async def refusal(call):
    try:
        await call
    except api.ServerError as error:
        return [error.code, error.message, error.status]
    return None


async def calls(url, key, secret):
    told = {}
    async with api.LiveKitAPI(url, key, secret, timeout=TIMEOUT) as lk:
        s3 = api.S3Upload(access_key="k", secret="s", bucket="b")
        web = await lk.egress.start_web_egress(
            api.WebEgressRequest(
                url="https://example.com/",
                preset=api.EncodingOptionsPreset.H264_1080P_30,
                file_outputs=[api.EncodedFileOutput(file_type=api.EncodedFileType.MP4, filepath="a.mp4", s3=s3)],
                stream_outputs=[api.StreamOutput(protocol=api.StreamProtocol.RTMP, urls=["rtmp://a/b/c"])],
            )
        )
        told["web"] = [name(web), web.web.url, len(web.web.file_outputs), web.started_at > 0]
        v2 = await lk.egress.start_egress(
            api.StartEgressRequest(
                web=api.WebSource(url="https://example.com/"),
                outputs=[api.Output(file=api.FileOutput(filepath="b.mp4"))],
            )
        )
        told["v2"] = [name(v2), len(v2.egress.outputs)]
        room = await lk.egress.start_room_composite_egress(
            api.RoomCompositeEgressRequest(
                room_name="my room",
                layout="speaker",
                file_outputs=[api.EncodedFileOutput(filepath="c.mp4")],
            )
        )
        told["room"] = [name(room), room.room_name, room.room_composite.layout]
        everything = await lk.egress.list_egress(api.ListEgressRequest())
        told["listed"] = [info.egress_id for info in everything.items] == [e.egress_id for e in (room, v2, web)]
        in_room = await lk.egress.list_egress(api.ListEgressRequest(room_name="my room", active=True))
        told["in_room"] = [info.egress_id for info in in_room.items] == [room.egress_id]
        updated = await lk.egress.update_stream(
            api.UpdateStreamRequest(egress_id=web.egress_id, add_output_urls=["rtmp://d/e/f"])
        )
        told["updated"] = [stream.url for stream in updated.stream_results]
        layout = await lk.egress.update_layout(api.UpdateLayoutRequest(egress_id=room.egress_id, layout="grid"))
        told["layout"] = layout.egress_id == room.egress_id
        told["no_layout"] = await refusal(
            lk.egress.update_layout(api.UpdateLayoutRequest(egress_id=web.egress_id, layout="grid"))
        )
        stopped = await lk.egress.stop_egress(api.StopEgressRequest(egress_id=web.egress_id))
        told["stopped"] = name(stopped)
        told["unknown"] = await refusal(lk.egress.stop_egress(api.StopEgressRequest(egress_id="EG_unknown")))
    async with api.LiveKitAPI(url, key, "not the secret", timeout=TIMEOUT) as stranger:
        told["stranger"] = await refusal(stranger.egress.list_egress(api.ListEgressRequest()))
    return told


def webhooks(key, secret):
    receiver = api.WebhookReceiver(api.TokenVerifier(key, secret))
    told = []
    for webhook in json.load(sys.stdin):
        event = receiver.receive(webhook["body"], webhook["token"])
        told.append([event.event, name(event.egress_info), event.id.startswith("EV_"), event.created_at > 0])
    return told


if sys.argv[1] == "calls":
    result = asyncio.run(calls(*sys.argv[2:]))
else:
    result = webhooks(*sys.argv[2:])
print(json.dumps(result))
