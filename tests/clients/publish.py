"""Publishes raw video frames and audio in a loop with LiveKit's SDK for Python. See tests/support/python.rs."""

import asyncio
import pathlib
import sys
import time

from livekit import rtc

WIDTH, HEIGHT, FPS = 640, 360, 30
PICTURE = WIDTH * HEIGHT * 3 // 2
# Audio is passed on in chunks of 10 ms, mono, 16 bits.
RATE, PIECE = 48_000, 480


def pictures(path):
    bytes = pathlib.Path(path).read_bytes()
    return [
        rtc.VideoFrame(WIDTH, HEIGHT, rtc.VideoBufferType.I420, bytes[at : at + PICTURE])
        for at in range(0, len(bytes), PICTURE)
    ]


def pieces(path):
    bytes = pathlib.Path(path).read_bytes()
    step = PIECE * 2
    return [
        rtc.AudioFrame(bytes[at : at + step], RATE, 1, PIECE) for at in range(0, len(bytes) - step + 1, step)
    ]


async def play(video, audio, pictures, pieces):
    """Each frame and each audio chunk at its time, by one clock."""
    begun = time.monotonic()
    shown = sounded = 0
    while True:
        now = time.monotonic() - begun
        while shown <= now * FPS:
            video.capture_frame(pictures[shown % len(pictures)])
            shown += 1
        while sounded <= now * RATE / PIECE:
            await audio.capture_frame(pieces[sounded % len(pieces)])
            sounded += 1
        next_one = min(shown / FPS, sounded * PIECE / RATE)
        await asyncio.sleep(max(0, begun + next_one - time.monotonic()))


async def main(url, token, codec, pictures_at, sound_at):
    room = rtc.Room()
    await room.connect(url, token, rtc.RoomOptions(auto_subscribe=False))
    video = rtc.VideoSource(WIDTH, HEIGHT)
    # No queue: frames are sent at once.
    audio = rtc.AudioSource(RATE, 1, queue_size_ms=0)
    picture = await room.local_participant.publish_track(
        rtc.LocalVideoTrack.create_video_track("picture", video),
        rtc.TrackPublishOptions(
            source=rtc.TrackSource.SOURCE_CAMERA,
            video_codec=rtc.VideoCodec.Value(codec),
            simulcast=False,
            video_encoding=rtc.VideoEncoding(max_bitrate=1_500_000, max_framerate=FPS),
        ),
    )
    sound = await room.local_participant.publish_track(
        rtc.LocalAudioTrack.create_audio_track("sound", audio),
        rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE, dtx=False),
    )
    pathlib.Path("published").write_text(f"{picture.sid} {sound.sid}\n")
    await play(video, audio, pictures(pictures_at), pieces(sound_at))


asyncio.run(main(*sys.argv[1:]))
