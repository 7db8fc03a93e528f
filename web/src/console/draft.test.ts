import { expect, test } from "vitest";
import { addresses, body, type Draft, problems } from "./draft";

const draft: Draft = {
  source: "web",
  url: " https://example.com/talk ",
  await_start_signal: false,
  room: "",
  layout: "grid",
  media: "both",
  preset: "H264_720P_30",
  file: "a.mp4",
  segments: "",
  streams: "",
  streams_later: false,
};
const wrong = (more: Partial<Draft>) => Object.keys(problems({ ...draft, ...more }));

test("what is filled in well is asked for as it is", () => {
  expect(problems(draft)).toEqual({});
  const streams = " rtmp://h/app/key\n\n srt://h:9000 \n";
  expect(addresses(streams)).toEqual(["rtmp://h/app/key", "srt://h:9000"]);
  expect(body({ ...draft, streams })).toEqual({
    source: { type: "web", url: "https://example.com/talk", await_start_signal: false },
    media: "both",
    preset: "H264_720P_30",
    outputs: { file: "a.mp4", segments: "", streams: addresses(streams), streams_later: false },
  });
  expect(body({ ...draft, source: "room", room: " standup " })).toMatchObject({
    source: { type: "room", room: "standup", layout: "grid" },
  });
});

test("what is missing or wrong is said at its field", () => {
  for (const url of [
    "",
    "  ",
    "example.com",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "https://",
    "https:// x",
  ]) {
    expect(wrong({ url }), url).toEqual(["url"]);
  }
  expect(wrong({ source: "room" })).toEqual(["room"]);
  expect(wrong({ source: "room", room: "standup", url: "" })).toEqual([]);
  expect(wrong({ file: " " })).toEqual(["file"]);
  expect(wrong({ file: "", streams_later: true })).toEqual([]);
  for (const streams of ["http://h/app/key", "rtmp://", "my-secret-key", "rtmp://h/a/b\nnonsense"]) {
    expect(wrong({ streams }), streams).toEqual(["streams"]);
    expect(JSON.stringify(problems({ ...draft, streams }))).not.toContain("my-secret-key");
  }
});
