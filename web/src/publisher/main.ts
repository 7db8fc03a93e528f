// Participants for tests: each shows a colour and a number and sounds a tone of its own. One page holds as many as it has tokens.
//
//   url            where the room is
//   token          one for each participant; repeat it
//   color, number, tone    of each participant, in the order of the tokens; repeat them. Else they come from PALETTE, 1, 2, 3 …
//                  and 440, 550, 660 … Hz
//   codec          vp8 (the default), h264, vp9, av1: of all, or repeated of each
//   simulcast      1: layers (the default: one)
//   layers         of one stream in vp9 or av1: L3T3_KEY, … (the default: L1T1)
//   width, height, fps     640, 360, 10
//   camera, microphone     0: joins without
//   devices        1: the browser's camera and microphone (Chromium has fake ones) in place of a colour and a tone
//   beep           1: the tone is 100 ms long at each full second of the wall clock, with a flash
//
// `window.publishers` is a promise of all of them, once they have published; each has the methods of Publisher.
import { LocalVideoTrack, Room, Track, type TrackPublishOptions, type VideoCodec } from "livekit-client";
import { draw, type Look } from "./picture";

const PALETTE = [
  "#c02020",
  "#20a020",
  "#2040d0",
  "#c0a000",
  "#a020a0",
  "#00a0a0",
  "#d06000",
  "#607080",
  "#204020",
];
const BEEP = 0.1;
/** In bit/s. WebRTC sends nothing at all where it may only send a few thousand. */
const MIN_BITRATE = 50_000;

const params = new URLSearchParams(window.location.search);
const integer = (name: string, otherwise: number) => Number(params.get(name) ?? otherwise);

const format = {
  width: integer("width", 640),
  height: integer("height", 360),
  fps: integer("fps", 10),
  simulcast: params.get("simulcast") === "1",
  layers: (params.get("layers") ?? "L1T1") as NonNullable<TrackPublishOptions["scalabilityMode"]>,
  beep: params.get("beep") === "1",
  devices: params.get("devices") === "1",
};

const audio = new AudioContext();

function beeping(): boolean {
  return (Date.now() / 1000) % 1 < BEEP;
}

/** A canvas that is drawn for as long as its track is alive. */
function picture(look: Look, width: number, height: number): MediaStreamTrack {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { alpha: false });
  const [track] = canvas.captureStream(format.fps).getVideoTracks();
  if (!context || !track) {
    throw new Error("canvas: 2D context unavailable");
  }
  const paint = () => {
    if (track.readyState === "ended") {
      clearInterval(timer);
    }
    draw(context, look, performance.now() / 1000, format.beep && beeping());
  };
  const timer = setInterval(paint, 1000 / format.fps);
  paint();
  return track;
}

/** Opens a device without the browser's voice processing. */
async function device(kind: "video" | "audio"): Promise<MediaStreamTrack> {
  const { width, height, fps } = format;
  const constraints =
    kind === "video"
      ? { video: { width, height, frameRate: fps } }
      : { audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } };
  const [track] = (await navigator.mediaDevices.getUserMedia(constraints)).getTracks();
  if (!track) {
    throw new Error(`no device for ${kind}`);
  }
  return track;
}

function sound(tone: number): MediaStreamTrack {
  const oscillator = new OscillatorNode(audio, { frequency: tone });
  const gain = new GainNode(audio, { gain: format.beep ? 0 : 0.2 });
  const destination = new MediaStreamAudioDestinationNode(audio, { channelCount: 1 });
  oscillator.connect(gain).connect(destination);
  oscillator.start();
  const [track] = destination.stream.getAudioTracks();
  if (!track) {
    throw new Error("no audio track to send");
  }
  if (format.beep) {
    // Scheduled a second ahead, so that timers need not be exact.
    const schedule = () => {
      const next = audio.currentTime + (1 - ((Date.now() / 1000) % 1));
      gain.gain.setValueAtTime(0.2, next);
      gain.gain.setValueAtTime(0, next + BEEP);
    };
    const loop = () => {
      schedule();
      setTimeout(loop, 1000 - (Date.now() % 1000) + 1000 * BEEP);
    };
    loop();
  }
  return track;
}

class Publisher {
  readonly room = new Room({ dynacast: false, adaptiveStream: false });
  readonly #look: Look;
  readonly #tone: number;
  readonly #codec: VideoCodec;
  #screen: LocalVideoTrack | undefined;

