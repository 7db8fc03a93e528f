// Turns reports into the texts of the console. Pure.

import { bytes, counted, seconds } from "./format";
import type { EgressInfo, Recording, Request } from "./info";

export type Tone = "idle" | "live" | "busy" | "good" | "bad";

export interface Output {
  /** Kind of output: `File`. */
  kind: string;
  /** Redacted destination. */
  name: string;
  /** Link to it, if a browser can open it. */
  href?: string;
  state: string;
  tone: Tone;
  error?: string;
  /** Address by which it can be removed. */
  removable?: string;
}

const STATUS: Record<string, [string, Tone]> = {
  EGRESS_STARTING: ["starting", "busy"],
  EGRESS_ACTIVE: ["recording", "live"],
  EGRESS_ENDING: ["finishing", "busy"],
  EGRESS_COMPLETE: ["complete", "good"],
  EGRESS_FAILED: ["failed", "bad"],
  EGRESS_ABORTED: ["aborted", "bad"],
  EGRESS_LIMIT_REACHED: ["limit reached", "good"],
};

/** A status as one word. Unknown ones are shown unchanged. */
export function status(info: EgressInfo): { word: string; tone: Tone } {
  const [word, tone] = STATUS[info.status] ?? [info.status, "idle"];
  return { word, tone };
}

function request(info: EgressInfo): Request {
  const v2 = info.egress;
  const v1 = info.web ?? info.room_composite ?? info.participant ?? info.track_composite ?? info.track;
  return v1 ?? v2?.web ?? v2?.template ?? v2?.media ?? {};
}

/** Names the recorded page, room or participant. */
export function title(info: EgressInfo): string {
  const asked = request(info);
  const room = asked.room_name || info.egress?.room_name || info.room_name;
  const tracks = [asked.track_id, asked.audio_track_id, asked.video_track_id].filter(Boolean).join(" + ");
  const who = asked.identity || tracks;
  if (asked.url) return asked.url;
  if (who) return room ? `${who} in ${room}` : who;
  return room || info.egress_id;
}

export function kind(info: EgressInfo): string {
  if (info.web || info.egress?.web) return "Web page";
  if (info.room_composite || info.egress?.template) return "Room";
  if (info.participant) return "Participant";
  if (info.track_composite || info.track || info.egress?.media) return "Tracks";
  return "Recording";
}

/** Whether it has a layout that can be changed. */
export function hasLayout(info: EgressInfo): boolean {
  return (info.room_composite ?? info.egress?.template) !== undefined && !isSoundOnly(info);
}

export function layout(info: EgressInfo): string {
  return request(info).layout ?? "";
}

export function isSoundOnly(info: EgressInfo): boolean {
  return request(info).audio_only === true;
}

/** Whether addresses can be added: it was started with an output that streams. */
export function canStream(info: EgressInfo): boolean {
  const asked = request(info);
  const v1 = (asked.stream_outputs?.length ?? 0) > 0 || asked.stream !== undefined;
  return v1 || (info.egress?.outputs?.some((output) => output.stream !== undefined) ?? false);
}

/** Whether it goes on, so that something can be asked of it. */
export function isOpen(info: EgressInfo): boolean {
  return info.status === "EGRESS_STARTING" || info.status === "EGRESS_ACTIVE";
}

/** An address that a browser may be led to. */
export function href(location: string): string | undefined {
  try {
    const url = new URL(location);
    return url.protocol === "https:" || url.protocol === "http:" ? url.href : undefined;
  } catch {
    return undefined;
  }
}

/** A place without what signs it. */
function place(location: string): string {
  return href(location) === undefined ? location : location.replace(/[?#].*$/, "");
}

export function outputs(info: EgressInfo): Output[] {
  const own = status(info);
  const over = !isOpen(info) && info.status !== "EGRESS_ENDING";
  // What writes to disk does as the recording does.
  const of = (kind: string, name: string, location: string, more: string): Output => {
    const link = href(location);
    const state = location ? (more ? `stored, ${more}` : "stored") : over ? own.word : more || own.word;
    const tone: Tone = location ? "good" : over && own.tone === "good" ? "idle" : own.tone;
    return { kind, name: place(location || name), state, tone, ...(link ? { href: link } : {}) };
  };
  const files = info.file_results.map((file) => {
    const size = Number(file.size);
    return of("File", file.filename, file.location, size > 0 ? bytes(size) : "");
  });
  const segments = info.segment_results.map((one) => {
    const count = Number(one.segment_count);
    return of("HLS", one.playlist_name, one.playlist_location, count > 0 ? counted(count, "segment") : "");
  });
  const images = info.image_results.map((one) => {
    const count = Number(one.image_count);
    return of("Images", `${one.filename_prefix}*`, "", counted(count, "image"));
  });
  const streams = info.stream_results.map((stream): Output => {
    const retries = stream.retries > 0 ? `, ${counted(stream.retries, "reconnection")}` : "";
    const base = { kind: "Stream", name: stream.url };
    const error = stream.error ? { error: stream.error } : {};
    if (stream.status === "FAILED") return { ...base, ...error, state: "failed", tone: "bad" };
    if (stream.status === "FINISHED") return { ...base, ...error, state: "ended", tone: "idle" };
    const removable = isOpen(info) ? { removable: stream.url } : {};
    if (Number(stream.started_at) === 0 && !over) {
      return { ...base, ...error, ...removable, state: `connecting${retries}`, tone: "busy" };
    }
    return { ...base, ...error, ...removable, state: `live${retries}`, tone: "live" };
  });
  return [...files, ...segments, ...images, ...streams];
}

/** Duration so far, in seconds. */
export function length(info: EgressInfo): number {
  const results = [...info.file_results.map((file) => seconds(file.duration))];
  const longest = Math.max(0, ...results);
  const [from, to] = [seconds(info.started_at), seconds(info.ended_at)];
  return longest || (from > 0 && to > from ? to - from : 0);
}

/** Seconds of media so far, `since` seconds after the report. */
export function elapsed(recording: Recording, since: number): number {
  const moves = recording.info.status === "EGRESS_ACTIVE" && recording.progress.seconds > 0;
  return recording.progress.seconds + (moves ? since : 0);
}

/** Frames per second between two reports. */
export function rate(
  before: { at: number; pictures: number },
  now: { at: number; pictures: number },
): number {
  const span = now.at - before.at;
  return span > 0 ? Math.max(0, (now.pictures - before.pictures) / span) : 0;
}

/** Rate of different frames, in words. */
export function movement(rate: number): string {
  return rate < 0.5 ? "static page" : `${Math.round(rate)} fps`;
}
