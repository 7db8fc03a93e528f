// Turns the filled-in form into a request, or into its errors. Pure.

/** The fields, by their names in the form. */
export interface Draft {
  source: "web" | "room";
  url: string;
  await_start_signal: boolean;
  room: string;
  layout: string;
  media: "both" | "audio" | "video";
  preset: string;
  file: string;
  segments: string;
  /** One address a line. */
  streams: string;
  streams_later: boolean;
}

export type Problems = Partial<Record<keyof Draft, string>>;

export const PRESETS: readonly (readonly [string, string])[] = [
  ["H264_720P_30", "720p, 30 fps"],
  ["H264_720P_60", "720p, 60 fps"],
  ["H264_1080P_30", "1080p, 30 fps"],
  ["H264_1080P_60", "1080p, 60 fps"],
  ["PORTRAIT_H264_720P_30", "720p portrait, 30 fps"],
  ["PORTRAIT_H264_1080P_30", "1080p portrait, 30 fps"],
];

/** The folders of templates/, as they are and light. */
export const LAYOUTS: readonly string[] = [
  "grid",
  "speaker",
  "single-speaker",
  "picture-in-picture",
  "branded",
  "grid-light",
  "speaker-light",
  "single-speaker-light",
];

const STREAM = /^(rtmps?|srt|mux|twitch):\/\/[^\s/]/i;

export function addresses(text: string): string[] {
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
}

/** Returns the error of a stream's address. The text does not repeat the address, as it holds a key. */
export function streamProblem(address: string): string | undefined {
  return STREAM.test(address)
    ? undefined
    : "An address begins with rtmp://, rtmps://, srt://, mux:// or twitch://";
}

export function problems(draft: Draft): Problems {
  const found: Problems = {};
  if (draft.source === "web") {
    const url = draft.url.trim();
    if (url === "") found.url = "Give the page's address";
    else if (!/^https?:\/\/[^\s/]+/i.test(url) || !URL.canParse(url)) {
      found.url = "An address begins with http:// or https://";
    }
  } else if (draft.room.trim() === "") {
    found.room = "Give the room's name";
  }
  const streams = addresses(draft.streams);
  const wrong = streams.map(streamProblem).find((problem) => problem !== undefined);
  if (wrong !== undefined) found.streams = wrong;
  if (
    draft.file.trim() === "" &&
    draft.segments.trim() === "" &&
    streams.length === 0 &&
    !draft.streams_later
  ) {
    found.file = "Give a file, segments or a stream: something has to come of it";
  }
  return found;
}

/** The request's body as the service accepts it. */
export function body(draft: Draft): unknown {
  const source =
    draft.source === "web"
      ? { type: "web", url: draft.url.trim(), await_start_signal: draft.await_start_signal }
      : { type: "room", room: draft.room.trim(), layout: draft.layout };
  return {
    source,
    media: draft.media,
    preset: draft.preset,
    outputs: {
      file: draft.file.trim(),
      segments: draft.segments.trim(),
      streams: addresses(draft.streams),
      streams_later: draft.streams_later,
    },
  };
}
