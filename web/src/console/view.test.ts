import { expect, test } from "vitest";
import type { EgressInfo, Recording, Stream } from "./info";
import * as view from "./view";

const blank: EgressInfo = {
  egress_id: "EG_1",
  room_name: "",
  status: "EGRESS_ACTIVE",
  started_at: "0",
  ended_at: "0",
  error: "",
  details: "",
  stream_results: [],
  file_results: [],
  segment_results: [],
  image_results: [],
};
const info = (more: Partial<EgressInfo>): EgressInfo => ({ ...blank, ...more });
const file = { filename: "a.mp4", location: "", size: "0", duration: "0" };
const stream: Stream = {
  url: "rtmp://h/app/{k...y}",
  status: "ACTIVE",
  error: "",
  started_at: "1",
  retries: 0,
};

test("a recording is called by what it records", () => {
  const titles = [
    info({ web: { url: "https://x/?a={...}" } }),
    info({ room_composite: { room_name: "standup" } }),
    info({ participant: { room_name: "standup", identity: "ann" } }),
    info({ track_composite: { room_name: "r", audio_track_id: "TR_a", video_track_id: "TR_v" } }),
    info({ track: { room_name: "r", track_id: "TR_a" } }),
    info({ egress: { web: { url: "https://x/" } } }),
    info({ egress: { room_name: "standup", template: { layout: "grid" } } }),
    info({}),
  ].map(view.title);
  expect(titles).toEqual([
    "https://x/?a={...}",
    "standup",
    "ann in standup",
    "TR_a + TR_v in r",
    "TR_a in r",
    "https://x/",
    "standup",
    "EG_1",
  ]);
});

test("what can be asked of it", () => {
  expect(view.hasLayout(info({ web: {} }))).toBe(false);
  expect(view.hasLayout(info({ room_composite: {} }))).toBe(true);
  expect(view.hasLayout(info({ room_composite: { audio_only: true } }))).toBe(false);
  expect(view.hasLayout(info({ egress: { template: { layout: "grid" } } }))).toBe(true);
  expect(view.canStream(info({ web: { stream_outputs: [{}] } }))).toBe(true);
  expect(view.canStream(info({ web: { stream: {} } }))).toBe(true);
  expect(view.canStream(info({ web: { stream_outputs: [] } }))).toBe(false);
  expect(view.canStream(info({ egress: { web: {}, outputs: [{}, { stream: {} }] } }))).toBe(true);
  const open = ["EGRESS_STARTING", "EGRESS_ACTIVE", "EGRESS_ENDING", "EGRESS_COMPLETE", "EGRESS_LATER"];
  expect(open.map((status) => view.isOpen(info({ status })))).toEqual([true, true, false, false, false]);
});

test("every status has its word, and an unknown one is shown", () => {
  const words = ["EGRESS_STARTING", "EGRESS_ACTIVE", "EGRESS_ENDING", "EGRESS_FAILED", "EGRESS_LATER"];
  expect(words.map((status) => view.status(info({ status })).word)).toEqual([
    "starting",
    "recording",
    "finishing",
    "failed",
    "EGRESS_LATER",
  ]);
});

test("files are where they are, and links lead to what a browser can open", () => {
  const local = { ...file, location: "/srv/a.mp4", size: "1500000" };
  const signed = { ...file, location: "https://b.s3.example/a.mp4?X-Amz-Signature=s" };
  const script = { ...file, location: "javascript:alert(1)" };
  const [here, there, never] = view.outputs(
    info({ status: "EGRESS_COMPLETE", file_results: [local, signed, script] }),
  );
  expect(here).toEqual({ kind: "File", name: "/srv/a.mp4", state: "stored, 1.5 MB", tone: "good" });
  expect(there).toMatchObject({ name: "https://b.s3.example/a.mp4", href: signed.location });
  expect(never?.href).toBeUndefined();
  const [running] = view.outputs(info({ file_results: [file] }));
  expect(running).toEqual({ kind: "File", name: "a.mp4", state: "recording", tone: "live" });
  const [failed] = view.outputs(info({ status: "EGRESS_FAILED", file_results: [file] }));
  expect(failed).toMatchObject({ name: "a.mp4", state: "failed", tone: "bad" });
});

test("segments and images say how many there are", () => {
  const segments = {
    playlist_name: "a.m3u8",
    playlist_location: "",
    live_playlist_location: "",
    segment_count: "3",
  };
  const images = { filename_prefix: "thumbs/a", image_count: "1" };
  const [hls, thumbnails] = view.outputs(info({ segment_results: [segments], image_results: [images] }));
  expect(hls).toMatchObject({ kind: "HLS", name: "a.m3u8", state: "3 segments" });
  expect(thumbnails).toMatchObject({ kind: "Images", name: "thumbs/a*", state: "1 image" });
});

test("a stream is connecting, live, failed or ended, and can be taken off as long as it is one", () => {
  const streams: Stream[] = [
    { ...stream, started_at: "0", retries: 2 },
    stream,
    { ...stream, status: "FAILED", error: "connection refused" },
    { ...stream, status: "FINISHED" },
  ];
  const shown = view.outputs(info({ stream_results: streams }));
  expect(shown.map(({ state }) => state)).toEqual(["connecting, 2 reconnections", "live", "failed", "ended"]);
  expect(shown.map(({ removable }) => removable)).toEqual([stream.url, stream.url, undefined, undefined]);
  expect(shown[2]?.error).toBe("connection refused");
  expect(
    view.outputs(info({ status: "EGRESS_ENDING", stream_results: [stream] }))[0]?.removable,
  ).toBeUndefined();
});

test("time goes on between two looks only while media does", () => {
  const recording = (status: string, seconds: number): Recording => ({
    info: info({ status }),
    kind: "web",
    cpu_cores: null,
    memory_bytes: null,
    progress: { seconds, pictures: 0, dropped: 0, bytes: 0, stored: 0, waiting: 0, waiting_bytes: 0 },
  });
  expect(view.elapsed(recording("EGRESS_ACTIVE", 10), 1.5)).toBe(11.5);
  expect(view.elapsed(recording("EGRESS_ENDING", 10), 1.5)).toBe(10);
  expect(view.elapsed(recording("EGRESS_ACTIVE", 0), 1.5)).toBe(0);
  expect(view.rate({ at: 1, pictures: 30 }, { at: 3, pictures: 90 })).toBe(30);
  expect(view.rate({ at: 1, pictures: 30 }, { at: 1, pictures: 90 })).toBe(0);
  expect([0, 0.4, 0.5, 29.97].map(view.movement)).toEqual(["static page", "static page", "1 fps", "30 fps"]);
  const ended = info({ started_at: "1000000000", ended_at: "6000000000" });
  expect(view.length(ended)).toBe(5);
  expect(view.length({ ...ended, file_results: [{ ...file, duration: "4500000000" }] })).toBe(4.5);
});