  constructor(look: Look, tone: number, codec: VideoCodec) {
    this.#look = look;
    this.#tone = tone;
    this.#codec = codec;
  }

  get identity(): string {
    return this.room.localParticipant.identity;
  }

  async join(url: string, token: string): Promise<void> {
    await this.room.connect(url, token, { autoSubscribe: false });
    await Promise.all([
      params.get("camera") === "0" ? undefined : this.publishCamera(),
      params.get("microphone") === "0" ? undefined : this.publishMicrophone(),
    ]);
  }

  async publishCamera(): Promise<void> {
    const { width, height, fps, simulcast, layers } = format;
    const options: TrackPublishOptions = {
      source: Track.Source.Camera,
      name: "camera",
      videoCodec: this.#codec,
      backupCodec: false,
      simulcast,
      videoEncoding: { maxBitrate: Math.max(MIN_BITRATE, width * height * fps * 0.1), maxFramerate: fps },
      ...(simulcast ? {} : { scalabilityMode: layers }),
    };
    const track = format.devices ? await device("video") : picture(this.#look, width, height);
    await this.room.localParticipant.publishTrack(track, options);
  }

  /** Codec in which the camera is sent: `video/vp8`. */
  async codec(): Promise<string> {
    const sender = this.room.localParticipant.getTrackPublication(Track.Source.Camera)?.track?.sender;
    const stats = [...((await sender?.getStats()) ?? new Map()).values()];
    const sent = stats.find(({ type }) => type === "outbound-rtp");
    const codec = stats.find(({ id }) => id === sent?.codecId);
    return String(codec?.mimeType).toLowerCase();
  }

  async publishMicrophone(): Promise<void> {
    const options = { source: Track.Source.Microphone, name: "microphone", dtx: false, red: false };
    const track = format.devices ? await device("audio") : sound(this.#tone);
    await this.room.localParticipant.publishTrack(track, options);
  }

  /** Mutes and unmutes what is published. */
  async camera(on: boolean): Promise<void> {
    await this.#set(Track.Source.Camera, on);
  }

  async microphone(on: boolean): Promise<void> {
    await this.#set(Track.Source.Microphone, on);
  }

  async #set(source: Track.Source, on: boolean): Promise<void> {
    const track = this.room.localParticipant.getTrackPublication(source)?.track;
    await (on ? track?.unmute() : track?.mute());
  }

  async unpublish(source: "camera" | "microphone"): Promise<void> {
    const track = this.room.localParticipant.getTrackPublication(source as Track.Source)?.track;
    if (track) {
      await this.room.localParticipant.unpublishTrack(track);
    }
  }

  /** Shares a screen: the same number on another colour, 1280x720. */
  async shareScreen(color = "#404040"): Promise<void> {
    const track = new LocalVideoTrack(picture({ ...this.#look, color }, 1280, 720), undefined, true);
    const options = {
      source: Track.Source.ScreenShare,
      name: "screen",
      simulcast: false,
      videoCodec: "vp8" as const,
    };
    await this.room.localParticipant.publishTrack(track, options);
    this.#screen = track;
  }

  async stopScreen(): Promise<void> {
    if (this.#screen) {
      await this.room.localParticipant.unpublishTrack(this.#screen);
      this.#screen = undefined;
    }
  }

  async leave(): Promise<void> {
    await this.room.disconnect();
  }
}

async function joinAll(): Promise<Publisher[]> {
  await audio.resume();
  const all = (name: string) => params.getAll(name);
  const publishers = all("token").map((_, index) => {
    const color = all("color")[index] ?? PALETTE[index % PALETTE.length] ?? "#c02020";
    const number = Number(all("number")[index] ?? index + 1);
    const tone = Number(all("tone")[index] ?? 440 + 110 * index);
    const codec = (all("codec")[index] ?? all("codec")[0] ?? "vp8") as VideoCodec;
    return new Publisher({ color, number }, tone, codec);
  });
  // One after the other: who comes first is then known.
  for (const [index, token] of all("token").entries()) {
    await publishers[index]?.join(params.get("url") ?? "", token);
  }
  return publishers;
}

declare global {
  interface Window {
    publishers: Promise<Publisher[]>;
  }
}

window.publishers = joinAll();
